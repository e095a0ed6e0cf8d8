"""Extra variables (`-e`) that nothing uses, which mostly are mistyped names of others.

Use is guessed generously: a run must not be refused for a name that only one branch of it uses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from runner.engine.files import reader
from runner.errors import Problem
from runner.inventory.model import Host
from runner.inventory.schema import VARIABLES
from runner.modules.base import Refused
from runner.playbook.document import Play, Playbook, Task, TemplateText
from runner.playbook.keywords import similar
from runner.playbook.templates import texts
from runner.playbook.undefined import MAGIC

_BUILT_IN = MAGIC | set(VARIABLES) | {"drain"}
_WORD = re.compile(r"[^\W\d]\w*")
_TEMPLATE = re.compile(r"\{[{%].*?[%}]\}(?:[^\n]*[%}]\})?", re.DOTALL)
"""Up to the last end of its line: a quoted end is no end."""
_EXPRESSION = re.compile(
    r"\b(?:when|until|failed_when|changed_when|that|var|loop|with_\w+)\s*:(.*)"
)
_BY_OTHER_NAME = re.compile(
    r"\bhostvars\b|\b(?:lookup|query|q)\s*\(\s*(?![\"'])"
    r"|\b(?:lookup|query|q)\s*\(\s*[\"'](?:[\w.]+\.)?(?:template|vars|varnames)\b"
)
"""Ways to a variable on which its name need not stand in the playbook."""
_EXPRESSIONS_IN_ARGUMENTS = ("assert", "debug")
_TEMPLATE_FILES = {"template": "src", "kubernetes_object": "template"}


class _Untold(Exception):
    """Which names are used cannot be told before the run."""


def unused(playbook: Playbook, hosts: Collection[Host], extra: Mapping[str, Any]) -> list[str]:
    """The extra variables that nothing refers to; none where use cannot be told.

    Args:
        playbook: all of it, whatever tags are asked for.
        hosts: of the whole inventory.
        extra: the variables of `-e`.
    """
    left = {name for name in extra if name not in _BUILT_IN and not name.startswith("ansible_")}
    try:
        for found in _used(playbook, hosts, extra):
            left -= found
            if not left:
                return []
    except _Untold:
        return []
    return [name for name in extra if name in left]


def unused_problem(name: str, playbook: Playbook, hosts: Iterable[Host]) -> Problem:
    """The mistake of giving a variable that nothing uses, with the one that was meant."""
    own = {name for variables in _variables(playbook) for name in variables}
    others = set().union(*(host.variables for host in hosts), *_templates([playbook.text]))
    all_own = f"The playbook's variables: {', '.join(sorted(own))}." if own else ""
    hint = similar(name, own) or similar(name, others) or all_own
    return Problem(f"-e {name}: nothing uses this variable", hint=hint)


def _used(
    playbook: Playbook, hosts: Collection[Host], extra: Mapping[str, Any]
) -> Iterator[set[str]]:
    """Names that are used, the likeliest places first.

    Raises:
        _Untold: more may be used.
    """
    given = list(texts(extra))
    if any(map(_BY_OTHER_NAME.search, (playbook.text, *given))):
        raise _Untold
    yield from _templates([playbook.text, *given])
    yield _words(_EXPRESSION.findall(playbook.text))
    for variables in _variables(playbook):
        yield from _of_variables(variables)
    for play in playbook.plays:
        for task in play.every_task:
            yield _words((*task.when, *task.failed_when, *task.changed_when, *task.until))
            if task.module in _EXPRESSIONS_IN_ARGUMENTS:
                yield _words([str(dict(task.arguments))])
            yield _words(_template_file(playbook, play, task))
    for host in hosts:
        yield from _of_variables(host.variables)


def _of_variables(variables: Mapping[str, Any]) -> Iterator[set[str]]:
    yield set(variables)
    written = list(texts(variables))
    if any(map(_BY_OTHER_NAME.search, written)):
        raise _Untold
    yield from _templates(written)


def _variables(playbook: Playbook) -> Iterator[Mapping[str, Any]]:
    """What the playbook, its roles and its files of variables define."""
    for play in playbook.plays:
        yield from (play.defaults, play.variables)
        for task in play.every_task:
            yield from (task.defaults, task.variables, task.parameters)
            for part in task.included:
                yield part.values
                yield dict.fromkeys(_words(part.when))


def _template_file(playbook: Playbook, play: Play, task: Task) -> Iterator[str]:
    """The text of the template file that a task names."""
    name = task.arguments.get(_TEMPLATE_FILES.get(task.module, ""))
    if not name:
        return
    if isinstance(name, TemplateText) or not isinstance(name, str):
        raise _Untold
    folder = (play.path or playbook.path).parent
    try:
        text = reader(folder, task.folders, task.module)(name).decode("utf-8", "replace")
    except Refused:
        raise _Untold from None
    if _BY_OTHER_NAME.search(text):
        raise _Untold
    yield text


def _templates(written: Iterable[str]) -> Iterator[set[str]]:
    for text in written:
        yield _words(_TEMPLATE.findall(text))


def _words(written: Iterable[str]) -> set[str]:
    return {word for text in written for word in _WORD.findall(str(text))}

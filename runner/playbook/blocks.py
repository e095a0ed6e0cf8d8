"""Lists of tasks: blocks and imported files are taken apart while they are read.

What stands at a `block` or an `import_tasks` is handed to each task inside, as in Ansible's static
imports. The engine never sees either: a plan stays one list of tasks, in which each task knows the
parts of blocks around it (`block`, `rescue`, `always`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.modules.registry import short_name
from runner.playbook.document import BlockPart, Map, Seq, Task, TemplateText
from runner.playbook.fields import Fields, kind_of
from runner.playbook.keywords import BLOCK_KEYS, IMPORT_KEYS, REFUSED_BLOCK_KEYS
from runner.playbook.source import parse_yaml, read_text
from runner.playbook.tasks import check_conditions, check_templates, read_task

MAX_IMPORTS = 1000
"""Imports of one playbook, nested ones counted each time: more is a mistake, told early."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the blocks and imports around a task give it."""

    when: tuple[str, ...] = ()
    variables: Map = field(default_factory=Map)
    become: bool | None = None
    become_user: str = ""
    environment: Map = field(default_factory=Map)
    tags: tuple[str, ...] = ()
    ignore_errors: bool = False
    run_once: bool = False
    delegate_to: str = ""
    blocks: tuple[BlockPart, ...] = ()


@dataclass(slots=True)
class Reading:
    """The tasks of one play being read.

    `written` are the mappings of all its tasks, for checks that need the place of a key;
    `imported` the texts of the files that `import_tasks` brought in.
    """

    problems: list[Problem]
    written: list[Map] = field(default_factory=list)
    imported: list[str] = field(default_factory=list)
    blocks: int = 0
    """How many blocks were read so far."""

    def tasks(
        self,
        value: Any,
        section: str,
        where: Origin,
        files: tuple[Path, ...],
        outer: Inherited | None = None,
    ) -> list[Task]:
        """The tasks of a section of a play, a block or a file.

        Args:
            section: `tasks`, `handlers`, `preconditions` or `verify`.
            files: the file the value stands in, last; those that import it before.
        """
        if value is None:
            return []
        if not isinstance(value, Seq):
            message = f"{section}: expected a list of tasks, found {kind_of(value)}"
            hint = "Begin each task with a dash: - name: ..."
            self.problems.append(Problem(message, where, hint))
            return []
        found: list[Task] = []
        for item, origin in zip(value, value.origins, strict=True):
            found += self._one(item, section, origin, files, outer or Inherited())
        return found

    def _one(
        self, value: Any, section: str, where: Origin, files: tuple[Path, ...], outer: Inherited
    ) -> Sequence[Task]:
        if isinstance(value, Map) and "block" in value:
            return self._block(value, section, where, files, outer)
        imports = _import_key(value)
        if imports:
            return self._import(value, imports, section, files, outer)
        task = read_task(value, section, where, self.problems)
        if not task:
            return ()
        self.written.append(value)
        return [_inherit(task, value, outer)]

    def _block(
        self, value: Map, section: str, where: Origin, files: tuple[Path, ...], outer: Inherited
    ) -> list[Task]:
        inner = self._inherited(value, "block", BLOCK_KEYS, outer)
        self.blocks += 1
        number, name = self.blocks, str(value.get("name") or f"the block of line {where.line}")
        found: list[Task] = []
        for kind in ("block", "rescue", "always"):
            if kind not in value:
                continue
            if not value[kind]:
                hint = "Indent its tasks under it."
                self.problems.append(Problem(f"the {kind} has no tasks", value.where(kind), hint))
            part = BlockPart(number, kind, name)
            inside = replace(inner, blocks=(*inner.blocks, part))
            found += self.tasks(value[kind], section, value.where(kind) or where, files, inside)
        return found

    def _import(
        self, value: Map, key: str, section: str, files: tuple[Path, ...], outer: Inherited
    ) -> list[Task]:
        known = [key if name == "import_tasks" else name for name in IMPORT_KEYS]
        inner = self._inherited(value, "import_tasks", known, outer)
        name, where = self._file_name(value, key)
        path = files[-1].parent / name
        if not name or self._is_refused(path, where, files):
            return []
        text, problem = read_text(path)
        if problem:
            hint = f"Its path is relative to {files[-1].name}."
            self.problems.append(Problem(f"import_tasks: {name}: {problem.message}", where, hint))
            return []
        self.imported.append(text)
        document = parse_yaml(text, str(path))
        self.problems.extend(document.problems)
        if document.value is None and not document.problems:
            self.problems.append(
                Problem("the file has no tasks", document.origin, "Write a list of tasks.")
            )
        return self.tasks(document.value, section, document.origin, (*files, path), inner)

    def _file_name(self, value: Map, key: str) -> tuple[str, Origin | None]:
        given, where = value[key], value.where(key)
        if isinstance(given, Map) and set(given) == {"file"}:
            given, where = given["file"], given.where("file")
        if isinstance(given, TemplateText):
            message = "import_tasks: a template is not possible here"
            hint = "Files are read before any host is known: import both, each with its when."
            self.problems.append(Problem(message, where, hint))
        elif isinstance(given, str) and given:
            return given, where
        else:
            message = f"import_tasks: expected the path of a file, found {kind_of(given)}"
            self.problems.append(Problem(message, where, "Write import_tasks: tasks/NAME.yaml."))
        return "", where

    def _is_refused(self, path: Path, where: Origin | None, files: tuple[Path, ...]) -> bool:
        whole = [file.resolve() for file in files]
        if path.resolve() in whole:
            begin = whole.index(path.resolve())
            chain = " → ".join(file.name for file in (*files[begin:], path))
            message = f"import_tasks goes round in a circle: {chain}"
            self.problems.append(Problem(message, where, "Take one of these imports out."))
            return True
        if len(self.imported) >= MAX_IMPORTS:
            message = f"import_tasks: more than {MAX_IMPORTS} imports"
            self.problems.append(Problem(message, where, "Use loop: for what repeats."))
            return True
        return False

    def _inherited(
        self, value: Map, what: str, known: Sequence[str] | dict[str, str], outer: Inherited
    ) -> Inherited:
        fields = Fields(value, what, self.problems)
        fields.unknown_keys(known, REFUSED_BLOCK_KEYS)
        fields.only_sudo()
        fields.text("name")
        become = fields.flag("become")
        ignore = fields.flag("ignore_errors")
        once = fields.flag("run_once")
        own = {key: fields.mapping(key) for key in ("vars", "environment")}
        check_templates(own, self.problems)
        when = fields.conditions("when")
        check_conditions({"when": when}, value, self.problems)
        return Inherited(
            when=(*outer.when, *when),
            variables=_merged(outer.variables, own["vars"]),
            become=outer.become if become is None else become,
            become_user=fields.text("become_user") or outer.become_user,
            environment=_merged(outer.environment, own["environment"]),
            tags=tuple(dict.fromkeys((*outer.tags, *fields.texts("tags", commas=True)))),
            ignore_errors=outer.ignore_errors if ignore is None else ignore,
            run_once=outer.run_once if once is None else once,
            delegate_to=fields.text("delegate_to") or outer.delegate_to,
            blocks=outer.blocks,
        )


def _import_key(value: Any) -> str:
    if not isinstance(value, Map):
        return ""
    return next((key for key in value if short_name(key) == "import_tasks"), "")


def _inherit(task: Task, written: Map, outer: Inherited) -> Task:
    """The task with what is around it; what it says itself wins."""
    own_ignore = written.get("ignore_errors") is not None
    own_once = written.get("run_once") is not None
    return replace(
        task,
        when=(*outer.when, *task.when),
        variables=_merged(outer.variables, task.variables),
        become=outer.become if task.become is None else task.become,
        become_user=task.become_user or outer.become_user,
        environment=_merged(outer.environment, task.environment),
        tags=tuple(dict.fromkeys((*outer.tags, *task.tags))),
        ignore_errors=task.ignore_errors if own_ignore else outer.ignore_errors,
        run_once=task.run_once if own_once else outer.run_once,
        delegate_to=task.delegate_to or outer.delegate_to,
        blocks=outer.blocks,
    )


def _merged(outer: Map, inner: Map) -> Map:
    made = Map({**outer, **inner}, inner.origin or outer.origin, {**outer.origins, **inner.origins})
    made.keys_at = {**outer.keys_at, **inner.keys_at}
    return made

"""The documentation's pages of modules, facts and playbooks, written from the code itself.

`python -m runner.reports.pages docs/` writes them; a test fails when they are not current.
"""

from __future__ import annotations

import argparse
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from runner.facts.base import FACTS, Fact, load_fact
from runner.modules.base import Module
from runner.modules.registry import MODULES, load_module, task_names
from runner.playbook.document import Play, Task
from runner.playbook.load import load_playbook

_MADE = "<!-- Made by `python -m runner.reports.pages docs/`; change the code instead. -->\n"


def pages(playbooks: Path) -> dict[str, str]:
    """Every page: its path below the documentation's folder, and its text."""
    shipped = sorted(playbooks.glob("*.yaml"))
    return {
        "modules/index.md": modules_index(),
        **{f"modules/{name}.md": module_page(name) for name in MODULES},
        "facts.md": facts_page(),
        "playbooks/index.md": playbooks_index(shipped),
        **{f"playbooks/{path.stem}.md": playbook_page(path) for path in shipped},
    }


def write(docs: Path, playbooks: Path) -> list[Path]:
    """Write the pages that differ; remove pages of what is no more. Returns what changed."""
    wanted = {docs / name: text for name, text in pages(playbooks).items()}
    changed = []
    for folder in ("modules", "playbooks"):
        for path in (docs / folder).glob("*.md"):
            if path not in wanted:
                path.unlink()
                changed.append(path)
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            changed.append(path)
    return changed


def modules_index() -> str:
    """A table of all modules."""
    rows = [(f"[`{name}`]({name}.md)", first_line(load_module(name))) for name in MODULES]
    return _page(
        "Modules",
        "What a task can manage. Every module looks first, changes only what differs, and reads "
        "again afterwards. Tasks have [facts](../facts.md) of the host at hand.",
        _table(("Module", "What it does"), rows),
    )


def module_page(name: str) -> str:
    """What a module does, its arguments, and examples."""
    module = load_module(name)
    parts = [_about(module), _traits(module), "## Arguments", _arguments(module), "## Examples"]
    parts += [f"```yaml\n{example.strip()}\n```" for example in module.examples]
    return _page(f"`{name}`", *parts)


def facts_page() -> str:
    """All facts."""
    rows = [(f"`facts.{name}`", load_fact(name).doc) for name in FACTS]
    return _page(
        "Facts",
        "What is true of a host. A fact is read, with everything else, in the one look at the "
        "host, and only when a playbook uses it. What cannot be read or understood is unknown, "
        "and a task that depends on it does not run.",
        _table(("Fact", "What it holds"), rows),
        *(part for name in FACTS for part in _fields_of(load_fact(name))),
    )


def _fields_of(fact: Fact) -> Iterator[str]:
    if fact.fields:
        yield f"## facts.{fact.name}"
        rows = [(f"`{name}`", kind, meaning) for name, kind, meaning in fact.fields]
        yield _table(("Name", "Type", "Meaning"), rows)


def playbooks_index(paths: Sequence[Path]) -> str:
    """A table of the shipped playbooks."""
    rows = [(f"[{path.stem}]({path.stem}.md)", summary_of(path)) for path in paths]
    return _page("Playbooks", _table(("Playbook", "What it does"), rows))


def playbook_page(path: Path) -> str:
    """What a playbook is for, its variables, and its tasks in order."""
    parts = [_comment(path)]
    for play in load_playbook(path).plays:
        parts += [f"## {play.name}", *_play(play)]
    return _page(path.name, *parts)


def _play(play: Play) -> Iterator[str]:
    allowed = f"{play.max_failed} hosts" if play.max_failed else ""
    if play.max_failed_percent:
        allowed = f"{play.max_failed_percent:g} % of the hosts"
    limits = f"; at most {allowed} may fail" if allowed else ""
    yield f"Hosts: `{play.hosts}`. Waves: {', '.join(play.waves)}{limits}."
    if play.variables:
        rows = [(f"`{name}`", f"`{_yaml(value)}`") for name, value in play.variables.items()]
        yield "Variables, to be set with `-e`:"
        yield _table(("Variable", "Default"), rows)
    sections = {
        "Preconditions": play.preconditions,
        "Tasks": play.tasks,
        "Handlers": play.handlers,
        "Verify": play.verify,
    }
    for title, tasks in sections.items():
        if tasks:
            yield f"{title}:"
            yield "\n".join(_task(task) for task in tasks)


def _task(task: Task) -> str:
    module = f"[`{task.module}`](../modules/{task.module}.md)"
    conditions = f", when `{' and '.join(task.when)}`" if task.when else ""
    notifies = f", notifies *{', '.join(task.notify)}*" if task.notify else ""
    return f"1. {task.name} ({module}{conditions}{notifies})"


def summary_of(path: Path) -> str:
    """What a playbook is for: the first sentence of the comment at its top, if it has one."""
    try:
        comment = _comment(path)
    except (OSError, UnicodeDecodeError):
        return ""
    return _sentence(comment) if comment else ""


def _comment(path: Path) -> str:
    """The comment at the top of a file, indented parts as code."""
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith("# yaml-language-server:"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" "))
    blocks = "\n".join(lines).strip("\n").split("\n\n")
    return "\n\n".join(_code(block) if block.startswith("  ") else block for block in blocks)


def _code(block: str) -> str:
    return f"```sh\n{textwrap.dedent(block)}\n```"


def _about(module: Module[Any]) -> str:
    return inspect.cleandoc(type(module).__doc__ or "")


def first_line(module: Module[Any]) -> str:
    """What a module does, in one sentence."""
    return _sentence(_about(module))


def _sentence(text: str) -> str:
    """The first sentence, on one line."""
    first, _, _ = " ".join(text.partition("\n\n")[0].split()).partition(". ")
    return first.rstrip(".") + "."


def _traits(module: Module[Any]) -> str:
    if module.changes_nothing:
        facts = ["Changes nothing: it may stand in `preconditions` and `verify`."]
    else:
        risk, disruption = module.risk.name.lower(), module.disruption.name.lower()
        facts = [f"Risk: up to {risk}. Disruption: up to `{disruption}`."]
    if module.on_controller:
        facts.append("Works on the machine gpurun runs on.")
    if module.needs_cluster:
        facts.append("Needs the Kubernetes API.")
    others = [f"`{other}`" for other in task_names(module.name)[1:] if "." not in other]
    if others:
        facts.append(f"Also called {' and '.join(others)}.")
    if module.free_form:
        facts.append(f"Short form: `{module.name}: VALUE` sets `{module.free_form}`.")
    return " ".join(facts)


def _arguments(module: Module[Any]) -> str:
    schema = module.arguments.model_json_schema()
    required = set(schema.get("required", ()))
    # The module's own arguments before those it shares with others.
    distance = {
        name: number
        for number, kind in reversed(list(enumerate(module.arguments.__mro__)))
        for name in vars(kind).get("__annotations__", {})
    }
    properties = sorted(
        schema.get("properties", {}).items(), key=lambda pair: distance.get(pair[0], 99)
    )
    others = _other_names(module)
    rows = [
        (
            f"`{name}`",
            _type(value, schema.get("$defs", {})),
            "required" if name in required else _default(value.get("default")),
            " ".join(value.get("description", "").split()) + others.get(name, ""),
        )
        for name, value in properties
    ]
    return _table(("Argument", "Type", "Default", "What it means"), rows)


def _other_names(module: Module[Any]) -> dict[str, str]:
    """Of each argument that has any, its other names as a sentence."""
    named: dict[str, list[str]] = {}
    for other, own in module.arguments.other_names.items():
        named.setdefault(own, []).append(f"`{other}`")
    return {own: f" Also called {', '.join(names)}." for own, names in named.items()}


_TYPES = {
    "string": "text",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "object": "mapping",
}


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON Schema type in words."""
    if "$ref" in schema:
        return _type(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        kinds = [_type(s, definitions) for s in schema["anyOf"] if s.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}), definitions)}"
    return _TYPES.get(str(kind), "anything")


def _default(value: Any) -> str:
    return "" if value in (None, "", [], {}) else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """A value on one line of YAML."""
    plain = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6)
    return plain.removesuffix("...\n").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)  # a template's text is of a type of its own
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([_MADE + f"# {title}", *filter(None, parts)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages and name those that changed."""
    parser = argparse.ArgumentParser(prog="python -m runner.reports.pages", description=__doc__)
    parser.add_argument("docs", type=Path, help="folder of the documentation")
    parser.add_argument("--playbooks", type=Path, default=Path("playbooks"))
    options = parser.parse_args(arguments)
    for path in write(options.docs, options.playbooks):
        print(path)


if __name__ == "__main__":
    main()

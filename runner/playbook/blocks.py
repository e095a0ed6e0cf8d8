"""Lists of tasks: blocks, imported files and roles are taken apart while they are read.

What stands at a `block`, an `import_tasks` or a role is handed to each task inside, as in Ansible's
static imports. The engine sees none of them: a plan stays one list of tasks, in which each task
knows the parts of blocks around it (`block`, `rescue`, `always`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.errors import Origin, Problem
from runner.modules.registry import short_name
from runner.playbook.document import BlockPart, Included, Map, Seq, Task, merged
from runner.playbook.fields import Fields, kind_of
from runner.playbook.keywords import BLOCK_KEYS, INCLUDES, REFUSED_BLOCK_KEYS
from runner.playbook.module_defaults import read_module_defaults
from runner.playbook.source import MAX_BYTES, Document, parse_yaml, read_text
from runner.playbook.tasks import check_conditions, check_templates, read_task

MAX_IMPORTS = 1000
"""Files read for one playbook, each as often as it is read: more is a mistake, told early."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the play, blocks, imports and roles around a task give it."""

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
    notify: tuple[str, ...] = ()
    timeout: float | None = None
    no_log: Any = False
    module_defaults: Mapping[str, Map] = field(default_factory=dict)
    include_tags: tuple[tuple[str, ...], ...] = ()
    parameters: Map = field(default_factory=Map)
    listen: tuple[str, ...] = ()
    label: str = ""
    """Of the loop items of the includes around: part of the task's name."""
    role: str = ""
    roles: tuple[Path, ...] = ()
    """Folders of the roles around, the innermost first."""
    defaults: Map = field(default_factory=Map)
    role_variables: Map = field(default_factory=Map)
    """Variables of the roles around: those of blocks and tasks win over them."""


@dataclass(slots=True)
class Reading:
    """The tasks of one play being read.

    Args:
        known: the play's variables; `extra`: those of `-e`, which win over all.
        roles_path: folders that may hold roles, beside those of the playbook.
        set_later: names that results and `set_fact` of tasks read so far give a value.
        imported: the texts of the files that were read.
        handlers: those of the play's roles.
        included: variables of `include_vars` so far.
        exported, exported_defaults: what the play's roles give all its tasks.
        invoked: roles by folder, files and variables -> what they are called.
        blocks: how many were read so far.
    """

    problems: list[Problem]
    known: Map = field(default_factory=Map)
    extra: Mapping[str, Any] = field(default_factory=dict)
    roles_path: tuple[Path, ...] = ()
    set_later: set[str] = field(default_factory=set)
    imported: list[str] = field(default_factory=list)
    handlers: list[Task] = field(default_factory=list)
    included: tuple[Included, ...] = ()
    exported: Map = field(default_factory=Map)
    exported_defaults: Map = field(default_factory=Map)
    invoked: dict[str, str] = field(default_factory=dict)
    blocks: int = 0

    def note(self, message: str, where: Origin | None, hint: str = "") -> None:
        self.problems.append(Problem(message, where, hint))

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
            self.note(message, where, "Begin each task with a dash: - name: ...")
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
        key = _include_key(value)
        if key:
            return self._include(value, key, section, files, outer)
        task = read_task(value, section, where, self.problems, outer.module_defaults)
        if not task:
            return ()
        self.set_later |= set_by(task)
        return [self.inherit(task, outer)]

    def _block(
        self, value: Map, section: str, where: Origin, files: tuple[Path, ...], outer: Inherited
    ) -> list[Task]:
        inner = self.inherited(value, "block", BLOCK_KEYS, outer)
        self.blocks += 1
        number, name = self.blocks, str(value.get("name") or f"the block of line {where.line}")
        found: list[Task] = []
        for kind in ("block", "rescue", "always"):
            if kind not in value:
                continue
            if not value[kind]:
                self.note(
                    f"the {kind} has no tasks", value.where(kind), "Indent its tasks under it."
                )
            part = BlockPart(number, kind, name)
            inside = replace(inner, blocks=(*inner.blocks, part))
            found += self.tasks(value[kind], section, value.where(kind) or where, files, inside)
        return found

    def _include(
        self, value: Map, key: str, section: str, files: tuple[Path, ...], outer: Inherited
    ) -> list[Task]:
        from runner.playbook.include_vars import read_include_vars
        from runner.playbook.includes import read_include
        from runner.playbook.roles import read_role_task

        name = short_name(key)
        if name.endswith("_role"):
            return read_role_task(self, value, key, section, files, outer)
        if name == "include_vars":
            return read_include_vars(self, value, key, section, files, outer)
        return read_include(self, value, key, section, files, outer)

    # -- for what is read from other files ------------------------------------------------------

    def known_at(self, outer: Inherited, files: tuple[Path, ...]) -> dict[str, Any]:
        """The variables that are known at a place while loading, in rising precedence."""
        at_play = {**self.known, **outer.role_variables, **outer.variables}
        kept = {name: value for name, value in at_play.items() if name not in self.set_later}
        playbook = {"playbook_dir": str(files[0].parent.absolute())}
        return {**kept, **outer.parameters, **self.extra, **playbook}

    def document(self, path: Path, what: str, where: Origin | None) -> Document | None:
        """A file that the playbook names, its problems noted; None where it is not read.

        Args:
            what: what names it, for the message.
        """
        if len(self.imported) >= MAX_IMPORTS:
            message = f"{what}: more than {MAX_IMPORTS} imports"
            self.note(message, where, "Use loop: for what repeats.")
            return None
        text, problem = read_text(path)
        if problem:
            self.note(f"{what}: {path}: {problem.message}", where, problem.hint)
            return None
        self.imported.append(text)
        if sum(map(len, self.imported)) > MAX_BYTES:
            message = f"{what}: the files of the playbook are larger than {MAX_BYTES:,} bytes"
            self.note(message, where, "Each counts as often as it is read.")
            return None
        document = parse_yaml(text, str(path))
        self.problems.extend(document.problems)
        return document

    def inherited(
        self,
        value: Map,
        what: str,
        known: Sequence[str] | Mapping[str, str],
        outer: Inherited,
        refused: Mapping[str, str] = REFUSED_BLOCK_KEYS,
    ) -> Inherited:
        """`outer` with what a block, an import or a role says itself; mistakes are noted."""
        fields = Fields(value, what, self.problems)
        fields.unknown_keys(known, refused)
        fields.only_sudo()
        fields.text("name")
        become = fields.flag("become")
        ignore = fields.flag("ignore_errors")
        once = fields.flag("run_once")
        own = {key: fields.mapping(key) for key in ("vars", "environment")}
        check_templates(own, self.problems)
        when = fields.conditions("when")
        check_conditions({"when": when}, value, self.problems)
        timeout = fields.seconds("timeout")
        return replace(
            outer,
            when=(*outer.when, *when),
            variables=merged(outer.variables, own["vars"]),
            become=outer.become if become is None else become,
            become_user=fields.text("become_user") or outer.become_user,
            environment=merged(outer.environment, own["environment"]),
            tags=_together(outer.tags, fields.texts("tags", commas=True)),
            ignore_errors=outer.ignore_errors if ignore is None else ignore,
            run_once=outer.run_once if once is None else once,
            delegate_to=fields.text("delegate_to") or outer.delegate_to,
            notify=_together(outer.notify, fields.names("notify")),
            timeout=outer.timeout if timeout is None else timeout,
            no_log=hidden(outer.no_log, fields.flag_or_template("no_log")),
            module_defaults={**outer.module_defaults, **read_module_defaults(fields)},
        )

    def inherit(self, task: Task, outer: Inherited) -> Task:
        """The task with what is around it; what it says itself wins."""
        own_ignore = task.written.get("ignore_errors") is not None
        own_once = task.written.get("run_once") is not None
        around = merged(outer.role_variables, outer.variables)
        return replace(
            task,
            name=_full_name(task.name, outer),
            when=(*outer.when, *task.when),
            variables=merged(around, task.variables),
            become=outer.become if task.become is None else task.become,
            become_user=task.become_user or outer.become_user,
            environment=merged(outer.environment, task.environment),
            tags=_together(outer.tags, task.tags),
            ignore_errors=task.ignore_errors if own_ignore else outer.ignore_errors,
            run_once=task.run_once if own_once else outer.run_once,
            delegate_to=task.delegate_to or outer.delegate_to,
            blocks=outer.blocks,
            notify=_together(outer.notify, task.notify),
            timeout=outer.timeout if task.timeout is None else task.timeout,
            no_log=hidden(outer.no_log, task.no_log),
            include_tags=outer.include_tags,
            parameters=outer.parameters,
            # A handler of an include's loop is still called by the name that is written.
            listen=(*outer.listen, *task.listen, *((task.name,) if outer.label else ())),
            role=outer.role,
            folders=outer.roles,
            defaults=outer.defaults,
            included=self.included,
        )


def _include_key(value: Any) -> str:
    if not isinstance(value, Map):
        return ""
    return next((key for key in value if short_name(key) in INCLUDES), "")


def set_by(task: Task) -> set[str]:
    """The names that the task gives a value when it runs."""
    names = {task.register} if task.register else set()
    return names | set(task.arguments) if task.module == "set_fact" else names


def _full_name(name: str, outer: Inherited) -> str:
    name = f"{outer.role} : {name}" if outer.role else name
    return f"{name} ({outer.label})" if outer.label else name


def hidden(outer: Any, own: Any) -> Any:
    """`no_log` of a task: what is hidden from outside is not shown again inside."""
    if not outer or not own:
        return outer or own
    return own if own == outer else True


def _together(outer: tuple[str, ...], inner: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*outer, *inner))) if outer else inner

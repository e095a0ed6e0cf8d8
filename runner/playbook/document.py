"""A playbook as typed data, every value with the place it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from runner.errors import Origin
from runner.kube.state import DrainOptions
from runner.modules.base import Disruption, Risk


class Map(dict[str, Any]):
    """A mapping from YAML that knows where it and each of its values stand."""

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        origin: Origin | None = None,
        origins: Mapping[str, Origin] | None = None,
    ) -> None:
        super().__init__(values or {})
        self.origin = origin
        self.origins: dict[str, Origin] = dict(origins or {})
        self.keys_at: dict[str, Origin] = {}
        """Where each key (not its value) was written."""

    def where(self, key: str) -> Origin | None:
        """Where the value of `key` was written, else where the mapping begins."""
        return self.origins.get(key, self.origin)


def merged(outer: Map, inner: Map) -> Map:
    """Both mappings; `inner` wins."""
    if not outer or not inner:
        return inner or outer
    made = Map({**outer, **inner}, inner.origin or outer.origin, {**outer.origins, **inner.origins})
    made.keys_at = {**outer.keys_at, **inner.keys_at}
    return made


class Seq(list[Any]):
    """A list from YAML that knows where it and each of its items stand."""

    def __init__(
        self,
        values: list[Any] | None = None,
        origin: Origin | None = None,
        origins: list[Origin] | None = None,
    ) -> None:
        super().__init__(values or [])
        self.origin = origin
        self.origins: list[Origin] = list(origins or [])


class TemplateText(str):
    """Text of a user's file that holds template marks, and where it stands.

    Only text of this type is ever evaluated inside variables, mappings and lists; what a host
    printed is a plain `str` and stays data at any depth.
    """

    origin: Origin | None

    def __new__(cls, text: str, origin: Origin | None = None) -> TemplateText:
        made = super().__new__(cls, text)
        made.origin = origin
        return made


@dataclass(frozen=True, slots=True)
class LoopControl:
    """How a loop names its item, and what it shows of it (`loop_control`)."""

    loop_var: str = "item"
    index_var: str = ""
    label: Any = None
    """A template; None: the item itself."""
    extended: bool = False
    allitems: bool = True


@dataclass(frozen=True, slots=True)
class Included:
    """Variables of an `include_vars` above a task, where its conditions hold."""

    values: Map
    origin: Origin
    when: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    include_tags: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class BlockPart:
    """One part of a block that a task stands in.

    `block` numbers the blocks of a play; `name` is for messages.
    """

    block: int
    kind: Literal["block", "rescue", "always"]
    name: str


@dataclass(frozen=True, slots=True)
class Task:
    """One task as written; `arguments` and conditions still hold their templates.

    `module` is a name of the registry. `arguments` is what stands under it (a free-form string is
    already under the module's `free_form` name).
    """

    name: str
    module: str
    arguments: Map
    origin: Origin
    when: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    register: str = ""
    loop: Any = None
    """A list or a template giving one; None: no loop. The item is the variable `item`."""
    variables: Map = field(default_factory=Map)
    become: bool | None = None
    """None: as the play says."""
    become_user: str = ""
    """Whom it becomes, may be a template; "": as the play says."""
    timeout: float | None = None
    environment: Map = field(default_factory=Map)
    risk: Risk | None = None
    disruption: Disruption | None = None
    because: str = ""
    """Why risk or disruption is set lower than the module's own (obligatory then)."""
    failed_when: tuple[str, ...] = ()
    changed_when: tuple[str, ...] = ()
    ignore_errors: bool = False
    until: tuple[str, ...] = ()
    retries: int | None = None
    """Tries after the first one; None: 3 with `until`, else none."""
    delay: float = 5.0
    """Seconds between two tries."""
    backoff: float = 1.0
    """By what each wait is longer than the one before."""
    blocks: tuple[BlockPart, ...] = ()
    """The blocks around it, the outermost first."""
    run_once: bool = False
    """One host of the play does it for all."""
    delegate_to: str = ""
    """Another host that is looked at and changed instead; may be a template."""
    tags: tuple[str, ...] = ()
    include_tags: tuple[tuple[str, ...], ...] = ()
    """Tags of each `include_tasks` and `include_role` around it: they select it too."""
    loop_form: Literal["list", "items", "dict"] = "list"
    """What becomes of the rendered loop: taken as it is, `with_items`, `with_dict`."""
    loop_control: LoopControl = field(default_factory=LoopControl)
    defaults: Map = field(default_factory=Map)
    """Defaults of its role: below the inventory."""
    parameters: Map = field(default_factory=Map)
    """`vars` and loop items of `include_tasks` and `include_role`: above registered results."""
    included: tuple[Included, ...] = ()
    role: str = ""
    folders: tuple[Path, ...] = ()
    """Of the roles around it, the innermost first: where its files are looked up first."""
    listen: tuple[str, ...] = ()
    """Of a handler: topics it answers beside its name."""
    no_log: Any = False
    """True, or a template that gives it: nothing of its arguments and output is shown."""
    written: Map = field(default_factory=Map, repr=False, compare=False)
    """What it was read from, for the place of a mistake."""


@dataclass(frozen=True, slots=True)
class Play:
    """One play. `waves` are node counts ("1") or percentages of the play's hosts ("25%")."""

    name: str
    hosts: str
    origin: Origin
    tasks: tuple[Task, ...] = ()
    handlers: tuple[Task, ...] = ()
    preconditions: tuple[Task, ...] = ()
    verify: tuple[Task, ...] = ()
    variables: Map = field(default_factory=Map)
    become: bool = False
    become_user: str = ""
    """Whom its tasks become; "": root."""
    environment: Map = field(default_factory=Map)
    risk: Risk | None = None
    """The least risk of every change of the play."""
    drain: DrainOptions = field(default_factory=DrainOptions)
    drain_origin: Origin | None = None
    """Where `drain` was written, if it was."""
    waves: tuple[str, ...] = ("1", "100%")
    max_failed: int = 0
    """Hosts that may fail before no further wave starts (`rollout.max_failed`)."""
    max_failed_percent: float | None = None
    """The same as a percentage of the play's hosts; counts instead of `max_failed`."""
    order: str = "inventory"
    defaults: Map = field(default_factory=Map)
    """Defaults of the roles that it lists or imports: below the inventory."""
    path: Path | None = None
    """Its file, where that is not the playbook's own (`import_playbook`)."""
    ignore_unreachable: bool = False
    """Hosts that do not answer are planned too; their tasks ask for `facts.reachable`."""

    def section(
        self, name: Literal["preconditions", "tasks", "handlers", "verify"]
    ) -> tuple[Task, ...]:
        """The tasks of one section."""
        found: tuple[Task, ...] = getattr(self, name)
        return found

    @property
    def every_task(self) -> tuple[Task, ...]:
        """Those of all sections, in the order in which they come."""
        return (*self.preconditions, *self.tasks, *self.handlers, *self.verify)


@dataclass(frozen=True, slots=True)
class Playbook:
    """A loaded, checked playbook. `text` is what was read (for its hash in the journal)."""

    path: Path
    text: str
    plays: tuple[Play, ...]

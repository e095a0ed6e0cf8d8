"""The contract of a module: typed arguments, how to look, and a pure answer to what differs.

A module never knows whether a run is dry. `plan` is called with what the probes read and returns
what would have to change; the engine does all else: batching, diffing, gating, running,
re-reading, reporting, redacting. After a change the engine re-runs the same probes and calls
`plan` again: done means that it now answers with no change.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from runner.hosts.script import Command, Result
from runner.kube.state import ClusterAction, ClusterQuery

if TYPE_CHECKING:
    from runner.modules.files.state import FileState


class Risk(enum.IntEnum):
    """How much a person should care (the field guide's risk table)."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Disruption(enum.IntEnum):
    """What the node must suffer for a change, rising."""

    NONE = 0
    SERVICE = 1
    """A daemon restarts; running pods live."""
    GPU = 2
    """Every GPU client on the node must go."""
    NODE = 3
    """Every pod must go."""
    REBOOT = 4


class Arguments(BaseModel):
    """Base of a module's arguments: unknown names are errors, values are checked strictly enough
    that `"yes"` is not a boolean. Field descriptions are the documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    other_names: ClassVar[Mapping[str, str]] = {}
    """Names that Ansible also accepts for an argument -> the argument's own name."""


class Unknown(Exception):
    """A probe's answer could not be understood; never treated as fine.

    Args:
        message: what was read, what was expected, for a person.
    """


class Refused(Exception):
    """The wanted state is impossible on this host; the message says why and what would help.

    Args:
        result: what `register` stores of it where the playbook goes on, beside `failed`.
    """

    def __init__(self, message: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.result: Mapping[str, Any] = result or {}


@dataclass(frozen=True, slots=True)
class Probe:
    """One read-only look at a host and the parser of what it prints.

    Probes with equal keys are run once per host and share their state, so that tasks on the same
    thing see each other's planned changes. `parse` raises `Unknown` for what it cannot read.
    `brief`, as of a `Command`, is for our own looks: False for those that a playbook words.
    `unreached` is the state of a host that does not answer, in plays that go on with such hosts;
    None: `Unknown`.
    """

    key: str
    shell: str
    parse: Callable[[Result], Any]
    timeout: float = 30.0
    stdin: bytes = b""
    become: bool = True
    brief: bool = True
    user: str = "root"
    unreached: Any = None

    def command(self) -> Command:
        return Command(
            self.key,
            self.shell,
            self.stdin,
            self.timeout,
            self.become,
            brief=self.brief,
            user=self.user,
        )


@dataclass(frozen=True, slots=True)
class ClusterProbe:
    """One read-only look at an object of the host's cluster, answered with an `ObjectState`, or
    at all its nodes, answered with a `NodeState` of each.

    Keys begin with "kubernetes:"; those that are equal are asked once per run and shared by hosts.
    """

    key: str
    query: ClusterQuery


@dataclass(frozen=True, slots=True)
class Reboot:
    """Reboot the host and wait until a new boot answers.

    Args:
        timeout: seconds until it must answer.
        power_cycle: runs on the machine that gpurun runs on, in place of the host's own reboot.
    """

    timeout: float = 600.0
    power_cycle: Command | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Collect:
    """Look at the host and keep what is seen in an archive on the machine gpurun runs on.

    Args:
        looks: what to run; each counts by itself, whether others fail or not.
        files: key of a look -> the name of its file in the archive.
        folder: where the archive goes; "": the state folder, beside the journal.
    """

    looks: tuple[Command, ...]
    files: Mapping[str, str]
    folder: str = ""


@dataclass(frozen=True, slots=True)
class HostWait:
    """Wait until something is so on the host. Changes nothing.

    Args:
        until: what, as a clause: "port 10250 of 127.0.0.1 answers".
        delay: seconds to wait first.
        look: exits 0 once it is so, with `NOT_YET` while it is not; it may itself look for some
            seconds. None: only the delay.
        timeout: seconds, the delay left out, after which it has failed.
        advice: what a person should do when time is over.
    """

    until: str
    delay: float = 0.0
    look: Command | None = None
    timeout: float = 0.0
    advice: str = ""

    def __str__(self) -> str:
        first = f"after {self.delay:g} s, " if self.delay and self.look else ""
        most = f" (at most {self.timeout:g} s)" if self.look else ""
        return f"{first}waits until {self.until}{most}"


NOT_YET = 75
"""Exit status of a `HostWait.look` (EX_TEMPFAIL of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A file's text before and after; None: absent. `attributes` like mode and owner, as pairs.

    Bytes that are no UTF-8 are surrogates (PEP 383).
    """

    path: str
    before: str | None
    after: str | None
    attributes: tuple[tuple[str, str, str], ...] = ()
    """(name, before, after) for each that differs."""
    sensitive: bool = False
    note: str = ""
    """What is to be said of a file whose text is not shown."""
    form: str = ""
    """"toml", "json" or "yaml"; "": as the path ends."""


Action = Command | Reboot | Collect | ClusterAction
Wait = ClusterAction | HostWait


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between observed and wanted state, and how to remove it.

    Args:
        summary: one line for a person, e.g. "GPU 0: MIG geometry none -> 7x 1g.10gb".
        do: what makes it so, in order. Commands only, or one Reboot, Collect or ClusterAction.
        guard: shell that exits 0 while the host is as observed (the change's fingerprint);
            empty where nothing can be guarded.
        risk, disruption: how it is gated and how the node is drained for it.
        before, after: plain data (JSON-able) for people and machines.
        diff: for files.
        overlay: probe key -> state as it will be afterwards, for later tasks of the same plan.
        predictable: False for commands whose effect cannot be known; listed as unpredictable.
        unsure: probe keys of what it may make otherwise in a way that cannot be known.
        undo: commands that restore what was there before; () where there is no way back.
        files: every path it changes, as (before, after), so that a run can be rolled back later.
    """

    summary: str
    do: tuple[Action, ...]
    guard: str = ""
    risk: Risk = Risk.LOW
    disruption: Disruption = Disruption.NONE
    before: Any = None
    after: Any = None
    diff: FileDiff | None = None
    overlay: Mapping[str, Any] = field(default_factory=dict)
    predictable: bool = True
    unsure: tuple[str, ...] = ()
    undo: tuple[Command, ...] = ()
    files: tuple[tuple[FileState, FileState], ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A module's answer.

    Args:
        changes: empty when the host is as wanted.
        waits: things to wait for that change nothing (`wait_allocatable`, `wait_for`).
        result: what `register` stores, beside `changed`; plain data.
        messages: lines to show (`debug`).
    """

    changes: tuple[Change, ...] = ()
    waits: tuple[Wait, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[str, ...] = ()


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Context:
    """What a module may know beside its arguments.

    Args:
        host: inventory name.
        folder: the playbook's folder, for relative paths of `src`.
        read: reads a file of the playbook (relative `src` looks in the playbook's folder, its
            `files/` and `templates/`, then the project's `templates/`); raises `Refused`.
        template: renders template text with the task's variables (only `template` needs it).
        notified: True when the task is a handler being run.
        timeout: the task's `timeout` in seconds, if it has one.
        become: the task's `become`.
        user: whom it becomes then.
        environment: the task's `environment`, for commands.
        secret_in: the name of a secret that stands in a text, "" without one.
    """

    host: str
    folder: str = "."
    read: Callable[[str], bytes] | None = None
    template: Callable[[str, str], str] | None = None
    notified: bool = False
    timeout: float | None = None
    become: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    secret_in: Callable[[str], str] = lambda text: ""
    user: str = "root"

    def command(self, key: str, shell: str, seconds: float = 120.0) -> Command:
        """A command that runs as the task says.

        Args:
            seconds: its deadline where the task has no `timeout`.
        """
        return Command(key, shell, b"", self.seconds(seconds), self.become)

    def seconds(self, most: float) -> float:
        """The task's `timeout`, or, where it has none, `most`."""
        return most if self.timeout is None else self.timeout


class Module(ABC, Generic[A]):
    """One thing a task can manage. Instances hold nothing.

    Class attributes are its documentation: `name`, `arguments`, the class docstring (what it
    does, sources of its rules), `examples` (YAML of one task each), and the most it can do
    (`risk`, `disruption`), used where a plan cannot know better.
    """

    name: ClassVar[str]
    arguments: ClassVar[type[Arguments]]
    examples: ClassVar[tuple[str, ...]] = ()
    risk: ClassVar[Risk] = Risk.LOW
    disruption: ClassVar[Disruption] = Disruption.NONE
    free_form: ClassVar[str] = ""
    """Argument that takes the value when a task gives a plain string (`command: uptime`)."""
    needs_cluster: ClassVar[bool] = False
    """The observation must hold a `NodeState` under `runner.kube.state.NODE`."""
    changes_nothing: ClassVar[bool] = False
    """May stand in `preconditions` and `verify` (assert, debug, waits, read-only looks)."""

    on_controller: ClassVar[bool] = False
    """It works on the machine gpurun runs on, as with `delegate_to: localhost` and without root,
    unless the task says otherwise."""

    def wants_cluster(self, args: A) -> bool:
        """Whether it has to see the host's node; for a module that only some arguments make."""
        return self.needs_cluster

    def looks_only(self, arguments: Mapping[str, Any]) -> bool:
        """Whether a task changes nothing, by its arguments as they are written."""
        return self.changes_nothing or arguments.get("read_only") is True

    @abstractmethod
    def probes(self, args: A, context: Context) -> Sequence[Probe]:
        """What to read from the host before planning."""

    def cluster_probes(self, args: A, context: Context) -> Sequence[ClusterProbe]:
        """What to read from the host's cluster, beside the node itself."""
        return ()

    @abstractmethod
    def plan(self, args: A, observed: Mapping[str, Any], context: Context) -> Outcome:
        """What differs. Pure: no I/O, no clock. `observed` maps probe keys to parsed states.

        Raises:
            Refused: the wanted state is impossible here.
            Unknown: what was observed is contradictory or incomplete.
        """

"""One run per host where there is no cluster: a file on the host, written in the execs that change
it, so that it costs none of its own but the last one, which removes it.

It says who changes the host until when, by the host's own clock. Each exec moves that moment past
its own timeouts; a run that died is in the way no longer than that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from shlex import quote
from types import TracebackType
from typing import Self

from runner.engine.ending import Drifted
from runner.engine.observe import Hosts
from runner.errors import GpurunError
from runner.hosts.errors import HostError
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.modules.base import Probe, Unknown

FOLDER = "/run/gpurun"
"""Emptied by a reboot, which ends whatever a dead run was doing. Without root: ~/.cache/gpurun."""
KEY = "gpurun:lock"
AFTER = 120
"""Seconds that the lock holds after an exec: for looks and short waits between two of them."""
LOOK = 2.0
"""Seconds between two tries to take a lock that somebody else holds."""
TAKEN = 75
"""Exit status of the lock's command where another run holds it (EX_TEMPFAIL of sysexits.h)."""


class HostTaken(Drifted):
    """Another run changes the host."""


@dataclass(frozen=True, slots=True)
class HostLock:
    """What a host's lock says: run, holder, since and until (seconds since 1970 of its clock)."""

    run: str
    holder: str
    since: str = ""
    until: str = ""

    @property
    def taken(self) -> str:
        """Who has the host, for messages."""
        return f"the host is locked by {self.holder} (run {self.run})"


def parse_lock(text: str) -> HostLock | None:
    """The lock's four lines; None where there is no lock."""
    lines = text.splitlines()
    return HostLock(*(lines + [""] * 4)[:4]) if lines else None


def folder() -> str:
    """Shell that sets "$d" to the folder of the lock: root's, or the user's own."""
    return f'd={quote(FOLDER)}; [ "$(id -u)" = 0 ] || d="$HOME/.cache/gpurun"\n'


# Runs take turns with flock(1) of util-linux: a takeover is a read and a write. Where there is no
# flock, two that come within the same milliseconds could both believe that they have the lock.
_GUARDED = """\
mkdir -p "$d" && exec 9>>"$d/lock.guard" || exit 70
! command -v flock >/dev/null || flock -w 20 9 || exit 70
now=$(date +%s) run='' who='' since='' until=''
[ ! -e "$d/lock" ] ||
    {{ read -r run; read -r who; read -r since; read -r until; }} <"$d/lock"
case $until in '' | *[!0-9]*) until=$now ;; esac
"""

_TAKE = (
    _GUARDED
    + """\
case $run in {ours}) ;; *)
    [ "$now" -ge "$until" ] || {{ cat "$d/lock"; exit {taken}; }}
    since=$now ;;
esac
printf '%s\\n' {run} {holder} "$since" $((now + {seconds})) >"$d/lock.new" &&
    mv "$d/lock.new" "$d/lock"
"""
)

_RELEASE = _GUARDED + '[ "$run" != {run} ] || rm -f "$d/lock"\n'


def release(run: str, become: bool, user: str = "root", note: str = "") -> Block:
    """Removes the lock if it is this run's. A note is kept in a file beside it."""
    shell = folder() + _RELEASE.format(run=quote(run))
    if note:
        shell += f"printf '%s\\n' {quote(note)} >>\"$d/unlocked\"\n"
    return Block(KEY, None, (Command(KEY, shell, become=become, user=user),))


def read_lock(become: bool) -> Command:
    """Prints the host's clock (seconds since 1970) and, under it, the lock."""
    # It may go between the two looks at it.
    shell = 'date +%s; [ ! -e "$d/lock" ] || cat "$d/lock" || [ ! -e "$d/lock" ]'
    return Command(KEY, folder() + shell, become=become)


def lock_probe(become: bool, user: str) -> Probe:
    """Reads the lock for a plan: the `HostLock` that holds by the host's clock, or None."""
    return Probe(KEY, read_lock(become).shell, _holding, become=become, user=user)


def _holding(result: Result) -> HostLock | None:
    clock, _, text = result.text.partition("\n")
    if result.rc != 0 or not clock.isdigit():
        raise Unknown(result.error_text[-200:] or f"exit status {result.rc}")
    lock = parse_lock(text)
    if lock is None or not lock.until.isdigit() or int(lock.until) <= int(clock):
        return None
    return lock


def host_lock_reason(lock: HostLock | Unknown | None, ours: Collection[str], wait: float) -> str:
    """Why a host cannot be locked now, or "" where it can, or where waiting was asked for.

    Args:
        lock: as `lock_probe` read it; None too where no look at the host was made.
        ours: the run and the one whose lock it may take over.
        wait: seconds that apply would wait for another holder.
    """
    if lock is None or wait > 0:
        return ""
    if isinstance(lock, Unknown):
        return f"whether the lock of the host is free is not known: {lock}"
    return "" if lock.run in ours else lock.taken


@dataclass(slots=True)
class LockedHost:
    """A connection that changes the host only while this run holds its lock.

    `with` lets the lock go in the end, once the last thread that entered has left; it is taken by
    the first change, so that it costs no exec of its own, or by `take`.

    Args:
        run: id of the run; `heir_of`: one whose lock it may take over; "": none.
        holder: for people: "user@host pid N".
        become, user: whose lock it is.
        wait: seconds to wait for another holder, the first time.
        progress: told once for whom it waits.
        order: its place among all locks.
    """

    connection: Hosts
    run: str
    holder: str
    become: bool = True
    user: str = "root"
    wait: float = 0.0
    heir_of: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[str], None] = lambda text: None
    order: str = "file"
    held: bool = False
    users: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        with self.turn:
            self.users += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.turn:
            self.users -= 1
            if not self.users:
                self.unlock()

    def take(self) -> None:
        """Take the lock now. Raises as `change`."""
        self.change([])

    def lost(self) -> bool:
        """A file is looked at by every change."""
        return False

    def look(self, commands: list[Command]) -> dict[str, Result]:
        """As the connection: looking needs no lock."""
        return self.connection.look(commands)

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        """As the connection; the lock is made anew by the next change."""
        self.connection.reboot(timeout, ask)

    def change(self, blocks: list[Block]) -> list[BlockResult]:
        """As the connection, with the lock taken, or held for longer, before the first block.

        Raises:
            HostTaken: another run holds it; nothing of `blocks` was done.
            HostError: the lock cannot be written.
        """
        end = time.monotonic() + (0.0 if self.held else self.wait)
        told = False
        while True:
            first, *rest = self.connection.change([self._take(blocks), *blocks])
            if first.status == "done":
                self.held = True
                return rest
            result = first.do[-1] if first.do else Result(1)
            if result.rc != TAKEN:
                why = result.error_text[-200:] or f"exit status {result.rc}"
                raise HostError(f"the lock {FOLDER}/lock cannot be written: {why}")
            taken = self._taken(result)
            left = end - time.monotonic()
            if left <= 0:
                raise taken
            if not told:
                told = True
                self.progress(f"{taken.message}; waiting {self.wait:.0f} s for it")
            if self.stop.wait(min(LOOK, left)):
                raise taken

    def _take(self, blocks: Sequence[Block]) -> Block:
        steps = [c for block in blocks for c in (*block.do, *block.reread)]
        ours = "|".join(quote(run) for run in (self.run, self.heir_of) if run)
        shell = folder() + _TAKE.format(
            ours=ours,
            taken=TAKEN,
            run=quote(self.run),
            holder=quote(self.holder),
            seconds=int(sum(step.timeout for step in steps)) + AFTER,
        )
        command = Command(KEY, shell, become=self.become, user=self.user)
        return Block(KEY, None, (command,))

    def _taken(self, result: Result) -> HostTaken:
        lock = parse_lock(result.text) or HostLock("unknown", "somebody")
        return HostTaken(
            lock.taken,
            f"wait for that run (--lock-timeout), or end it with: gpurun resume {lock.run}",
        )

    def unlock(self) -> None:
        """Remove the lock. Where that fails, it runs out by itself."""
        if self.held:
            self.held = False
            with suppress(GpurunError):
                self.connection.change([release(self.run, self.become, self.user)])

"""A host that can be looked at and changed: one login, one exchange per batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from runner.errors import GpurunError, UnreachableError
from runner.hosts.become import no_shell, wrong_password
from runner.hosts.display import printable
from runner.hosts.errors import BecomeError, HostError, LostError, SilentError
from runner.hosts.frames import Batch, change_batch, look_batch, steps_of
from runner.hosts.outcome import outcomes
from runner.hosts.script import Block, BlockResult, Command, Result
from runner.inventory.model import Host
from runner.secrets.value import reveal

if TYPE_CHECKING:
    from runner.hosts.logins import Login
    from runner.hosts.shell import Shell

__all__ = ["BecomeError", "Connection", "HostError", "LostError"]

_BOOT_ID = Command("boot id", "cat /proc/sys/kernel/random/boot_id", timeout=10, become=False)
_AGE = Command(
    "age of its first process",
    """\
read -r line </proc/1/stat && read -r up _ </proc/uptime && set -- ${line##*) } || exit 1
shift 19
hz=$(getconf CLK_TCK) || hz=100
echo $((${up%%.*} - $1 / hz))""",
    timeout=10,
    become=False,
)
"""In seconds; proc(5): field 22 of stat is when a process began, in clock ticks since boot."""
_REBOOT = Command("reboot", "sync; systemctl reboot || reboot || shutdown -r now", timeout=30)
_POLL = 1.0


class Connection:
    """The one connection to a host during a run. Threads that share it take turns.

    Args:
        host: where and as whom.
        connect_timeout: seconds for each step of connecting.
        become_password: for sudo, when it asks for one; default: the host's own.
    """

    def __init__(
        self, host: Host, *, connect_timeout: float = 10.0, become_password: str | None = None
    ) -> None:
        self.host = host
        self._timeout = connect_timeout
        self._password = become_password or reveal(host.become_password)
        self._login: Login | None = None
        self._shells: dict[str, Shell] = {}
        """By user; "" is the one who is logged in."""
        self._turn = threading.RLock()

    def open(self) -> None:
        """Connects and logs in, unless that is done.

        Raises:
            UnreachableError: in plain words why not, and what to try.
        """
        from runner.hosts.logins import log_in

        with self._turn:
            if self._login is None:
                self._login = log_in(self.host, self._timeout)

    def close(self) -> None:
        """Ends the shells, which remove their files, and the connection."""
        # Shells behind SSH end with the connection, at the end of their input.
        shells, self._shells = self._shells, {}
        if self.host.is_local:
            for shell in shells.values():
                shell.close()
        if self._login is not None:
            self._login.close()
            self._login = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        """Runs commands in order, each on its own; one that fails stops none of the others.

        One exchange for each user they run as.

        Returns:
            results by key.

        Raises:
            UnreachableError: the connection cannot be made; `LostError` when it broke meanwhile.
            BecomeError: sudo refuses. HostError: no working shell there.
        """
        results: dict[str, Result] = {}
        with self._turn:
            for user in sorted({self._user_for(command) for command in commands}, reverse=True):
                mine = [command for command in commands if self._user_for(command) == user]
                found = self._exchange(user, look_batch(mine), mine)
                results |= {mine[index].key: result for index, result in found.items()}
        return {command.key: results[command.key] for command in commands}

    def change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        """Runs blocks in order until one has drifted or failed; later ones are "not run".

        One exchange for all, as long as the user stays the same.

        Raises:
            UnreachableError, BecomeError, HostError: as `look`. What a `LostError` names as
                running may have had its effect.
        """
        with self._turn:
            return self._change(blocks)

    def _change(self, blocks: Sequence[Block]) -> list[BlockResult]:
        done: list[BlockResult] = []
        for group in self._by_user(blocks):
            if done and done[-1].status != "done":
                done += [BlockResult(block.key, "not run") for block in group]
                continue
            users = self._users(group)
            if len(users) > 1:
                results = self._step_by_step(group[0])
            else:
                user = users.pop() if users else ""
                results = self._exchange(user, change_batch(group), steps_of(group))
            done += outcomes(group, results)
        return done

    def reboot(self, timeout: float, ask: Callable[[], None] | None = None) -> None:
        """Reboots the host and waits until it is back with another boot id.

        Args:
            timeout: seconds until it must answer again.
            ask: makes it reboot from outside, by its power; None: it does so itself.

        Raises:
            UnreachableError: it did not come back in time, or it has to reboot by itself and does
                not answer.
            HostError: it refused to reboot. What `ask` raises.
        """
        if self.host.is_local:
            raise HostError(f"{self.host.name}: gpurun runs on this machine; it is not rebooted")
        if ask is not None:
            self._switch_power(ask, timeout)
            return
        before = self._boot_id()
        deadline = time.monotonic() + timeout
        try:
            asked = self.look([_REBOOT])[_REBOOT.key]
            if asked.rc not in (0, 124, 129, 130, 137, 143):
                raise HostError(
                    f"{self.host.name}: does not reboot: {printable(asked.error_text)}",
                    "Try it by hand: sudo reboot",
                )
        except UnreachableError:
            pass  # The session usually dies with the host.
        self.close()
        self._await_boot(lambda: self._boot_id() != before, deadline, timeout)

    def _switch_power(self, ask: Callable[[], None], timeout: float) -> None:
        """Also of a host that does not answer: then its first process tells whether it booted."""
        try:
            before = self._boot_id()
        except SilentError:
            before = ""
        began = time.monotonic()
        ask()
        self.close()

        def booted() -> bool:
            return self._boot_id() != before if before else self._age() <= time.monotonic() - began

        self._await_boot(booted, time.monotonic() + timeout, timeout)

    def _await_boot(self, booted: Callable[[], bool], deadline: float, timeout: float) -> None:
        last = "it still runs the old boot"
        while time.monotonic() < deadline:
            try:
                if booted():
                    return
                last = "it still runs the old boot"
            except GpurunError as error:
                last = error.message
                if "host key" in last:
                    raise
            self.close()
            time.sleep(_POLL)
        raise UnreachableError(
            f"{self.host.name}: has not come back within {timeout:g} s of its reboot; last: {last}",
            "Look at its console or BMC; raise the reboot task's timeout if it is only slow.",
        )

    def _age(self) -> int:
        result = self.look([_AGE])[_AGE.key]
        if result.rc or not result.text.strip().isdigit():
            raise HostError(
                f"{self.host.name}: since when it runs is unknown: {printable(result.error_text)}",
                "Without /proc/1/stat a boot cannot be proven whose predecessor did not answer.",
            )
        return int(result.text)

    def _boot_id(self) -> str:
        result = self.look([_BOOT_ID])[_BOOT_ID.key]
        if result.rc or not result.text.strip():
            raise HostError(
                f"{self.host.name}: its boot id is unknown: {printable(result.error_text)}",
                "Without /proc/sys/kernel/random/boot_id a reboot cannot be proven.",
            )
        return result.text.strip()

    def _user_for(self, step: Command) -> str:
        """Whom a step becomes with sudo; "" where it is somebody who is logged in already."""
        self.open()
        assert self._login is not None
        return step.user if step.become and self._login.user != step.user else ""

    def _by_user(self, blocks: Sequence[Block]) -> list[list[Block]]:
        """Neighbours that one shell can run; a block that needs several stands alone."""
        groups: list[list[Block]] = []
        for block in blocks:
            together = [*groups[-1], block] if groups else [block]
            if groups and len(self._users(together)) <= 1:
                groups[-1] = together
            else:
                groups.append([block])
        return groups

    def _users(self, blocks: Sequence[Block]) -> set[str]:
        return {self._user_for(step) for step in steps_of(blocks)}

    def _step_by_step(self, block: Block) -> dict[int, Result]:
        """A block of several users: the order of `change_batch`, one exchange per step."""
        results: dict[int, Result] = {}
        going = True
        first_reread = len(steps_of([block])) - len(block.reread)
        for index, step in enumerate(steps_of([block])):
            if not going and index < first_reread:
                continue
            results[index] = self.look([step])[step.key]
            going = going and results[index].rc == 0
            if block.guard and index == 0 and not going:
                break
        return results

    def _exchange(self, user: str, batch: Batch, steps: Sequence[Command]) -> dict[int, Result]:
        """Results by position in steps."""
        from runner.hosts.shell import BrokenError, NoShellError

        shell = self._shell(user)
        try:
            return {frame.index: frame.result for frame in shell.run(batch)}
        except NoShellError as error:
            raise self._no_shell(user, error.said) from error
        except BrokenError as error:
            self.close()
            finished = {steps[frame.index].key: frame.result for frame in error.frames}
            after = error.frames[-1].index + 1 if error.frames else 0
            raise self._lost(error.why, finished, steps[after:]) from error

    def _lost(self, why: str, finished: dict[str, Result], rest: Sequence[Command]) -> LostError:
        running = rest[0].key if rest else None
        last = (
            f"the last finished step is '{list(finished)[-1]}'" if finished else "no step finished"
        )
        unsure = f"; '{running}' or what follows it may have had its effect" if running else ""
        return LostError(
            f"{self.host.name}: lost while steps ran ({why}): {last}{unsure}",
            "Look again before you change anything: `gpurun resume` does.",
            finished,
            running,
            why,
        )

    def _shell(self, user: str) -> Shell:
        from runner.hosts.shell import NoShellError, Shell, WrongPasswordError

        self.open()
        assert self._login is not None
        if user in self._shells:
            return self._shells[user]
        password = self._password if user else None
        try:
            stream = self._login.stream(self._timeout)
            shell = Shell(stream, user=user, password=password, timeout=self._timeout)
        except WrongPasswordError as error:
            login = self._login.user
            self.close()
            raise wrong_password(self.host.name, login) from error
        except NoShellError as error:
            raise self._no_shell(user, error.said) from error
        except (OSError, EOFError) as error:
            self.close()
            raise UnreachableError(
                f"{self.host.name}: logged in, but nothing can be run: {printable(str(error))}",
                "sshd may limit sessions (MaxSessions) or force a command for this key.",
            ) from error
        self._shells[user] = shell
        return shell

    def _no_shell(self, user: str, said: str) -> HostError:
        login = self._login.user if self._login else ""
        self.close()
        return no_shell(self.host.name, login, bool(user), said, user or "root")

"""What can be asked of a host: commands, and blocks of guard, do and re-read.

These types are plain data. `runner.hosts.connection` turns them into one framed POSIX sh script
per exec; modules and facts produce them without knowing how they travel.
"""

from __future__ import annotations

from dataclasses import dataclass

from runner.secrets.redact import KNOWN

DEFAULT_TIMEOUT = 60.0
"""Seconds a command may take on the host when nothing else is said."""


@dataclass(frozen=True, slots=True)
class Command:
    """One snippet of POSIX sh, run on the host in its own frame.

    Args:
        key: names its result; unique within one look or one block list.
        shell: the text; never contains a secret.
        stdin: bytes fed to it (file bodies, secrets). Nothing of it shows in arguments or logs.
        timeout: seconds after which the host itself kills it.
        become: run as `user` through sudo, unless that is who is logged in.
        brief: prints and writes no more than 8 MiB, whatever it finds; more of it fails ("File
            too large"). Such a step is cheaper; its deadline is kept to within three seconds.
    """

    key: str
    shell: str
    stdin: bytes = b""
    timeout: float = DEFAULT_TIMEOUT
    become: bool = True
    user: str = "root"
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did. Bytes are as the host sent them: data, never trusted text."""

    rc: int
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    timed_out: bool = False
    truncated: bool = False
    """More was printed than is kept; a parser must treat this as unknown."""

    @property
    def text(self) -> str:
        """stdout as text; undecodable bytes become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """stderr, else stdout, as text for a message; without secrets, as it may be cut."""
        return KNOWN((self.stderr or self.stdout).decode("utf-8", "replace").strip())


@dataclass(frozen=True, slots=True)
class Block:
    """One planned change on a host: it runs only if the guard still holds, then is re-read.

    Args:
        key: names its result.
        guard: exits 0 when the host is still as it was when the change was planned; None: no guard.
        do: run in order, each must exit 0, else the block and all after it stop.
        reread: probes run after `do`, so that done means seen.
    """

    key: str
    guard: Command | None
    do: tuple[Command, ...]
    reread: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What became of a block.

    `status`: "done", "drifted" (guard said no, nothing was done), "failed" (a command of `do`
    failed), "not run" (an earlier block ended the batch).
    """

    key: str
    status: str
    guard: Result | None = None
    do: tuple[Result, ...] = ()
    reread: dict[str, Result] | None = None

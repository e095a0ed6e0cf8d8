"""What can go wrong with a host beyond a command that fails."""

from __future__ import annotations

from collections.abc import Mapping

from runner.errors import GpurunError, UnreachableError
from runner.hosts.script import Result


class HostError(GpurunError):
    """The host answers, but steps cannot be run there: no shell, no room, a tool is missing."""


class BecomeError(HostError):
    """The login works, but the login user does not become root: sudo refuses or is missing."""


class SilentError(UnreachableError):
    """Nothing answers at the host's address, or what does says nothing: it may be down or hang.

    Not a login that is refused, a key that is not known or a name that is not found.
    """


class LostError(UnreachableError):
    """The connection broke while steps ran.

    Attributes:
        finished: what the steps known to have ended did, by key, in their order.
        running: the step that may have been under way, and may have had its effect.
        why: how the connection broke.
    """

    def __init__(
        self,
        message: str,
        hint: str,
        finished: Mapping[str, Result],
        running: str | None,
        why: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.why = why
        self.finished = dict(finished)
        self.running = running

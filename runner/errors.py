"""Errors a user can act on: what, where, why, what next. Never a traceback for a user's mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Level = Literal["error", "warning"]
"""An error keeps a file from being used; a warning is advice."""


class Origin(NamedTuple):
    """Where a value was written. Lines and columns count from 1.

    A tuple, because every value of a file has one: a dataclass takes four times as long to make.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a user's file: what is wrong, where, and what would cure it."""

    message: str
    origin: Origin | None = None
    hint: str = ""
    level: Level = "error"

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        cure = f"\n    {self.hint}" if self.hint else ""
        return f"{where}{self.message}{cure}"


class GpurunError(Exception):
    """Anything that ends in one clear message instead of a traceback.

    Args:
        message: what went wrong and where (host, command, file).
        hint: what to do next, one sentence or command.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n    {self.hint}" if self.hint else self.message


class InputError(GpurunError):
    """Mistakes in files or arguments, all of them at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnreachableError(GpurunError):
    """A host that could not be spoken to: name, port, key, login or a connection that broke."""


class ClusterError(GpurunError):
    """The Kubernetes API did not answer, refused, or answered what cannot be understood."""

"""Secrets as values: text that was read, and what has not been read yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from runner.errors import InputError, Origin, Problem
from runner.secrets.redact import KNOWN, mark

SHORTEST_NUMBER = 6
"""Digits of a number that is taken out of what is shown; a port or a count is not."""


class SecretError(InputError):
    """A secret cannot be read. Its message never holds a value."""

    def __init__(self, problem: Problem) -> None:
        super().__init__([problem])
        self.problem = problem


class Secret(str):
    """A secret's text. It is data: never evaluated as a template, whatever stands in it.

    What is made of it in a template is ordinary text; it is taken out of what is shown by value.
    """

    name: str

    def __new__(cls, text: str, name: str) -> Secret:
        made = super().__new__(cls, text)
        made.name = name
        return made

    def __repr__(self) -> str:
        return mark(self.name)


class Unread:
    """A secret that is read when it is used, at most once per process.

    Args:
        name: shown in its place.
        origin: where it was written.
        reader: gives the value; raises `SecretError`.
    """

    def __init__(self, name: str, origin: Origin | None, reader: Callable[[], Any]) -> None:
        self.name = name
        self.origin = origin
        self._reader = reader
        self._lock = threading.Lock()
        self._value: Any = None
        self._error: SecretError | None = None
        self._is_read = False

    def read(self) -> Any:
        """The value: a `Secret`, or a number or boolean where the source has one.

        Raises:
            SecretError: the same one at every call.
        """
        with self._lock:
            if not self._is_read:
                try:
                    self._value = known(self._reader(), self.name)
                except SecretError as error:
                    self._error = error
                self._is_read = True
        if self._error:
            raise self._error
        return self._value

    def __str__(self) -> str:
        return mark(self.name)

    __repr__ = __str__


def known(value: Any, name: str, *, everyday: bool = False) -> Any:
    """A value, henceforth taken out of everything shown; text as `Secret`.

    Args:
        everyday: see `Redactor.add`.
    """
    if isinstance(value, str):
        KNOWN.add(value, name, everyday=everyday)
        return Secret(value, name)
    if isinstance(value, int | float) and len(str(value)) >= SHORTEST_NUMBER:
        KNOWN.add(str(value), name)
    return value


def reveal(value: str | Unread | None) -> str | None:
    """The text of a secret that may not have been read yet.

    Raises:
        SecretError: it cannot be read.
    """
    return str(value.read()) if isinstance(value, Unread) else value

"""Arguments that modules about files have in common."""

from __future__ import annotations

import posixpath
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from runner.modules.base import Arguments


def _absolute(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.startswith("/"):
        raise ValueError(f"{value!r} must be an absolute path on the host, beginning with /")
    if "\0" in value or "\n" in value:
        raise ValueError("a path cannot hold a NUL or a line break")
    plain = posixpath.normpath(value).replace("//", "/")
    if plain == "/":
        raise ValueError("/ itself is not managed")
    # A trailing slash means "into this folder" and has to survive.
    return plain + "/" if value.endswith("/") else plain


def _mode(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(
            f'{value} is a number, whose octal meaning YAML does not keep: quote it, mode: "0644"'
        )
    if isinstance(value, str) and not re.fullmatch(r"[0-7]{3,4}", value):
        raise ValueError(f'{value!r} is not an octal mode such as "0644"')
    return value


def _name(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@\\ -]*\$?", value):
        raise ValueError(f"{value!r} is not the name or number of a user or group")
    return value


HostPath = Annotated[str, BeforeValidator(_absolute)]
"""An absolute path on the host, without `.`, `..` and doubled slashes."""
Mode = Annotated[str, BeforeValidator(_mode)]
Name = Annotated[str, BeforeValidator(_name)]
Switch = Annotated[bool, Field(strict=True)]


class Ownership(Arguments):
    """Mode and owner of what a task leaves at a path."""

    mode: Mode | None = Field(
        default=None,
        description='Permissions as a quoted octal, "0644". Kept as they are when not given.',
    )
    owner: Name | None = Field(
        default=None, description="User name or number; kept when not given."
    )
    group: Name | None = Field(
        default=None, description="Group name or number; kept when not given."
    )


class Content(Ownership):
    """What tasks that write a whole file have in common."""

    backup: Switch = Field(
        default=False, description="Keep the old file beside it, as PATH.SHA256~ (first 12 digits)."
    )
    validate_with: str | None = Field(
        default=None,
        alias="validate",
        description="Command that must accept the new file before it replaces the old one;"
        " %s stands for its name. No shell features.",
    )
    follow: Switch = Field(
        default=True,
        description="When the path is a link, write the file it leads to; else refuse.",
    )

    @field_validator("validate_with")
    @classmethod
    def _has_place(cls, value: str | None) -> str | None:
        if value is not None and "%s" not in value:
            raise ValueError(f"{value!r} must hold %s, where the new file's name goes")
        return value

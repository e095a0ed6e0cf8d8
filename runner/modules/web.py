"""What the modules that ask a web server have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from runner.modules.base import Arguments
from runner.modules.files.arguments import Switch


class RequestArguments(Arguments):
    """Where a request goes and how it proves who it is."""

    other_names: ClassVar[Mapping[str, str]] = {
        "username": "url_username",
        "password": "url_password",
    }
    url: str = Field(description="Beginning with http:// or https://.")
    headers: dict[str, str] = Field(
        default_factory=dict, description="Further headers; a place for tokens."
    )
    url_username: str = Field(default="", description="For HTTP basic authentication.")
    url_password: str = Field(default="", description="For HTTP basic authentication.")
    validate_certs: Switch = Field(
        default=True, description="false: whoever answers is believed to be the server."
    )

    @field_validator("url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is not a URL beginning with http:// or https://")
        if parts.username or parts.password:
            raise ValueError("give a name and password in url_username and url_password")
        if any(ord(letter) <= 0x20 or letter in '"\\\x7f' for letter in value):
            raise ValueError("a URL holds no blanks, quotes or control characters: encode them")
        return value

    @field_validator("headers", mode="before")
    @classmethod
    def _header_lines(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name, text in value.items():
            if isinstance(text, str) and not (text.isprintable() and str(name).isprintable()):
                raise ValueError(f"the header {name} holds a control character")
        return {name: str(v) if type(v) is int else v for name, v in value.items()}


def curl_options(args: RequestArguments, seconds: float) -> list[str]:
    """A request as curl reads it with -K (curl(1)): one option a line, values quoted."""
    options = [f"url = {quoted(args.url)}", 'proto = "=http,https"']
    options += ["silent", "show-error", f"max-time = {seconds:g}"]
    options += [f"header = {quoted(f'{name}: {text}')}" for name, text in args.headers.items()]
    if args.url_username:
        options.append(f"user = {quoted(f'{args.url_username}:{args.url_password}')}")
    if not args.validate_certs:
        options.append("insecure")
    return options


def quoted(text: str) -> str:
    """A value of curl's configuration."""
    for letter, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(letter, escape)
    return f'"{text}"'

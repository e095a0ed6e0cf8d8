"""`toml`: keys of a TOML file, everything else of it untouched."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from runner.modules.base import Context, Module, Outcome, Probe, Refused
from runner.modules.files.arguments import Content, HostPath
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.state import FileState, follow, probes, state_of
from runner.modules.files.text import content_of
from runner.modules.files.toml_edit import edit, parse
from runner.modules.files.toml_summary import differences

Keys = tuple[str, ...]


def dotted(text: str) -> Keys:
    """A dotted key as TOML reads it: `plugins."io.containerd.grpc.v1.cri".containerd`."""
    try:
        data: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        data = {}
    keys: list[str] = []
    while isinstance(data, dict) and len(data) == 1:
        (key, data), *_ = data.items()
        keys.append(key)
    if data != 0 or "\n" in text or "=" in text.replace('"', "'").split("'")[-1]:
        raise ValueError(
            f"{text!r} is not a TOML key: join keys by dots and quote those that hold dots"
        )
    return tuple(keys)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Top-level keys may be dotted; keys below are taken literally."""
    data: dict[str, Any] = {}
    for text, value in flat.items():
        keys = dotted(text)
        table = data
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ValueError(f"{text} lies below another key of `set` that is a value")
        if keys[-1] in table:
            raise ValueError(f"{text} is given twice in `set`; write it once, nested")
        table[keys[-1]] = value
    return data


def _check_value(value: Any, where: str) -> None:
    if value is None:
        raise ValueError(f"{where} is null, which TOML does not have; to drop a key use `remove`")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where}: the key {key!r} must be a text; quote it")
            _check_value(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_value(item, where)
    elif not isinstance(value, str | bool | int | float | datetime.date | datetime.time):
        raise ValueError(f"{where}: {type(value).__name__} has no counterpart in TOML")


class TomlArguments(Content):
    """What a TOML file shall hold."""

    path: HostPath = Field(description="The TOML file on the host; created when missing.")
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys and values to merge in: nested, or with dotted keys at the top level"
        ' (`plugins."io.containerd.grpc.v1.cri".sandbox_image`). Tables are merged by key,'
        " arrays and other values replaced.",
    )
    remove: list[str] = Field(
        default_factory=list, description="Dotted keys that shall not exist (values or tables)."
    )
    append_unique: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="Dotted key of an array -> values it must hold; missing ones go to its end.",
    )

    @field_validator("remove")
    @classmethod
    def _keys(cls, value: list[str]) -> list[str]:
        for text in value:
            dotted(text)
        return value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.set or self.remove or self.append_unique):
            raise ValueError("give at least one of set, remove, append_unique")
        _check_value(self.set, "set")
        _check_value(self.append_unique, "append_unique")
        _nested(self.set)
        for text in self.append_unique:
            dotted(text)
        return self


class Toml(Module[TomlArguments]):
    """Set, remove and append keys of a TOML file; comments, order and layout of the rest stay.

    The result is parsed again: it must mean exactly the merge of the file and the wanted keys.
    A file in which nothing differs is left byte for byte as it is.
    """

    name = "toml"
    arguments = TomlArguments
    examples = (
        "toml: {path: /etc/containerd/config.toml,"
        " set: {'plugins.\"io.containerd.grpc.v1.cri\".enable_cdi': true}}",
        "toml: {path: /etc/nvidia-container-runtime/config.toml,"
        " set: {nvidia-container-runtime: {mode: cdi, log-level: info}},"
        " remove: [nvidia-container-cli.debug]}",
        "toml: {path: /etc/containerd/config.toml,"
        " append_unique: {imports: [/etc/containerd/conf.d/*.toml]}}",
    )

    def probes(self, args: TomlArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(self, args: TomlArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        before = follow(state_of(args.path, observed), observed)
        if not before.exists and not (args.set or args.append_unique):
            return Outcome()
        text = toml_text(before)
        after = edit(
            text,
            wanted=_nested(args.set),
            remove=[dotted(keys) for keys in args.remove],
            append={dotted(keys): values for keys, values in args.append_unique.items()},
            name=before.path,
        )
        summary = differences(parse(text), parse(after))
        return plan_content(
            Wanted(args.path, after.encode(), args, summary=summary), observed, context
        )


def toml_text(state: FileState) -> str:
    """A file's text; "" for a file that does not exist. `Refused` for what cannot be TOML."""
    try:
        return content_of(state, "TOML file").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            f"{state.path} is not UTF-8 text (byte {error.start}), so it is not TOML"
        ) from None

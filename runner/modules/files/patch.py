"""What `toml`, `json` and `yaml` share: their arguments, and the plan of one merge into a file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self

from pydantic import Field, field_validator, model_validator

from runner.modules.base import Context, Outcome, Refused
from runner.modules.files import data as documents
from runner.modules.files.arguments import Content, HostPath
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.data import MISSING, Keys, find, same
from runner.modules.files.state import FileState, follow, state_of
from runner.modules.files.summary import differences
from runner.modules.files.text import content_of


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


class PatchArguments(Content):
    """What a file of keys and values shall hold."""

    other_names: ClassVar[Mapping[str, str]] = {"dest": "path"}
    format_name: ClassVar[str]
    scalars: ClassVar[tuple[type, ...]]
    """Types of values that the format has, beside mappings and lists."""
    lacks_null: ClassVar[bool] = False

    path: HostPath = Field(description="The file on the host; created when missing.")
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
        self._check_value(self.set, "set")
        self._check_value(self.append_unique, "append_unique")
        _nested(self.set)
        for text in self.append_unique:
            dotted(text)
        return self

    def _check_value(self, value: Any, where: str) -> None:
        name = self.format_name
        if value is None:
            if self.lacks_null:
                raise ValueError(
                    f"{where} is null, which {name} does not have; to drop a key use `remove`"
                )
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ValueError(f"{where}: the key {key!r} must be a text; quote it")
                self._check_value(item, f"{where}.{key}")
        elif isinstance(value, list | tuple):
            for item in value:
                self._check_value(item, where)
        elif not isinstance(value, self.scalars):
            raise ValueError(f"{where}: {type(value).__name__} has no counterpart in {name}")

    @property
    def wanted(self) -> dict[str, Any]:
        """`set`, nested."""
        return _nested(self.set)

    @property
    def removed(self) -> list[Keys]:
        return [dotted(keys) for keys in self.remove]

    @property
    def appended(self) -> dict[Keys, list[Any]]:
        return {dotted(keys): values for keys, values in self.append_unique.items()}


Parse = Callable[[str, str], dict[str, Any]]
"""A text and the file's name to its data; raises `Refused`."""


def plan_patch(
    args: PatchArguments,
    edited: Callable[[str, str], str],
    parse: Parse,
    shown: Callable[[Any], str],
    observed: Mapping[str, Any],
    context: Context,
) -> Outcome:
    """One change that merges into a file, or none.

    Args:
        edited: the file's text and its name to the text it shall have.
        shown: a value of the format on one line, for the summary.
    """
    before = follow(state_of(args.path, observed), observed)
    if not before.exists and not (args.set or args.append_unique):
        return Outcome()
    text = text_of(before, args.format_name)
    after = edited(text, before.path)
    summary = differences(parse(text, before.path), parse(after, before.path), shown)
    return plan_content(Wanted(args.path, after.encode(), args, summary=summary), observed, context)


def text_of(state: FileState, format_name: str) -> str:
    """A file's text; "" for a file that does not exist. `Refused` for what cannot be text."""
    try:
        return content_of(state, f"{format_name} file").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            f"{state.path} is not UTF-8 text (byte {error.start}), so it is not {format_name}"
        ) from None


class Edits(Protocol):
    """How a format's text is changed in one place. The place is known to be right."""

    def parse(self, text: str, name: str) -> dict[str, Any]:
        """The data, shared with nothing. Raises `Refused` with line and column."""

    def set(self, text: str, keys: Keys, value: Any) -> str:
        """A value replaced, or added to the deepest mapping on its way."""

    def remove(self, text: str, keys: Keys) -> str:
        """A key that is there taken out."""

    def append(self, text: str, keys: Keys, value: Any) -> str:
        """An item added to an array that is there."""


def edit(text: str, edits: Edits, args: PatchArguments, name: str = "the file") -> str:
    """The text with keys removed, then set, then values appended to arrays where they are missing.

    Raises:
        Refused: the text is not of the format, a mapping stands where a value is wanted (or the
            reverse), or the text is laid out so that no edit gives the wanted meaning.
    """
    expected = edits.parse(text, name)
    for keys in args.removed:
        if find(expected, keys, MISSING) is not MISSING:
            text = edits.remove(text, keys)
            documents.remove(expected, keys)
    wanted = args.wanted
    documents.check_kinds(expected, wanted, name)
    for keys, value in _unlike(expected, wanted):
        text = edits.set(text, keys, value)
    documents.merge(expected, wanted)
    for keys, values in args.appended.items():
        for value in documents.missing_items(expected, keys, values, name):
            there = find(expected, keys) is not None
            text = edits.append(text, keys, value) if there else edits.set(text, keys, [value])
            documents.append(expected, keys, value)
    _check(text, edits, expected, name)
    return text


def _check(text: str, edits: Edits, expected: Mapping[str, Any], name: str) -> None:
    try:
        understood = same(edits.parse(text, name), expected)
    except Refused:
        understood = False
    if not understood:
        raise Refused(f"{name} is laid out in a way that cannot be edited safely; edit it by hand")


def _unlike(
    data: Mapping[str, Any], wanted: Mapping[str, Any], above: Keys = ()
) -> Iterator[tuple[Keys, Any]]:
    """The paths whose values differ; a mapping that is missing is one value."""
    for key, value in wanted.items():
        there = data.get(key, MISSING)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            yield from _unlike(there, value, (*above, key))
        elif there is MISSING or not same(there, value):
            yield (*above, key), value

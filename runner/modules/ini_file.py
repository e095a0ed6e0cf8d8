"""`ini_file`: options of an INI file, everything else of it untouched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from runner.modules.base import Arguments, Context, Module, Outcome, Probe
from runner.modules.files.arguments import Switch
from runner.modules.files.ini_edit import Value, Wanted, edit
from runner.modules.files.state import probes
from runner.modules.files.text import EditArguments, plan_edit


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f'{value}: quote it as it shall read in the file, like "true" or "yes"')
    return str(value) if isinstance(value, int | float) else value


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_one_or_many)]


class SectionHas(Arguments):
    """An option that tells a section from others of its name."""

    option: str = Field(min_length=1, description="The option.")
    value: Text | None = Field(None, description="A value it has.")
    values: Texts = Field((), description="Values it has.")

    def all(self) -> tuple[Value, ...]:
        """Every value; None for an option that stands alone."""
        return self.values or (self.value,)


class IniFileArguments(EditArguments):
    """Which option of which section, and its values."""

    other_names: ClassVar[Mapping[str, str]] = {"dest": "path"}
    create: Switch = Field(default=True, description="Create the file when it is missing.")
    section: str | None = Field(
        default=None,
        description="The section, without brackets; added when missing. Not given: the part of the"
        " file before its first section.",
    )
    option: str | None = Field(
        default=None, min_length=1, description="The option; not given: the section itself."
    )
    value: Text | None = Field(default=None, description="Its value.")
    values: Texts = Field(
        default=(), description="Instead of `value`: values, each on a line of its own."
    )
    state: Literal["present", "absent"] = Field(
        default="present", description="Whether the option, or section, shall be there."
    )
    exclusive: Switch = Field(
        default=True,
        description="The option has only these values; with `state: absent` all of it goes. false:"
        " other values of it are left alone.",
    )
    allow_no_value: Switch = Field(
        default=False, description="The option may stand alone, without `=` and value."
    )
    no_extra_spaces: Switch | None = Field(
        default=None,
        description="`=` of a new line has no blanks around it. Not given: as in the rest of the"
        " file. A line that is there keeps its own.",
    )
    ignore_spaces: Literal[True] = Field(
        default=True, description="Accepted: blanks around `=` are never a difference."
    )
    section_has_values: tuple[SectionHas, ...] = Field(
        default=(), description="Which of several sections of that name: options that it has."
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.section is None and self.option is None:
            raise ValueError("give section, option, or both")
        if self.value is not None and self.values:
            raise ValueError("give value or values, not both")
        given = self.value is not None or bool(self.values)
        if given and self.option is None:
            raise ValueError("a value belongs to an option")
        if self.section_has_values and self.section is None:
            raise ValueError("section_has_values needs section")
        if self.state == "present" and self.option and not (given or self.allow_no_value):
            raise ValueError("value is needed; an option without any says allow_no_value: true")
        self._check_texts()
        return self

    def _check_texts(self) -> None:
        texts = [self.section or "", self.option or "", self.value or "", *self.values]
        if any("\n" in text or "\r" in text for text in texts):
            raise ValueError("section, option and value are one line each")
        if any(text != text.strip() for text in texts):
            raise ValueError("blanks around a value are not part of it; leave them out")
        if "=" in (self.option or "") or (self.option or "x")[0] in "#;[":
            raise ValueError(f"{self.option!r} would not be read as an option")
        if "]" in (self.section or ""):
            raise ValueError("a section's name cannot hold ]")

    def wanted(self) -> Wanted:
        """The option as the edit takes it."""
        values: tuple[Value, ...] = tuple(dict.fromkeys(self.values))
        if self.option is not None and not values:
            values = (self.value,)
        return Wanted(
            self.section,
            {each.option: each.all() for each in self.section_has_values},
            self.option,
            values,
            present=self.state == "present",
            exclusive=self.exclusive or (self.value is None and not self.values),
            spaces=None if self.no_extra_spaces is None else not self.no_extra_spaces,
        )


class IniFile(Module[IniFileArguments]):
    """Sets or removes options of an INI file; comments, order and layout of the rest stay.

    Arguments are those of Ansible's module. A line that has the wanted value is left byte for byte
    as it is; another value is changed in its line; a new option goes behind the last of its
    section. Options that are commented out stay as they are. Where a section stands several times
    and `section_has_values` does not tell which one is meant, the file is refused.
    """

    name = "ini_file"
    arguments = IniFileArguments
    examples = (
        """\
- name: the journal keeps a week
  ini_file:
    path: /etc/systemd/journald.conf
    section: Journal
    option: MaxRetentionSec
    value: 1week
""",
        """\
- name: two time servers
  ini_file:
    path: /etc/systemd/timesyncd.conf
    section: Time
    option: NTP
    value: ntp1.example.com ntp2.example.com
    no_extra_spaces: true
""",
    )

    def probes(self, args: IniFileArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(
        self, args: IniFileArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        change = partial(_edited, wanted=args.wanted(), name=args.path)
        return plan_edit(args, change, observed, context, removes=args.state == "absent")


def _edited(content: bytes, wanted: Wanted, name: str) -> bytes:
    """Bytes that are no UTF-8 are kept as they are."""
    text = edit(content.decode("utf-8", "surrogateescape"), wanted, name)
    return text.encode("utf-8", "surrogateescape")

"""`lineinfile`: one line is in a file, or is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from runner.modules.base import Context, Module, Outcome, Probe
from runner.modules.files.arguments import Switch
from runner.modules.files.line_edit import Line, with_line, without
from runner.modules.files.state import probes
from runner.modules.files.text import EditArguments, expression, plan_edit


class LineinfileArguments(EditArguments):
    """Which line, and where."""

    other_names: ClassVar[Mapping[str, str]] = {
        "dest": "path",
        "destfile": "path",
        "name": "path",
        "regex": "regexp",
        "value": "line",
    }
    line: str | None = Field(
        default=None, description="The line, without a line break. Needed for `state: present`."
    )
    regexp: str | None = Field(
        default=None,
        min_length=1,
        description="Regular expression of the line to replace (the last that matches) or, with"
        " `state: absent`, of the lines to remove. It must match the new line as well.",
    )
    search_string: str | None = Field(
        default=None, min_length=1, description="The same as plain text that the line contains."
    )
    state: Literal["present", "absent"] = Field(
        default="present", description="Whether the line shall be there."
    )
    insertafter: str | None = Field(
        default=None,
        min_length=1,
        description="Where nothing is replaced, the line goes behind the last line that matches"
        " this expression; `EOF` (the default): to the end; `BOF`: to the beginning.",
    )
    insertbefore: str | None = Field(
        default=None, min_length=1, description="The same, before that line; or `BOF`."
    )
    backrefs: Switch = Field(
        default=False,
        description="Fill groups of `regexp` (`\\1`, `\\g<name>`) into `line`; a file in which"
        " nothing matches is left as it is.",
    )
    firstmatch: Switch = Field(
        default=False, description="Take the first line that matches instead of the last."
    )

    @field_validator("line")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and "\n" in value:
            raise ValueError(
                "it holds a line break, so it would never be found again; write it without |,"
                " and use blockinfile for several lines"
            )
        return value

    @field_validator("regexp")
    @classmethod
    def _expression(cls, value: str | None) -> str | None:
        if value is not None:
            expression(value)
        return value

    @field_validator("insertafter", "insertbefore")
    @classmethod
    def _anchor(cls, value: str | None) -> str | None:
        if value not in (None, "BOF", "EOF"):
            expression(value)
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.state == "present" and self.line is None:
            raise ValueError("line is needed with state: present")
        if self.state == "absent" and not (self.regexp or self.search_string or self.line):
            raise ValueError("give line, regexp or search_string: which lines shall go")
        if self.insertafter and self.insertbefore:
            raise ValueError("give insertafter or insertbefore, not both")
        if self.regexp and self.search_string:
            raise ValueError("give regexp or search_string, not both")
        if self.backrefs and not self.regexp:
            raise ValueError("backrefs needs regexp, whose groups it fills into the line")
        return self

    def wanted(self) -> Line:
        """The line as the edit takes it."""
        place = self.insertafter or self.insertbefore
        word = place == "BOF" or self.insertafter == "EOF"
        return Line(
            text=(self.line or "").encode(),
            regexp=expression(self.regexp) if self.regexp else None,
            search=self.search_string.encode() if self.search_string else None,
            anchor=expression(place) if place and not word else None,
            before=self.insertbefore is not None,
            first_line=place == "BOF",
            backrefs=self.backrefs,
            firstmatch=self.firstmatch,
        )


class Lineinfile(Module[LineinfileArguments]):
    """Puts one line into a file, replaces one, or removes every line that matches.

    The rules are those of Ansible's module: the line replaces the last one that `regexp` finds;
    where it finds none and the line is not there yet, it goes to the place that `insertafter` or
    `insertbefore` names, else to the end. Expressions are Python's and see bytes.

    What Ansible would change again in every run is refused: a `regexp` that matches several lines
    but not the new one, or a line that grows. For a file of sections use `ini_file`, `toml`, `json`
    or `yaml`; for several lines `blockinfile`.
    """

    name = "lineinfile"
    arguments = LineinfileArguments
    examples = (
        """\
- name: the kubelet waits for running pods at shutdown
  lineinfile:
    path: /etc/default/kubelet
    regexp: ^KUBELET_EXTRA_ARGS=
    line: KUBELET_EXTRA_ARGS=--node-status-update-frequency=10s
    create: true
""",
        """\
- name: nouveau is not loaded
  lineinfile:
    path: /etc/modprobe.d/blacklist.conf
    line: blacklist nouveau
    insertafter: ^blacklist
""",
        """\
- name: no swap
  lineinfile:
    path: /etc/fstab
    regexp: \\sswap\\s
    state: absent
    backup: true
""",
    )

    def probes(self, args: LineinfileArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(
        self, args: LineinfileArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        removes = args.state == "absent"
        edit = partial(without if removes else with_line, line=args.wanted())
        return plan_edit(args, edit, observed, context, removes=removes)

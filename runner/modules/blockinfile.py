"""`blockinfile`: some lines are in a file, between two marker lines, or are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from runner.modules.base import Context, Module, Outcome, Probe
from runner.modules.files.arguments import Switch
from runner.modules.files.block_edit import Block, with_block
from runner.modules.files.state import probes
from runner.modules.files.text import EditArguments, expression, plan_edit


class BlockinfileArguments(EditArguments):
    """The block, its markers, and where it goes."""

    other_names: ClassVar[Mapping[str, str]] = {
        "dest": "path",
        "destfile": "path",
        "name": "path",
        "content": "block",
    }
    block: str = Field(
        default="", description="The lines between the markers; empty: the block is removed."
    )
    state: Literal["present", "absent"] = Field(
        default="present", description="Whether the block shall be there."
    )
    marker: str = Field(
        default="# {mark} ANSIBLE MANAGED BLOCK",
        description="The marker lines, {mark} standing for the word of each. Two blocks of one"
        " file need different ones. The default is Ansible's, so that its blocks are found.",
    )
    marker_begin: str = Field(default="BEGIN", description="{mark} of the line above the block.")
    marker_end: str = Field(default="END", description="{mark} of the line below it.")
    insertafter: str | None = Field(
        default=None,
        min_length=1,
        description="A new block goes behind the last line that matches this expression; `EOF`"
        " (the default): to the end. With (?m) the expression sees the whole file.",
    )
    insertbefore: str | None = Field(
        default=None, min_length=1, description="The same, before that line; `BOF`: the beginning."
    )
    append_newline: Switch = Field(
        default=False, description="A blank line below the block, but at the file's end."
    )
    prepend_newline: Switch = Field(
        default=False, description="A blank line above the block, but at the file's beginning."
    )

    @field_validator("marker")
    @classmethod
    def _has_mark(cls, value: str) -> str:
        if "{mark}" not in value or "\n" in value:
            raise ValueError(f"{value!r} must be one line with {{mark}} in it")
        return value

    @field_validator("insertafter", "insertbefore")
    @classmethod
    def _anchor(cls, value: str | None) -> str | None:
        if value is not None:
            expression(value)
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.insertafter and self.insertbefore:
            raise ValueError("give insertafter or insertbefore, not both")
        begin, end = self._marker(self.marker_begin), self._marker(self.marker_end)
        if begin == end or "\n" in begin + end:
            raise ValueError("marker_begin and marker_end must be different, each of one line")
        if {begin, end} & set(self.block.splitlines()):
            raise ValueError("the block holds one of its own markers; choose another marker")
        return self

    def _marker(self, word: str) -> str:
        return self.marker.replace("{mark}", word)

    def wanted(self) -> Block:
        """The block as the edit takes it."""
        place = self.insertafter or self.insertbefore
        word = self.insertafter == "EOF" or self.insertbefore == "BOF"
        return Block(
            begin=self._marker(self.marker_begin).encode(),
            end=self._marker(self.marker_end).encode(),
            text=b"" if self.state == "absent" else self.block.encode(),
            anchor=expression(place) if place and not word else None,
            before=self.insertbefore is not None,
            first=self.insertbefore == "BOF",
            blank_before=self.prepend_newline,
            blank_after=self.append_newline,
        )


class Blockinfile(Module[BlockinfileArguments]):
    """Puts lines into a file between two marker lines, changes them there, or removes them.

    The rules are those of Ansible's module, and its default markers are known, so a block that
    Ansible wrote is taken over. A block stays where it is; `insertafter` and `insertbefore` place
    a new one. A marker without its counterpart is refused: where the block ends is not known.
    """

    name = "blockinfile"
    arguments = BlockinfileArguments
    examples = (
        """\
- name: the nodes find the registry
  blockinfile:
    path: /etc/hosts
    block: |
      10.0.0.5 registry.example.com
      10.0.0.6 mirror.example.com
""",
        """\
- name: options of the NVIDIA driver
  blockinfile:
    path: /etc/modprobe.d/nvidia.conf
    marker: "# {mark} gpurun: driver options"
    block: options nvidia NVreg_RestrictProfilingToAdminUsers=0
    create: true
    mode: "0644"
""",
    )

    def probes(self, args: BlockinfileArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(
        self, args: BlockinfileArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        block = args.wanted()
        edit = partial(with_block, block=block)
        return plan_edit(args, edit, observed, context, removes=not block.text)

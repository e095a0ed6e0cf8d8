"""`copy`: a file with given content."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from runner.modules.base import Context, Module, Outcome, Probe, Refused
from runner.modules.files.arguments import Content, HostPath
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.state import probes


class CopyArguments(Content):
    """Exactly one of `src` and `content` is given."""

    dest: HostPath = Field(description="Path on the host; ending in / it is the folder to put it.")
    src: str | None = Field(
        default=None, description="File beside the playbook (or in its `files/`)."
    )
    content: str | None = Field(default=None, description="The content itself, as text.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.src is None) == (self.content is None):
            raise ValueError("give either src (a file) or content (text), and only one of them")
        if self.dest.endswith("/") and self.src is None:
            raise ValueError(f"dest {self.dest} is a folder: with content, name the file in it")
        return self

    @property
    def path(self) -> str:
        """The file's path on the host."""
        if self.dest.endswith("/") and self.src is not None:
            return self.dest + posixpath.basename(self.src)
        return self.dest


class Copy(Module[CopyArguments]):
    """Put a file on the host: from a file of the playbook or from text.

    The file is written beside its target, validated, synced and renamed, with mode and owner set
    before. A new file gets mode 0644 (0600 if it holds a secret) and the user it is written as; an
    existing one keeps its own. A `src` encrypted with ansible-vault is decrypted.
    """

    name = "copy"
    arguments = CopyArguments
    examples = (
        'copy: {src: blacklist-nouveau.conf, dest: /etc/modprobe.d/, mode: "0644"}',
        'copy: {content: "options nvidia NVreg_EnableGpuFirmware=0\\n",'
        " dest: /etc/modprobe.d/nvidia.conf, backup: true}",
        'copy: {src: gpurun.sudoers, dest: /etc/sudoers.d/gpurun, mode: "0440",'
        " validate: visudo -cf %s}",
    )

    def probes(self, args: CopyArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(self, args: CopyArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        return plan_content(Wanted(args.path, _content(args, context), args), observed, context)


def _content(args: CopyArguments, context: Context) -> bytes:
    if args.src is None:
        return (args.content or "").encode()
    if context.read is None:
        raise Refused(f"src {args.src}: files of the playbook cannot be read here")
    return context.read(args.src)

"""`toml`: keys of a TOML file, everything else of it untouched."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from runner.modules.base import Context, Module, Outcome, Probe
from runner.modules.files.patch import PatchArguments, plan_patch, text_of
from runner.modules.files.state import FileState, probes
from runner.modules.files.toml_edit import edit, parse
from runner.modules.files.toml_style import inline


class TomlArguments(PatchArguments):
    """What a TOML file shall hold."""

    format_name: ClassVar[str] = "TOML"
    scalars: ClassVar[tuple[type, ...]] = (str, bool, int, float, datetime.date, datetime.time)
    lacks_null: ClassVar[bool] = True


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
        def edited(text: str, name: str) -> str:
            return edit(
                text, wanted=args.wanted, remove=args.removed, append=args.appended, name=name
            )

        return plan_patch(args, edited, parse, inline, observed, context)


def toml_text(state: FileState) -> str:
    """A file's text; "" for a file that does not exist. `Refused` for what cannot be TOML."""
    return text_of(state, "TOML")

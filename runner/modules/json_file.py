"""`json`: keys of a JSON file, everything else of it untouched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from runner.modules.base import Context, Module, Outcome, Probe
from runner.modules.files.json_edit import JsonEdits, dumped
from runner.modules.files.patch import PatchArguments, edit, plan_patch
from runner.modules.files.state import probes


class JsonArguments(PatchArguments):
    """What a JSON file shall hold."""

    format_name: ClassVar[str] = "JSON"
    scalars: ClassVar[tuple[type, ...]] = (str, bool, int, float)


class Json(Module[JsonArguments]):
    """Set, remove and append keys of a JSON file; order and layout of the rest stay.

    The result is parsed again: it must mean exactly the merge of the file and the wanted keys.
    A file in which nothing differs is left byte for byte as it is. Comments are not JSON: a file
    that holds any is refused.
    """

    name = "json"
    arguments = JsonArguments
    examples = (
        "json: {path: /etc/docker/daemon.json, set: {default-runtime: nvidia,"
        " runtimes.nvidia: {path: nvidia-container-runtime, args: []}}}",
        "json: {path: /etc/docker/daemon.json, remove: [runtimes.kata],"
        " append_unique: {exec-opts: [native.cgroupdriver=systemd]}}",
    )

    def probes(self, args: JsonArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(self, args: JsonArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        edits = JsonEdits()

        def edited(text: str, name: str) -> str:
            return edit(text, edits, args, name)

        return plan_patch(args, edited, edits.parse, dumped, observed, context)

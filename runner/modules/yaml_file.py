"""`yaml`: keys of a YAML file, everything else of it untouched."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from runner.modules.base import Context, Module, Outcome, Probe
from runner.modules.files.patch import PatchArguments, edit, plan_patch
from runner.modules.files.state import probes
from runner.modules.files.yaml_edit import YamlEdits, flow


class YamlArguments(PatchArguments):
    """What a YAML file shall hold."""

    format_name: ClassVar[str] = "YAML"
    scalars: ClassVar[tuple[type, ...]] = (str, bool, int, float, datetime.date)


class Yaml(Module[YamlArguments]):
    """Set, remove and append keys of a YAML file; comments, order and layout of the rest stay.

    The result is parsed again: it must mean exactly the merge of the file and the wanted keys.
    A file in which nothing differs is left byte for byte as it is. The file is read as YAML 1.1;
    one with several documents, with a key that stands twice, or where an alias would carry the
    change elsewhere is refused.
    """

    name = "yaml"
    arguments = YamlArguments
    examples = (
        "yaml: {path: /var/lib/kubelet/config.yaml, set: {cpuManagerPolicy: static,"
        ' reservedSystemCPUs: "0-1"}}',
        "yaml: {path: /etc/rancher/k3s/config.yaml, remove: [disable-agent],"
        " append_unique: {kubelet-arg: [max-pods=200]}}",
    )

    def probes(self, args: YamlArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(self, args: YamlArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        edits = YamlEdits()

        def edited(text: str, name: str) -> str:
            return edit(text, edits, args, name)

        return plan_patch(args, edited, edits.parse, flow, observed, context)

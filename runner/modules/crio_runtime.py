"""`crio_runtime`: a runtime such as nvidia in CRI-O's configuration."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

from pydantic import Field

from runner.facts import crio
from runner.facts.crio import CrioState
from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Refused, Risk, Unknown
from runner.modules.containerd_config import base_of
from runner.modules.file import File, FileArguments, missing_folder
from runner.modules.files.arguments import Content, HostPath, Switch
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.data import Keys, find, merge, same
from runner.modules.files.state import follow, probes, state_of
from runner.modules.files.summary import differences
from runner.modules.files.toml_edit import edit, parse
from runner.modules.toml import toml_text

_RUNTIME = ("crio", "runtime")
_RUNTIMES = (*_RUNTIME, "runtimes")
_DEFAULT = (*_RUNTIME, "default_runtime")


class CrioRuntimeArguments(Arguments):
    """The runtime and the drop-in that shall have it."""

    name: str = Field(
        default="nvidia",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        examples=["nvidia"],
        description="The runtime's name, the handler of a RuntimeClass.",
    )
    binary: HostPath = Field(
        default="/usr/bin/nvidia-container-runtime", description="The runtime's program."
    )
    set_as_default: Switch = Field(
        default=False, description="Pods without a RuntimeClass get it too."
    )
    path: HostPath = Field(
        default=crio.CONFIG_PATH, description="CRI-O's main configuration; never written."
    )
    drop_in: HostPath = Field(
        default="/etc/crio/crio.conf.d/99-nvidia.toml",
        description="The file that is written. CRI-O reads all files of its folder by name.",
    )
    state: Literal["present", "absent"] = Field(
        default="present", description="absent: the runtime, and it as the default, are removed."
    )
    backup: Switch = Field(default=False, description="Keep the old file beside it.")


class CrioRuntime(Module[CrioRuntimeArguments]):
    """Give CRI-O a runtime, as `nvidia-ctk runtime configure --runtime=crio` means it.

    The drop-in's runtime is a copy of the current default (else runc, else crun) with its own
    program; unlike nvidia-ctk, which reads the main file only, the files of the folder count too:
    CRI-O's packages set up crun in one of them. A file that is read after the drop-in and would
    hide it is named and nothing is written. `crio config` must accept the new file before it
    replaces the old one, where CRI-O is installed. Tried with recorded configurations, not with a
    running CRI-O. It reads its configuration when it starts: notify a handler that restarts it.
    """

    name = "crio_runtime"
    arguments = CrioRuntimeArguments
    examples = (
        "crio_runtime: {name: nvidia}",
        "crio_runtime: {name: nvidia, set_as_default: true}",
        "crio_runtime: {name: nvidia, state: absent}",
    )
    risk = Risk.MEDIUM

    def probes(self, args: CrioRuntimeArguments, context: Context) -> Sequence[Probe]:
        return [
            *probes(args.drop_in, context),
            crio.probe(args.path, args.drop_in, context.become),
        ]

    def plan(
        self, args: CrioRuntimeArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        state = observed.get(crio.key(args.path, posixpath.dirname(args.drop_in)))
        if not isinstance(state, CrioState):
            raise Unknown(f"CRI-O with {args.path} was not looked at")
        own = follow(state_of(args.drop_in, observed), observed)
        text = toml_text(own)
        data = parse(text, own.path)
        asked = _present if args.state == "present" else _absent
        wanted, gone = asked(args, data, state)
        after = edit(text, wanted=wanted, remove=gone, name=own.path)
        result = {"runtime": args.name}
        if after == text:
            return Outcome(result=result)
        if args.state == "absent" and not _says(parse(after)):
            return File().plan(FileArguments(path=args.drop_in, state="absent"), observed, context)
        made = missing_folder(args.drop_in, observed, context)
        seen = {**observed, **{key: s for change in made for key, s in change.overlay.items()}}
        validate = "crio --config %s config" if state.installed else None
        options = Content(validate=validate, backup=args.backup)
        summary = differences(data, parse(after))
        plan = plan_content(
            Wanted(args.drop_in, after.encode(), options, Risk.MEDIUM, summary), seen, context
        )
        return Outcome((*made, *plan.changes), result={**plan.result, **result})


def _present(
    args: CrioRuntimeArguments, own: Mapping[str, Any], state: CrioState
) -> tuple[dict[str, Any], list[Keys]]:
    """What to set and to remove in the drop-in (pkg/config/engine/crio, AddRuntime)."""
    before, after = _around(args.drop_in, state)
    others = _merged(before)
    runtimes = find(others, _RUNTIMES) or {}
    base = base_of(runtimes, find(others, _DEFAULT) or "", args.name)
    table = deepcopy(dict(runtimes[base])) if base else {}
    table |= {"runtime_path": args.binary, "runtime_type": "oci"}
    runtime: dict[str, Any] = {"runtimes": {args.name: table}}
    if args.set_as_default:
        runtime["default_runtime"] = args.name
    _check_after(args, after)
    keys = (*_RUNTIMES, args.name)
    if not own and same(runtimes.get(args.name), table) and _default_is(args, others):
        return {}, []
    gone: list[Keys] = [(*keys, key) for key in find(own, keys) or {} if key not in table]
    if not args.set_as_default and find(own, _DEFAULT) == args.name:
        gone.append(_DEFAULT)
    return {"crio": {"runtime": runtime}}, gone


def _default_is(args: CrioRuntimeArguments, data: Mapping[str, Any]) -> bool:
    return not args.set_as_default or find(data, _DEFAULT) == args.name


def _absent(
    args: CrioRuntimeArguments, own: Mapping[str, Any], state: CrioState
) -> tuple[dict[str, Any], list[Keys]]:
    for file in state.files:
        if file.path != args.drop_in and args.name in (find(parse(file.text), _RUNTIMES) or {}):
            raise Refused(f"{file.path} has the runtime {args.name}: remove it there")
    gone: list[Keys] = [(*_RUNTIMES, args.name)]
    if find(own, _DEFAULT) == args.name:
        gone.append(_DEFAULT)
    return {}, gone


def _around(drop_in: str, state: CrioState) -> tuple[list[Any], list[tuple[str, Any]]]:
    """What is read before the drop-in, and what after it, with its path."""
    before: list[Any] = []
    after: list[tuple[str, Any]] = []
    for number, file in enumerate(state.files):
        if file.path == drop_in:
            continue
        data = parse(file.text, file.path)
        main = number == 0 and posixpath.dirname(file.path) != posixpath.dirname(drop_in)
        if main or file.path < drop_in:
            before.append(data)
        else:
            after.append((file.path, data))
    return before, after


def _merged(files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As CRI-O reads them: a later runtime of the same name in the place of an earlier one."""
    result: dict[str, Any] = {}
    for data in files:
        runtimes = {**(find(result, _RUNTIMES) or {}), **(find(data, _RUNTIMES) or {})}
        merge(result, deepcopy(dict(data)))
        if runtimes:
            result["crio"]["runtime"]["runtimes"] = runtimes
    return result


def _check_after(args: CrioRuntimeArguments, files: Sequence[tuple[str, Any]]) -> None:
    for path, data in files:
        hides = args.name in (find(data, _RUNTIMES) or {})
        default = find(data, _DEFAULT)
        if hides or (args.set_as_default and default not in (None, args.name)):
            what = f"runtime {args.name}" if hides else f"default_runtime {default}"
            raise Refused(
                f"{path} is read after {args.drop_in} and sets {what}: change it there, or give"
                " drop_in a name that is read later"
            )


def _says(data: Mapping[str, Any]) -> bool:
    """Whether any value is left."""
    return any(_says(v) if isinstance(v, Mapping) else True for v in data.values())

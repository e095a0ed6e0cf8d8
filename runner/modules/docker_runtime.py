"""`docker_runtime`: a runtime such as nvidia in Docker's daemon.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from runner.hosts.script import Result
from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Risk, Unknown
from runner.modules.file import File, FileArguments
from runner.modules.files.arguments import Content, HostPath, Switch
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.json_edit import JsonEdits, dumped
from runner.modules.files.patch import edit, text_of
from runner.modules.files.state import follow, probes, state_of
from runner.modules.files.summary import differences
from runner.modules.files.toml_style import key_text
from runner.modules.json_file import JsonArguments

_VALIDATOR = "docker-validator"
_VALIDATOR_LOOK = """PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
if dockerd --help 2> /dev/null | grep -q -e --validate; then echo yes; else echo no; fi
"""


class DockerRuntimeArguments(Arguments):
    """The runtime and the daemon.json that shall have it."""

    name: str = Field(
        default="nvidia",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        examples=["nvidia"],
        description="The runtime's name, as in `docker run --runtime`.",
    )
    binary: HostPath = Field(
        default="/usr/bin/nvidia-container-runtime",
        description="The runtime's program. Its name alone, which Docker looks for in PATH, is"
        " left as it is.",
    )
    set_as_default: Switch | None = Field(
        default=None,
        description="Containers get it without asking. When false, a default of this name is taken"
        " back. Left alone if not given.",
    )
    enable_cdi: Switch | None = Field(
        default=None, description="The feature `cdi` of Docker 25. Left alone if not given."
    )
    path: HostPath = Field(
        default="/etc/docker/daemon.json", description="Docker's configuration file."
    )
    state: Literal["present", "absent"] = Field(
        default="present", description="absent: the runtime, and it as the default, are removed."
    )
    backup: Switch = Field(default=False, description="Keep the old file beside it.")


class DockerRuntime(Module[DockerRuntimeArguments]):
    """Give Docker a runtime, as `nvidia-ctk runtime configure --runtime=docker` means it.

    Only what differs is written: order, layout and every other setting stay, other `features`
    too, which nvidia-ctk drops when it sets `cdi`. `dockerd --validate` must accept the new file
    before it replaces the old one, where Docker has it (23.0 and later). dockerd reads its runtimes
    when it starts: notify a handler that restarts it, which ends its containers unless
    `live-restore` is set. A daemon.json in which nothing is left is removed.
    """

    name = "docker_runtime"
    arguments = DockerRuntimeArguments
    examples = (
        "docker_runtime: {name: nvidia}",
        "docker_runtime: {name: nvidia, set_as_default: true, enable_cdi: true}",
        "docker_runtime: {name: nvidia, state: absent}",
    )
    risk = Risk.MEDIUM

    def probes(self, args: DockerRuntimeArguments, context: Context) -> Sequence[Probe]:
        validator = Probe(_VALIDATOR, _VALIDATOR_LOOK, _validates, become=context.become)
        return [*probes(args.path, context), validator]

    def plan(
        self, args: DockerRuntimeArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        before = follow(state_of(args.path, observed), observed)
        if args.state == "absent" and not before.exists:
            return Outcome()
        text = text_of(before, "JSON")
        edits = JsonEdits()
        data = edits.parse(text, before.path)
        patch = _patch(args, data)
        after = edit(text, edits, patch, before.path) if patch else text
        result = {"runtime": args.name}
        if before.exists and after == text:
            return Outcome(result=result)
        now = edits.parse(after, before.path)
        if not now and args.state == "absent":
            return File().plan(FileArguments(path=args.path, state="absent"), observed, context)
        validate = "dockerd --validate --config-file %s" if observed[_VALIDATOR] else None
        options = Content(validate=validate, backup=args.backup)
        summary = differences(data, now, dumped)
        wanted = Wanted(args.path, after.encode(), options, Risk.MEDIUM, summary)
        outcome = plan_content(wanted, observed, context)
        return Outcome(outcome.changes, result={**outcome.result, **result})


def _validates(result: Result) -> bool:
    """Whether dockerd can say what it thinks of a file. Raises `Unknown`."""
    if result.rc != 0 or result.text.strip() not in ("yes", "no"):
        raise Unknown(f"whether dockerd validates is not known: {result.error_text or 'no answer'}")
    return result.text.strip() == "yes"


def _patch(args: DockerRuntimeArguments, data: Mapping[str, Any]) -> JsonArguments | None:
    """What nvidia-ctk's AddRuntime and RemoveRuntime do (pkg/config/engine/docker).

    None: all is there.
    """
    wanted: dict[str, Any] = {}
    gone: list[str] = []
    runtimes = data.get("runtimes") or {}
    present = args.state == "present"
    if present and args.set_as_default:
        wanted["default-runtime"] = args.name
    elif data.get("default-runtime") == args.name and (not present or args.set_as_default is False):
        gone.append("default-runtime")
    if not present:
        alone = isinstance(runtimes, Mapping) and runtimes.keys() == {args.name}
        gone.append("runtimes" if alone else f"runtimes.{key_text(args.name)}")
        return JsonArguments(path=args.path, remove=gone)
    if args.enable_cdi is not None:
        wanted["features"] = {"cdi": args.enable_cdi}
    existing = runtimes.get(args.name) if isinstance(runtimes, Mapping) else None
    if not _means(existing, args.binary):
        wanted["runtimes"] = {args.name: {"path": args.binary, "args": []}}
        if isinstance(existing, Mapping):
            keys = [key for key in existing if key not in ("path", "args")]
            gone += [f"runtimes.{key_text(args.name)}.{key_text(key)}" for key in keys]
    return JsonArguments(path=args.path, set=wanted, remove=gone) if wanted or gone else None


def _means(existing: Any, binary: str) -> bool:
    """Whether an entry already is the program, without arguments."""
    if not isinstance(existing, Mapping) or existing.keys() - {"path", "args"}:
        return False
    named = existing.get("path") in (binary, binary.rpartition("/")[2])
    return named and not existing.get("args")

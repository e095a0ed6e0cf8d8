"""`containerd_runtime`: a runtime such as nvidia in containerd's configuration."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any, Literal

from pydantic import Field

from runner.facts import containerd
from runner.facts import containerd_daemons as daemons
from runner.facts.containerd import ContainerdState, ImportedFile
from runner.facts.containerd_daemons import Daemons
from runner.modules import containerd_config as config
from runner.modules import containerd_drop_in as drop_in
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
    Unknown,
)
from runner.modules.containerd_config import Patch, Request
from runner.modules.containerd_drop_in import Place
from runner.modules.file import File, FileArguments
from runner.modules.files.arguments import Content, HostPath, Switch
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.state import follow, probes, state_of
from runner.modules.files.summary import differences
from runner.modules.files.toml_edit import edit, parse
from runner.modules.toml import toml_text

_GENERATED = {
    "/var/lib/rancher/k3s/": "k3s writes it at every start and adds the nvidia runtime itself:"
    " install the toolkit and restart k3s",
    "/var/lib/rancher/rke2/": "RKE2 writes it at every start and adds the nvidia runtime itself:"
    " install the toolkit and restart rke2",
    "/var/snap/microk8s/current/args/containerd.toml": "MicroK8s makes it of"
    " containerd-template.toml in the same folder: change that one",
}


class ContainerdRuntimeArguments(Arguments):
    """The runtime and the configuration that shall have it."""

    name: str = Field(
        default="nvidia",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="The runtime's name, the handler of a RuntimeClass.",
    )
    binary: HostPath = Field(
        default="/usr/bin/nvidia-container-runtime", description="The runtime's program."
    )
    set_as_default: Switch = Field(
        default=False,
        description="Pods without a RuntimeClass get it too. When false, a default of this name is"
        " taken back.",
    )
    enable_cdi: Switch | None = Field(
        default=None,
        description="containerd's own CDI (1.7; on by itself since 2.0). Left alone if not given.",
    )
    path: HostPath = Field(
        default=containerd.CONFIG_PATH, description="containerd's configuration file."
    )
    mode: Literal["in_place", "drop_in"] = Field(
        default="in_place",
        description="in_place: the runtime is written into the configuration file itself; drop_in:"
        " into a file of its own that this one imports, as nvidia-ctk 1.18 and later do. A"
        " configuration of version 1 is always edited in place.",
    )
    drop_in: HostPath = Field(
        default="/etc/containerd/conf.d/99-nvidia.toml",
        description="The file of its own, for mode drop_in.",
    )
    state: Literal["present", "absent"] = Field(
        default="present", description="absent: the runtime, and it as the default, are removed."
    )
    backup: Switch = Field(default=False, description="Keep the old file beside it.")

    @property
    def request(self) -> Request:
        return Request(
            self.name, self.binary, self.set_as_default, self.enable_cdi, self.state == "present"
        )


class ContainerdRuntime(Module[ContainerdRuntimeArguments]):
    """Give containerd a runtime, as `nvidia-ctk runtime configure` means it, by the least edit.

    The new runtime is a copy of the current default (else runc, else crun) with its own program,
    so that SystemdCgroup and every other option come along. Comments and layout of the file stay.
    In mode drop_in a copy of the CRI plugin's settings with the runtime is imported from a file of
    its own, and made anew when the main file has changed since: containerd before 2.1 reads of a
    plugin only the last file that names it.

    containerd must accept the new file before it replaces the old one; afterwards its own
    `config dump` must show the runtime. A file imported over this one that would hide the change
    is named and nothing is written; so is the containerd that the kubelet uses, where that reads
    another configuration. The daemon reads its configuration only at its start: notify a handler
    that restarts it.
    """

    name = "containerd_runtime"
    arguments = ContainerdRuntimeArguments
    examples = (
        "containerd_runtime: {name: nvidia}",
        "containerd_runtime: {name: nvidia, set_as_default: true, enable_cdi: true}",
        "containerd_runtime: {name: nvidia, mode: drop_in}",
        "containerd_runtime: {name: nvidia, state: absent}",
    )
    risk = Risk.MEDIUM

    def probes(self, args: ContainerdRuntimeArguments, context: Context) -> Sequence[Probe]:
        looks = [
            *probes(args.path, context),
            containerd.probe(args.path, context.become),
            daemons.probe(context.become),
        ]
        if args.mode == "drop_in":
            known = {look.key for look in looks}
            looks += [look for look in probes(args.drop_in, context) if look.key not in known]
        return looks

    def plan(
        self, args: ContainerdRuntimeArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        state = observed.get(containerd.key(args.path))
        if args.mode == "in_place":
            _check_path(args.path)
        if not isinstance(state, ContainerdState):
            raise Unknown(f"containerd with {args.path} was not looked at")
        _check_daemon(args, observed.get(daemons.KEY))
        before = follow(state_of(args.path, observed), observed)
        text = toml_text(before) if before.exists else None
        data = parse(text or "", before.path)
        if state.error:
            raise Refused(f"containerd does not accept its configuration as it is: {state.error}")
        if args.mode == "drop_in" and (config.version_of(data) > 1 or args.state == "absent"):
            return _drop_in(args, text, observed, context, state)
        return _in_place(args, text, observed, context, state)


def _in_place(
    args: ContainerdRuntimeArguments,
    text: str | None,
    observed: Mapping[str, Any],
    context: Context,
    state: ContainerdState,
) -> Outcome:
    if args.state == "absent" and text is None:
        return Outcome()
    data = parse(text or "", args.path)
    patch = config.patch(data, args.request, state)
    after = edit(text or "", wanted=patch.wanted, remove=patch.remove, name=args.path)
    if _imported(args, data, parse(after), state):
        after = text or ""
    if after == text:
        _check_effect(args, state)
        return Outcome(messages=_stale(args, data, state), result={"runtime": args.name})
    outcome = _written(args, args.path, text, after, observed, context, state)
    return _with_effect(outcome, args, patch, state)


def _drop_in(
    args: ContainerdRuntimeArguments,
    text: str | None,
    observed: Mapping[str, Any],
    context: Context,
    state: ContainerdState,
) -> Outcome:
    """Both files: the drop-in before the import of it; the other way round when it goes."""
    own = follow(state_of(args.drop_in, observed), observed)
    place = Place(args.drop_in, text, toml_text(own) if own.exists else None)
    plan = drop_in.present if args.state == "present" else drop_in.absent
    texts = plan(place, args.request, state)
    if texts.main != text:
        _check_path(args.path)
    files = [(args.drop_in, place.own, texts.own), (args.path, text, texts.main)]
    changes: list[Change] = []
    for path, before, after in files if args.state == "present" else reversed(files):
        if before != after:
            seen = {**observed, **{k: v for c in changes for k, v in c.overlay.items()}}
            changes += _folder(path, seen, context)
            seen |= {k: v for c in changes for k, v in c.overlay.items()}
            changes += _written(args, path, before, after, seen, context, state).changes
    if not changes:
        _check_effect(args, state)
        return Outcome(result={"runtime": args.name})
    outcome = _with_effect(Outcome(tuple(changes)), args, texts.patch, state)
    return _with_import(outcome, args, texts.own)


def _folder(path: str, observed: Mapping[str, Any], context: Context) -> tuple[Change, ...]:
    """The folder of a new file; containerd's packages make none for drop-ins."""
    folder = FileArguments(path=posixpath.dirname(path), state="directory")
    state = state_of(folder.path, observed)
    return () if state.exists else File().plan(folder, observed, context).changes


def _written(
    args: ContainerdRuntimeArguments,
    path: str,
    before: str | None,
    after: str | None,
    observed: Mapping[str, Any],
    context: Context,
    state: ContainerdState,
) -> Outcome:
    if after is None:
        return File().plan(FileArguments(path=path, state="absent"), observed, context)
    summary = differences(parse(before or ""), parse(after))
    wanted = Wanted(path, after.encode(), _options(args, state), Risk.MEDIUM, summary)
    return plan_content(wanted, observed, context)


def _check_path(path: str) -> None:
    for start, reason in _GENERATED.items():
        if path.startswith(start) and not path.endswith(".tmpl"):
            raise Refused(f"{path} is not edited: {reason}")


def _check_daemon(args: ContainerdRuntimeArguments, state: Any) -> None:
    """Raises `Refused` where the configuration is not that of the containerd that runs the pods."""
    if not isinstance(state, Daemons):
        raise Unknown("the running containerds were not looked at")
    if all(daemon.config == args.path for daemon in state.running):
        return
    names = " and ".join(f"one with {d.config} (socket {d.address})" for d in state.running)
    used = [daemon for daemon in state.running if daemon.address == state.kubelet]
    if used and used[0].config != args.path:
        raise Refused(
            f"{args.path} is not what the kubelet's containerd reads, which is {used[0].config}:"
            f" set path to that (running here: {names})"
        )
    if state.kubelet and not used:
        raise Refused(
            f"the kubelet's runtime listens at {state.kubelet}, where no containerd does"
            f" (running here: {names})"
        )
    chosen = "path" in args.model_fields_set and args.path in {d.config for d in state.running}
    if not used and not chosen:
        raise Refused(
            f"which containerd is meant is not known: {names} runs here, and no kubelet that tells;"
            " set path to the configuration of the one that is meant"
        )


def _options(args: ContainerdRuntimeArguments, state: ContainerdState) -> Content:
    validate = f"{quote(state.program)} --config %s config dump" if state.installed else None
    return Content(validate=validate, backup=args.backup)


def _imported(
    args: ContainerdRuntimeArguments,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    state: ContainerdState,
) -> bool:
    """Whether imports already bring what is wanted. `Refused` where they would hide the change."""
    imports, request = config.importers(state), args.request
    if not imports:
        return False
    tables = list(imports.values())
    now = config.effective(before, tables, state.release)
    if not config.patch(now, request, state).differs(now):
        return True
    then = config.effective(after, tables, state.release)
    if config.patch(then, request, state).differs(then):
        names, last = ", ".join(imports), next(reversed(imports))
        way = "Take mode: drop_in" if last == args.drop_in else f"Set path: {last}"
        raise Refused(
            f"{state.config_path} imports {names}, whose settings for the CRI plugin replace those"
            f" of the file itself (containerd {state.version}): a change of {state.config_path}"
            f" would have no effect. {way}, or remove that file"
        )
    return False


def _stale(
    args: ContainerdRuntimeArguments, data: Mapping[str, Any], state: ContainerdState
) -> tuple[str, ...]:
    """What to say of imports that hide settings of the main file, which somebody may miss."""
    main = containerd.cri_table(data)
    found = {
        path: drop_in.hidden(main, containerd.cri_table(table), args.request, state.release)
        for path, table in config.importers(state).items()
    }
    return tuple(
        f"{path} hides settings of {args.path} that containerd {state.version} does not read"
        f" ({lost})"
        for path, lost in found.items()
        if lost
    )


def _check_effect(args: ContainerdRuntimeArguments, state: ContainerdState) -> None:
    """The file is as wanted: containerd has to see it so, too."""
    if not state.installed:
        return
    runtime = state.runtimes.get(args.name)
    problem = ""
    if args.state == "absent":
        problem = f"it still has the runtime {args.name}" if runtime else ""
    elif runtime is None:
        problem = f"it has no runtime {args.name}"
    elif (found := runtime.get("options", {}).get("BinaryName")) != args.binary:
        problem = f"its runtime {args.name} has the program {found}"
    elif args.set_as_default and state.default_runtime_name != args.name:
        problem = f"its default runtime is {state.default_runtime_name}"
    elif set(state.disabled_plugins) & set(containerd.CRI_PLUGINS):
        problem = "its CRI plugin is disabled"
    if problem:
        raise Refused(
            f"{args.path} is as wanted, but in `containerd config dump` {problem};"
            " look for another file that overrides it (imports)"
        )


def _with_effect(
    outcome: Outcome, args: ContainerdRuntimeArguments, patch: Patch, state: ContainerdState
) -> Outcome:
    """The outcome with the state of containerd that the change leads to."""
    plugins: dict[str, Any] = patch.wanted.get("plugins", {})
    table: dict[str, Any] = {}
    for plugin in plugins.values():
        table = plugin.get("containerd", {})
    runtimes = {k: v for k, v in state.runtimes.items() if k != args.name}
    runtimes |= table.get("runtimes", {})
    default = table.get("default_runtime_name", state.default_runtime_name)
    if default == args.name and "default_runtime_name" not in table:
        default = "runc"
    enabled = tuple(n for n in state.disabled_plugins if n not in containerd.CRI_PLUGINS)
    then = replace(state, runtimes=runtimes, default_runtime_name=default, disabled_plugins=enabled)
    changes = tuple(
        replace(change, overlay={**change.overlay, containerd.key(args.path): then})
        for change in outcome.changes
    )
    return replace(
        outcome,
        changes=changes,
        messages=tuple(patch.notes),
        result={**outcome.result, "runtime": args.name},
    )


def _with_import(outcome: Outcome, args: ContainerdRuntimeArguments, own: str | None) -> Outcome:
    """The outcome with the drop-in among what containerd will have read."""
    key = containerd.key(args.path)

    def imported(change: Change) -> Change:
        then: ContainerdState = change.overlay[key]
        files = [file for file in then.imports if file.path != args.drop_in]
        if own is not None:
            files.append(ImportedFile(args.drop_in, own))
        then = replace(then, imports=tuple(files))
        return replace(change, overlay={**change.overlay, key: then})

    return replace(outcome, changes=tuple(map(imported, outcome.changes)))

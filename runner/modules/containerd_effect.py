"""What containerd makes of a configuration: whether an edit of it has the effect that is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runner.facts import containerd
from runner.facts.container_runtime import CONTAINERD, Daemons
from runner.facts.containerd import ContainerdState, ImportedFile
from runner.modules import containerd_config as config
from runner.modules import containerd_drop_in as drop_in
from runner.modules.base import Change, Outcome, Refused, Unknown
from runner.modules.containerd_arguments import ContainerdRuntimeArguments
from runner.modules.containerd_config import Patch


def check_daemon(args: ContainerdRuntimeArguments, state: Any) -> None:
    """Raises `Refused` where the configuration is not that of the containerd that runs the pods."""
    if not isinstance(state, Daemons):
        raise Unknown("the running containerds were not looked at")
    daemons = [each for each in state.running if each.runtime == CONTAINERD]
    names = " and ".join(f"one with {d.config} (socket {d.address})" for d in daemons)
    if state.kubelet:
        _check_kubelets(args, state, names)
        return
    chosen = "path" in args.model_fields_set and args.config in {d.config for d in daemons}
    if not chosen and any(daemon.config != args.config for daemon in daemons):
        raise Refused(
            f"which containerd is meant is not known: {names} runs here, and no kubelet that tells;"
            " set path to the configuration of the one that is meant"
        )


def _check_kubelets(args: ContainerdRuntimeArguments, state: Daemons, names: str) -> None:
    used = state.used
    if used is None or used.runtime != CONTAINERD:
        if state.running:
            here = f"{names or 'no containerd'} runs here"
            raise Refused(
                f"the kubelet's runtime is at {state.kubelet}, where no containerd listens ({here})"
            )
    elif used.config != args.config:
        raise Refused(
            f"{args.path} is not what the kubelet's containerd reads, which is {used.config}:"
            f" set path to that (running here: {names})"
        )


def imported(
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


def stale(
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


def check_effect(args: ContainerdRuntimeArguments, state: ContainerdState) -> None:
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


def with_effect(
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
        replace(change, overlay={**change.overlay, containerd.key(args.config): then})
        for change in outcome.changes
    )
    return replace(
        outcome,
        changes=changes,
        messages=tuple(patch.notes),
        result={**outcome.result, "runtime": args.name},
    )


def with_import(outcome: Outcome, args: ContainerdRuntimeArguments, own: str | None) -> Outcome:
    """The outcome with the drop-in among what containerd will have read."""
    key = containerd.key(args.config)

    def changed(change: Change) -> Change:
        then: ContainerdState = change.overlay[key]
        files = [file for file in then.imports if file.path != args.drop_in]
        if own is not None:
            files.append(ImportedFile(args.drop_in, own))
        then = replace(then, imports=tuple(files))
        return replace(change, overlay={**change.overlay, key: then})

    return replace(outcome, changes=tuple(map(changed, outcome.changes)))

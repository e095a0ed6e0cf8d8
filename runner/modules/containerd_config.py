"""What containerd's configuration must hold for a runtime: pure, on parsed TOML.

The rules are those of `nvidia-ctk runtime configure` (NVIDIA Container Toolkit), with the
differences named at each function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from runner.facts.containerd import CRI_PLUGINS, ContainerdState, cri_table
from runner.modules.base import Refused
from runner.modules.files.data import find, merge, remove, same
from runner.modules.files.toml_edit import parse

Keys = tuple[str, ...]

# What the toolkit writes where there is no runtime to copy from.
_DEFAULT = {
    "privileged_without_host_devices": False,
    "runtime_engine": "",
    "runtime_root": "",
    "runtime_type": "io.containerd.runc.v2",
}


@dataclass(frozen=True, slots=True)
class Request:
    """The runtime that is wanted, or to be gone."""

    name: str
    binary: str
    set_as_default: bool
    enable_cdi: bool | None
    present: bool


@dataclass(slots=True)
class Patch:
    """Keys to set and to remove, and what a person should know about it."""

    wanted: dict[str, Any] = field(default_factory=dict)
    remove: list[Keys] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def set(self, keys: Keys, value: Any) -> None:
        table = self.wanted
        for key in keys[:-1]:
            table = table.setdefault(key, {})
        table[keys[-1]] = value

    def differs(self, data: Mapping[str, Any]) -> bool:
        """Whether `data` is not yet as the patch wants it."""
        return not same(self.applied(data), data)

    def applied(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` as the patch wants it."""
        after = deepcopy(dict(data))
        for keys in self.remove:
            remove(after, keys)
        merge(after, self.wanted)
        return after


def version_of(data: Mapping[str, Any]) -> int:
    """A configuration's version: 1 where a file does not say, 2 for an empty one."""
    version = data.get("version", 1 if data else 2)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise Refused(f"containerd's configuration says version = {version!r}; 1, 2, 3 are known")
    return version


def cri_plugin(version: int) -> str:
    """The name of the CRI plugin whose table holds the runtimes."""
    return {1: "cri", 2: "io.containerd.grpc.v1.cri"}.get(version, "io.containerd.cri.v1.runtime")


def patch(
    data: Mapping[str, Any], request: Request, state: ContainerdState, *, whole: bool = True
) -> Patch:
    """What has to be set and removed in a configuration for a request to hold.

    Beyond nvidia-ctk: a disabled CRI plugin is enabled; where the file has no runtime to copy
    from, the one in effect is copied (with its SystemdCgroup), or at least the SystemdCgroup of an
    nvidia runtime that is the default; `enable_cdi` of version 1 goes to
    the CRI plugin's own table, where containerd reads it.

    Args:
        whole: `data` is all of the configuration; else the rest of it has the built-in runtimes.
    """
    version = version_of(data)
    cri = ("plugins", cri_plugin(version))
    result = Patch()
    if not request.present:
        _remove(result, data, request.name, cri)
        return result
    if not data:
        result.set(("version",), version)
    _enable_cri(result, data)
    if request.enable_cdi is not None:
        result.set((*cri, "enable_cdi"), request.enable_cdi)
    _default(result, data, request, cri)
    _runtime(result, data, request, state, cri, whole)
    return result


def _remove(result: Patch, data: Mapping[str, Any], name: str, cri: Keys) -> None:
    result.remove.append((*cri, "containerd", "runtimes", name))
    default = (*cri, "containerd", "default_runtime_name")
    if find(data, default) == name:
        result.remove.append(default)


def give_back(removal: Patch, name: str) -> None:
    """Have a removal name another default instead of none."""
    for keys in [each for each in removal.remove if each[-1] == "default_runtime_name"]:
        removal.remove.remove(keys)
        removal.set(keys, name)


def _enable_cri(result: Patch, data: Mapping[str, Any]) -> None:
    disabled = data.get("disabled_plugins", [])
    kept = [name for name in disabled if name not in CRI_PLUGINS]
    if kept != disabled:
        result.set(("disabled_plugins",), kept)
        result.notes.append("the CRI plugin was disabled (as Docker's package does): enabled")


def _default(result: Patch, data: Mapping[str, Any], request: Request, cri: Keys) -> None:
    """The default runtime; like nvidia-ctk, a default of ours that is not wanted is taken back."""
    keys = (*cri, "containerd", "default_runtime_name")
    if request.set_as_default:
        result.set(keys, request.name)
    elif find(data, keys) == request.name:
        runtimes = find(data, (*cri, "containerd", "runtimes")) or {}
        if "runc" not in runtimes and "crun" in runtimes:
            # Without a name the default is runc, which this file does not have.
            result.set(keys, "crun")
        else:
            result.remove.append(keys)


def _runtime(
    result: Patch,
    data: Mapping[str, Any],
    request: Request,
    state: ContainerdState,
    cri: Keys,
    whole: bool,
) -> None:
    table = find(data, (*cri, "containerd")) or {}
    runtimes = table.get("runtimes") or {}
    existing = runtimes.get(request.name)
    ours = table.get("default_runtime_name") == request.name
    base = source_of(runtimes, request.name) if ours else ""
    base = base or base_of(runtimes, table.get("default_runtime_name", ""), request.name)
    if base:
        copied = deepcopy(dict(runtimes[base]))
    elif isinstance(existing, Mapping):
        copied = deepcopy(dict(existing))
    else:
        effective = base_of(state.runtimes, state.default_runtime_name, request.name)
        copied = _without_zeros(state.runtimes[effective]) if effective else _from_nothing(table)
        built_in = whole and not runtimes and not table.get("default_runtime")
        if built_in and state.release < (2, 0):
            _keep_built_in(result, effective, copied, cri)
    copied["runtime_type"] = copied.get("runtime_type") or _DEFAULT["runtime_type"]
    options = copied.setdefault("options", {})
    options["BinaryName"] = request.binary
    if cri[1] == "cri":
        options["Runtime"] = request.binary
    result.notes += _doubts(request.name, copied)
    keys = (*cri, "containerd", "runtimes", request.name)
    result.remove += _surplus(existing, copied, keys)
    if isinstance(existing, Mapping):
        copied = _meaningful(copied, existing)
    result.set(keys, copied)


def _doubts(name: str, runtime: Mapping[str, Any]) -> list[str]:
    """What a person should know of a runtime that was copied as nvidia-ctk copies it."""
    if not str(runtime["runtime_type"]).startswith(
        ("io.containerd.runc.", "io.containerd.runtime.v1")
    ):
        return [
            f"{name} is a copy of the default runtime, whose type {runtime['runtime_type']} is not"
            " runc's: that does not run the program that BinaryName names"
        ]
    if not runtime["options"].get("SystemdCgroup"):
        return [
            f"{name} is without SystemdCgroup, like the runtime it is copied from; a"
            " kubelet with cgroupDriver systemd needs it for both"
        ]
    return []


def _from_nothing(table: Mapping[str, Any]) -> dict[str, Any]:
    """What the toolkit writes where it finds no runtime to copy, which leaves out SystemdCgroup.

    Where the default is an nvidia runtime of another name, the cgroup driver is as there.
    """
    default = find(table, ("runtimes", table.get("default_runtime_name", ""), "options"))
    systemd = isinstance(default, Mapping) and default.get("SystemdCgroup")
    return {**_DEFAULT, "options": {"SystemdCgroup": True}} if systemd else dict(_DEFAULT)


def _keep_built_in(result: Patch, name: str, table: Mapping[str, Any], cri: Keys) -> None:
    """Write out the built-in default: containerd 1.x drops it once a file has any runtime.

    nvidia-ctk does not, and CRI then fails to start: "no corresponding runtime configured".
    """
    built_in = deepcopy(dict(table)) if name else {"runtime_type": _DEFAULT["runtime_type"]}
    result.set((*cri, "containerd", "runtimes", name or "runc"), built_in)
    result.notes.append(
        f"the built-in runtime {name or 'runc'} is written out: containerd 1.x drops it as soon as"
        " the file has a runtime of its own"
    )


def base_of(runtimes: Mapping[str, Any], default: str, name: str) -> str:
    """The runtime to copy: the default unless it is an nvidia one, else runc, else crun."""
    order = ["" if default == name or default.startswith("nvidia") else default, "runc", "crun"]
    return next((each for each in order if each and isinstance(runtimes.get(each), Mapping)), "")


def source_of(runtimes: Mapping[str, Any], name: str) -> str:
    """The runtime that an existing one is a copy of; "" where none is.

    Once ours is the default, the file no longer names the default that it was copied from: a
    second run would copy runc.
    """

    def essence(table: Any) -> Any:
        options = {"BinaryName": "", "Runtime": ""}
        kept = {**table, "options": {**table.get("options", {}), **options}}
        return _without_zeros(kept)

    tables = {key: table for key, table in runtimes.items() if isinstance(table, Mapping)}
    if name not in tables:
        return ""
    ours = essence(tables[name])
    same = [key for key, table in tables.items() if key != name and essence(table) == ours]
    return next((key for key in ("runc", "crun", *same) if key in same), "")


def _without_zeros(table: Mapping[str, Any]) -> dict[str, Any]:
    """A dumped table without what says nothing: `config dump` writes every key there is."""
    kept = {k: _without_zeros(v) if isinstance(v, Mapping) else v for k, v in table.items()}
    return {key: value for key, value in kept.items() if value}


def _meaningful(wanted: Mapping[str, Any], existing: Mapping[str, Any]) -> dict[str, Any]:
    """`wanted` without what an existing runtime need not be given: false or empty, and not there.

    A node whose runtime means the same already is not to be restarted for it.
    """
    kept: dict[str, Any] = {}
    for key, value in wanted.items():
        there = existing.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            kept[key] = _meaningful(value, there)
        elif key in existing or (_without_zeros(value) if isinstance(value, Mapping) else value):
            kept[key] = value
    return kept


def _surplus(existing: Any, wanted: Mapping[str, Any], above: Keys) -> list[Keys]:
    """Keys of an existing runtime that the wanted one lacks; those that say nothing may stay."""
    if not isinstance(existing, Mapping):
        return []
    found: list[Keys] = []
    for key, value in existing.items():
        other = wanted.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            found += _surplus(value, other, (*above, key))
        elif key not in wanted and (_without_zeros(value) if isinstance(value, Mapping) else value):
            found.append((*above, key))
    return found


# ---- imports ---------------------------------------------------------------------------------


def importers(state: ContainerdState) -> dict[str, Mapping[str, Any]]:
    """Imported files that have a table for the CRI plugin or disable it, parsed, by path."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in state.imports:
        data = parse(file.text, file.path)
        if cri_table(data) or set(data.get("disabled_plugins", ())) & set(CRI_PLUGINS):
            found[file.path] = data
    return found


def effective(
    data: Mapping[str, Any], imports: Sequence[Mapping[str, Any]], release: tuple[int, int]
) -> dict[str, Any]:
    """A configuration as containerd will read it, its imports included.

    Before containerd 2.1 the table of a plugin in an import replaces that of the main file
    (containerd issue 5837); since then they are merged.
    """
    result = deepcopy(dict(data))
    name = cri_plugin(version_of(data))
    for imported in imports:
        disabled = imported.get("disabled_plugins", [])
        if disabled:
            result["disabled_plugins"] = [*result.get("disabled_plugins", []), *disabled]
        table = deepcopy(dict(cri_table(imported)))
        if not table:
            continue
        plugins = result.setdefault("plugins", {})
        if release >= (2, 1) and name in plugins:
            merge(plugins[name], table)
        else:
            plugins[name] = table
    return result

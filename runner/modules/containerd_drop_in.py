"""A runtime in a file of its own that containerd's configuration imports: pure, on texts.

As nvidia-ctk 1.18 and later mean it: the drop-in holds the CRI plugin's whole table, because
containerd before 2.1 puts an import's table in the place of the main file's (containerd issue
5837), and the main file imports the drop-in's folder. Such a copy grows stale: what is edited in
the main file later is hidden by it. So it is made anew of the main file each time, and what it
hides is said.

Beyond nvidia-ctk: a pattern that already matches the drop-in is not added again, and the drop-in
notes what was added to the main file for it, so that this can be taken out again.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from runner.facts.containerd import CRI_PLUGINS, ContainerdState, cri_table
from runner.modules import containerd_config as config
from runner.modules.base import Refused
from runner.modules.containerd_config import Patch, Request
from runner.modules.files.data import Keys, find, merge, same
from runner.modules.files.summary import differences
from runner.modules.files.toml_edit import edit, parse

_DEFAULT = "default_runtime_name"
_NOTE = re.compile(r"^# gpurun added to .*: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """The drop-in's path, and what both files hold now; None: there is no such file."""

    path: str
    main: str | None
    own: str | None

    @property
    def pattern(self) -> str:
        """What the main file imports: all of the drop-in's folder."""
        return f"{posixpath.dirname(self.path)}/*.toml"


@dataclass(frozen=True, slots=True)
class Texts:
    """What the files shall hold; None: nothing shall be there."""

    main: str | None
    own: str | None
    patch: Patch = field(default_factory=Patch)


def present(place: Place, request: Request, state: ContainerdState) -> Texts:
    """Both files with the runtime in the drop-in.

    Raises:
        Refused: a file is not TOML, or one that is imported after the drop-in would hide it.
    """
    data = parse(place.main or "", state.config_path)
    own = parse(place.own or "", place.path)
    main = _importing(place, data, state)
    before, after = _neighbours(place, parse(main), state)
    base = config.effective(data, before, state.release)
    _keep_runtimes(base, own)
    patch = config.patch(base, request, state)
    goal = patch.applied(base)
    plugin = config.cri_plugin(config.version_of(goal))
    table = find(goal, ("plugins", plugin)) or {}
    wanted = {"version": config.version_of(goal), "plugins": {plugin: table}}
    if lost := hidden(cri_table(base), cri_table(own), request, state.release):
        patch.notes.append(
            f"{place.path} was copied from an older {state.config_path}, whose settings it hid:"
            f" made anew ({lost})"
        )
    new = _replaced(place, own, wanted, _added(place.main or "", main, place.main is None, state))
    _check(place, goal, [*before, parse(new), *after], parse(main), request, state)
    return Texts(main, new, patch)


def absent(place: Place, request: Request, state: ContainerdState) -> Texts:
    """Both files without the runtime; the drop-in goes when nothing else is left in it.

    Raises:
        Refused: a file is not TOML, the main file itself has the runtime, or the drop-in holds
            more than a copy of the CRI plugin's settings.
    """
    data = parse(place.main or "", state.config_path)
    own = parse(place.own or "", place.path)
    plugin = config.cri_plugin(config.version_of(data))
    keys = ("plugins", plugin, "containerd", "runtimes")
    default = find(data, ("plugins", plugin, "containerd", _DEFAULT))
    if request.name in (find(data, keys) or {}) or default == request.name:
        raise Refused(
            f"{state.config_path} itself has the runtime {request.name}: remove it there"
            " (mode: in_place)"
        )
    if place.own is None or request.name not in (find(own, keys) or {}):
        return Texts(place.main, place.own)
    others = sorted({*own} - {"version", "plugins"} | {*own["plugins"]} - {plugin})
    if others:
        raise Refused(
            f"{place.path} holds more than a runtime ({', '.join(others)}): move that to a file of"
            " its own first"
        )
    before, _ = _neighbours(place, data, state)
    base = config.effective(data, before, state.release)
    # Its runc may be the built-in one, written out for the runtime.
    if _keep_runtimes(base, own, but=(request.name, "runc")):
        wanted = {"version": own.get("version", 2), "plugins": {plugin: base["plugins"][plugin]}}
        return Texts(place.main, _replaced(place, own, wanted, ()))
    return Texts(_without_import(place, data, state), None)


# ---- the main file ---------------------------------------------------------------------------


def _importing(place: Place, data: Mapping[str, Any], state: ContainerdState) -> str:
    """The main file's text, importing the drop-in, with the CRI plugin enabled."""
    wanted: dict[str, Any] = {} if data else {"version": config.version_of(data)}
    disabled = data.get("disabled_plugins", [])
    kept = [name for name in disabled if name not in CRI_PLUGINS]
    if kept != disabled:
        wanted["disabled_plugins"] = kept
    missing = place.path not in _order(data, [place.path], state.config_path)
    return edit(
        place.main or "",
        wanted=wanted,
        append={("imports",): [place.pattern]} if missing else {},
        name=state.config_path,
    )


def _added(before: str, after: str, new: bool, state: ContainerdState) -> Sequence[str]:
    """What the main file got that it has to lose again with the drop-in."""
    if new:
        return ("the file itself",)
    old, now = parse(before), parse(after)
    names: list[str] = [n for n in ("version", "imports") if n in now and n not in old]
    if "imports" in old and old["imports"] != now["imports"]:
        names.append("an import")
    return names


def _without_import(place: Place, data: Mapping[str, Any], state: ContainerdState) -> str | None:
    text = place.main or ""
    note = _NOTE.search(place.own or "")
    added = note.group(1).split(", ") if note else []
    beside = [file.path for file in state.imports if file.path != place.path]
    needed = [p for p in beside if PurePosixPath(p).match(place.pattern)]
    if not added or needed or place.pattern not in data.get("imports", []):
        return place.main
    if "the file itself" in added and data.keys() <= {"version", "imports"}:
        return None
    text = edit(text, take={("imports",): [place.pattern]})
    empty = not parse(text).get("imports")
    gone: list[Keys] = [("imports",)] if empty and "an import" not in added else []
    if "version" in added and data.keys() <= {"version", "imports"}:
        gone.append(("version",))
    return edit(text, remove=gone)


# ---- the drop-in -----------------------------------------------------------------------------


def _replaced(
    place: Place, own: Mapping[str, Any], wanted: Mapping[str, Any], added: Sequence[str]
) -> str:
    """The drop-in's text with exactly `wanted` in its tables; other plugins in it stay."""
    text = place.own
    if text is None or own.get("version", wanted["version"]) != wanted["version"]:
        own = {}
        text = "# A copy of the CRI plugin's settings, with the runtime; by gpurun.\n"
        if added:
            text += f"# gpurun added to the importing file: {', '.join(added)}\n"
    (plugin,) = wanted["plugins"]
    keys = ("plugins", plugin)
    gone = list(_surplus(find(own, keys) or {}, wanted["plugins"][plugin], keys))
    return edit(text, wanted=wanted, remove=gone, name=place.path)


def _surplus(there: Mapping[str, Any], wanted: Mapping[str, Any], above: Keys) -> Iterator[Keys]:
    for key, value in there.items():
        other = wanted.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from _surplus(value, other, (*above, key))
        elif key not in wanted or isinstance(value, Mapping) != isinstance(other, Mapping):
            yield (*above, key)


def _keep_runtimes(base: dict[str, Any], own: Mapping[str, Any], but: Sequence[str] = ()) -> bool:
    """Runtimes that only the drop-in has, such as another task's, stay; whether there are any."""
    plugin = config.cri_plugin(config.version_of(base))
    keys = ("plugins", plugin, "containerd", "runtimes")
    there = find(base, keys) or {}
    found = find(own, keys) or {}
    kept = {n: deepcopy(t) for n, t in found.items() if n not in (*but, *there)}
    if kept:
        merge(base, {"plugins": {plugin: {"containerd": {"runtimes": kept}}}})
    return bool(kept)


def hidden(
    main: Mapping[str, Any], own: Mapping[str, Any], request: Request, release: tuple[int, int]
) -> str:
    """Which of the main file's CRI settings a drop-in's table hides, in one line; "": none.

    Args:
        request: the runtime, whose own settings the drop-in may well hold alone.
    """
    if not own:
        return ""
    shown = deepcopy(dict(main))
    if release >= (2, 1):
        merge(shown, own)
    else:
        shown = deepcopy(dict(own))
    wanted = deepcopy(dict(main))
    wanted.pop("enable_cdi", None)
    if isinstance(table := wanted.get("containerd"), dict):
        table.pop("default_runtime_name", None)
        if isinstance(runtimes := table.get("runtimes"), dict):
            runtimes.pop(request.name, None)
    goal = deepcopy(shown)
    merge(goal, wanted)
    return differences(shown, goal)


# ---- the order of imports --------------------------------------------------------------------


def _order(data: Mapping[str, Any], paths: Sequence[str], config_path: str) -> list[str]:
    """Those of the paths that a configuration imports, in the order in which they are read."""
    folder = posixpath.dirname(config_path)
    found: list[str] = []
    for pattern in data.get("imports", []):
        full = posixpath.join(folder, str(pattern))
        found += [p for p in sorted(paths) if p not in found and PurePosixPath(p).match(full)]
    return found


def _neighbours(
    place: Place, data: Mapping[str, Any], state: ContainerdState
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The imported tables that are read before the drop-in, and those after it."""
    tables = {path: d for path, d in config.importers(state).items() if path != place.path}
    order = _order(data, [*tables, place.path], state.config_path)
    order += [path for path in tables if path not in order]
    at = order.index(place.path) if place.path in order else len(order)
    return (
        [tables[path] for path in order[:at]],
        [tables[path] for path in order[at + 1 :]],
    )


def _check(
    place: Place,
    goal: Mapping[str, Any],
    imports: Sequence[Mapping[str, Any]],
    main: Mapping[str, Any],
    request: Request,
    state: ContainerdState,
) -> None:
    """Raises `Refused` where containerd would not read of the runtime what the drop-in says."""
    then = config.effective(main, imports, state.release)
    cri = ("plugins", config.cri_plugin(config.version_of(goal)))
    keys = [(*cri, "containerd", "runtimes", request.name), (*cri, "containerd", _DEFAULT)]
    if request.enable_cdi is not None:
        keys.append((*cri, "enable_cdi"))
    differ = [each[-1] for each in keys if not same(find(then, each), find(goal, each))]
    if {*then.get("disabled_plugins", ())} & {*CRI_PLUGINS}:
        differ.append("disabled_plugins")
    if differ:
        others = [path for path in config.importers(state) if path != place.path]
        raise Refused(
            f"{place.path} would not decide about {', '.join(differ)}:"
            f" {', '.join(others) or state.config_path} does; change it there"
        )

"""Our edit of configurations as they are found on nodes, against a model of what nvidia-ctk does.

`public/` are configurations in the manner of kubeadm, Kubespray, EKS, GKE, AKS, kind and of
containerd's own default, and in every layout that TOML has. The model follows
`nvidia-ctk runtime configure --runtime=containerd` step by step and shares nothing with our edit;
the recorded answers prove it.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from runner.facts.containerd import ContainerdState
from runner.modules import containerd_drop_in as drop_in
from runner.modules.containerd_config import Request, patch
from runner.modules.containerd_drop_in import Place
from runner.modules.files.toml_edit import edit
from tests.containerd.test_nvidia_ctk import without_false

HERE = Path(__file__).parent
BINARY = "/usr/bin/nvidia-container-runtime"
STATE = ContainerdState(False, "/etc/containerd/config.toml")
DROP_IN = "/etc/containerd/conf.d/99-nvidia.toml"
VARIANTS = {"plain": (False, False), "default": (True, False), "cdi": (False, True)}
PLUGINS = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}


def toolkit(data: dict[str, Any], set_as_default: bool, cdi: bool) -> dict[str, Any]:
    """The CRI plugin's table that nvidia-ctk makes of a configuration."""
    version = data.get("version", 1 if data else 2)
    cri: dict[str, Any] = deepcopy(data.get("plugins", {}).get(PLUGINS[version], {}))
    containerd = cri.setdefault("containerd", {})
    runtimes = containerd.setdefault("runtimes", {})
    default = containerd.get("default_runtime_name", "")
    order = ([] if default.startswith("nvidia") else [default]) + ["runc", "crun", "nvidia"]
    sources = [runtimes[name] for name in order if name in runtimes]
    new = deepcopy(sources[0]) if sources else {}
    new["runtime_type"] = new.get("runtime_type") or "io.containerd.runc.v2"
    options = new.setdefault("options", {})
    options["BinaryName"] = BINARY
    if version == 1:
        options["Runtime"] = BINARY
    runtimes["nvidia"] = new
    if set_as_default:
        containerd["default_runtime_name"] = "nvidia"
    elif default == "nvidia":
        del containerd["default_runtime_name"]
    if cdi:
        (containerd if version == 1 else cri)["enable_cdi"] = True
    return cri


def recorded() -> Iterator[Any]:
    for path in sorted((HERE / "nvidia_ctk").glob("*.json")):
        for variant, answer in json.loads(path.read_text())["results"].items():
            if answer["exit"] == 0:
                yield pytest.param(path.stem, variant, answer, id=f"{path.stem}/{variant}")


@pytest.mark.parametrize(("name", "variant", "answer"), list(recorded()))
def test_the_model_answers_as_the_real_one(name: str, variant: str, answer: Any) -> None:
    data = tomllib.loads((HERE / "input" / f"{name}.toml").read_text())
    (theirs,) = [
        table
        for plugin, table in answer["drop_in"]["plugins"].items()
        if plugin == PLUGINS[data.get("version", 1 if data else 2)]
    ]
    ours = toolkit(data, "default" in variant, "cdi" in variant)
    assert without_false(ours) == without_false(theirs)


def better(name: str, theirs: dict[str, Any], version: int) -> dict[str, Any]:
    """The toolkit's table, mended where it is known to be wrong."""
    if version == 1 and "enable_cdi" in theirs["containerd"]:
        # One table too deep, where containerd does not look.
        theirs["enable_cdi"] = theirs["containerd"].pop("enable_cdi")
    if name == "aks-nvidia-default-v2.toml":
        # There is no runc to copy: without SystemdCgroup its pods do not start here.
        theirs["containerd"]["runtimes"]["nvidia"]["options"]["SystemdCgroup"] = True
    return theirs


THERE_ALREADY = "nvidia-only-v2.toml"
NAMES = sorted(path.name for path in (HERE / "public").iterdir())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", NAMES)
def test_equal_in_meaning_and_nothing_else_touched(name: str, variant: str) -> None:
    text = (HERE / "public" / name).read_bytes().decode()
    before = tomllib.loads(text)
    default, cdi = VARIANTS[variant]
    request = Request("nvidia", BINARY, default, cdi or None, True)
    wanted = patch(before, request, STATE)
    after = edit(text, wanted=wanted.wanted, remove=wanted.remove)
    data = tomllib.loads(after)

    version = before.get("version", 1)
    plugin = PLUGINS[version]
    theirs = better(name, toolkit(before, default, cdi), version)
    assert without_false(data["plugins"].pop(plugin)) == without_false(theirs)
    rest = deepcopy(before)
    rest["plugins"].pop(plugin)
    assert data == rest

    again = patch(tomllib.loads(after), request, STATE)
    assert edit(after, wanted=again.wanted, remove=again.remove) == after
    gone, added = changed_lines(text, after)
    # The default's line; the line that an inline table is; a last line without an end; old values.
    single = name in ("inline-v2.toml", "no-final-newline-v3.toml")
    assert len(gone) <= (variant == "default") + single + 2 * (name == THERE_ALREADY)
    assert len(added) <= len(flat(theirs["containerd"]["runtimes"]["nvidia"])) + 9
    if variant == "plain" and name != THERE_ALREADY:
        removal = patch(tomllib.loads(after), Request("nvidia", BINARY, False, None, False), STATE)
        assert edit(after, remove=removal.remove).rstrip("\n") == text.rstrip("\n")


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    lines = list(difflib.ndiff(before.splitlines(True), after.splitlines(True)))
    return [s for s in lines if s[:2] == "- "], [s for s in lines if s[:2] == "+ "]


def flat(table: dict[str, Any]) -> list[Any]:
    """Every value below a table."""
    below = [flat(v) if isinstance(v, dict) else [v] for v in table.values()]
    return [value for values in below for value in values]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", [name for name in NAMES if "v1" not in name])
def test_a_drop_in_is_equal_in_meaning(name: str, variant: str) -> None:
    text = (HERE / "public" / name).read_bytes().decode()
    before = tomllib.loads(text)
    default, cdi = VARIANTS[variant]
    request = Request("nvidia", BINARY, default, cdi or None, True)
    texts = drop_in.present(Place(DROP_IN, text, None), request, STATE)
    assert texts.main is not None and texts.own is not None
    main, own = tomllib.loads(texts.main), tomllib.loads(texts.own)
    plugin = PLUGINS[before["version"]]
    theirs = better(name, toolkit(before, default, cdi), before["version"])
    assert without_false(own["plugins"][plugin]) == without_false(theirs)
    assert "/etc/containerd/conf.d/*.toml" in main.pop("imports")
    assert main == {key: value for key, value in before.items() if key != "imports"}
    if name == THERE_ALREADY:
        return
    gone = drop_in.absent(Place(DROP_IN, texts.main, texts.own), request, STATE)
    assert (gone.main, gone.own) == (text, None)

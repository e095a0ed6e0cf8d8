"""Our edit against what the real `nvidia-ctk runtime configure` made of the same files.

`input/` are configurations, `nvidia_ctk/` the toolkit's recorded answers: the CRI table of its
drop-in is what is in effect afterwards, so the one of our edited file has to mean the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from runner.facts.containerd import ContainerdState
from runner.modules import containerd_drop_in as drop_in
from runner.modules.base import Refused
from runner.modules.containerd_config import Request, cri_plugin, patch, version_of
from runner.modules.containerd_drop_in import Place
from runner.modules.files.toml_edit import edit, parse

HERE = Path(__file__).parent
BINARY = "/usr/bin/nvidia-container-runtime"
UNKNOWN = ContainerdState(False, "/etc/containerd/config.toml")

NO_RUNTIME = {"empty", "v2-no-runtimes", "v2-cri-disabled"}
"""Without any runtime in the file the toolkit's result loses the built-in runc (containerd 1.x)."""


def answers() -> Iterator[Any]:
    for path in sorted((HERE / "nvidia_ctk").glob("*.json")):
        recorded = json.loads(path.read_text())
        for variant, answer in recorded["results"].items():
            yield pytest.param(path.stem, variant, answer, id=f"{path.stem}/{variant}")


def ours(name: str, variant: str) -> tuple[str, str]:
    """A configuration before and after our edit."""
    text = (HERE / "input" / f"{name}.toml").read_text()
    cdi = True if "cdi" in variant else None
    request = Request("nvidia", BINARY, "default" in variant, cdi, True)
    wanted = patch(parse(text), request, UNKNOWN)
    return text, edit(text, wanted=wanted.wanted, remove=wanted.remove)


def without_false(table: Any) -> Any:
    """A table without what means the same when it is not there."""
    if not isinstance(table, dict):
        return table
    return {k: without_false(v) for k, v in table.items() if v not in (False, "", 0, [])}


def better(name: str, theirs: dict[str, Any]) -> dict[str, Any]:
    """The toolkit's CRI table, mended where it is known to be wrong."""
    table = deepcopy(theirs)
    runtimes = table["containerd"]["runtimes"]
    if name in NO_RUNTIME:
        runtimes["runc"] = {"runtime_type": "io.containerd.runc.v2"}
    if "enable_cdi" in table["containerd"]:
        # In version 1 it writes the switch one table too deep, where containerd does not look.
        table["enable_cdi"] = table["containerd"].pop("enable_cdi")
    return table


@pytest.mark.parametrize(("name", "variant", "answer"), list(answers()))
def test_effective_configuration(name: str, variant: str, answer: dict[str, Any]) -> None:
    if answer["exit"] != 0:
        with pytest.raises(Refused, match="not valid TOML"):
            ours(name, variant)
        return
    before, after = ours(name, variant)
    data = parse(after)
    plugin = cri_plugin(version_of(data))
    theirs = better(name, answer["drop_in"]["plugins"][plugin])
    assert without_false(data["plugins"][plugin]) == without_false(theirs)

    rest = {k: v for k, v in parse(before).items() if k not in ("plugins", "disabled_plugins")}
    assert {k: data[k] for k in rest} == rest
    others = {k: v for k, v in parse(before).get("plugins", {}).items() if k != plugin}
    assert {k: v for k, v in data["plugins"].items() if k != plugin} == others


DROP_IN = "/etc/containerd/conf.d/99-nvidia.toml"


@pytest.mark.parametrize(("name", "variant", "answer"), list(answers()))
def test_effective_configuration_of_a_drop_in(
    name: str, variant: str, answer: dict[str, Any]
) -> None:
    text = (HERE / "input" / f"{name}.toml").read_text()
    cdi = True if "cdi" in variant else None
    request = Request("nvidia", BINARY, "default" in variant, cdi, True)
    if answer["exit"] != 0:
        with pytest.raises(Refused, match="not valid TOML"):
            drop_in.present(Place(DROP_IN, text, None), request, UNKNOWN)
        return
    if version_of(parse(text)) == 1:
        return  # in place, as the toolkit does it
    texts = drop_in.present(Place(DROP_IN, text, None), request, UNKNOWN)
    assert texts.main is not None and texts.own is not None
    main, own = parse(texts.main), parse(texts.own)
    plugin = cri_plugin(version_of(main))
    theirs = better(name, answer["drop_in"]["plugins"][plugin])
    assert without_false(own["plugins"][plugin]) == without_false(theirs)
    assert own.keys() == {"version", "plugins"} and own["plugins"].keys() == {plugin}
    # A pattern that is there already is added once more by the toolkit.
    imports = list(dict.fromkeys(answer["config"]["imports"]))
    assert main == {**answer["config"], "imports": imports}

    again = drop_in.present(Place(DROP_IN, texts.main, texts.own), request, UNKNOWN)
    assert (again.main, again.own) == (texts.main, texts.own)

    if "nvidia" not in name:
        gone = drop_in.absent(Place(DROP_IN, texts.main, texts.own), request, UNKNOWN)
        assert (gone.main, gone.own) == (text, None)


@pytest.mark.parametrize(("name", "variant", "answer"), list(answers()))
def test_twice_is_once_and_comments_stay(name: str, variant: str, answer: dict[str, Any]) -> None:
    if answer["exit"] != 0:
        return
    before, after = ours(name, variant)
    request = Request(
        "nvidia", BINARY, "default" in variant, True if "cdi" in variant else None, True
    )
    again = patch(parse(after), request, UNKNOWN)
    assert edit(after, wanted=again.wanted, remove=again.remove) == after
    comments = [line for line in before.splitlines() if "#" in line]
    assert [line for line in after.splitlines() if "#" in line] == comments


@pytest.mark.parametrize("name", sorted({p.stem for p in (HERE / "input").glob("v*.toml")}))
def test_removing_leaves_no_trace(name: str) -> None:
    if name in NO_RUNTIME or "nvidia" in name:
        return
    before, after = ours(name, "plain")
    request = Request("nvidia", BINARY, False, None, False)
    gone = patch(parse(after), request, UNKNOWN)
    assert edit(after, wanted=gone.wanted, remove=gone.remove) == before

"""A runtime that is added and removed again leaves the file as it was, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.facts.container_runtime import KEY, Daemons
from runner.facts.containerd import ContainerdState
from runner.facts.containerd import key as containerd_key
from runner.modules.base import Context
from runner.modules.files.state import FileState, ancestors, with_content
from runner.modules.registry import load_module

PUBLIC = sorted((Path(__file__).parent / "public").glob("*.toml"))
PATH = "/etc/containerd/config.toml"


def edited(text: str | None, release: tuple[int, int] = (0, 0), **arguments: object) -> str | None:
    """What the module makes of a file; the same again changes nothing."""
    module = load_module("containerd_runtime")
    absent = FileState(PATH, "absent", owner="root", group="root", uid=0, gid=0)
    observed = {
        f"file:{each}": FileState(each, "directory", 0o755, "root", "root", 0, 0)
        for each in ancestors(PATH)
    } | {KEY: Daemons(()), containerd_key(PATH): ContainerdState(False, PATH, release=release)}

    def once(before: str | None) -> str | None:
        state = absent if before is None else with_content(absent, before.encode())
        args = module.arguments(**arguments)
        changes = module.plan(args, {**observed, f"file:{PATH}": state}, Context("n")).changes
        assert all(change.diff is not None for change in changes)
        return changes[0].diff.after if changes and changes[0].diff else before

    after = once(text)
    assert once(after) == after
    return after


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize(
    "path", [p for p in PUBLIC if p.stem != "nvidia-only-v2"], ids=lambda path: str(path.stem)
)
def test_of_files_as_they_are_found(path: Path, default: bool) -> None:
    text = path.read_bytes().decode()
    after = edited(text, set_as_default=default)
    assert after != text
    assert edited(after, state="absent") == text


@pytest.mark.parametrize("text", [None, "\n", "# ours\n", "# ours\n\nroot = '/x'\nversion = 2\n"])
@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize("release", [(1, 6), (2, 0)])
def test_of_files_that_say_little(
    text: str | None, default: bool, release: tuple[int, int]
) -> None:
    after = edited(text, release, set_as_default=default)
    assert after is not None and after != text
    assert edited(after, release, state="absent") == text


CRI = 'plugins."io.containerd.grpc.v1.cri"'
INDENTS = ("", "  ", "\t")


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """Files of version 2 in every layout that people and tools write."""
    indent = draw(st.sampled_from(INDENTS))
    gap = draw(st.sampled_from(("", "\n")))
    lines = draw(st.sampled_from(("version = 2\n", "# head\nversion = 2 # two\nroot = '/var'\n")))
    if draw(st.booleans()):
        lines += f"{gap}[{CRI}]\n{indent}sandbox_image = 'pause' # pinned\n"
    default = draw(st.sampled_from(("", "runc", "kata")))
    if default or draw(st.booleans()):
        named = f'{indent}default_runtime_name = "{default}"\n' if default else ""
        lines += f"{gap}{indent}[{CRI}.containerd]\n{indent}snapshotter = 'overlayfs'\n{named}"
    for name in {"runc", default or "runc", *draw(st.lists(st.sampled_from(("kata", "runsc"))))}:
        header = f"{CRI}.containerd.runtimes.{name}"
        lines += f"{gap}{indent}[{header}]\n{indent * 2}runtime_type = 'io.containerd.{name}.v2'\n"
        if draw(st.booleans()):
            lines += f"{indent}[{header}.options]\n{indent * 2}SystemdCgroup = true\n"
    if draw(st.booleans()):
        lines += f"{gap}[{CRI}.registry.mirrors.'docker.io']\n# mirror\nendpoint = ['https://m']\n"
    if draw(st.booleans()):
        lines = lines.rstrip("\n")
    return lines.replace("\n", "\r\n") if draw(st.booleans()) else lines


@given(configurations(), st.booleans())
def test_of_any_layout(text: str, default: bool) -> None:
    after = edited(text, set_as_default=default)
    assert after is not None and "nvidia" in after
    assert edited(after, state="absent") == text

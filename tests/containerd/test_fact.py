"""The look at containerd, on what the real containerd 1.6.20 of Debian 12 printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.facts.containerd import CONTAINERD, ContainerdState, parse
from runner.hosts.script import Result
from runner.modules.base import Unknown

OUTPUT = Path(__file__).parent / "output"
PATH = "/etc/containerd-rec/config.toml"


def read(name: str) -> ContainerdState:
    return parse(PATH, Result(0, (OUTPUT / f"{name}.txt").read_bytes()))


def test_defaults_where_there_is_no_file() -> None:
    state = read("1.6.20-no-file")
    assert state.installed and state.version == "1.6.20~ds1" and state.release == (1, 6)
    assert state.config_version == 2 and state.default_runtime_name == "runc"
    assert state.runtimes["runc"]["runtime_type"] == "io.containerd.runc.v2"
    assert not state.imports and not state.error


def test_a_broken_file_is_containerds_own_words() -> None:
    state = read("1.6.20-broken")
    assert "unclosed table key" in state.error and not state.runtimes


def test_imports_are_read() -> None:
    state = read("1.6.20-runc-and-import")
    assert [file.path for file in state.imports] == ["/etc/containerd-rec/conf.d/99-nvidia.toml"]
    assert 'sandbox_image = "x"' in state.imports[0].text


def test_a_file_with_one_runtime_drops_the_built_in_runc() -> None:
    assert list(read("1.6.20-only-nvidia").runtimes) == ["nvidia"]


def test_a_disabled_cri_has_no_runtimes() -> None:
    state = read("1.6.20-disabled")
    assert state.disabled_plugins == ("cri",) and not state.runtimes


def test_not_installed() -> None:
    assert not parse(PATH, Result(0, b"absent\n")).installed


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("containerd containerd.io 1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da", (1, 7)),
        ("containerd github.com/containerd/containerd/v2 v2.1.0 061792f0ecf", (2, 1)),
        ("containerd github.com/k3s-io/containerd v1.7.22-k3s1", (1, 7)),
        ("containerd something else", (0, 0)),
    ],
)
def test_versions(version: str, release: tuple[int, int]) -> None:
    text = f"program L3Vzci9iaW4vY29udGFpbmVyZA==\nversion {version}\ndump \n"
    assert parse(PATH, Result(0, text.encode())).release == release


@pytest.mark.parametrize(
    "result",
    [
        Result(0, b""),
        Result(0, b"program L3g=\n"),
        Result(0, b"program L3g=\nversion 1\ndump ???\n"),
        Result(0, b"program L3g=\nversion 1\ndump W2E=\n"),
        Result(127, b"", b"sh: not found"),
        Result(0, b"absent\n", truncated=True),
    ],
)
def test_anything_else_is_unknown(result: Result) -> None:
    with pytest.raises(Unknown):
        parse(PATH, result)


def test_for_templates() -> None:
    data = CONTAINERD.export(read("1.6.20-runc-and-import"))
    assert data["installed"] is True and data["runtimes"]["runc"]["runtime_type"]
    assert data["imports"] == ["/etc/containerd-rec/conf.d/99-nvidia.toml"]

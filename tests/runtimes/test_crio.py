"""`crio_runtime` on files of this machine, held against what nvidia-ctk makes of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from runner.facts.crio import parse
from runner.hosts.script import Command, Result
from runner.modules.base import Refused, Unknown
from tests.files.local import Local, overlaid, run, snapshot

MODULE = "crio_runtime"

CRIO = """#!/bin/sh
[ "$1 $3" = "--config config" ] || exit 3
! grep refuse "$2" >&2
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    program = tmp_path / "bin" / "crio"
    program.parent.mkdir()
    program.write_text(CRIO)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    (tmp_path / "host").mkdir()
    return Local(tmp_path / "host")


def arguments(host: Local, **more: Any) -> dict[str, Any]:
    main, own = host.root / "crio.conf", host.root / "crio.conf.d" / "99-nvidia.toml"
    return {"path": str(main), "drop_in": str(own), **more}


def write(host: Local, **files: str) -> None:
    for name, text in files.items():
        folder = host.root if name == "main" else host.root / "crio.conf.d"
        folder.mkdir(exist_ok=True)
        (folder / ("crio.conf" if name == "main" else name.replace("_", "."))).write_text(text)


def applied(host: Local, **more: Any) -> str | None:
    """Plan, check the prediction, do; nothing is left to do. What the drop-in holds then."""
    args = arguments(host, **more)
    observed = host.observe(MODULE, args)
    outcome = host.plan(MODULE, args, observed)
    assert not host.plan(MODULE, args, overlaid(observed, outcome)).changes
    for change in outcome.changes:
        host.apply(change)
    assert not host.plan(MODULE, args, host.observe(MODULE, args)).changes
    own = Path(args["drop_in"])
    return own.read_text() if own.exists() else None


NVIDIA = {"runtime_path": "/usr/bin/nvidia-container-runtime", "runtime_type": "oci"}

# What nvidia-ctk's engine makes of a main file (pkg/config/engine/crio: AddRuntime).
MEANT: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("", NVIDIA),
    "runc's options": (
        '[crio.runtime.runtimes.runc]\nruntime_path = "/usr/bin/runc"\nruntime_type = "x"\n'
        'runtime_root = "/run/runc"\n',
        {**NVIDIA, "runtime_root": "/run/runc"},
    ),
    "the default's before runc's": (
        '[crio.runtime]\ndefault_runtime = "kata"\n'
        "[crio.runtime.runtimes.kata]\nprivileged_without_host_devices = true\n"
        '[crio.runtime.runtimes.runc]\nruntime_root = "/run/runc"\n',
        {**NVIDIA, "privileged_without_host_devices": True},
    ),
    "crun's, in an inline table": (
        'crio.runtime.runtimes = {crun = {allowed_annotations = ["io.x"]}}\n',
        {**NVIDIA, "allowed_annotations": ["io.x"]},
    ),
    "runc's, where nvidia is the default already": (
        '[crio.runtime]\ndefault_runtime = "nvidia"\n[crio.runtime.runtimes.runc]\na = 1\n',
        {**NVIDIA, "a": 1},
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_as_nvidia_ctk_means_it(host: Local, name: str) -> None:
    text, expected = MEANT[name]
    write(host, main=text)
    after = applied(host, set_as_default=True)
    assert after is not None
    runtime = {"default_runtime": "nvidia", "runtimes": {"nvidia": expected}}
    assert tomllib.loads(after) == {"crio": {"runtime": runtime}}
    assert (host.root / "crio.conf").read_text() == text
    after = applied(host)
    assert after is not None and "default_runtime" not in after
    assert applied(host, state="absent") is None


def test_the_folder_is_made_and_no_trace_of_the_file_is_left(host: Local) -> None:
    before = snapshot(host.root)
    assert applied(host, state="absent") is None
    assert applied(host, set_as_default=True)
    assert applied(host, state="absent") is None
    assert {k: v for k, v in snapshot(host.root).items() if k != "crio.conf.d"} == before


def test_runtimes_of_the_folder_are_copied(host: Local) -> None:
    """Since 1.29 CRI-O's packages set up crun in 10-crio.conf."""
    crun = '[crio.runtime]\ndefault_runtime = "crun"\n[crio.runtime.runtimes.crun]\nroot = "/a"\n'
    write(host, **{"10-crio_conf": crun, "50-more_conf": crun.replace("/a", "/b")})
    after = applied(host)
    assert after is not None and 'root = "/b"' in after


def test_other_settings_of_the_drop_in_stay(host: Local) -> None:
    text = '# ours\n[crio.runtime]\nlog_level = "debug"\n'
    write(host, **{"99-nvidia_toml": text})
    after = applied(host, set_as_default=True)
    assert after is not None and after.startswith(text)
    assert applied(host, state="absent") == text


def test_an_old_runtime_is_replaced(host: Local) -> None:
    old = '[crio.runtime.runtimes.nvidia]\nruntime_path = "/opt/old"\nmonitor_env = ["A=1"]\n'
    write(host, **{"99-nvidia_toml": old})
    after = applied(host)
    assert after is not None
    assert tomllib.loads(after)["crio"]["runtime"]["runtimes"] == {"nvidia": NVIDIA}


def test_a_runtime_that_nvidia_ctk_set_up_is_left_alone(host: Local) -> None:
    theirs = "[crio.runtime.runtimes.nvidia]\n" + "".join(
        f'{k} = "{v}"\n' for k, v in NVIDIA.items()
    )
    write(host, **{"99-nvidia_conf": theirs})
    assert applied(host) is None
    with pytest.raises(Refused, match=r"99-nvidia\.conf has the runtime nvidia: remove it there"):
        applied(host, state="absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[crio.runtime.runtimes.nvidia]\na = 1\n", "sets runtime nvidia"),
        ('crio.runtime.default_runtime = "crun"\n', "sets default_runtime crun"),
    ],
)
def test_a_file_that_is_read_later_is_named(host: Local, text: str, message: str) -> None:
    write(host, **{"99-site_conf": text})
    with pytest.raises(Refused, match=rf"99-site\.conf is read after .* and {message}"):
        applied(host, set_as_default=True)


def test_what_crio_refuses_never_replaces_the_file(host: Local) -> None:
    write(host, **{"99-nvidia_toml": "# old\n"})
    args = arguments(host, binary="/opt/refuse")
    (change,) = host.plan(MODULE, args, host.observe(MODULE, args)).changes
    (command,) = change.do
    assert isinstance(command, Command)
    result = run(command.shell, command.stdin)
    assert result.rc != 0 and "refused by its validation" in result.error_text
    assert snapshot(host.root)["crio.conf.d/99-nvidia.toml"][1] == "# old\n"


@pytest.mark.parametrize("name", ["main", "10-x_conf", "99-nvidia_toml"])
def test_a_broken_file_is_named_with_its_line(host: Local, name: str) -> None:
    write(host, **{name: "\n[crio\n"})
    with pytest.raises(Refused, match="line 2, column"):
        applied(host)


@pytest.mark.parametrize(
    "result", [Result(0, b""), Result(1, b"looked\n"), Result(0, b"file ? ?\nlooked\n")]
)
def test_anything_else_is_unknown(result: Result) -> None:
    with pytest.raises(Unknown):
        parse("/etc/crio/crio.conf", result)

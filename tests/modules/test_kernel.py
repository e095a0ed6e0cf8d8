"""`modprobe` and `sysctl`: their sh texts in a real sh, over a folder that stands for the root."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runner.facts import kernel_modules, sysctl
from runner.facts.kernel_modules import ModuleState
from runner.hosts.script import Command, Result
from runner.modules.base import Context, Probe
from runner.modules.files.state import FileState, key
from runner.modules.registry import load_module
from runner.modules.sysctl import edited


def run(shell: str, root: Path) -> Result:
    for folder in ("/proc/", "/lib/modules/", "/etc/"):
        shell = shell.replace(f" {folder}", f" {root}{folder}").replace(
            f'"{folder}', f'"{root}{folder}'
        )
    shell = f"PATH={root}/bin:$PATH\n{shell}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def look(probe: Probe, root: Path) -> Any:
    return probe.parse(run(probe.shell, root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "proc/modules": "nvidia_uvm 1540096 0 - Live 0x0\nnvidia 56827904 3 nvidia_uvm, Live 0x0\n",
        "lib/modules/6.8/modules.builtin": "kernel/fs/overlay/overlay-fs.ko\n",
        "etc/modules": "# nvidia\n",
        "etc/modules-load.d/gpu.conf": "  nvidia-uvm\nnvidia_uvm_more\n",
        "etc/modprobe.d/gpu.conf": "# blacklist nvidia\n blacklist  nvidia-uvm \n",
        "bin/uname": "#!/bin/sh\necho 6.8\n",
        "bin/modprobe": '#!/bin/sh\n[ "$*" = "-n -q -- nvidia_peermem" ]\n',
        "proc/sys/net/ipv4/conf/eth0.100/x": "4096\t8192\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "users"),
    [
        ("nvidia", "loaded", 3),
        ("nvidia-uvm", "loaded", 0),
        ("overlay_fs", "builtin", 0),
        ("nvidia-peermem", "available", 0),
        ("nvid", "missing", 0),
    ],
)
def test_a_module_is_told_by_its_whole_name(root: Path, name: str, kind: str, users: int) -> None:
    state = look(kernel_modules.probe(name, True), root)
    assert (state.kind, state.users) == (kind, users)


def test_files_that_load_a_module_at_boot_are_found(root: Path) -> None:
    state: ModuleState = look(kernel_modules.probe("nvidia_uvm", True), root)
    assert state.named_in == (f"{root}/etc/modules-load.d/gpu.conf",)
    assert look(kernel_modules.probe("nvidia", True), root).named_in == ()


def test_files_that_blacklist_a_module_are_found(root: Path) -> None:
    state: ModuleState = look(kernel_modules.probe("nvidia_uvm", True), root)
    assert state.blacklisted_in == (f"{root}/etc/modprobe.d/gpu.conf",)
    assert look(kernel_modules.probe("nvidia", True), root).blacklisted_in == ()


def test_a_parameter_is_read_written_and_read_again(root: Path) -> None:
    name = "net.ipv4.conf.eth0/100.x"
    assert look(sysctl.probe(name, True), root) == "4096 8192"
    assert look(sysctl.probe("net/ipv4/conf/eth0.100/x", True), root) == "4096 8192"
    assert look(sysctl.probe("net.ipv4.nothing", True), root) is None
    module = load_module("sysctl")
    args = module.arguments.model_validate({"name": name, "value": "1 2"})
    observed: dict[str, Any] = {p.key: () for p in module.probes(args, Context("n"))}
    observed |= {
        sysctl.key(name): "4096 8192",
        key("/etc"): FileState("/etc", "directory"),
        key("/etc/sysctl.conf"): FileState("/etc/sysctl.conf", "absent"),
    }
    _, change = module.plan(args, observed, Context("n")).changes
    assert run(change.guard, root).rc == 0
    (write,) = change.do
    assert isinstance(write, Command)
    assert run(write.shell, root).rc == 0
    assert (root / "proc/sys/net/ipv4/conf/eth0.100/x").read_text() == "1 2\n"
    assert run(change.guard, root).rc != 0
    assert run(change.undo[0].shell, root).rc == 0
    assert look(sysctl.probe(name, True), root) == "4096 8192"


LINES = st.sampled_from(
    ["# a.b = 1", "a.b=1", "a/b = 2", "-a.b = 3", "a.bc = 4", "", "; x", "c.d=5", " a.b  =  6 "]
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(LINES).map("\n".join), st.sampled_from(["", "\n"]))
def test_only_the_parameters_own_line_is_touched(lines: str, end: str) -> None:
    content = (lines + end).encode()

    def others(text: bytes) -> list[bytes]:
        own = (b"a.b ", b"a/b ", b"-a.b ", b" a.b ")
        return [t for t in text.splitlines() if not t.replace(b"=", b" ").startswith(own)]

    once = edited(content, "a.b", "9", False)
    assert others(once) == others(content)
    assert edited(once, "a.b", "9", False) == once
    own = [t for t in once.splitlines() if t not in others(once)]
    assert own[-1].split(b"=")[1].strip() == b"9"
    gone = edited(once, "a.b", None, True)
    assert gone.splitlines() == others(content)


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("modprobe", {"name": "../x"}, "should match pattern"),
        ("modprobe", {"name": "x", "params": "a='"}, "cannot be split into words"),
        ("modprobe", {"name": "x", "params": "a\nb"}, "one line"),
        ("modprobe", {"name": "x", "params": "a=1", "state": "absent"}, "leave it out"),
        (
            "modprobe",
            {"name": "x", "persistent": "present", "blacklisted": True},
            "not to be blacklisted too",
        ),
        ("sysctl", {"name": "kernel/../../etc/passwd", "value": "1"}, "not the name of a kernel"),
        ("sysctl", {"name": "a.b"}, "value is needed"),
        ("sysctl", {"name": "a.b", "value": True}, "write 1 or 0"),
        ("sysctl", {"name": "a.b", "value": "1\n2"}, "one line"),
        ("sysctl", {"name": "a b", "value": "1"}, "should match pattern"),
    ],
)
def test_mistakes_are_named(module: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        load_module(module).arguments.model_validate(arguments)
    assert message in str(raised.value)

"""Archives of what a host says: whole, bounded, without secrets, readable by their owner only."""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from pathlib import Path

import pytest

from runner.engine.evidence import TAKEN_OUT, collect, redacted
from runner.errors import GpurunError
from runner.hosts.script import Command
from runner.kube.state import NodeState
from runner.modules import collect_evidence
from runner.modules.base import Collect, Context, Unknown
from runner.modules.collect_evidence import (
    LOOKS,
    CollectEvidence,
    CollectEvidenceArguments,
    bounded,
)
from runner.secrets.redact import KNOWN
from tests.engine.local_host import LocalHost, execute
from tests.engine.plays import OneHost

NO_NODE = Unknown("no cluster")


def kept(folder: Path, node: object = NO_NODE, **looks: str) -> tuple[str, dict[str, str]]:
    """What is said of the archive, and the files in it."""
    commands = tuple(
        Command(f"{name}.txt", bounded(shell, 5, 1000)) for name, shell in looks.items()
    )
    files = {f"{name}.txt": shell for name, shell in looks.items()}
    said = collect(Collect(commands, files, str(folder)), "gpu/1", LocalHost(), node)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        found = {}
        for one in opened.getmembers():
            file = opened.extractfile(one)
            assert file is not None
            found[one.name.partition("/")[2]] = file.read().decode()
    assert f"sha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}" in said
    return said, found


def test_a_file_of_each_look_whether_others_fail_or_not(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    said, files = kept(
        folder, good="echo fine; echo more >&2", bad="echo half; exit 3", no="nosuch"
    )
    assert files["good.txt"] == "fine\nmore\n"
    assert files["bad.txt"] == "half\n"
    manifest = json.loads(files["manifest.json"])
    assert [(row["file"], row["exit"]) for row in manifest["files"]] == [
        ("good.txt", 0),
        ("bad.txt", 3),
        ("no.txt", 127),
    ]
    assert "without an answer: bad.txt, no.txt" in said
    for row in manifest["files"]:
        assert row["sha256"] == hashlib.sha256(files[row["file"]].encode()).hexdigest()
    (archive,) = folder.iterdir()
    assert archive.name.startswith("gpu_1-")
    assert (archive.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_node_as_its_cluster_has_it(tmp_path: Path) -> None:
    _, files = kept(tmp_path / "e", NodeState("gpu-1", taints=("a=b:NoSchedule",)), one="echo 1")
    assert json.loads(files["kubernetes/node.json"])["taints"] == ["a=b:NoSchedule"]


def test_a_look_that_hangs_is_ended_and_what_it_said_is_kept() -> None:
    began = time.monotonic()
    found = execute(Command("x", bounded("echo first; sleep 60", 0.5, 1000)))
    assert time.monotonic() - began < 30
    assert (found.rc, found.stdout) == (124, b"first\n")


def test_only_the_end_of_a_long_output_is_kept() -> None:
    found = execute(Command("x", bounded("seq 100000; exit 4", 20, 13)))
    assert (found.rc, found.stdout) == (4, b"99999\n100000\n")


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("registry: hunter2-hunter2", "hunter2-hunter2"),
        ("password = abc-def", "abc-def"),
        ('  identitytoken: "a b c"', "a b c"),
        ('{"auth": "dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
        ("API_KEY='k-1 2'", "k-1 2"),
        ("Authorization: Bearer abcdef.123456", "abcdef.123456"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
    ],
)
def test_secrets_are_taken_out(text: str, gone: str) -> None:
    KNOWN.add("hunter2-hunter2", "registry")
    found = redacted(f"before\n{text}\nafter\n")
    assert gone not in found
    assert found.startswith("before\n") and found.endswith("\nafter\n")


def test_what_is_no_secret_stays() -> None:
    text = "NVRM: Xid (PCI:0000:05:00): 79, pid=7, name=x\nAuthor: someone\ntokens per second 5\n"
    assert redacted(text) == text and TAKEN_OUT not in text


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GpurunError, match=r"evidence cannot be kept in .*file"):
        collect(Collect((), {}, str(tmp_path / "file")), "gpu-1", LocalHost(), NO_NODE)


def test_every_look_has_a_deadline_of_its_own() -> None:
    module = CollectEvidence()
    args = CollectEvidenceArguments.model_validate({"bug_report": True})
    (change,) = module.plan(args, {}, Context("gpu-1", notified=True)).changes
    (action,) = change.do
    assert isinstance(action, Collect)
    assert len(action.looks) == len(action.files) == len(LOOKS) + 2
    assert all(f"timeout -k 5 {look.timeout - 15:g} " in look.shell for look in action.looks)


PLAY = """\
- hosts: all
  tasks:
    - collect_evidence: {folder: FOLDER}
      register: evidence
    - copy: {dest: DEST, content: "x"}
"""


def test_in_a_play_it_comes_before_the_change_and_in_every_apply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_evidence, "LOOKS", ())
    monkeypatch.setattr(collect_evidence, "UNITS", "-n 1")
    folder, dest = tmp_path / "kept", tmp_path / "made"
    text = PLAY.replace("FOLDER", str(folder)).replace("DEST", str(dest))
    play = OneHost(tmp_path, text)
    assert play.apply().status == "changed"
    assert dest.exists()
    (archive,) = folder.iterdir()
    assert archive.stat().st_mtime <= dest.stat().st_mtime
    said = [event.text for event in play.happened if "kept in" in event.text]
    assert len(said) == 1 and str(archive) in said[0]
    assert [step.status for step in play.again().steps] == ["change", "ok"]

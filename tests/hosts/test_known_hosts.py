"""Lines of known_hosts, as sshd(8) describes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runner.hosts.known_hosts import keys_for, known_name

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Fr1pYzyKSpnYTSGT2n6qf2tqDQ2GqPfsbMpmYzDqC"


def known(file: Path, text: str, name: str) -> int:
    """How many lines speak about a name."""
    file.write_text(text)
    return len(keys_for(name, [file]))


@pytest.mark.parametrize(
    ("line", "name", "found"),
    [
        (f"gpu-1 {KEY}", "gpu-1", 1),
        (f"gpu-1,10.0.0.1 {KEY} a comment", "10.0.0.1", 1),
        (f"GPU-1 {KEY}", "gpu-1", 1),
        (f"gpu-1 {KEY}", "gpu-2", 0),
        (f"gpu-1 {KEY}", "[gpu-1]:2222", 0),
        (f"[gpu-1]:2222 {KEY}", "[gpu-1]:2222", 1),
        (f"gpu-* {KEY}", "gpu-17", 1),
        (f"[gpu-?]:2222 {KEY}", "[gpu-1]:2222", 1),
        (f"gpu-*,!gpu-1 {KEY}", "gpu-1", 0),
        (f"gpu-*,!gpu-1 {KEY}", "gpu-2", 1),
        (f"# gpu-1 {KEY}", "gpu-1", 0),
        (f"@cert-authority gpu-1 {KEY}", "gpu-1", 0),
        (f"@revoked gpu-1 {KEY}", "gpu-1", 1),
        ("gpu-1 ssh-ed25519", "gpu-1", 0),
        ("gpu-1 ssh-ed25519 not%base64", "gpu-1", 0),
        ("|1|broken|hash ssh-ed25519 AAAA", "gpu-1", 0),
        ("", "gpu-1", 0),
    ],
)
def test_lines(tmp_path: Path, line: str, name: str, found: int) -> None:
    assert known(tmp_path / "known_hosts", f"{line}\n", name) == found


def test_hashed_names_as_ssh_keygen_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"[gpu-1]:2222 {KEY}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert file.read_text().startswith("|1|")
    assert len(keys_for("[gpu-1]:2222", [file])) == 1
    assert keys_for("gpu-1", [file]) == []


def test_revoked_is_told(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"@revoked * {KEY}\n")
    assert [key.revoked for key in keys_for("gpu-1", [file])] == [True]


def test_a_missing_file_knows_nobody(tmp_path: Path) -> None:
    assert keys_for("gpu-1", [tmp_path / "none"]) == []


def test_port_22_is_not_written() -> None:
    assert [known_name("a", 22), known_name("a", 23)] == ["a", "[a]:23"]

"""`deb822_repository` with real apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Program

pytestmark = pytest.mark.lab

PLAY = """\
- hosts: gpu-t1
  become: true
  tasks:
    - file: {{path: /etc/apt/sources.list.d/lab.list, state: absent}}
    - deb822_repository:
        name: ours
        uris: file:{mirror}
        suites: ./
        trusted: true
"""


def play(folder: Path, mirror: str) -> str:
    file = folder / f"{mirror.strip('/').replace('/', '-')}.yaml"
    file.write_text(PLAY.format(mirror=mirror))
    return str(file)


def test_a_source_is_read_before_it_counts(
    fresh: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    host = fresh.host("gpu-t1")
    source = host.file("/etc/apt/sources.list.d/ours.sources")
    code, failed = program.json("apply", play(tmp_path, "/srv/nothing"), "--yes")
    assert code == 1 and "apt cannot read this source" in str(failed["hosts"])
    assert not source.exists, "taken out again"

    good = play(tmp_path, "/srv/lab-repo")
    code, applied = program.json("apply", good, "--yes")
    assert code == 0, applied
    assert "URIs: file:/srv/lab-repo\nSuites: ./\nTrusted: yes\n" in source.content_string
    offered = host.check_output("apt-cache policy nvidia-driver-570-server")
    assert "/srv/lab-repo" in offered
    code, again = program.json("apply", good, "--yes")
    assert (code, again["changes"]) == (0, []), again

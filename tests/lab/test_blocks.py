"""Promise 5 for rescue, until and delegation: killed or stopped there, every node comes back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program, read_until, until

pytestmark = pytest.mark.lab

NODE = "gpu-h1"

RESCUED = """
- name: Rescued
  hosts: gpu-h1
  become: true
  tasks:
    - name: Try it
      block:
        - name: Needs what is not there
          shell: test -e /run/allowed
          disruption: gpu
      rescue:
        - name: Put it right
          shell: touch /run/allowed; sleep 20
      always:
        - name: In any case
          shell: touch /run/always
"""

WAITS = """
- name: Waits
  hosts: gpu-h1
  become: true
  tasks:
    - name: A change
      copy: {content: x, dest: /run/changed}
      disruption: gpu
    - name: Somebody says go
      command: {cmd: test -e /run/go, read_only: true}
      retries: 600
      delay: 1
"""

ELSEWHERE = """
- name: Elsewhere
  hosts: gpu-h1,gpu-a1
  become: true
  tasks:
    - name: Who am I
      command: {{cmd: id -un, read_only: true}}
      become_user: nobody
      register: who
    - assert: {{that: who.stdout == "nobody"}}
    - name: Their own file
      copy: {{content: "of nobody", dest: /tmp/theirs}}
      become_user: nobody
    - name: Once
      shell: cat /proc/sys/kernel/random/uuid
      register: word
      run_once: true
    - name: Here
      copy: {{content: "{{{{ word.stdout }}}}\\n", dest: "{folder}/{{{{ inventory_hostname }}}}"}}
      delegate_to: localhost
      become: false
    - name: On the other one
      copy: {{content: "{{{{ word.stdout }}}}\\n", dest: /run/word}}
      delegate_to: gpu-a1
  verify:
    - name: The same word there
      command: {{cmd: cat /run/word, read_only: true}}
      delegate_to: gpu-a1
      register: there
    - assert: {{that: there.stdout == word.stdout}}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "playbook.yaml"
    path.write_text(text)
    return str(path)


def test_killed_in_a_rescue_and_resumed(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    process = program.start("apply", written(tmp_path, RESCUED), "--yes")
    read_until(process, "Put it right ...")
    until(lambda: fresh.host(NODE).file("/run/allowed").exists, "the rescue has begun")
    process.kill()
    process.wait()
    assert cluster.cordoned(NODE)
    resumed = program.run("resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert fresh.host(NODE).file("/run/always").exists
    assert not cluster.cordoned(NODE)
    assert not cluster.marks(NODE)


def test_stopped_while_waiting_and_resumed(
    fresh: LabUnderTest, program: Program, cluster: Cluster, tmp_path: Path
) -> None:
    process = program.start("apply", written(tmp_path, WAITS), "--yes")
    read_until(process, "Somebody says go: try 2 of 601")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 130, output
    assert f"node {NODE} stays cordoned" in output
    assert cluster.cordoned(NODE)
    fresh.host(NODE).check_output("touch /run/go")
    resumed = program.run("resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert not cluster.cordoned(NODE)
    assert not cluster.marks(NODE)


def test_other_users_other_hosts_and_once(
    lab: LabUnderTest, program: Program, tmp_path: Path
) -> None:
    playbook = written(tmp_path, ELSEWHERE.format(folder=tmp_path))
    done = program.on_lab("apply", playbook, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    word = (tmp_path / NODE).read_text()
    assert word and (tmp_path / "gpu-a1").read_text() == word
    assert lab.host("gpu-a1").file("/run/word").content_string == word
    assert lab.host(NODE).file("/tmp/theirs").user == "nobody"

"""Twenty small templated files on one node: what `gpurun apply` sends, counted at a proxy.

The counts do not depend on the machine's load; a test asserts them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counting_proxy import CountingProxy, Counts
from benchmarks.targets import Target, write

PROJECT = Path(__file__).parents[1]

PLAYBOOK = """\
- name: Twenty small files
  hosts: all
  become: true
  tasks:
    - name: File
      template:
        src: small.j2
        dest: /etc/gpurun-benchmark-{{ item }}.conf
        mode: "0644"
      loop: "{{ range(20) | list }}"
"""

TEMPLATE = """\
# File {{ item }} of {{ inventory_hostname }}
number = {{ item }}
""" + "".join(f"setting_{number} = {{{{ item + {number} }}}}\n" for number in range(20))


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Counts of two runs after each other: all twenty files changed, then none."""

    changed: Counts
    unchanged: Counts


def measure(target: Target, key: Path, folder: Path) -> RoundTrips:
    """Applies the playbook twice through a counting proxy.

    Args:
        target: a node that has none of the files yet.
        key: SSH key that gets in.
        folder: an empty one, for inventory, playbook and journal.

    Raises:
        RuntimeError: gpurun failed, or did not change what it should; with its output.
    """
    (folder / "playbook.yaml").write_text(PLAYBOOK)
    (folder / "small.j2").write_text(TEMPLATE)
    with CountingProxy(target.address, target.port) as proxy:
        files = write(folder, [Target(target.name, "127.0.0.1", proxy.port, target.host_key)], key)
        changed = _apply(folder, files.inventory, proxy, "1 changed")
        unchanged = _apply(folder, files.inventory, proxy, "1 ok")
    return RoundTrips(changed, unchanged)


def _apply(folder: Path, inventory: Path, proxy: CountingProxy, expected: str) -> Counts:
    proxy.reset()
    playbook = str(folder / "playbook.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "runner.cli.main", "apply", playbook, "-i", str(inventory), "--yes"],
        cwd=PROJECT,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or f"Applied: {expected}" not in done.stdout:
        said = done.stdout + done.stderr
        raise RuntimeError(f"gpurun apply ended with {done.returncode}:\n{said}")
    return proxy.counts


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's own takes part: neither journal nor keys, ssh_config, kubeconfig."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "GPURUN_JOURNAL": str(folder / "journal.sqlite"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

"""What was done about XIDs: kept on the node, so that another run of gpurun knows how often a GPU
was reset and the node rebooted, and which reports of the kernel log are dealt with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runner.facts.base import plain
from runner.hosts.script import Command, Result
from runner.modules.base import Probe, Unknown

PATH = "/var/lib/gpurun/xids.json"
HISTORY_KEY = "xids:history"
MOST = 200
"""How many attempts are kept."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One remedy of one GPU.

    Args:
        gpu: PCI address, as `Xid.pci`.
        code: the XID it was for.
        action: what was done.
        boot_id: the boot in which it was begun.
        upto: seconds since that boot: reports up to then are what it was for.
        when: the host's time, seconds since 1970.
        done: it succeeded, so that those reports are dealt with.
    """

    gpu: str
    code: int
    action: Literal["reset_gpu", "reboot", "power_cycle"]
    boot_id: str
    upto: float
    when: int
    done: bool = False

    @property
    def key(self) -> tuple[str, int, str, str, float]:
        """Attempts that are the same but for when, and how they ended, are one."""
        return self.gpu, self.code, self.action, self.boot_id, self.upto


def history_probe(become: bool = True) -> Probe:
    return Probe(HISTORY_KEY, f"[ ! -e {PATH} ] || cat {PATH}", parse_history, become=become)


def parse_history(result: Result) -> tuple[Attempt, ...]:
    """The file's attempts, oldest first. Raises Unknown for any other content."""
    from pydantic import TypeAdapter, ValidationError

    if result.rc != 0 or result.truncated:
        raise Unknown(f"{PATH} cannot be read: {result.error_text[-200:]}")
    if not result.text.strip():
        return ()
    try:
        return TypeAdapter(tuple[Attempt, ...]).validate_json(result.stdout)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Unknown(
            f"{PATH} is not understood ({where}: {first['msg']}); look at it, then remove it"
        ) from None


def keep(attempts: Sequence[Attempt]) -> Command:
    """Write the file, whole or not at all; the oldest attempts go when there are many."""
    body = json.dumps(plain(tuple(attempts)[-MOST:]), indent=1, sort_keys=True) + "\n"
    shell = (
        f"umask 077; mkdir -p {PATH.rpartition('/')[0]} && cat >{PATH}.new && "
        f"sync {PATH}.new && mv -f {PATH}.new {PATH}"
    )
    return Command("keep history", shell, body.encode())

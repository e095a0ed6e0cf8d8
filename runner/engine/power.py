"""Switching a host's power, from the machine gpurun runs on."""

from __future__ import annotations

from runner.engine.observe import Hosts
from runner.hosts.errors import HostError
from runner.hosts.script import Command


def switch_power(here: Hosts, command: Command) -> None:
    """Run what switches a host's power.

    Args:
        here: this machine.

    Raises:
        HostError: it failed, or did not end in time.
    """
    result = here.look([command])[command.key]
    if result.rc == 0 and not result.timed_out:
        return
    ended = f"exited {result.rc}"
    if result.timed_out:
        ended = f"did not end within {command.timeout:g} s and was ended"
    said = f": {result.error_text[-500:]}" if result.error_text else ""
    raise HostError(
        f"the command that switches the power {ended}{said}",
        "Whether the power was cut is not known: look at the host's BMC.",
    )

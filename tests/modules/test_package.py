"""`package`: the manager that the host has does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from runner.hosts.script import Command, Result
from runner.modules.base import Context, Outcome, Unknown
from runner.modules.package import Package, PackageArguments
from tests.modules.cases import FIXTURES

CONTEXT = Context("gpu1")


def printed(fixture: str) -> str:
    """What a fixture's look printed."""
    written: Any = yaml.safe_load((FIXTURES / Path(f"{fixture}.yaml")).read_text())
    return str(written["observed"][0]["stdout"])


def plan(arguments: dict[str, Any], **looks: str) -> Outcome:
    """The answer on a host with these managers, by what their looks print."""
    args = PackageArguments.model_validate(arguments)
    observed = {}
    for probe in Package().probes(args, CONTEXT):
        manager = probe.key.removeprefix("package:").partition(":")[0]
        text = looks.get(manager)
        missing = text is None and manager in ("apt", "dnf")
        observed[probe.key] = probe.parse(Result(127 if missing else 0, (text or "").encode()))
    outcome = Package().plan(args, observed, CONTEXT)
    after = observed | {k: v for change in outcome.changes for k, v in change.overlay.items()}
    assert Package().plan(args, after, CONTEXT).changes == ()
    return outcome


def first_command(outcome: Outcome) -> str:
    command = outcome.changes[0].do[0]
    assert isinstance(command, Command)
    return command.shell


def test_apt_where_it_is_else_dnf() -> None:
    four = ["nvidia-container-toolkit", "nvidia-container-toolkit-base"]
    wanted = {"name": four, "version": "1.17.0", "hold": True}
    with_dnf = plan(wanted, dnf=printed("dnf/install_and_lock"))
    assert "dnf -y" in first_command(with_dnf)
    gone = {"name": "tool", "state": "absent"}
    apt = "== arch amd64\ndpkg:amd64 1.22.6 install installed\n"
    assert plan(gone, apt=apt, dnf="== installed\ntool 0:2.0-1\n").changes == (), "apt has it not"


def test_a_host_with_neither_is_unknown() -> None:
    with pytest.raises(Unknown, match="neither apt nor dnf"):
        plan({"name": "tool"})
    with pytest.raises(Unknown, match="name a version"):
        plan({"name": "tool", "state": "latest"}, dnf="")


def test_what_a_manager_refuses_is_a_mistake_of_the_task() -> None:
    with pytest.raises(ValidationError, match="neither NAME nor"):
        PackageArguments.model_validate({"name": "a b"})

"""cuda-compatibility.yaml: does an image's CUDA run on a host's driver?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runner.engine.planner import plan_host
from runner.engine.planning import HostPlan
from runner.engine.subject import Subject
from runner.errors import Origin
from runner.inventory.model import Host
from runner.playbook.load import load_playbook
from tests.driver.states import UPGRADED, WORKING, host

PLAYBOOK = Path(__file__).parents[2] / "playbooks" / "cuda-compatibility.yaml"


def planned(cuda: str, driver: str = "", mismatch: bool = False) -> HostPlan:
    (play,) = load_playbook(PLAYBOOK).plays
    state = UPGRADED if mismatch else replace(WORKING, loaded=driver, installed=driver)
    subject = Subject(
        Host("gpu1", "192.0.2.1", Origin("hosts.yaml")), play, PLAYBOOK, {"cuda": cuda}
    )
    plan = plan_host(subject, host(state))
    assert isinstance(plan, HostPlan)
    assert not plan.pending
    return plan


@pytest.mark.parametrize(
    ("cuda", "driver", "answer"),
    [
        ("12.4", "550.54.14", "driver 550.54.14: CUDA 12.4 runs"),
        ("11.8", "570.86.15", "driver 570.86.15: CUDA 11.8 runs"),
        ("12.4.1", "550.90.07", "driver 550.90.07: CUDA 12.4.1 runs"),
        (
            "12.4",
            "535.54.03",
            "CUDA 12.4 runs by minor version compatibility only, it came with driver 550.54.14",
        ),
        ("12.99", "570.86.15", "with which driver it came is not in the table"),
    ],
)
def test_it_runs(cuda: str, driver: str, answer: str) -> None:
    plan = planned(cuda, driver)
    assert plan.problem is None
    (said,) = [message for step in plan.steps for message in step.messages]
    assert said.endswith(answer)


@pytest.mark.parametrize(
    ("cuda", "driver", "why"),
    [
        ("13.0", "570.86.15", "the driver is 570.86.15, and CUDA 13 needs 580"),
        ("12.0", "525.60.12", "the driver is 525.60.12, and CUDA 12 needs 525.60.13"),
        ("9.2", "570.86.15", "CUDA 9.2 is not in vars/cuda-drivers.yaml"),
        ("12", "570.86.15", "write it as 12.4"),
    ],
)
def test_it_does_not_run(cuda: str, driver: str, why: str) -> None:
    assert why in str(planned(cuda, driver).problem)


def test_a_driver_that_does_not_work_is_said() -> None:
    assert "mismatch" in str(planned("12.4", mismatch=True).problem)

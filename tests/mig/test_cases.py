"""One file per case: arguments and observed GPUs -> calls, refusal, or no change at all.

Each change is also planned again on its own overlay, and must then be none. `used` names instances
with a process on them, `files` what the playbook can read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.facts.nvidia import GPUS_KEY, Gpu, Gpus, Instance, Process
from runner.hosts.script import Command
from runner.lab.gpu.models import MODELS
from runner.lab.gpu.placement import instance_id
from runner.modules.base import Context, Disruption, Outcome, Refused, Risk, Unknown
from runner.modules.mig import Mig, MigArguments
from runner.modules.mig_at_boot import KEPT_KEY, Kept

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def instance(model: str, text: str) -> Instance:
    """PROFILE@START; a "!" after it: without compute instance."""
    name, _, start = text.rstrip("!").partition("@")
    profile = MODELS[model].profile(name)
    assert profile is not None
    compute = () if text.endswith("!") else (name,)
    number = instance_id(MODELS[model], profile, int(start))
    return Instance(name, f"{start}:{profile.size}", number, compute)


def gpu(index: int, case: dict[str, Any]) -> Gpu:
    model = MODELS[case["model"]]
    capable = case.get("capable", bool(model.profiles))
    mig = case.get("mig", False if capable else None)
    instances = tuple(instance(case["model"], text) for text in case.get("instances", ()))
    used = [instance(case["model"], text).id for text in case.get("used", ())]
    return Gpu(
        index=index,
        uuid=f"GPU-{index}",
        product=model.product,
        pci=f"00000000:0{index}:00.0",
        device=model.device,
        memory=model.memory,
        mig_capable=capable,
        mig_mode_current=mig,
        mig_mode_pending=case.get("pending", mig),
        instances=instances,
        processes=tuple(Process(100 + number, "train", number) for number in used),
    )


def plan(case: dict[str, Any], observed: dict[str, Any]) -> Outcome:
    context = Context(host="gpu1", read=lambda name: str(case["files"][name]).encode())
    return Mig().plan(MigArguments(**case["arguments"]), observed, context)


def calls(commands: Any) -> list[str]:
    """The last lines of each command: what is called, the functions left out."""
    lines: list[str] = []
    for command in commands:
        assert isinstance(command, Command)
        lines += command.shell.rpartition("\n}\n")[2].splitlines()
    return lines


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    gpus = Gpus([gpu(index, one) for index, one in enumerate(case["gpus"])], case.get("reason", ""))
    kept = Kept({f"GPU-{index}": text for index, text in case.get("kept", {}).items()}, unit=True)
    observed = {GPUS_KEY: gpus, KEPT_KEY: kept}
    for expected, kind in (("refused", Refused), ("unknown", Unknown)):
        if expected in case:
            with pytest.raises(kind) as raised:
                plan(case, observed)
            assert str(raised.value) == case[expected]
            return
    outcome = plan(case, observed)
    if "summary" not in case:
        assert outcome.changes == ()
        return
    (change,) = outcome.changes
    assert change.summary == case["summary"]
    assert calls(change.do) == case["calls"]
    if "undo" in case:
        assert calls(change.undo) == case["undo"]
    disruption = Disruption.NONE if case.get("disturbs") is False else Disruption.GPU
    assert (change.risk, change.disruption) == (Risk.HIGH, disruption)
    again = plan(case, {**observed, **change.overlay})
    assert again.changes == ()
    assert again.result == outcome.result

"""The fact `fabric_manager`."""

from __future__ import annotations

import pytest

from runner.facts.fabric_manager import FabricManager, parse_fabric_manager
from runner.hosts.script import Result
from runner.modules.base import Unknown

REFUSES = (
    "fabric manager NVIDIA GPU driver interface version 570.86.15 don't match with driver version "
    "550.90.07. Please update with matching NVIDIA driver package."
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("switches 0\n", FabricManager()),
        ("switches 4\n", FabricManager(switches=4)),
        (
            "switches 4\nversion Fabric Manager version is : 535.161.08\nactive\nenabled\n"
            "said Successfully configured all the available NVSwitches.\n",
            FabricManager(
                "535.161.08", True, True, 4, "Successfully configured all the available NVSwitches."
            ),
        ),
        (
            f"switches 6\nversion Fabric Manager version is : 570.86.15\nenabled\nsaid {REFUSES}\n",
            FabricManager("570.86.15", False, True, 6, REFUSES),
        ),
    ],
    ids=["none", "not installed", "runs", "refuses"],
)
def test_what_the_look_prints(text: str, found: FabricManager) -> None:
    assert parse_fabric_manager(Result(0, text.encode())) == found


@pytest.mark.parametrize(
    "result",
    [Result(1, b""), Result(0, b""), Result(0, b"switches 4\nversion Segmentation fault\n")],
    ids=["failed", "nothing", "no version"],
)
def test_what_is_not_understood_is_unknown(result: Result) -> None:
    with pytest.raises(Unknown, match="the fabric manager is not known"):
        parse_fabric_manager(result)

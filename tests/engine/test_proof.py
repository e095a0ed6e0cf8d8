"""Why a change failed, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner.engine.proof import why
from runner.hosts.script import BlockResult, Command, Result
from runner.modules.base import Change
from tests.engine.plays import OneHost

OVER = Result(124, stderr=b"Setting up nvidia-dkms", timed_out=True)


def told(folder: Path, *commands: Command) -> str:
    """What is said where the last of some commands took too long."""
    step = OneHost(folder, "- hosts: all\n  tasks:\n    - shell: x\n").plan().steps[0]
    step = replace(step, changes=(Change("packages", commands),))
    return why(step, 0, BlockResult("x", "failed", None, (*[Result(0)] * len(commands[1:]), OVER)))


def test_a_step_that_took_too_long_is_named_with_its_last_words(tmp_path: Path) -> None:
    fetch, install = Command("fetch", "x", timeout=60), Command("install", "x", timeout=45)
    assert told(tmp_path, fetch, install) == (
        "its step 'install' did not end within 45 s and was ended (the task's 'timeout' sets how "
        "long it may take): Setting up nvidia-dkms"
    )
    assert told(tmp_path, fetch).startswith("did not end within 60 s and was ended")

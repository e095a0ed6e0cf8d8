"""`pause`: wait for some time between two changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, model_validator

from runner.modules.base import Arguments, Context, HostWait, Module, Outcome, Probe


class PauseArguments(Arguments):
    seconds: float | None = Field(None, ge=0, description="How long.")
    minutes: float | None = Field(None, ge=0, description="How long; added to `seconds`.")

    @model_validator(mode="after")
    def _some_time(self) -> PauseArguments:
        if self.seconds is None and self.minutes is None:
            raise ValueError(
                "give seconds or minutes; there is no prompt: apply asks before it begins"
            )
        return self

    @property
    def total(self) -> float:
        """Seconds."""
        return (self.seconds or 0.0) + 60 * (self.minutes or 0.0)


class Pause(Module[PauseArguments]):
    """Waits for some time. Changes nothing, and never asks.

    A plan says how long it would wait. On a host where nothing is to be changed nothing is waited
    for. Where something can be seen, `wait_for` is better: it ends as soon as it is so.
    """

    name = "pause"
    arguments = PauseArguments
    changes_nothing = True
    examples = (
        """\
- name: the fabric manager needs a moment for its first topology scan
  pause:
    seconds: 20
""",
    )

    def probes(self, args: PauseArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(self, args: PauseArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        if not args.total:
            return Outcome()
        return Outcome(waits=(HostWait(f"{args.total:g} s have passed", delay=args.total),))

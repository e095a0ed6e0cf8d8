"""`xid_record`: what is done about XIDs, kept on the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from runner.facts import xid_history
from runner.facts.xid_history import HISTORY_KEY, PATH, Attempt
from runner.modules.base import Arguments, Change, Context, Module, Outcome, Probe


class RecordedAttempt(BaseModel):
    """One remedy of one GPU, as `xid_remedy` registers it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpu: str = Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}$")
    code: int
    action: str = Field(pattern="^(reset_gpu|reboot|power_cycle)$")
    boot_id: str
    upto: float
    when: int


class XidRecordArguments(Arguments):
    attempts: tuple[RecordedAttempt, ...] = Field(
        description="What `xid_remedy` registered under this name."
    )
    done: StrictBool = Field(
        False, description="True: the remedy has succeeded; the reports it was for are settled."
    )


class XidRecord(Module[XidRecordArguments]):
    """Keeps on the node what is done about an XID, in `/var/lib/gpurun/xids.json`.

    Written before a remedy, it counts even if the remedy is broken off, so that the next run takes
    the next rung of the ladder; `done` afterwards settles the reports of the kernel log that the
    remedy was for. A reboot needs no `done`: it begins a new log.
    """

    name = "xid_record"
    arguments = XidRecordArguments
    examples = (
        """\
- name: the reset counts
  xid_record:
    attempts: "{{ remedy.attempts }}"
""",
    )

    def probes(self, args: XidRecordArguments, context: Context) -> Sequence[Probe]:
        return (xid_history.history_probe(context.become),)

    def plan(
        self, args: XidRecordArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        before: tuple[Attempt, ...] = observed[HISTORY_KEY]
        known = {attempt.key: attempt for attempt in before}
        for recorded in args.attempts:
            attempt = Attempt(**recorded.model_dump())
            known.setdefault(attempt.key, attempt)
            if args.done:
                known[attempt.key] = replace(known[attempt.key], done=True)
        after = tuple(known.values())
        if after == before:
            return Outcome()
        what = ", ".join(_shown(one) for one in args.attempts)
        return Outcome(
            (
                Change(
                    summary=f"keep on the node: {what}{' has succeeded' if args.done else ''}",
                    do=(xid_history.keep(after),),
                    before={"path": PATH, "attempts": len(before)},
                    after={"path": PATH, "attempts": len(after)},
                    overlay={HISTORY_KEY: after[-xid_history.MOST :]},
                ),
            )
        )


def _shown(one: RecordedAttempt) -> str:
    return f"{one.action.replace('_', ' ')} of GPU {one.gpu} for XID {one.code}"

"""`fail`: stop here, with a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Refused


class FailArguments(Arguments):
    msg: str = Field(
        "Failed as requested from task", description="Why, and what a person should do about it."
    )


class Fail(Module[FailArguments]):
    """Refuses a host, with a message; `when` says which.

    A plan refuses it too, so no host is touched that would come to this task. Where its condition
    is only known after a change, the run ends there. For conditions alone `assert` is shorter.
    """

    name = "fail"
    arguments = FailArguments
    free_form = "msg"
    changes_nothing = True
    examples = (
        """\
- name: only data centre GPUs
  fail:
    msg: this playbook is not for GeForce cards
  when: facts.gpus | selectattr('product', 'search', 'GeForce') | list
""",
    )

    def probes(self, args: FailArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(self, args: FailArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        raise Refused(args.msg)

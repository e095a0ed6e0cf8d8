"""`assert`: conditions that must hold, with a message that says what to do when they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator

from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Refused


class AssertArguments(Arguments):
    that: tuple[str, ...] = Field(
        description="Condition or list of conditions, written as in `when`."
    )
    msg: str = Field("", description="Shown when a condition does not hold: why it matters.")
    fail_msg: str = Field("", description="The same as `msg` (Ansible's name).")
    success_msg: str = Field("", description="Shown when all conditions hold.")
    quiet: bool = Field(
        False, description="Accepted, without effect: conditions that hold are never listed."
    )

    @field_validator("that", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        """One or many; `that: false` and `that: "{{ ready }}"` arrive as booleans."""
        many = value if isinstance(value, list | tuple) else [value]
        return [str(item).lower() if isinstance(item, bool) else item for item in many]

    @property
    def message(self) -> str:
        return self.msg or self.fail_msg


def check(results: Sequence[tuple[str, bool]], msg: str = "") -> Outcome:
    """Judge evaluated conditions.

    Args:
        results: each expression as written and whether it holds.
        msg: the task's own words for a failure.

    Raises:
        Refused: with the task's own words, else naming every expression that does not hold.
    """
    failed = [expression for expression, holds in results if not holds]
    if not failed:
        return Outcome()
    raise Refused(msg or f"does not hold: {'; '.join(failed)}")


class Assert(Module[AssertArguments]):
    """Stops a host whose facts, variables or results are not as they must be.

    Every condition that does not hold is named, unless `msg` says it better. A condition on a value
    that is not known is not true: the host is refused. Nothing is changed, so an assert may stand
    in `preconditions` and in `verify`.
    """

    name = "assert"
    arguments = AssertArguments
    changes_nothing = True
    examples = (
        """\
- name: the GPU can be partitioned
  assert:
    that: facts.gpus | selectattr('mig_capable') | list | length > 0
    msg: no GPU of this node supports MIG
""",
        """\
- name: the new runtime answers
  assert:
    that:
      - runtime.rc == 0
      - "'nvidia' in runtime.stdout"
""",
    )

    def probes(self, args: AssertArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(self, args: AssertArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        """The engine evaluates `that` and leaves in it what does not hold."""
        outcome = check([(expression, False) for expression in args.that], args.message)
        return replace(outcome, messages=(args.success_msg,)) if args.success_msg else outcome

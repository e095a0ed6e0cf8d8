"""`set_fact`: variables for later tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, model_validator

from runner.modules.base import Arguments, Context, Module, Outcome, Probe

_TAKEN = ("facts", "groups", "hostvars", "inventory_hostname", "item")


class SetFactArguments(Arguments):
    """Any name with any value."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="after")
    def _names(self) -> SetFactArguments:
        names = list(self.model_extra or {})
        if not names:
            raise ValueError("names no variable; write NAME: value under it")
        if "cacheable" in names:
            raise ValueError("cacheable is not offered: what is set lasts for this run")
        for name in names:
            if not name.isidentifier() or name in _TAKEN:
                raise ValueError(
                    f"{name!r} cannot be a variable's name; use letters, digits and _, not "
                    f"beginning with a digit, and none of {', '.join(_TAKEN)}"
                )
        return self


class SetFact(Module[SetFactArguments]):
    """Sets variables of the host for the tasks that follow, also in handlers, `verify` and later
    plays of the run. Changes nothing.

    A value is worked out once, when the task's turn comes, and stays as it is. One that depends
    on a change not made yet is known after that change, and so is what uses it. Values are data:
    text that a host printed is never evaluated.
    """

    name = "set_fact"
    arguments = SetFactArguments
    changes_nothing = True
    examples = (
        """\
- name: what this node shall have
  set_fact:
    wanted_profile: "{{ '1g.10gb' if facts.gpus | length > 1 else '2g.20gb' }}"
    gpu_count: "{{ facts.gpus | length }}"
""",
    )

    def probes(self, args: SetFactArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: SetFactArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        values = {name: _data(value) for name, value in (args.model_extra or {}).items()}
        return Outcome(result={"ansible_facts": values})


def _data(value: Any) -> Any:
    """Plain data: nothing in it is a template any more."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {_data(key): _data(item) for key, item in value.items()}
    return [_data(item) for item in value] if isinstance(value, list | tuple) else value

"""`debug`: show a message or a variable."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator, model_validator

from runner.modules.base import Arguments, Context, Module, Outcome, Probe, Refused

_VARIABLE = re.compile(r"""[A-Za-z_]\w*(\.\w+|\[\d+\]|\['[^'\\]*'\]|\["[^"\\]*"\])*""")


class DebugArguments(Arguments):
    msg: Any = Field(None, description="Text, or any value, to show.")
    var: str = Field(
        "", description="A variable to show, like `facts.os` or `look.stdout_lines[0]`."
    )

    @field_validator("var")
    @classmethod
    def _only_a_name(cls, value: str) -> str:
        # An expression could come from host output; a name cannot do anything.
        if value and not _VARIABLE.fullmatch(value):
            raise ValueError(
                f"{value!r} is not a variable; for an expression use msg: '{{{{ … }}}}'"
            )
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> DebugArguments:
        if (self.msg is None) == (not self.var):
            raise ValueError("give either msg or var")
        return self


class Debug(Module[DebugArguments]):
    """Shows a message or a variable while planning and applying. Changes nothing."""

    name = "debug"
    arguments = DebugArguments
    free_form = "msg"
    changes_nothing = True
    examples = (
        """\
- debug: "{{ inventory_hostname }} runs kernel {{ facts.kernel.release }}"
""",
        """\
- name: what is installed
  debug:
    var: facts.packages
""",
    )

    def probes(self, args: DebugArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(self, args: DebugArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        if not args.var:
            return Outcome(messages=_lines(args.msg))
        if context.template is None:
            raise Refused(f"variables cannot be read here: {args.var}")
        value = json.loads(context.template(f"{{{{ {args.var} | tojson }}}}", "debug"))
        first, *more = _json(value)
        return Outcome(messages=(f"{args.var} = {first}", *more))


def _lines(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.splitlines()) or ("",)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return _json(value)


def _json(value: Any) -> tuple[str, ...]:
    return tuple(json.dumps(value, indent=2, ensure_ascii=False, default=str).splitlines())

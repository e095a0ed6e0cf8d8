"""Unquoted values that YAML 1.1 reads in a way people do not expect.

gpurun takes them as they are written, or refuses them; other readers of the same file (Ansible,
kubectl, an editor) do not. Quotes make all agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from runner.errors import Origin, Problem
from runner.playbook.source import compose

_SUSPECT = re.compile(r"(?im)[:\-,\[]\s+(0[0-7_]+|\d+(:[0-5]?\d)+|yes|no|on|off|y|n)\s*($|[#,\]}])")
_OCTAL = re.compile(r"[-+]?0[0-7_]+$")
_SEXAGESIMAL = re.compile(r"[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+$")
_WORDS = re.compile(r"(?i)(yes|no|on|off)$")


def surprises(text: str, file: str, variables: bool = False) -> list[Problem]:
    """Octal numbers and base-60 numbers anywhere; yes, no, on and off where it is open what is
    wanted: in variables.

    Args:
        variables: the file holds variables, no plays.
    """
    if not _SUSPECT.search(text):
        return []
    return [
        Problem(message, Origin(file, mark.line + 1, mark.column + 1), hint, "warning")
        for node in compose(text)
        for message, mark, hint in _found(node, variables)
    ]


def _found(node: Any, variables: bool) -> Iterator[tuple[str, Any, str]]:
    if node.id == "mapping":
        for key, value in node.value:
            yield from _found(value, variables or key.value == "vars")
    elif node.id == "sequence":
        for item in node.value:
            yield from _found(item, variables)
    elif not node.style and (meaning := _meaning(node.value, variables)):
        yield f"{node.value} without quotes is {meaning}", node.start_mark, f'Write "{node.value}".'


def _meaning(text: str, variables: bool) -> str:
    """What a reader of YAML 1.1 makes of plain text, where that surprises."""
    if _OCTAL.match(text):
        return f"the number {int(text.replace('_', ''), 8)} for other readers of YAML"
    if _SEXAGESIMAL.match(text):
        total = 0
        for part in text.replace("_", "").split(":"):
            total = total * 60 + int(part)
        return f"the number {total} for other readers of YAML"
    if variables and _WORDS.match(text):
        return f"{'true' if text.lower() in ('yes', 'on') else 'false'}, not text"
    return ""

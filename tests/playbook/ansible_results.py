"""Evaluates expressions with Ansible's own templating, as a program of its own.

Reads JSON from stdin: {"variables": ..., "values": [expression, ...], "conditions": [...]}. Prints
what Ansible gives for each, {"value": ...} or {"error": "..."}, in lists of the same names.
Importing Ansible takes a second and changes the process, so tests run this once, apart.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any


def plain(value: Any) -> Any:
    """A value of Ansible as JSON can hold it; tuples are lists, dates their texts."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | range):
        return [plain(item) for item in value]
    if isinstance(value, datetime.datetime | datetime.timedelta):
        return str(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def outcome(give: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": plain(give())}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def main() -> None:
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.template import Templar, trust_as_template
    from ansible.utils.display import Display

    Display.warning = Display.deprecated = lambda *_, **__: None
    asked = json.load(sys.stdin)
    init_plugin_loader()
    templar = Templar(loader=DataLoader(), variables=asked["variables"])

    def value(text: str) -> Any:
        return templar.template(trust_as_template("{{ " + text + " }}"))

    def condition(text: str) -> Any:
        return templar.evaluate_conditional(trust_as_template(text))

    answers = {
        "values": [outcome(partial(value, text)) for text in asked["values"]],
        "conditions": [outcome(partial(condition, text)) for text in asked["conditions"]],
    }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()

"""Evaluates expressions with Ansible's own templating, as a program of its own.

Reads JSON from stdin, [[expression, variables], ...], and prints a JSON list of what Ansible gives:
{"value": ...} or {"error": "..."}. Importing Ansible takes a second and changes the process, so
tests run this once, apart.
"""

from __future__ import annotations

import datetime
import json
import sys
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


def main() -> None:
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.template import Templar, trust_as_template
    from ansible.utils.display import Display

    Display.warning = Display.deprecated = lambda *_, **__: None
    init_plugin_loader()
    loader = DataLoader()
    results = []
    for expression, variables in json.load(sys.stdin):
        try:
            templar = Templar(loader=loader, variables=variables)
            text = trust_as_template("{{ " + expression + " }}")
            results.append({"value": plain(templar.template(text))})
        except Exception as error:
            results.append({"error": f"{type(error).__name__}: {error}"[:300]})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()

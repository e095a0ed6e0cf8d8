"""What ansible-core makes of inventories: run as a program, it answers many questions at once.

Reads lines of JSON from stdin, each with `folder` and `arguments` of ansible-inventory,
or with `folder`, `sources` and `patterns`; prints a line of JSON for each.
Every question is answered in a forked child, as ansible-core keeps much in its modules; what is
slow is to import it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any


def show(arguments: list[str]) -> str:
    """What ansible-inventory prints."""
    from ansible.cli.inventory import InventoryCLI

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        InventoryCLI(["ansible-inventory", *arguments]).run()
    return printed.getvalue()


def choose(sources: list[str], patterns: list[str]) -> list[list[str] | None]:
    """The hosts of each pattern; None where Ansible refuses it."""
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader

    inventory = InventoryManager(DataLoader(), sources)
    found: list[list[str] | None] = []
    for pattern in patterns:
        try:
            found.append([host.name for host in inventory.get_hosts(pattern)])
        except AnsibleError:
            found.append(None)
    return found


def answer(question: dict[str, Any]) -> Any:
    os.chdir(question["folder"])
    if "patterns" in question:
        return choose(question["sources"], question["patterns"])
    return show(question["arguments"])


def main() -> None:
    import ansible.cli.inventory
    import ansible.inventory.manager  # noqa: F401 - imported once, before the children

    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                json.dump(answer(json.loads(line)), pipe)
                pipe.flush()
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            print(pipe.read() or "null", flush=True)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()

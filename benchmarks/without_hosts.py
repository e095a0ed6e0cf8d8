"""python -m benchmarks.without_hosts WORDS...: gpurun whose hosts answer at once.

Nothing is run on them: every look finds that no process holds a GPU. What is left is gpurun and the
cluster's API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.engine import run as engine
from runner.hosts.script import Command, Result
from runner.inventory.model import Host

_NOBODY = b"all\nend\n"
"""What the look for processes that hold GPUs prints where there are none."""


class AnswersAtOnce:
    """Stands for the connection to a host."""

    def __init__(self, host: Host, **_: Any) -> None:
        self.host = host

    def open(self) -> None: ...
    def close(self) -> None: ...

    def look(self, commands: Sequence[Command]) -> dict[str, Result]:
        """Every command prints the same, and succeeds."""
        return {command.key: Result(0, _NOBODY) for command in commands}


if __name__ == "__main__":
    from runner.cli.main import main

    setattr(engine, "Connection", AnswersAtOnce)  # noqa: B010
    main()

"""Programs of a fake host that the test process answers for: a Python process for each call would
take 50 ms."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ASK = """\
#!/bin/sh
cd '{folder}' || exit 99
for word in {name} "$@"; do printf '%s\\0' "$word"; done >request
read -r rc <reply
cat err >&2
cat out
exit "$rc"
"""

Answer = tuple[int, str, str]
"""Exit code, standard output, standard error."""


def answer_for(
    names: Iterable[str], folder: Path, answer: Callable[[str, Sequence[str]], Answer]
) -> Path:
    """A folder of programs with these names, for PATH; one is called at a time.

    Args:
        folder: where it and the pipes to this process are made.
        answer: given a program's name and its arguments.
    """
    programs, pipes = folder / "bin", folder / "pipes"
    programs.mkdir(parents=True, exist_ok=True)
    pipes.mkdir()
    for name in names:
        (programs / name).write_text(ASK.format(folder=pipes, name=name))
        (programs / name).chmod(0o755)
    for name in ("request", "reply"):
        os.mkfifo(pipes / name)
    threading.Thread(target=_answer, args=(pipes, answer), daemon=True).start()
    return programs


def _answer(pipes: Path, answer: Callable[[str, Sequence[str]], Answer]) -> None:
    """Answer the calls one after the other, as long as the test process lives."""
    while True:
        name, *arguments = (pipes / "request").read_bytes().decode().split("\0")[:-1]
        code, out, err = answer(name, arguments)
        (pipes / "out").write_text(out)
        (pipes / "err").write_text(err)
        (pipes / "reply").write_text(f"{code}\n")

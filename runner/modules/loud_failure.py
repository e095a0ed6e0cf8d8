"""Shell commands that are silent unless they fail, as those of package tools."""

from __future__ import annotations

OUTPUT = '"$o"'
"""In the command: the file with all that it has printed so far."""


def loud_failure(command: str, lines: int = 15, also: str = "") -> str:
    """The command; where it fails, the last lines of all it printed are shown on stderr.

    A package tool names the failed package on stderr, but maintainer scripts say why on stdout.
    What it said is also shown where it takes too long and is ended: timeout(1) sends TERM to both,
    and waits some seconds for what the command still has to do.

    Args:
        lines: how many of the last.
        also: a pipeline that takes more out of the output, shown after them.
    """
    said = f'tail -n {lines} "$o" >&2'
    more = f'\ncat "$o" | {also} >&2' if also else ""
    return (
        "o=$(mktemp -p /run 2>/dev/null || mktemp) || exit 1\n"
        "trap 'rm -f \"$o\"' EXIT\n"
        f"trap '{said}; wait $!; exit 143' TERM\n"
        f'{command} >"$o" 2>&1 &\n'
        f"wait $! && exit 0\n"
        f"rc=$?; {said}{more}; exit $rc"
    )

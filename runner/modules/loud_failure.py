"""Shell commands that are silent unless they fail, as those of package tools."""

from __future__ import annotations


def loud_failure(command: str, lines: int = 15, also: str = "") -> str:
    """The command; where it fails, the last lines of all it printed are shown on stderr.

    A package tool names the failed package on stderr, but maintainer scripts say why on stdout.

    Args:
        lines: how many of the last.
        also: a pipeline that takes more out of the output, shown after them.
    """
    more = f"\nprintf '%s\\n' \"$out\" | {also} >&2" if also else ""
    return (
        f"out=$({command} 2>&1) && exit 0\n"
        f"rc=$?; printf '%s\\n' \"$out\" | tail -n {lines} >&2{more}; exit $rc"
    )

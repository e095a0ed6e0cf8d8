"""A kernel parameter as it is now, read from /proc/sys as sysctl(8) does."""

from __future__ import annotations

from functools import partial
from shlex import quote

from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

_SWAPPED = str.maketrans("./", "/.")


def proc_path(name: str) -> str:
    """The file of a parameter. What stands first, "." or "/", separates the parts (sysctl.d(5))."""
    separator = next((each for each in name if each in "./"), "/")
    return "/proc/sys/" + (name.translate(_SWAPPED) if separator == "." else name)


def plain(value: str) -> str:
    """A value as it is compared: the kernel separates by tabs what files separate by blanks."""
    return " ".join(value.split())


def key(name: str) -> str:
    """The probe key of a parameter."""
    return f"sysctl:{proc_path(name)}"


def probe(name: str, become: bool) -> Probe:
    """Look at one parameter: its value, or None where this kernel does not have it."""
    path = quote(proc_path(name))
    shell = f"export LC_ALL=C\nif [ -e {path} ]; then echo value; cat -- {path}; else echo none; fi"
    return Probe(key(name), shell, partial(parse, name), become=become)


def parse(name: str, result: Result) -> str | None:
    """What the probe printed."""
    first, _, rest = result.text.partition("\n")
    if result.rc != 0 or first not in ("value", "none"):
        why = result.stderr.decode("utf-8", "replace").strip() or f"exit {result.rc}"
        raise Unknown(f"kernel parameter {name}: its value cannot be read: {why}")
    return plain(rest) if first == "value" else None

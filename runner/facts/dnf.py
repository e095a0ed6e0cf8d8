"""What rpm and dnf say of some packages: installed, locked, and what a transaction would do.

Read from dnf 4 (RHEL 8 and 9): its table of a transaction has no form for machines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from shlex import quote
from typing import Literal

from runner.facts.apt import parts_of, status_of
from runner.hosts.script import Result
from runner.modules.base import Unknown

UNLOCKED = "--disableplugin=versionlock"
"""dnf as if nothing were locked; who locked what is asked for by itself."""


@dataclass(frozen=True, slots=True)
class RpmStep:
    """One line of a transaction; versions as epoch:version-release, "" for none."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """What dnf would do. `error` is its own words when it would refuse."""

    steps: tuple[RpmStep, ...] = ()
    downgraded: frozenset[str] = frozenset()
    error: str = ""


@dataclass(frozen=True, slots=True)
class RpmState:
    """Some packages of a host.

    Args:
        packages: name -> epoch:version-release, "" where it is not installed.
        locked: names with a version lock, where that was asked for; None: the plugin for it is not
            installed.
        transaction: what would be done; None: all is as wanted.
    """

    packages: Mapping[str, str]
    locked: frozenset[str] | None = frozenset()
    transaction: Transaction | None = None
    missing: tuple[str, ...] = ()
    """Names that are not as wanted."""


_LOOK = """\
export LC_ALL=C
command -v rpm >/dev/null && command -v dnf >/dev/null || exit 127
evr='%{{NAME}} %{{EPOCHNUM}}:%{{VERSION}}-%{{RELEASE}}\\n'
echo '== installed'
rpm -q --qf "$evr" -- {names}
missing=
for s in {specs}; do rpm -q -- "$s" >/dev/null 2>&1 {present} missing="$missing $s"; done
[ -n "${{missing}}{locks}" ] || exit 0
echo '== locks'
dnf -q -C --disablerepo='*' versionlock list 2>&1
echo "== locked $?"
[ -n "$missing" ] || exit 0
printf '== missing\\n%s\\n' "$missing"
echo '== all'
rpm -qa --qf "$evr"
echo '== simulation'
dnf -C --assumeno {unlocked} {flags} {verb} -- $missing 2>&1
echo "== ended $?"
exit 0
"""
# -C: a look goes to no server, and what the host knows may be old. With -q there is no table. Locks
# are listed also where the lists of a repository are missing.


def look(state: Literal["present", "absent"], wanted: Mapping[str, str], flags: str,
         locks: bool) -> str:  # fmt: skip
    """Shell that reads the packages and, unless all is as wanted, simulates what is missing.

    Args:
        wanted: name -> spec, as rpm and dnf take it: "name" or "name-version".
        locks: version locks are asked for in any case.
    """
    return _LOOK.format(
        names=" ".join(map(quote, wanted)),
        specs=" ".join(map(quote, wanted.values())),
        locks="asked" if locks else "",
        present="||" if state == "present" else "&&",
        unlocked=UNLOCKED,
        flags=flags,
        verb="install" if state == "present" else "remove",
    )


def parse(wanted: Mapping[str, str], result: Result) -> RpmState:
    """What `look` printed of these packages (name -> spec).

    Raises Unknown without rpm and dnf, and for output that is not known."""
    if result.rc == 127:
        raise Unknown("packages are not known: this host has no rpm and dnf")
    if result.rc != 0 or result.truncated or result.timed_out:
        raise Unknown(f"packages are not known: {result.error_text[-300:] or 'cut short'}")
    parts = parts_of(result.text)
    found = dict(_versions(parts.get("installed", [])))
    packages = {name: found.get(name, "") for name in wanted}
    patterns = _patterns(parts)
    if "missing" not in parts:
        return RpmState(packages, _locked(patterns, packages))
    if "ended" not in parts:
        raise Unknown("packages are not known: the look at dnf broke off")
    installed = dict(_versions(parts.get("all", [])))
    transaction = transaction_of(parts.get("simulation", []), status_of(parts), installed)
    missing = parts["missing"][0].split()
    left = tuple(name for name, spec in wanted.items() if spec in missing)
    names = {*packages, *installed, *(step.name for step in transaction.steps)}
    return RpmState(packages, _locked(patterns, names), transaction, left)


def _versions(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Lines "name epoch:version-release"; "package x is not installed" is none of these."""
    for line in lines:
        name, _, version = line.partition(" ")
        if " " not in version and ":" in version:
            yield name, version


def _patterns(parts: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """What `dnf versionlock list` printed; None: there is no such plugin. A line with spaces is a
    warning of dnf, and one that begins with ! keeps a version out."""
    said = parts.get("locks", [])
    if parts.get("locked", ["0"]) == ["0"]:
        return tuple(line for line in said if line and " " not in line and line[0] != "!")
    if any(line.startswith("No such command: versionlock") for line in said):
        return None
    raise Unknown(f"version locks are not known: {' '.join(said)[-300:] or 'dnf said nothing'}")


def _locked(patterns: Sequence[str] | None, names: Iterable[str]) -> frozenset[str] | None:
    """Which of these packages are locked, in whatever version."""
    if patterns is None:
        return None
    return frozenset(name for name in names if any(_is_of(name, each) for each in patterns))


def _is_of(name: str, pattern: str) -> bool:
    """Whether an entry may be of a package: "name-epoch:version-release.arch" as dnf writes it, or
    less of it and with wildcards, as a person may (`versionlock add --raw`)."""
    whole = (pattern, pattern.rpartition(".")[0])
    return any(
        fnmatchcase(name, each.rsplit("-", parts)[0])
        for each in whole
        if each
        for parts in (0, 1, 2)
    )


_ACTIONS = {
    "Installing": "new",
    "Upgrading": "new",
    "Downgrading": "down",
    "Reinstalling": "new",
    "Removing": "gone",
}
_HEADING = re.compile(r"(?P<word>[A-Z][a-z]+)(?: [a-z /]+)?:")
_FILTERED = "All matches were filtered out by "
_NO_KEYS = "You have enabled checking of packages via GPG keys"


def transaction_of(lines: Sequence[str], status: int, installed: Mapping[str, str]) -> Transaction:
    """dnf's table of a transaction, which it asks about and does not begin (exit 1)."""
    if error := _error(lines):
        return Transaction(error=error)
    if "Nothing to do." in lines:
        return Transaction()
    if "Operation aborted." not in lines or "Transaction Summary" not in lines:
        last = " ".join(lines[-3:])[:300]
        raise Unknown(f"what dnf would do is not known (exit {status}): {last}")
    steps: list[RpmStep] = []
    down: set[str] = set()
    for action, words in _rows(lines):
        name, _, version = words[:3]
        new = version if ":" in version else f"0:{version}"
        old = installed.get(name, "")
        steps.append(RpmStep(name, old, "" if action == "gone" else new))
        down |= {name} if action == "down" else set()
    return Transaction(tuple(steps), frozenset(down))


def _error(lines: Sequence[str]) -> str:
    """Why dnf would refuse, in its own words and with the filter that hides a package; "": it would
    not."""
    if any(line.startswith(_NO_KEYS) for line in lines):
        repository = next((n for n in lines if n.startswith("Problem repository:")), "")
        return (
            "a repository checks signatures (gpgcheck) and no key is known: import one (`rpm "
            f"--import`) or name it as its gpgkey. {repository}"
        ).strip()
    errors = [n for n, line in enumerate(lines) if line.startswith("Error:")]
    if not errors:
        return ""
    filtered = [line for line in lines[: errors[0]] if line.startswith(_FILTERED)]
    said = " ".join(" ".join([*lines[errors[0] :], *filtered]).split()).removeprefix("Error: ")
    return said.partition(" (try to add")[0]


def _advice(heading: str) -> str:
    streams = heading.endswith("module streams:")
    return "; choose the stream first (`dnf module enable`), this task does not" if streams else ""


def _rows(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each row with what happens to it: name, architecture, version, repository, size. A long name
    stands in a line of its own."""
    action = ""
    words: list[str] = []
    for line in lines[: lines.index("Transaction Summary")]:
        heading = _HEADING.fullmatch(line)
        if heading:
            if heading["word"] not in _ACTIONS:
                raise Unknown(f"what dnf would do is not known: it says {line!r}{_advice(line)}")
            action, words = _ACTIONS[heading["word"]], []
        elif action and line.startswith("     replacing "):
            name = line.split()[1].rpartition(".")[0]
            yield "gone", [name, "", "0", "", ""]
        elif action and line.startswith(" "):
            words += line.split()
            if len(words) >= 5:
                yield action, words
                words = []

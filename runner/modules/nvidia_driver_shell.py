"""The commands of `nvidia_driver`, as POSIX sh for apt and dpkg."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote

from runner.facts.apt import FLAGS
from runner.facts.driver_packages import ALLOW, FAMILY, OTHER
from runner.modules.apt import FAST_LOG, KEEP_FILES, NO_TERMINAL, QUIET
from runner.modules.loud_failure import loud_failure

MERGE_JOURNAL = "dpkg --set-selections </dev/null || :"
"""What a dpkg that was ended has noted becomes its state, without which apt does nothing; unlike
`dpkg --configure -a` it runs no maintainer script, which may be what hung."""

REPAIR = f"{QUIET} dpkg --configure -a --force-confdef --force-confold || :"


def says_why(command: str) -> str:
    """dkms says why in the middle of all that dpkg has to say afterwards."""
    return loud_failure(command, lines=12, also="grep -A 2 'Error!' | head -n 6")


def install_words(flags: Sequence[str], specs: Iterable[str]) -> str:
    words = [ALLOW, *flags, "install", "--"]
    text = " ".join([*words, *map(quote, specs)])
    return f"{QUIET} apt-get {FLAGS} {FAST_LOG} {KEEP_FILES} {NO_TERMINAL} {text}"


def guard(versions: Mapping[str, str]) -> str:
    """The driver's packages are as observed."""
    lines = "".join(sorted(f"{name}={version}\n" for name, version in versions.items()))
    return _GUARD.format(
        family=FAMILY, other=OTHER, digest=hashlib.sha256(lines.encode()).hexdigest()
    )


_GUARD = """\
export LC_ALL=C
seen=$(dpkg-query -W -f='${{Package}}=${{Version}} ${{db:Status-Status}}\\n' |
  grep -E '^({family})' | grep -Ev '^{other}| (not-installed|config-files)$' |
  cut -d ' ' -f 1 | sort -u | sha256sum)
[ "${{seen%% *}}" = {digest} ]"""

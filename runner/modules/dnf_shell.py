"""The commands of `dnf`, as POSIX sh: what dnf itself does not take care of."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from runner.modules.loud_failure import OUTPUT, loud_failure

_TRIES, _PAUSE = 24, 5
"""Two minutes for dnf-automatic or another dnf to end, as apt-get is given."""

AS_PLANNED = "--setopt=*.metadata_expire=-1"
"""The plan was made with what the host knows of its repositories; dnf would else read them anew
where that is old, and come to other versions of dependencies."""

_SCRIPT = """\
{{
  trap : TERM
  for try in $(seq {tries}); do
    LC_ALL=C {command}; rc=$?
    pid=
    [ $rc = 0 ] ||
      pid=$(tail -n 9 {output} | sed -n 's/.*already locked by //p' | tail -n 1 | cut -d ' ' -f 1)
    [ -n "$pid" ] || break
    [ "$try" = {tries} ] || sleep {pause}
  done
  if [ -n "$pid" ]; then
    echo "another dnf is at work: pid $pid: $(tr '\\0' ' ' <"/proc/$pid/cmdline")"
  elif bad=$(grep -B 5 -E 'scriptlet failed|^Error in [A-Z]+ scriptlet' {output}); then
    echo "$bad"; exit 1
  fi
  exit $rc
}}"""


def transaction(words: Sequence[str]) -> str:
    """dnf -y with these words: silent where it went well, else its last lines are on stderr.

    It waits for another dnf to end and names it where it does not. A scriptlet that fails fails it:
    dnf itself calls a failed %post a warning and exits with 0, with a kernel module not built.
    """
    command = " ".join(["dnf", "-y", "--setopt=exit_on_lock=True", *map(quote, words)])
    script = _SCRIPT.format(tries=_TRIES, pause=_PAUSE, command=command, output=OUTPUT)
    return loud_failure(script)

"""Whether the host's clock is kept right by a time server."""

from __future__ import annotations

from dataclasses import dataclass

from runner.facts.base import Fact
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

CLOCK_KEY = "clock"


@dataclass(frozen=True, slots=True)
class Clock:
    """`synchronized`: the kernel's clock follows a time server."""

    synchronized: bool


_LOOK = """\
export LC_ALL=C
said=$(timedatectl show -p NTPSynchronized --value 2>/dev/null)
case $said in
yes|no) echo "$said" ;;
*) case $(chronyc -n tracking 2>/dev/null) in
   *'Leap status     : Normal'*) echo yes ;;
   *'Leap status     : Not'*) echo no ;;
   esac ;;
esac"""


def parse_clock(result: Result) -> Clock:
    """timedatectl's NTPSynchronized (any time service), else chronyc's leap status."""
    said = result.text.strip()
    if result.rc != 0 or said not in ("yes", "no"):
        raise Unknown(
            "whether the clock is synchronized is not known: neither timedatectl nor chronyc says"
        )
    return Clock(said == "yes")


CLOCK = Fact(
    "clock",
    "The host's clock: `synchronized` with a time server.",
    Probe(CLOCK_KEY, _LOOK, parse_clock),
)

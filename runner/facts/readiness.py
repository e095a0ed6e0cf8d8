"""What may keep work on a host from going well: locks of packages, disk space, a pending reboot."""

from __future__ import annotations

from dataclasses import dataclass

from runner.facts.base import Fact
from runner.hosts.script import Result
from runner.modules.base import Probe, Unknown

REQUIRED_KEY = "reboot:required"


@dataclass(frozen=True, slots=True)
class RebootRequired:
    """Whether the host asks for a reboot, and for which packages."""

    required: bool
    packages: tuple[str, ...] = ()


def parse_required(result: Result) -> RebootRequired:
    """Debian's and Ubuntu's /run/reboot-required and the list of packages beside it; on hosts with
    rpm instead of dpkg what `dnf needs-restarting -r` prints (dnf-needs-restarting(8))."""
    if result.rc != 0:
        raise Unknown(f"whether a reboot is required is not known: {result.error_text}")
    first, *packages = result.text.splitlines() or [""]
    if first.startswith("dnf "):
        return _required_by_dnf(first.removeprefix("dnf "), packages)
    if first not in ("yes", "no"):
        raise Unknown("whether a reboot is required is not known")
    return RebootRequired(first == "yes", tuple(dict.fromkeys(packages)))


def _required_by_dnf(status: str, lines: list[str]) -> RebootRequired:
    if status == "0":
        return RebootRequired(False)
    if status == "1" and any(line.startswith("Reboot is required") for line in lines):
        names = (line.removeprefix("  * ") for line in lines if line.startswith("  * "))
        return RebootRequired(True, tuple(dict.fromkeys(names)))
    raise Unknown(
        "whether a reboot is required is not known: `dnf needs-restarting -r` says "
        f"{' '.join(lines)[-200:]!r}; it comes with dnf-plugins-core"
    )


_REQUIRED_LOOK = """\
if [ -e /run/reboot-required ] || [ -e /var/run/reboot-required ]; then
  echo yes; cat /run/reboot-required.pkgs 2>/dev/null || :
elif command -v dpkg >/dev/null || ! command -v dnf >/dev/null; then echo no
else
  out=$(LC_ALL=C dnf -q -C --disablerepo='*' needs-restarting -r 2>&1)
  printf 'dnf %s\\n%s\\n' $? "$out"
fi"""

REBOOT_REQUIRED = Fact(
    "reboot_required",
    "Whether the host asks for a reboot: `required`, and for which `packages`.",
    Probe(REQUIRED_KEY, _REQUIRED_LOOK, parse_required),
)


@dataclass(frozen=True, slots=True)
class PackageManager:
    """Who holds the locks of apt and dpkg, or of dnf and rpm; "" where nobody does."""

    holder: str = ""

    @property
    def busy(self) -> bool:
        return bool(self.holder)


# fcntl locks stand in /proc/locks with process and inode. The device is not compared: on an overlay
# it is another one there than stat(1) shows. dnf has no such locks but files with its process id,
# which count while that process lives.
_LOCKS_LOOK = """\
[ -r /proc/locks ] || exit 3
for f in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock \\
  /var/cache/apt/archives/lock /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock; do
  [ -e "$f" ] || continue
  pid=$(sed -n "s/^.* POSIX .* WRITE \\([0-9]*\\) [^ ]*:$(stat -c %i "$f") .*/\\1/p" /proc/locks)
  for p in $pid; do
    said=$(tr '\\0' ' ' <"/proc/$p/cmdline" 2>/dev/null)
    [ "${#said}" -le 80 ] || said="$(printf '%.80s' "$said")... "
    echo "pid $p: ${said}holds $f"
  done
done
for f in /var/lib/dnf/rpmdb_lock.pid /var/cache/dnf/metadata_lock.pid \\
  /var/cache/dnf/download_lock.pid; do
  p=$(cat "$f" 2>/dev/null) && [ -n "$p" ] && [ -e "/proc/$p/stat" ] || continue
  echo "pid $p: $(tr '\\0' ' ' <"/proc/$p/cmdline" 2>/dev/null)holds $f"
done
echo looked"""


def parse_locks(result: Result) -> PackageManager:
    """Lines of holders, the last one says that all was looked at."""
    *holders, last = result.text.splitlines() or [""]
    if result.rc != 0 or last != "looked":
        why = result.error_text[-200:] or "no answer"
        raise Unknown(f"whether a package manager runs is not known: {why}")
    return PackageManager(holders[0] if holders else "")


PACKAGE_MANAGER = Fact(
    "package_manager",
    "Who holds the locks of apt and dpkg, or dnf and rpm: `holder` (process and lock; empty: "
    "nobody), `busy`.",
    Probe("package manager", _LOCKS_LOOK, parse_locks),
    lambda state: {"holder": state.holder, "busy": state.busy},
)


def parse_disk(result: Result) -> dict[str, int]:
    """`df -Pk` of several paths: path -> MiB free. Raises Unknown."""
    lines = [line.split() for line in result.text.splitlines()]
    if result.rc != 0 or not lines:
        raise Unknown(f"free disk space is not known: {result.error_text[-200:]}")
    try:
        return {words[0]: int(words[4]) // 1024 for words in lines}
    except (IndexError, ValueError):
        raise Unknown(f"free disk space is not known: df printed {result.text[:200]!r}") from None


_DISK_LOOK = """\
for p in / /boot /tmp /usr /var /var/cache/apt/archives /var/cache/dnf; do
  [ ! -d "$p" ] || echo "$p $(df -Pk "$p" | tail -n 1)"
done"""

DISK = Fact(
    "disk",
    "Free disk space: `/`, `/boot`, `/tmp`, `/usr`, `/var`, `/var/cache/apt/archives`, "
    "`/var/cache/dnf` to MiB.",
    Probe("disk", _DISK_LOOK, parse_disk),
)

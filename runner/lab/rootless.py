"""The lab of an ordinary user: all of it runs inside namespaces that a keeper process holds.

A keeper is unshare(1) with user, mount, network and PID namespaces of its own, one per user. Inside
them the user is root and the lab works as it does for root, light nodes only. The network is inside
too, so what works with nodes has to go in (`enter`). When the keeper ends, all of it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from runner.errors import GpurunError
from runner.lab import image, processes
from runner.lab.commands import environment, run
from runner.lab.layout import NAME, ROOTLESS, keeper_file, users_cache, users_labs
from runner.lab.requirements import check_rootless, rootless_refusal

PREPARE = """
mount -t tmpfs -o mode=755 run /run && mkdir /run/netns && mount -t sysfs -o ro sysfs /sys &&
ip link set lo up && echo ready || exit 1
exec >/dev/null 2>&1
while :; do sleep 86400 & wait $!; done
"""
"""What PID 1 of the namespaces does: the network namespaces of ip(8) lie in /run, and /sys shows
the network of whoever mounted it. Later it only takes up orphans."""

NAMESPACES = ("user", "mnt", "net", "pid")
"""In the order in which they have to be entered: the first gives the right to the others."""

PATIENCE = 60.0
"""Seconds the namespaces may take to be ready."""

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal a process gets when its parent ends."""


def exists(name: str = "") -> bool:
    """Whether this user has a rootless lab of that name, or any."""
    folder = users_labs()
    if name:
        return (folder / name).is_dir()
    return folder.is_dir() and any(NAME.fullmatch(path.name) for path in folder.iterdir())


def keeper(file: Path) -> int:
    """PID of our living keeper's PID 1 as seen from here; 0: none, or that of another user.

    Args:
        file: holds that PID and when it began.
    """
    try:
        pid, began = file.read_text().split()
    except (OSError, ValueError):
        return 0
    if began != start_time(int(pid)) or not processes.is_alive(int(pid)):
        return 0
    # A file that an inventory names must not lead into namespaces that somebody else prepared.
    return int(pid) if Path(f"/proc/{pid}").stat().st_uid == os.geteuid() else 0


def start_time(pid: int) -> str:
    """When a process began, in ticks since boot (proc(5), field 22): PIDs are used again."""
    fields = processes.read(pid, "stat").rpartition(b")")[2].split()
    return fields[19].decode() if len(fields) > 19 else ""


def use(argv: Sequence[str], *, prepare: bool) -> NoReturn:
    """Run a command inside, starting the keeper when there is none, and exit with its code.

    Args:
        prepare: also check what this machine lacks and fetch the image: for `lab up`.

    Raises:
        GpurunError: with what is missing and how to get it.
    """
    if prepare:
        check_rootless()
    file = keeper_file()
    if not keeper(file):
        with locked(file, fcntl.LOCK_EX):
            if not keeper(file):
                start(file)
    try:
        if prepare:
            fetch_base(lambda text: print(text, file=sys.stderr))
        code = enter(file, argv)
    finally:
        if not exists():
            stop(file)
    sys.exit(code)


@contextlib.contextmanager
def locked(file: Path, kind: int) -> Iterator[None]:
    """Hold the keeper's lock: shared by whoever is inside, alone to start or stop it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, kind)
        yield


def start(file: Path) -> None:
    """Start a keeper and write down its PID.

    Raises:
        GpurunError: when the kernel refuses the namespaces, with the likely reason.
    """
    process = subprocess.Popen(
        [
            *("unshare", "--map-root-user", "--map-auto", "--mount", "--net", "--pid"),
            *("--fork", "--mount-proc", "--kill-child", "/bin/sh", "-c", PREPARE),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        cwd="/",
    )
    assert process.stdout is not None and process.stderr is not None
    readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
    if not readable or process.stdout.readline().strip() != b"ready":
        process.kill()
        said = process.stderr.read().decode(errors="replace").strip()
        raise rootless_refusal(said or "unshare said nothing")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    file.write_text(f"{children[0]} {start_time(int(children[0]))}\n")


def stop(file: Path) -> None:
    """End the keeper and so everything inside, unless somebody still works there."""
    with contextlib.suppress(BlockingIOError), locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
        if pid := keeper(file):
            os.kill(pid, signal.SIGKILL)
        file.unlink(missing_ok=True)


def enter(file: Path, argv: Sequence[str]) -> int:
    """Run a command as root of the keeper's namespaces, with our terminal and working folder.

    Ctrl-C reaches it from the terminal; SIGTERM and SIGHUP are passed on. Returns its exit code;
    128 + N: ended by signal N.

    Raises:
        GpurunError: when the lab's keeper does not run, or the kernel does not let us in.
    """
    with locked(file, fcntl.LOCK_SH):
        pid = keeper(file)
        if not pid:
            raise GpurunError(
                "This rootless lab does not run: this machine was restarted, its keeper was "
                "killed, or it is another user's",
                "Run: gpurun lab up",
            )
        folder = Path.cwd()
        sys.stdout.flush()
        sys.stderr.flush()
        between = os.fork()
        if not between:
            go_between(pid, folder, argv)
        return wait(between)


def go_between(pid: int, folder: Path, argv: Sequence[str]) -> NoReturn:
    """In a process of its own: join the namespaces and have the command as a child in there."""
    code = 1
    try:
        join(pid)
        end_with_parent()
        child = os.fork()
        if not child:
            become(folder, argv)
        code = wait(child)
    except (OSError, GpurunError) as error:
        os.write(2, f"gpurun: {error}\n".encode())
    finally:
        os._exit(code)


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def join(pid: int) -> None:
    """Enter a process's namespaces (setns(2)); its PID namespace holds for our children."""
    libc = ctypes.CDLL(None, use_errno=True)
    handles = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in NAMESPACES]
    for name, handle in zip(NAMESPACES, handles, strict=True):
        if libc.setns(handle, 0):
            reason = os.strerror(ctypes.get_errno())
            raise GpurunError(
                f"The {name} namespace of the rootless lab cannot be entered: {reason}"
            )
        os.close(handle)


def become(folder: Path, argv: Sequence[str]) -> NoReturn:
    """In the child: be root in there, end with our parent, and become the command."""
    try:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        end_with_parent()
        os.chdir(folder)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        # sudo's variables would have files given to a user of that number in here.
        kept = {name: text for name, text in os.environ.items() if not name.startswith("SUDO_")}
        os.execvpe(argv[0], list(argv), {**kept, ROOTLESS: "1"})
    except OSError as error:
        os.write(2, f"gpurun: {argv[0]} cannot be run inside the lab: {error}\n".encode())
    os._exit(127)


def wait(child: int) -> int:
    """Wait for the command; the terminal's signals are its own business."""

    def pass_on(number: int, frame: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGHUP, pass_on)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def fetch_base(say: image.Say) -> None:
    """Make the archive of the base image out here, where there is a network, unless it is known.

    mmdebstrap maps users differently than the keeper, so the archive is unpacked inside.
    """
    cache = users_cache()
    recipe = image.host_recipe()
    archive = image.base_archive(cache, recipe)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if archive.is_file() or (cache / f"base-{recipe.digest}").is_dir():
            return
        say(f"Building the base image with mmdebstrap ({recipe.suite}; once, about a minute)")
        for leftover in cache.glob("*.tar*"):
            leftover.unlink()
        building = archive.with_name(f"{archive.name}.building")
        run(
            image.bootstrap_command(recipe, building, "unshare", "tar"),
            stdin=recipe.sources,
            extra={"DEBIAN_FRONTEND": "noninteractive"},
            what="Building the base image",
        )
        building.rename(archive)

"""The image all nodes share: a Debian or Ubuntu made once with mmdebstrap, and a layer of ours.

Both lie in the cache under a name that is a hash of what they are made from. They are built under
another name and renamed when complete, so an interrupted build is never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.errors import GpurunError
from runner.lab import driver_packages, mounts, packages, processes
from runner.lab.commands import run
from runner.lab.layout import is_rootless

HERE = Path(__file__).parent
FILES = HERE / "files"
PACKAGES = (
    *("ca-certificates", "containerd", "createrepo-c", "dbus", "dnf", "dnf-plugins-core"),
    *("findutils", "iproute2", "kmod", "less", "libpam-systemd", "mount", "openssh-server"),
    *("openssh-sftp-server", "procps", "python3", "python3-apt", "rpm", "runc", "sudo"),
    *("systemd", "systemd-sysv"),
)
"""Without systemd's usual recommends the package `mount` must be named; python3 and python3-apt are
there for the simulator and for Ansible's modules; dnf and rpm for playbooks of RHEL hosts."""

UNWANTED = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")
SOURCES = tuple(
    Path("/etc/apt", name)
    for name in ("sources.list.d/debian.sources", "sources.list.d/ubuntu.sources", "sources.list")
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the distribution's part of the image is made from."""

    suite: str
    architecture: str
    sources: str

    @property
    def digest(self) -> str:
        parts = (self.suite, self.architecture, self.sources, *PACKAGES, *UNWANTED)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def host_recipe() -> Recipe:
    """The image follows this machine: its suite, its architecture, its own apt sources.

    Raises:
        GpurunError: when this is no Debian or Ubuntu, or has no apt sources.
    """
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    suite = release.get("VERSION_CODENAME", "").strip('"')
    sources = next((text for path in SOURCES if (text := read_sources(path))), "")
    if not suite or not sources:
        raise GpurunError(
            "The lab's image is made with this machine's apt sources, and there are none here",
            f"Looked at {', '.join(map(str, SOURCES))}. The lab needs Debian 12 or Ubuntu 24.04.",
        )
    return Recipe(suite, run(["dpkg", "--print-architecture"]).strip(), sources)


def read_sources(path: Path) -> str:
    """A sources file without comments; empty when there is nothing in it."""
    if not path.is_file():
        return ""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(lines).strip() and "\n".join(lines) + "\n"


def layer_digest(base: str) -> str:
    """Hash of all that the lab's layer is made from: the base and this package's own files."""
    digest = hashlib.sha256(base.encode())
    made_from = [
        *FILES.rglob("*"),
        *(HERE / "gpu").rglob("*"),
        HERE / "packages.py",
        HERE / "driver_packages.py",
        HERE / "image.py",
    ]
    for path in sorted(made_from):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def layers(cache: Path, say: Say) -> list[Path]:
    """Folders of the image, topmost first, built when they are missing.

    Raises:
        GpurunError: when building fails, with what the failing command said.
    """
    recipe = host_recipe()
    base = cache / f"base-{recipe.digest}"
    layer = cache / f"layer-{layer_digest(recipe.digest)}"
    if base.is_dir() and layer.is_dir():
        return [layer, base]
    with alone(cache, say):
        if not base.is_dir():
            if not is_rootless():
                say(f"Building the base image with mmdebstrap ({recipe.suite}; once, a minute)")
            building = cache / "base.building"
            if is_rootless():
                unpack(base_archive(cache, recipe), building)
            else:
                bootstrap(recipe, building, cache)
            tidy(building)
            os.sync()
            building.rename(base)
            base_archive(cache, recipe).unlink(missing_ok=True)
        if not layer.is_dir():
            say("Building the lab's packages and installing them on the base image")
            building = cache / "layer.building"
            build_layer(base, building)
            os.sync()
            (building / "upper").rename(layer)
            mounts.remove_tree(building)
        remove_old(cache, (base, layer))
    return [layer, base]


@contextlib.contextmanager
def alone(cache: Path, say: Say) -> Iterator[None]:
    """Hold the cache's lock, and clear the processes and folders of an interrupted build."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another gpurun that builds the image")
            fcntl.flock(lock, fcntl.LOCK_EX)
        processes.end(lambda: processes.find(cache, "gpurun-image", ()))
        for leftover in cache.glob("*.building"):
            mounts.remove_tree(leftover)
        yield


def remove_old(cache: Path, wanted: tuple[Path, ...]) -> None:
    """Remove images of other recipes that no running node uses."""
    in_use = Path("/proc/self/mountinfo").read_text()
    for folder in [*cache.glob("base-*"), *cache.glob("layer-*")]:
        if folder not in wanted and str(folder) not in in_use:
            mounts.remove_tree(folder)


def bootstrap(recipe: Recipe, target: Path, cache: Path) -> None:
    """The distribution's packages, from this machine's sources, which do not stay in the image."""
    run(
        bootstrap_command(recipe, target, "root", "directory"),
        stdin=recipe.sources,
        extra={"DEBIAN_FRONTEND": "noninteractive", processes.MARKER: str(cache)},
        what="Building the base image",
    )


def bootstrap_command(recipe: Recipe, target: Path, mode: str, form: str) -> list[str]:
    """mmdebstrap(1), which reads the sources from stdin."""
    return [
        *("mmdebstrap", "--quiet", "--variant=apt", "--dpkgopt=force-unsafe-io"),
        *(f"--mode={mode}", f"--format={form}", f"--include={','.join(PACKAGES)}"),
        *(f"--dpkgopt=path-exclude={path}" for path in UNWANTED),
        *(f"--aptopt={line}" for line in proxy_options()),
        *(recipe.suite, str(target), "-"),
    ]


def base_archive(cache: Path, recipe: Recipe) -> Path:
    """The base image of an ordinary user on its way into the lab's namespaces."""
    return cache / f"base-{recipe.digest}.tar"


def unpack(archive: Path, target: Path) -> None:
    """Unpack a base image without its devices, which an ordinary user cannot make."""
    target.mkdir()
    run(
        ["tar", "--numeric-owner", "--exclude=./dev/*", "-xpf", archive, "-C", target],
        what="Unpacking the base image",
    )


def tidy(target: Path) -> None:
    """Remove the traces of this machine's sources and name servers from a base image."""
    (target / "etc/apt/sources.list").unlink(missing_ok=True)
    (target / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    for folder in ("etc/apt/sources.list.d", "var/lib/apt/lists"):
        for path in (target / folder).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (target / "etc/resolv.conf").unlink(missing_ok=True)
    (target / "etc/resolv.conf").touch()


def proxy_options() -> list[str]:
    """This machine's apt proxy settings, which mmdebstrap does not take over by itself."""
    dump = run(["apt-config", "dump", "--format", "%F %v;%n", "Acquire"])
    found = []
    for line in dump.splitlines():
        name, _, value = line.rstrip(";").partition(" ")
        if name.lower().startswith(("acquire::http::proxy", "acquire::https::proxy")) and value:
            found.append(f"{name} {shlex.quote(value)}".replace("'", '"'))
    return found


def build_layer(base: Path, building: Path) -> None:
    """The lab's files, users, simulated packages and units, as a layer above the base."""
    root = building / "root"
    mounts.overlay(root, [base], building / "upper", building / "work")
    if is_rootless():
        run(["mount", "--rbind", "/dev", root / "dev"])
    copy_tree(FILES / "image", root)
    if (HERE / "gpu").is_dir():
        copy_tree(HERE / "gpu", root / "usr/lib/gpu-simulator/gpu")
    offered = [*driver_packages.all_drivers(), *packages.toolkits()]
    packages.build_repository(root / "srv/lab-repo", offered)
    packages.build_repository(root / "srv/cuda-repo", driver_packages.all_cuda_drivers(), "NVIDIA")
    driver = driver_packages.driver_package(driver_packages.DEFAULT_DRIVER)
    run(
        ["chroot", root, "/bin/sh", "-s", driver],
        stdin=(FILES / "configure").read_text(),
        what="Setting up the lab's image",
    )
    mounts.unmount_below(building)


def copy_tree(source: Path, target: Path) -> None:
    """Copy files with the modes they need: a checkout or wheel may have lost them."""
    for path in sorted(source.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(file_mode(path.relative_to(source)))


def file_mode(path: Path) -> int:
    """Programs are executable, sudoers rules are private, the rest is readable."""
    if path.parent.name in ("lab", "bin", "sbin") and path.parts[0] == "usr":
        return 0o755
    return 0o440 if "sudoers.d" in path.parts else 0o644

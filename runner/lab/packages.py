"""The lab's apt repository: the simulated driver and container toolkit as real .deb packages."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.lab.commands import run

DRIVERS = ("550.90.07", "570.86.15")
DEFAULT_DRIVER = DRIVERS[0]
TOOLKITS = ("1.17.8", "1.18.0")
VERSION_FILE = "/usr/lib/gpu-simulator/version"
"""Where the simulator looks for the version of the installed driver."""

BUILD_TIME = "1700000000"
"""Seconds since 1970 in all archives, so that equal contents give equal packages."""


@dataclass(frozen=True, slots=True)
class Package:
    """A .deb: control fields, files, and the script run after unpacking.

    Args:
        files: path below `/` → content; those in a bin folder are executable.
        fields: further control fields, such as Depends.
    """

    name: str
    version: str
    description: str
    files: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    postinst: str = ""

    def control(self, architecture: str) -> str:
        """Text of the control file (deb-control(5))."""
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": architecture,
            "Maintainer": "gpurun lab <lab@example.invalid>",
            "Section": "non-free/kernel",
            "Priority": "optional",
            **self.fields,
            "Description": f"{self.description} (simulated)",
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items())


def driver_branch(driver: str) -> str:
    """550.90.07 → 550: what Ubuntu's package names carry."""
    return driver.partition(".")[0]


def driver_package(driver: str) -> str:
    """Name of the package that installs the whole driver."""
    return f"nvidia-driver-{driver_branch(driver)}-server"


def driver_packages(driver: str) -> list[Package]:
    """The driver as Ubuntu cuts it: kernel module (dkms), tools (utils) and the set of both."""
    branch = driver_branch(driver)
    version = f"{driver}-0ubuntu1"
    dkms, utils = f"nvidia-dkms-{branch}-server", f"nvidia-utils-{branch}-server"

    def one_of(part: str) -> dict[str, str]:
        virtual = f"nvidia-{part}-lab"
        return {"Provides": virtual, "Conflicts": virtual, "Replaces": virtual}

    return [
        Package(
            dkms,
            version,
            "NVIDIA kernel module source",
            fields=one_of("dkms"),
            postinst=DKMS_POSTINST.format(driver=driver),
        ),
        Package(
            utils,
            version,
            "NVIDIA driver support binaries",
            {VERSION_FILE: f"{driver}\n", "/usr/bin/nvidia-smi": NVIDIA_SMI},
            one_of("utils"),
        ),
        Package(
            driver_package(driver),
            version,
            "NVIDIA driver metapackage for servers",
            fields={
                **one_of("driver"),
                "Depends": f"{dkms} (= {version}), {utils} (= {version})",
            },
        ),
    ]


NVIDIA_SMI = """\
#!/bin/sh
exec /usr/lib/lab/simulate nvidia-smi "$@"
"""

DKMS_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
echo "Building module nvidia/{driver} for $(uname -r)"
sleep "$(cat /etc/lab/dkms-seconds 2>/dev/null || echo 0)"
if [ -e /etc/lab/dkms-fail ]; then
  echo "Error! Bad return status for module build on kernel: $(uname -r)" >&2
  exit 10
fi
"""


def toolkit_packages(version: str) -> list[Package]:
    """The container toolkit as NVIDIA cuts it; its packages fit only their own version."""
    full = f"{version}-1"

    def needs(*names: str) -> dict[str, str]:
        return {"Depends": ", ".join(f"{name} (= {full})" for name in names)}

    return [
        Package("libnvidia-container1", full, "NVIDIA container runtime library"),
        Package(
            "libnvidia-container-tools",
            full,
            "NVIDIA container runtime library (command-line tools)",
            {"/usr/bin/nvidia-container-cli": CONTAINER_CLI.format(version=version)},
            needs("libnvidia-container1"),
        ),
        Package(
            "nvidia-container-toolkit-base",
            full,
            "NVIDIA Container Toolkit Base",
            {
                "/usr/bin/nvidia-ctk": CTK.format(version=version),
                "/usr/bin/nvidia-container-runtime": CONTAINER_RUNTIME.format(version=version),
            },
        ),
        Package(
            "nvidia-container-toolkit",
            full,
            "NVIDIA Container toolkit",
            {"/usr/bin/nvidia-container-runtime-hook": "#!/bin/sh\nexit 0\n"},
            needs("nvidia-container-toolkit-base", "libnvidia-container-tools"),
        ),
    ]


CONTAINER_CLI = """\
#!/bin/sh
printf 'cli-version: {version}\\nlib-version: {version}\\n'
"""

CTK = """\
#!/bin/sh
case $* in
*--version* | -v) echo "NVIDIA Container Toolkit CLI version {version}" ;;
*) echo "nvidia-ctk of the lab answers only --version" >&2; exit 1 ;;
esac
"""

CONTAINER_RUNTIME = """\
#!/bin/sh
case $* in --version | -v) echo "NVIDIA Container Runtime version {version}" ;; esac
exec runc "$@"
"""


def all_packages() -> list[Package]:
    """Everything the lab's repository offers."""
    return [
        *(package for driver in DRIVERS for package in driver_packages(driver)),
        *(package for version in TOOLKITS for package in toolkit_packages(version)),
    ]


def build_repository(folder: Path, packages: list[Package]) -> None:
    """Write the packages and a flat, unsigned apt index (Debian wiki: DebianRepository/Format)."""
    folder.mkdir(parents=True, exist_ok=True)
    architecture = run(["dpkg", "--print-architecture"]).strip()
    entries = []
    for package in packages:
        file = folder / f"{package.name}_{package.version}_{architecture}.deb"
        build_package(package, architecture, file)
        entries.append(index_entry(package.control(architecture), file))
    index = "\n".join(entries)
    (folder / "Packages").write_text(index)
    size, digest = len(index.encode()), hashlib.sha256(index.encode()).hexdigest()
    (folder / "Release").write_text(
        "Origin: gpurun-lab\nLabel: gpurun-lab\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n"
        f"SHA256:\n {digest} {size} Packages\n"
    )


def index_entry(control: str, file: Path) -> str:
    """A package's paragraph of the index."""
    body = file.read_bytes()
    digest = hashlib.sha256(body).hexdigest()
    return f"{control}Filename: ./{file.name}\nSize: {len(body)}\nSHA256: {digest}\n"


def build_package(package: Package, architecture: str, file: Path) -> None:
    """Build one .deb."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch, "tree")
        write(tree / "DEBIAN/control", package.control(architecture), 0o644)
        if package.postinst:
            write(tree / "DEBIAN/postinst", package.postinst, 0o755)
        for name, content in package.files.items():
            write(tree / name.lstrip("/"), content, 0o755 if "/bin/" in name else 0o644)
        tree.chmod(0o755)
        for folder in filter(Path.is_dir, tree.rglob("*")):
            folder.chmod(0o755)
        run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, file],
            extra={"SOURCE_DATE_EPOCH": BUILD_TIME},
            what=f"building package {package.name}",
        )


def write(path: Path, content: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)

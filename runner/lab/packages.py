"""The lab's apt repository: real .deb packages, of the container toolkit and (from
`driver_packages`) of the simulated driver."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.lab.commands import run

TOOLKITS = ("1.17.8", "1.18.0")

BUILD_TIME = "1700000000"
"""Seconds since 1970 in all archives, so that equal contents give equal packages."""


@dataclass(frozen=True, slots=True)
class Package:
    """A .deb: control fields, files, and its maintainer scripts.

    Args:
        files: path below `/` → content; those in a bin folder are executable.
        fields: further control fields, such as Depends.
        postinst, prerm: scripts run after unpacking and before removal (deb-postinst(5)).
    """

    name: str
    version: str
    description: str
    files: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    postinst: str = ""
    prerm: str = ""

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


def toolkits() -> list[Package]:
    """The container toolkit in all its versions."""
    return [package for version in TOOLKITS for package in toolkit_packages(version)]


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


def build_repository(folder: Path, packages: list[Package], origin: str = "gpurun-lab") -> None:
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
        f"Origin: {origin}\nLabel: {origin}\nDate: Tue, 14 Nov 2023 22:13:20 UTC\n"
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
        for script, text in (("postinst", package.postinst), ("prerm", package.prerm)):
            if text:
                write(tree / "DEBIAN" / script, text, 0o755)
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

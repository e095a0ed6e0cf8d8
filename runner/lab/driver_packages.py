"""The simulated driver as .deb packages, cut as Ubuntu's archive and as NVIDIA's CUDA repository
cut it."""

from __future__ import annotations

from typing import NamedTuple

from runner.lab.packages import Package

DRIVERS = ("550.90.07", "570.86.15", "570.124.06", "580.65.06")
DEFAULT_DRIVER = DRIVERS[0]
OPEN_SINCE = 570
"""The first branch of the lab that has the open kernel modules."""

TRANSITIONAL = ("565", "580.65.06")
"""A branch whose packages are only a way to a later driver, as Ubuntu leaves them behind."""


class Cut(NamedTuple):
    """How a source names its packages: what follows the branch, and the revision of versions."""

    suffix: str
    revision: str


UBUNTU, CUDA = Cut("-server", "0ubuntu1"), Cut("", "1ubuntu1")
CUDA_DRIVERS = ("570.86.15", "580.65.06")
PLAIN_SINCE = 580
"""The first branch whose fabric manager and nscq carry no branch in NVIDIA's repository."""

VERSION_FILE = "/usr/lib/gpu-simulator/version"
"""Where the simulator looks for the version of the driver's libraries."""

MODULE_FILE = "/usr/lib/gpu-simulator/module"
"""Version and flavour of the kernel module on disk, as dkms has built it."""

PERSISTENCED, FABRIC_MANAGER = "nvidia-persistenced", "nvidia-fabricmanager"


def driver_branch(driver: str) -> str:
    """550.90.07 → 550: what Ubuntu's package names carry."""
    return driver.partition(".")[0]


def driver_package(driver: str, is_open: bool = False, cut: Cut = UBUNTU) -> str:
    """Name of the package that installs the whole driver."""
    return f"nvidia-driver-{driver_branch(driver)}{cut.suffix}{'-open' if is_open else ''}"


def all_drivers() -> list[Package]:
    """Every driver of the lab's repository, with what has to match it exactly."""
    return [
        *(package for driver in DRIVERS for package in driver_packages(driver)),
        *(package for driver in DRIVERS for package in open_packages(driver)),
        *(package for driver in DRIVERS for package in matching_packages(driver)),
        transitional(),
    ]


def all_cuda_drivers() -> list[Package]:
    """NVIDIA's CUDA repository: per branch the two names to install, and a package that pins it."""
    return [
        *(package for driver in CUDA_DRIVERS for package in driver_packages(driver, CUDA)),
        *(package for driver in CUDA_DRIVERS for package in open_packages(driver, CUDA)),
        *(package for driver in CUDA_DRIVERS for package in matching_packages(driver, CUDA)),
        *(package for driver in CUDA_DRIVERS for package in cuda_packages(driver)),
    ]


def cuda_packages(driver: str) -> list[Package]:
    """What only NVIDIA's repository has: the driver by flavour, and the pin of its branch."""
    branch, version = driver_branch(driver), full_version(driver, CUDA)
    flavours = ((f"nvidia-open-{branch}", True), (f"cuda-drivers-{branch}", False))
    pin = f"Package: *nvidia* cuda-drivers*\nPin: version {branch}.*\nPin-Priority: 1000\n"
    virtual = "nvidia-driver-pinning"
    return [
        *(
            Package(
                name,
                version,
                "NVIDIA driver meta-package",
                fields={"Depends": f"{driver_package(driver, is_open, CUDA)} (= {version})"},
            )
            for name, is_open in flavours
        ),
        Package(
            f"{virtual}-{branch}",
            version,
            "Pins the NVIDIA driver to a branch",
            {f"/etc/apt/preferences.d/{virtual}-{branch}": pin},
            {"Provides": virtual, "Conflicts": virtual, "Replaces": virtual},
        ),
    ]


def driver_packages(driver: str, cut: Cut = UBUNTU) -> list[Package]:
    """A driver with the proprietary kernel module: module, libraries, tools, the set of them."""
    branch, version = driver_branch(driver), full_version(driver, cut)
    names = [f"{part}-{branch}{cut.suffix}" for part in ("libnvidia-compute", "nvidia-utils")]
    compute_utils = f"nvidia-compute-utils-{branch}{cut.suffix}"
    return [
        dkms_package(driver, False, cut),
        Package(names[0], version, "NVIDIA libcompute package", fields=one_of("compute")),
        Package(
            names[1],
            version,
            "NVIDIA driver support binaries",
            {VERSION_FILE: f"{driver}\n", "/usr/bin/nvidia-smi": NVIDIA_SMI},
            {**one_of("utils"), "Depends": f"{names[0]} (= {version})"},
        ),
        Package(
            compute_utils,
            version,
            "NVIDIA compute utilities",
            daemon_files(PERSISTENCED, "/usr/bin/nvidia-persistenced", ""),
            {**one_of("compute-utils"), "Depends": f"{names[0]} (= {version})"},
            *daemon_scripts(PERSISTENCED),
        ),
        set_package(driver, False, cut),
    ]


def open_packages(driver: str, cut: Cut = UBUNTU) -> list[Package]:
    """What a driver with the open kernel module has instead of the proprietary one's packages."""
    if int(driver_branch(driver)) < OPEN_SINCE:
        return []
    return [dkms_package(driver, True, cut), set_package(driver, True, cut)]


def matching_packages(driver: str, cut: Cut = UBUNTU) -> list[Package]:
    """What is installed beside the driver and works only with its very version."""
    branch, version = driver_branch(driver), full_version(driver, cut)
    has_no_branch = cut == CUDA and int(branch) >= PLAIN_SINCE
    of_branch = "" if has_no_branch else f"-{branch}"
    command = "/usr/bin/nv-fabricmanager"
    return [
        Package(
            f"nvidia-fabricmanager{of_branch}",
            version,
            "Fabric Manager for NVSwitch based systems",
            daemon_files(FABRIC_MANAGER, command, FABRIC_CHECK.format(driver=driver)),
            one_of("fabricmanager"),
            *daemon_scripts(FABRIC_MANAGER),
        ),
        Package(
            f"libnvidia-nscq{of_branch}", version, "NVSwitch query library", fields=one_of("nscq")
        ),
    ]


def transitional() -> Package:
    """A package of an old branch that installs a later one."""
    branch, driver = TRANSITIONAL
    version = full_version(driver)
    fields = {"Depends": f"{driver_package(driver)} (= {version})"}
    name = driver_package(f"{branch}.0")
    return Package(name, version, "Transitional package for the NVIDIA driver", fields=fields)


def full_version(driver: str, cut: Cut = UBUNTU) -> str:
    return f"{driver}-{cut.revision}"


def one_of(part: str) -> dict[str, str]:
    """Control fields by which packages of all branches exclude each other."""
    virtual = f"nvidia-{part}-lab"
    return {"Provides": virtual, "Conflicts": virtual, "Replaces": virtual}


def dkms_package(driver: str, is_open: bool, cut: Cut) -> Package:
    suffix, flavour = ("-open", "open") if is_open else ("", "proprietary")
    return Package(
        f"nvidia-dkms-{driver_branch(driver)}{cut.suffix}{suffix}",
        full_version(driver, cut),
        f"NVIDIA DKMS package ({flavour} kernel module)",
        fields=one_of("dkms"),
        postinst=DKMS_POSTINST.format(driver=driver, flavour=flavour, module=MODULE_FILE),
        prerm=f"#!/bin/sh\nrm -f {MODULE_FILE}\n",
    )


def set_package(driver: str, is_open: bool, cut: Cut) -> Package:
    branch, version = driver_branch(driver), full_version(driver, cut)
    parts = [
        f"nvidia-dkms-{branch}{cut.suffix}{'-open' if is_open else ''}",
        f"libnvidia-compute-{branch}{cut.suffix}",
        f"nvidia-utils-{branch}{cut.suffix}",
        f"nvidia-compute-utils-{branch}{cut.suffix}",
    ]
    return Package(
        driver_package(driver, is_open, cut),
        version,
        "NVIDIA driver metapackage for servers",
        fields={**one_of("driver"), "Depends": ", ".join(f"{p} (= {version})" for p in parts)},
    )


def daemon_files(name: str, command: str, check: str) -> dict[str, str]:
    """A daemon that holds the driver as long as it runs, and its unit."""
    return {
        command: DAEMON.format(name=name, check=check),
        f"/lib/systemd/system/{name}.service": UNIT.format(name=name, command=command),
    }


def daemon_scripts(name: str) -> tuple[str, str]:
    """postinst and prerm: enabled, not started; stopped before its files go."""
    return DAEMON_POSTINST.format(name=name), DAEMON_PRERM.format(name=name)


NVIDIA_SMI = """\
#!/bin/sh
exec /usr/lib/lab/simulate nvidia-smi "$@"
"""

DKMS_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
if [ ! -d "/lib/modules/$(uname -r)/build" ]; then
  echo "Module build for kernel $(uname -r) was skipped since the"
  echo "kernel headers for this kernel do not seem to be installed."
  exit 0
fi
echo "Building module nvidia/{driver} for $(uname -r)"
sleep "$(cat /etc/lab/dkms-seconds 2>/dev/null || echo 0)"
if ! grep -q ' {driver} ' /proc/driver/nvidia/version; then
  if [ -e /etc/lab/dkms-fail ]; then
    echo "Error! Bad return status for module build on kernel: $(uname -r)" >&2
    exit 10
  fi
  [ ! -e /etc/lab/dkms-hang ] || sleep infinity
fi
echo "{driver} {flavour}" >{module}
"""

DAEMON = """\
#!/bin/sh
{check}/usr/lib/lab/simulate daemon start {name} $$ && exec sleep infinity
"""

FABRIC_CHECK = """\
case $1 in -v | --version) echo 'Fabric Manager version is : {driver}'; exit 0 ;; esac
loaded=$(grep -o '[0-9][0-9][0-9]\\.[0-9.]*' /proc/driver/nvidia/version | head -n 1)
if [ "$loaded" != {driver} ]; then
  echo "fabric manager NVIDIA GPU driver interface version {driver} don't match with driver" \\
    "version $loaded. Please update with matching NVIDIA driver package." >&2
  exit 1
fi
"""

UNIT = """\
[Unit]
Description={name} (simulated)

[Service]
ExecStart={command}
ExecStopPost=/usr/lib/lab/simulate daemon stop {name}

[Install]
WantedBy=multi-user.target
"""

DAEMON_POSTINST = """\
#!/bin/sh
[ "$1" = configure ] || exit 0
systemctl --quiet enable {name}.service
[ ! -d /run/systemd/system ] || systemctl daemon-reload
"""

DAEMON_PRERM = """\
#!/bin/sh
[ ! -d /run/systemd/system ] || systemctl stop {name}.service
[ "$1" != remove ] || systemctl --quiet disable {name}.service
"""

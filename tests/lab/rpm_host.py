"""A lab node as a RHEL host: no apt and dpkg, and packages made on the node are offered to dnf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REPOSITORY = "/srv/rpms"
SOURCE = "/etc/yum.repos.d/lab.repo"

_FAILS = "%{}\necho the disk of the build is on fire >&2; exit 3"
PACKAGES = {
    "shell-1.0": "Provides: /bin/sh",  # rpm wants to see who has the shell of a scriptlet
    "tool-1.0": "",
    "tool-2.0": "",
    "lib-1.0": "",
    "app-1.0": "Requires: lib",
    "fails-after-1.0": _FAILS.format("post"),
    "fails-before-1.0": _FAILS.format("pre"),
    "kernel-6.0": "",
}
"""Name and version -> what the spec file has beyond the rest."""

_SPEC = """\
cat >package.spec <<'END'
Name: {name}
Version: {version}
Release: 1
Summary: {name}
License: MIT
BuildArch: noarch
{more}
%description
{name}
%files
END
rpmbuild -bb --quiet --define "_topdir $PWD/build" --define '_rpmdir {repository}' package.spec
"""


def become_rpm_host(host: Any) -> None:
    """Make the node one that knows the packages."""
    host.check_output("mkdir /opt/gone && mv /usr/bin/apt* /usr/bin/dpkg* /opt/gone/")
    offer(host, PACKAGES)
    write_source(host, "gpgcheck=0")
    host.check_output("dnf -q -y makecache")


def offer(host: Any, packages: Mapping[str, str]) -> None:
    """Build packages and put them into the repository; dnf does not read it."""
    script = ["set -e; cd $(mktemp -d)"]
    for package, more in packages.items():
        name, _, version = package.rpartition("-")
        script.append(_SPEC.format(name=name, version=version, more=more, repository=REPOSITORY))
    host.check_output("\n".join([*script, f"createrepo_c -q {REPOSITORY}"]))


def write_source(host: Any, *more: str) -> None:
    lines = ["[lab]", "name=lab", f"baseurl=file://{REPOSITORY}", *more]
    text = "\\n".join(lines)
    host.check_output(f"mkdir -p /etc/yum.repos.d && printf '{text}\\n' >{SOURCE}")


def installed(host: Any) -> set[str]:
    """Packages of rpm as name-version, our shell left out."""
    found = host.check_output("rpm -qa --qf '%{NAME}-%{VERSION}\\n'").split()
    return set(found) - {"shell-1.0"}

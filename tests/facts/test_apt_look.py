"""The look at packages and the guard of a change, run by the local sh past a dpkg of our own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runner.facts.apt import AptState, Goal, Package, Step, look, parse
from runner.hosts.script import Result
from runner.modules.apt import Apt
from runner.modules.apt_arguments import AptArguments
from runner.modules.base import Context

_DPKG = """\
#!/bin/sh
case $* in
  *db:Status-Want*) cat {folder}/installed ;;
  *" -- "*) cat {folder}/versions ;;
  *) cat {folder}/statuses ;;
esac
"""
_APT = """\
#!/bin/sh
echo "$0 $*" >>{folder}/asked
cat {folder}/{file}
exit $(cat {folder}/status)
"""
POLICY = """\
tool:
  Installed: 1-1
  Version table:
     2-1 500
        500 file:/srv/repo ./ Packages
 *** 1-1 100
        100 /var/lib/dpkg/status
"""


class Programs:
    """dpkg-query, apt-get and apt-cache that say what they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.say(installed="dpkg:amd64 1.21 install installed\n", statuses="installed dpkg\n")
        self.say(simulation="", policy=POLICY, status="0", asked="")
        texts = {
            "dpkg-query": _DPKG.format(folder=folder),
            "apt-get": _APT.format(folder=folder, file="simulation"),
            "apt-cache": _APT.format(folder=folder, file="policy"),
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def say(self, **texts: str) -> None:
        if "installed" in texts:
            lines = [line.split(" ") for line in texts["installed"].splitlines() if line]
            told = [f"{line[0].partition(':')[0]} {line[1]} {line[-1]}\n" for line in lines]
            texts["versions"] = "".join(told)
        for name, text in texts.items():
            (self.folder / name).write_text(text)

    def run(self, shell: str) -> Result:
        done = subprocess.run(
            ["sh", "-s"],
            input=shell.encode(),
            capture_output=True,
            env={"PATH": f"{self.folder}:/usr/bin:/bin"},
            timeout=60,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def seen(self, goal: Goal, *specs: str) -> AptState:
        return parse([spec.partition("=")[0] for spec in specs], self.run(look(goal, specs)))

    @property
    def asked(self) -> list[str]:
        """Names of the apt programs that were called."""
        lines = (self.folder / "asked").read_text().splitlines()
        return [Path(line.split(" ")[0]).name for line in lines]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


DPKG = "dpkg:amd64 1.21 install installed\n"


@pytest.mark.parametrize("spec", ["tool", "tool=1-1"])
def test_what_is_as_wanted_asks_no_apt(programs: Programs, spec: str) -> None:
    programs.say(installed=f"{DPKG}tool:amd64 1-1 install installed\n")
    assert programs.seen("present", spec) == AptState({"tool": Package("1-1")})
    assert programs.asked == []


@pytest.mark.parametrize(
    "line", ["tool:amd64 1-1 deinstall config-files", "tool:i386 1-1 install installed", ""]
)
def test_remains_and_other_architectures_are_not_installed(programs: Programs, line: str) -> None:
    programs.say(installed=f"{DPKG}{line}\n", simulation="Inst tool (1-1 repo [amd64])\n")
    assert programs.seen("present", "tool=1-1").packages == {"tool": Package()}
    assert programs.asked == ["apt-get"]


def test_a_version_is_compared_letter_by_letter(programs: Programs) -> None:
    programs.say(installed=f"{DPKG}tool:all 1x1 install installed\n")
    assert programs.seen("present", "tool=1.1").simulation is not None
    programs.say(installed=f"{DPKG}tool:all 1.1+b install installed\n")
    assert programs.seen("present", "tool=1.1").simulation is not None
    assert programs.seen("present", "tool=1.1+b").simulation is None


def test_a_new_package_is_known_from_the_simulation_alone(programs: Programs) -> None:
    programs.say(
        simulation="Inst lib (3-1 repo [amd64])\nInst tool (2-1 repo [amd64]) []\nConf tool (2-1)\n"
    )
    state = programs.seen("present", "tool=2-1")
    assert programs.asked == ["apt-get"]
    assert state.available == {"lib": ("3-1",), "tool": ("2-1",)}
    assert state.simulation is not None
    assert state.simulation.steps == (Step("lib", "", "3-1"), Step("tool", "", "2-1"))


@pytest.mark.parametrize(
    ("simulation", "status"),
    [
        ("Inst tool [1-1] (2-1 repo [amd64])\n", "0"),
        ("Remv other [1-1]\nInst tool (2-1 repo [amd64])\n", "0"),
        ("Inst tool (2-1 repo [amd64])\nRemv other [1-1]\nInst more (2-1 repo [amd64])\n", "0"),
        ("Note, selecting 'real' instead of 'tool'\nInst real (2-1 repo [amd64])\n", "0"),
        ("Inst tool (3-1 repo [amd64])\n", "0"),
        ("E: Version '2-1' for 'tool' was not found\n", "100"),
    ],
)
def test_offers_are_read_where_the_simulation_does_not_tell(
    programs: Programs, simulation: str, status: str
) -> None:
    programs.say(simulation=simulation, status=status)
    state = programs.seen("present", "tool=2-1")
    assert programs.asked == ["apt-get", "apt-cache"]
    assert state.available == {"tool": ("2-1",)}
    assert state.simulation is not None
    assert bool(state.simulation.error) == (status != "0")


def test_absent_simulates_only_what_is_there(programs: Programs) -> None:
    assert programs.seen("absent", "tool").simulation is None
    programs.say(installed=f"{DPKG}tool:amd64 1-1 hold installed\n", simulation="Remv tool [1-1]\n")
    state = programs.seen("absent", "tool")
    assert state.packages == {"tool": Package("1-1", held=True)}
    assert programs.asked == ["apt-get", "apt-cache"]


def test_latest_always_simulates(programs: Programs) -> None:
    programs.say(installed=f"{DPKG}tool:amd64 2-1 install installed\n")
    assert programs.seen("latest", "tool").simulation is not None


def test_a_look_leaves_no_log(programs: Programs) -> None:
    programs.seen("present", "tool")
    assert "-o Dir::Log::Planner=/dev/null" in (programs.folder / "asked").read_text()


class TestGuard:
    """Of an upgrade of `tool` from 1-1, with `more` not installed."""

    @pytest.fixture
    def guard(self, programs: Programs) -> str:
        programs.say(
            installed=f"{DPKG}tool:amd64 1-1 install installed\n",
            simulation="Inst tool [1-1] (2-1 repo [amd64])\nInst more (2-1 repo [amd64])\n",
            policy=POLICY + POLICY.replace("tool", "more"),
        )
        args = AptArguments.model_validate({"name": ["tool", "more"], "version": "2-1"})
        module, context = Apt(), Context("gpu-1")
        observed = {
            probe.key: probe.parse(programs.run(probe.shell))
            for probe in module.probes(args, context)
        }
        return module.plan(args, observed, context).changes[0].guard

    @pytest.mark.parametrize(
        ("installed", "holds"),
        [
            ("tool:amd64 1-1 install installed", True),
            ("tool:amd64 1-1 install installed\ntool:i386 1-1 install installed", True),
            ("more:amd64 2-1 deinstall config-files\ntool:amd64 1-1 install installed", True),
            ("tool:amd64 1-2 install installed", False),
            ("tool:amd64 1-1 install half-configured", False),
            ("more:amd64 2-1 install installed\ntool:amd64 1-1 install installed", False),
            ("", False),
        ],
    )
    def test_it_holds_while_all_is_as_it_was(
        self, programs: Programs, guard: str, installed: str, holds: bool
    ) -> None:
        programs.say(installed=f"{installed}\n" if installed else "")
        assert (programs.run(guard).rc == 0) is holds

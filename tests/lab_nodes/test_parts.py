"""Parts of the lab that need no node: packages, image, leftovers, inventory, requirements."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from runner.errors import GpurunError
from runner.inventory.load import load_inventory
from runner.lab import (
    access,
    cgroups,
    driver_packages,
    image,
    mounts,
    packages,
    processes,
    requirements,
)
from runner.lab.layout import DEFAULT_NODES, Lab, Node


def test_packages_of_the_toolkit_fit_only_their_own_version() -> None:
    by_name = {package.name: package for package in packages.toolkit_packages("1.17.8")}
    assert set(by_name) == {
        "libnvidia-container1",
        "libnvidia-container-tools",
        "nvidia-container-toolkit-base",
        "nvidia-container-toolkit",
    }
    control = by_name["nvidia-container-toolkit"].control("amd64")
    assert "Version: 1.17.8-1\n" in control
    assert "nvidia-container-toolkit-base (= 1.17.8-1)" in control
    assert "libnvidia-container-tools (= 1.17.8-1)" in control


def test_two_drivers_exclude_each_other() -> None:
    for driver in driver_packages.DRIVERS:
        for package in driver_packages.driver_packages(driver):
            assert package.fields["Conflicts"] == package.fields["Provides"]


def test_sources_are_read_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "debian.sources"
    file.write_text("# a snapshot\nTypes: deb\nURIs: http://deb.example\n")
    assert image.read_sources(file) == "Types: deb\nURIs: http://deb.example\n"
    file.write_text("# moved to sources.list.d\n\n")
    assert image.read_sources(file) == ""
    assert image.read_sources(tmp_path / "missing") == ""


def test_the_image_is_another_one_when_what_it_is_made_from_changes() -> None:
    recipe = image.Recipe("bookworm", "amd64", "deb http://deb.example bookworm main\n")
    assert recipe.digest == image.Recipe(*recipe_parts(recipe)).digest
    assert recipe.digest != image.Recipe("noble", *recipe_parts(recipe)[1:]).digest
    assert image.layer_digest("one") != image.layer_digest("two")


def recipe_parts(recipe: image.Recipe) -> tuple[str, str, str]:
    return recipe.suite, recipe.architecture, recipe.sources


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("usr/lib/lab/early", 0o755),
        ("usr/local/sbin/reboot", 0o755),
        ("etc/sudoers.d/lab", 0o440),
        ("etc/systemd/system/lab-early.service", 0o644),
    ],
)
def test_files_of_the_image_get_the_modes_they_need(path: str, mode: int) -> None:
    assert (image.FILES / "image" / path).is_file()
    assert image.file_mode(Path(path)) == mode


def test_mounts_are_listed_last_first_with_odd_names_read_right(tmp_path: Path) -> None:
    line = "36 35 0:32 / {} rw - tmpfs none rw\n"
    places = ["/lab", "/lab/a", "/labels", r"/lab/with\040space"]
    table = "".join(line.format(place) for place in places)
    assert mounts.below(Path("/lab"), table) == [
        Path("/lab/with space"),
        Path("/lab/a"),
        Path("/lab"),
    ]


def test_hierarchies_of_control_groups(tmp_path: Path) -> None:
    assert cgroups.hierarchies(tmp_path) == []
    (tmp_path / "systemd").mkdir()
    (tmp_path / "unified").mkdir()
    assert cgroups.hierarchies(tmp_path) == [tmp_path / "systemd", tmp_path / "unified"]
    (tmp_path / "cgroup.controllers").touch()
    assert cgroups.hierarchies(tmp_path) == [tmp_path]


def test_pid_1_of_a_node_is_known_by_its_inner_pid() -> None:
    assert processes.first_in_namespace(b"Name:\tsystemd\nNSpid:\t4711\t1\n")
    assert not processes.first_in_namespace(b"Name:\tsshd\nNSpid:\t4712\t46\n")
    assert not processes.first_in_namespace(b"Name:\tinit\nNSpid:\t1\n")
    assert not processes.first_in_namespace(b"")


def test_processes_are_found_by_the_folder_they_work_for_and_ended(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    marked = {processes.MARKER: str(folder / "nodes/a")}
    other = {processes.MARKER: str(tmp_path / "lab2")}
    sleeper = [sys.executable, "-c", "print(flush=True); import signal; signal.pause()"]
    with (
        subprocess.Popen(sleeper, env=marked, stdout=subprocess.PIPE) as ours,
        subprocess.Popen(sleeper, env=other, stdout=subprocess.PIPE) as theirs,
    ):
        for process in (ours, theirs):
            assert process.stdout is not None
            process.stdout.readline()
        assert processes.find(folder, "gpurun/none", ()) == [ours.pid]
        processes.end(lambda: processes.find(folder, "gpurun/none", ()))
        assert ours.wait() == -9
        assert theirs.poll() is None
        theirs.kill()


def test_the_inventory_is_one_that_gpurun_reads(tmp_path: Path) -> None:
    lab = Lab("lab", tmp_path / "labs/lab", tmp_path / "cache")
    nodes = [Node(lab, spec, i, "198.18.7", "full") for i, spec in enumerate(DEFAULT_NODES)]
    file = tmp_path / "lab.yaml"
    file.write_text(yaml.safe_dump(access.inventory(lab, nodes)))

    loaded = load_inventory([str(file)], tmp_path)

    host = loaded.hosts["gpu-a1"]
    assert (host.address, host.user) == ("198.18.7.10", "ops")
    assert host.key_file == str(lab.key)
    assert host.known_hosts == str(lab.known_hosts)
    assert host.variables["kubeconfig"] == str(lab.kubeconfig)
    assert host.node_name == "gpu-a1"
    assert loaded.groups["a100"] == ("gpu-a1", "gpu-a2")
    assert set(loaded.groups["gpu"]) == {"gpu-a1", "gpu-a2", "gpu-h1", "gpu-t1"}


def test_an_ordinary_user_is_told_the_command_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["/opt/v/bin/gpurun", "lab", "up"])
    with pytest.raises(GpurunError, match=r"sudo /opt/v/bin/gpurun lab up"):
        requirements.check("full")


def test_missing_tools_are_all_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(GpurunError, match="iproute2, mmdebstrap") as caught:
        requirements.check("full")
    assert "systemd-container" in caught.value.hint

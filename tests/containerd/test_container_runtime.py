"""Which container runtime a node has, and whose configuration is edited where several run."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from runner.facts import containerd
from runner.facts.container_runtime import (
    CONTAINER_RUNTIME,
    CRIO,
    DOCKER,
    KEY,
    Daemon,
    Daemons,
    parse,
    probe,
)
from runner.facts.containerd import CONFIG_PATH, ContainerdState
from runner.hosts.script import Result
from runner.modules.base import Context, Refused, Unknown
from runner.modules.files.state import FileState, ancestors
from runner.modules.registry import load_module
from tests.files.local import run

SOCKET = "/run/containerd/containerd.sock"
OTHER = "/var/snap/k8s/containerd.toml"
K3S = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
K3S_SOCKET = "/run/k3s/containerd/containerd.sock"


MICROK8S = "/var/snap/microk8s/current/args/containerd.toml"


def line(command: str, content: str = "", unit: str = "containerd.service") -> str:
    words = [*command.split(), ""]
    encoded = [base64.b64encode(t.encode()).decode() for t in ("\0".join(words), content)]
    return " ".join([words[0].rpartition("/")[2], *encoded, unit])


def read(*lines: str) -> Daemons:
    return parse(Result(0, "\n".join([*lines, "looked", ""]).encode()))


def daemon(config: str = CONFIG_PATH, address: str = SOCKET, **more: str) -> Daemon:
    return Daemon(config, address, **{"unit": "containerd.service", **more})


SEEN = {
    "the default": ((line("/usr/bin/containerd"),), Daemons((daemon(),))),
    "its own words": (
        (line(f"/usr/bin/containerd -c {OTHER} --address=/run/a.sock", unit="a.service"),),
        Daemons((daemon(OTHER, "/run/a.sock", unit="a.service"),)),
    ),
    "the configuration's socket": (
        (line("/usr/bin/containerd", '[grpc]\naddress = "/var/run/b.sock"\n'),),
        Daemons((daemon(address="/run/b.sock"),)),
    ),
    "started by hand": ((line("/usr/bin/containerd", unit=""),), Daemons((daemon(),))),
    "a kubelet's option": (
        (line("/usr/bin/kubelet --container-runtime-endpoint unix:///run/a.sock"),),
        Daemons((), "/run/a.sock"),
    ),
    "a kubelet's configuration": (
        (line("kubelet --config=/k.yaml", "a: 1\ncontainerRuntimeEndpoint: unix:///run/a.sock\n"),),
        Daemons((), "/run/a.sock"),
    ),
    "a kubelet that says nothing": ((line("/usr/bin/kubelet"),), Daemons((), SOCKET)),
    "k3s has its kubelet in itself": (
        (
            line("/usr/bin/containerd"),
            line(f"containerd -c {K3S} -a {K3S_SOCKET}", "", "k3s.service"),
        ),
        Daemons((daemon(), daemon(K3S, K3S_SOCKET, unit="k3s.service")), K3S_SOCKET),
    ),
    "MicroK8s names the folder of its revision": (
        (
            line(
                "containerd --config /var/snap/microk8s/7229/args/containerd.toml"
                " --address /var/snap/microk8s/common/run/containerd.sock"
            ),
        ),
        Daemons(
            (daemon(MICROK8S, "/var/snap/microk8s/common/run/containerd.sock"),),
            "/var/snap/microk8s/common/run/containerd.sock",
        ),
    ),
    "CRI-O": (
        (line("/usr/bin/crio --listen /var/run/crio/c.sock", "", "crio.service"),),
        Daemons(
            (daemon("/etc/crio/crio.conf", "/run/crio/c.sock", runtime=CRIO, unit="crio.service"),)
        ),
    ),
    "Docker": (
        (line("/usr/bin/dockerd -H fd:// --config-file=/d.json", "", "docker.service"),),
        Daemons(
            (daemon("/d.json", "/run/cri-dockerd.sock", runtime=DOCKER, unit="docker.service"),)
        ),
    ),
    "none runs": (("installed crio",), Daemons((), installed=(CRIO,))),
    "a look is no daemon": ((line("containerd --config /x config dump"),), Daemons(())),
}


@pytest.mark.parametrize("name", SEEN)
def test_seen(name: str) -> None:
    lines, expected = SEEN[name]
    assert read(*lines) == expected


@pytest.mark.parametrize(
    "result",
    [Result(0, b""), Result(1, b"looked\n"), Result(0, b"containerd ???  x\nlooked\n")],
)
def test_anything_else_is_unknown(result: Result) -> None:
    with pytest.raises(Unknown):
        parse(result)


def test_the_look_runs_here() -> None:
    assert isinstance(parse(run(probe().shell)), Daemons)


D = Daemon("/etc/docker/daemon.json", "/run/cri-dockerd.sock", DOCKER, "docker.service")
C = Daemon("/etc/crio/crio.conf", "/run/crio/crio.sock", CRIO, "crio.service")


@pytest.mark.parametrize(
    ("state", "name", "service"),
    [
        (Daemons((daemon(),)), "containerd", "containerd"),
        (Daemons((daemon(), C), SOCKET), "containerd", "containerd"),
        (Daemons((daemon(), C), C.address), "cri-o", "crio"),
        (Daemons((daemon(), D), D.address), "docker", "docker"),
        (Daemons((daemon(), D)), "docker", "docker"),
        (Daemons((daemon(), C)), "", ""),
        (Daemons((daemon(), C), "/run/other.sock"), "", ""),
        (Daemons((D,), SOCKET, ("containerd", DOCKER)), "containerd", "containerd"),
        (Daemons((), installed=("containerd",)), "containerd", "containerd"),
        (Daemons((), SOCKET, ("containerd", CRIO)), "containerd", "containerd"),
        (Daemons((), installed=("containerd", DOCKER)), "docker", "docker"),
        (Daemons(()), "", ""),
    ],
)
def test_which_one_runs_the_pods(state: Daemons, name: str, service: str) -> None:
    data = CONTAINER_RUNTIME.export(state)
    assert (data["name"], data["service"]) == (name, service)


def test_the_distribution_that_runs_it() -> None:
    data = CONTAINER_RUNTIME.export(Daemons((daemon(K3S, K3S_SOCKET, unit="k3s-agent"),)))
    assert (data["distribution"], data["service"]) == ("k3s", "k3s-agent")
    assert CONTAINER_RUNTIME.export(Daemons((daemon(),)))["distribution"] == ""


ONE = Daemon(CONFIG_PATH, SOCKET)
TWO = Daemon(OTHER, "/run/other.sock")


def planned(state: Daemons, **arguments: Any) -> None:
    module = load_module("containerd_runtime")
    path = arguments.get("path", CONFIG_PATH)
    observed: dict[str, Any] = {
        f"file:{each}": FileState(each, "directory", 0o755, "root", "root", 0, 0)
        for each in ancestors(path)
    }
    observed[f"file:{path}"] = FileState(path, "absent", owner="root", group="root", uid=0, gid=0)
    observed |= {containerd.key(path): ContainerdState(False, path), KEY: state}
    assert module.plan(module.arguments(**arguments), observed, Context(host="n")).changes


@pytest.mark.parametrize(
    ("state", "arguments"),
    [
        (Daemons(()), {}),
        (Daemons((ONE,)), {}),
        (Daemons((ONE, TWO), SOCKET), {}),
        (Daemons((ONE, TWO), TWO.address), {"path": OTHER}),
        (Daemons((ONE, TWO)), {"path": OTHER}),
    ],
)
def test_the_one_that_is_meant(state: Daemons, arguments: dict[str, Any]) -> None:
    planned(state, **arguments)


@pytest.mark.parametrize(
    ("state", "arguments", "message"),
    [
        (Daemons((ONE, TWO), TWO.address), {}, f"containerd reads, which is {OTHER}: set path"),
        (Daemons((TWO,), TWO.address), {}, f"which is {OTHER}"),
        (Daemons((ONE, TWO)), {}, f"one with {CONFIG_PATH} .* and one with {OTHER}"),
        (Daemons((ONE,)), {"path": OTHER}, "which containerd is meant is not known"),
        (Daemons((ONE, C), C.address), {}, r"crio\.sock, where no containerd listens \(one with"),
        (Daemons((ONE, TWO), "/run/crio/crio.sock"), {}, "is at /run/crio/crio.sock, where"),
    ],
)
def test_another_one_is_refused(state: Daemons, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        planned(state, **arguments)

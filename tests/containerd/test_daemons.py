"""Which containerd's configuration is edited where several run."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from runner.facts import containerd
from runner.facts.containerd import CONFIG_PATH, ContainerdState
from runner.facts.containerd_daemons import KEY, Daemon, Daemons, parse, probe
from runner.hosts.script import Result
from runner.modules.base import Context, Refused, Unknown
from runner.modules.files.state import FileState, ancestors
from runner.modules.registry import load_module
from tests.files.local import run

SOCKET = "/run/containerd/containerd.sock"
OTHER = "/var/snap/k8s/containerd.toml"
K3S = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
K3S_SOCKET = "/run/k3s/containerd/containerd.sock"


def line(command: str, content: str = "") -> str:
    words = [*command.split(), ""]
    encoded = [base64.b64encode(t.encode()).decode() for t in ("\0".join(words), content)]
    return " ".join([words[0].rpartition("/")[2], *encoded])


def read(*lines: str) -> Daemons:
    return parse(Result(0, "\n".join([*lines, "looked", ""]).encode()))


SEEN = {
    "the default": ((line("/usr/bin/containerd"),), Daemons((Daemon(CONFIG_PATH, SOCKET),))),
    "its own words": (
        (line(f"/usr/bin/containerd -c {OTHER} --address=/run/a.sock"),),
        Daemons((Daemon(OTHER, "/run/a.sock"),)),
    ),
    "the configuration's socket": (
        (line("/usr/bin/containerd", '[grpc]\naddress = "/var/run/b.sock"\n'),),
        Daemons((Daemon(CONFIG_PATH, "/run/b.sock"),)),
    ),
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
        (line("/usr/bin/containerd"), line(f"containerd -c {K3S} -a {K3S_SOCKET}")),
        Daemons((Daemon(CONFIG_PATH, SOCKET), Daemon(K3S, K3S_SOCKET)), K3S_SOCKET),
    ),
    "a look is no daemon": ((line("containerd --config /x config dump"),), Daemons(())),
}


@pytest.mark.parametrize("name", SEEN)
def test_seen(name: str) -> None:
    lines, expected = SEEN[name]
    assert read(*lines) == expected


@pytest.mark.parametrize(
    "result", [Result(0, b""), Result(1, b"looked\n"), Result(0, b"containerd ??? \nlooked\n")]
)
def test_anything_else_is_unknown(result: Result) -> None:
    with pytest.raises(Unknown):
        parse(result)


def test_the_look_runs_here() -> None:
    assert isinstance(parse(run(probe().shell)), Daemons)


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
        (Daemons((ONE, TWO), "/run/crio/crio.sock"), {}, "listens at /run/crio/crio.sock, where"),
    ],
)
def test_another_one_is_refused(state: Daemons, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        planned(state, **arguments)

"""A world per test in the cluster of the session, and clocks that do not let tests wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.kube.api import Api
from runner.lab.kube.cluster import LabCluster
from tests.kube.clocks import hurry
from tests.kube.credentials import account
from tests.kube.names import NS
from tests.kube.proxy import FaultProxy
from tests.kube.world import World, path_of


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig of the cluster these tests are about: the lab's API, or the one named."""
    named = os.environ.get("GPURUN_TEST_KUBECONFIG")
    if named:
        yield Path(named)
        return
    with LabCluster(kubelet=False, folder=tmp_path_factory.mktemp("cluster")) as lab:
        yield lab.kubeconfig


@pytest.fixture(scope="session")
def direct(target: Path) -> Iterator[Api]:
    """The cluster, with the namespace of these tests in it."""
    direct = Api(target)
    namespaces = path_of("Namespace")
    direct.request("POST", namespaces, "create", body={"metadata": {"name": NS}})
    yield direct
    direct.request("DELETE", f"{namespaces}/{NS}", "delete")
    direct.close()


@pytest.fixture(scope="session")
def proxy(
    target: Path, direct: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target, tmp_path_factory.mktemp("proxy"))
    yield proxy
    proxy.close()


@pytest.fixture
def world(direct: Api, proxy: FaultProxy, quick: None) -> Iterator[World]:
    proxy.reset()
    world = World(direct, proxy)
    yield world
    world.close()


@pytest.fixture(scope="session")
def reader(direct: Api, target: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig of an account that may only look."""
    folder = tmp_path_factory.mktemp("reader")
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    with account(direct, target, folder, "reader", rules) as kubeconfig:
        yield kubeconfig


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)

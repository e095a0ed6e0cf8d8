"""`plugin: kubernetes`: the nodes of a cluster as hosts, and the node of a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.engine.clusters import Clusters, read_nodes
from runner.errors import InputError, Origin
from runner.inventory.kubernetes import group_name
from runner.inventory.load import load_inventory, select
from runner.inventory.model import Host, Inventory
from runner.kube import api
from runner.kube.cluster import Cluster
from runner.kube.state import NodeState
from runner.modules.base import Unknown
from tests.kube.names import NODE, OTHER, PREFIX, node_name
from tests.kube.world import World

H100 = "NVIDIA-H100-80GB-HBM3"


CPU = node_name("cpu")


def put_node(world: World, name: str, address: str = "", **labels: str) -> None:
    """A node with this address; `__` of a label's name stands for a slash, `_` for a dot."""
    named = {key.replace("__", "/").replace("_", "."): text for key, text in labels.items()}
    world.node(name, labels=named)
    addresses = [{"type": "Hostname", "address": f"{name}.host"}]
    if address:
        addresses.insert(0, {"type": "InternalIP", "address": address})
    world.change("Node", node_name(name), status={"addresses": addresses})


@pytest.fixture
def cluster(world: World) -> World:
    put_node(world, "1", "10.0.0.1", nvidia_com__gpu_product=H100, zone="a")
    put_node(world, "2", "10.0.0.2", nvidia_com__gpu_product="Tesla-T4", zone="b")
    put_node(world, "cpu", "10.0.0.3", nvidia_com__gpu_count="0", zone="a")
    return world


def load(folder: Path, world: World, text: str = "", kubeconfig: str = "") -> Inventory:
    """The inventory of a file with this text; of all nodes, it takes those made here."""
    text += "" if "label_selector" in text else f"\nlabel_selector: gpurun-test={PREFIX}"
    path = folder / "cluster.yaml"
    path.write_text(f"plugin: kubernetes\nkubeconfig: {kubeconfig or world.kubeconfig}\n{text}\n")
    return load_inventory([str(path)], folder)


def problem(folder: Path, world: World, text: str = "", kubeconfig: str = "") -> str:
    with pytest.raises(InputError) as caught:
        load(folder, world, text, kubeconfig)
    return str(caught.value).replace(f"{folder}/", "")


def test_nodes_are_hosts(tmp_path: Path, cluster: World) -> None:
    text = """
context: lab
groups_from_labels: [nvidia.com/gpu.product, nvidia.com/gpu.count]
groups: {hopper: nvidia.com/gpu.product=NVIDIA-H100*, east: [zone=a, nvidia.com/gpu.count=0]}
vars: {ansible_user: ops, greeting: "{{ inventory_hostname }}"}
"""
    found = load(tmp_path, cluster, text.replace("context: lab", ""))
    assert {name: host.address for name, host in found.hosts.items()} == {
        CPU: "10.0.0.3",
        NODE: "10.0.0.1",
        OTHER: "10.0.0.2",
    }
    assert found.groups["NVIDIA_H100_80GB_HBM3"] == (NODE,)
    assert found.groups["Tesla_T4"] == (OTHER,)
    assert found.groups["gpu_count_0"] == (CPU,), "0 is no name by itself"
    assert found.groups["hopper"] == (NODE,)
    assert found.groups["east"] == (CPU,), "all labels of a list are needed"
    assert set(found.groups["kubernetes"]) == {NODE, OTHER, CPU}
    host = found.hosts[NODE]
    assert (host.user, host.node_name) == ("ops", NODE)
    assert host.variables["kubernetes_labels"]["zone"] == "a"
    assert host.variables["kubeconfig"] == str(cluster.kubeconfig)
    chosen = select(found, f"nvidia.com/gpu.product={H100}")
    assert [host.name for host in chosen] == [NODE]


def test_a_run_uses_the_same_cluster(
    tmp_path: Path, cluster: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "another"))
    found = load(tmp_path, cluster, "label_selector: zone=b")
    (host,) = found.hosts.values()
    node = Clusters([host]).node(host)
    assert isinstance(node, NodeState)
    assert node.name == OTHER


@pytest.mark.parametrize(
    ("address", "expected"),
    [("InternalIP", "10.0.0.1"), ("Hostname", "1.host"), ("name", "")],
)
def test_addresses(tmp_path: Path, cluster: World, address: str, expected: str) -> None:
    assert load(tmp_path, cluster, f"address: {address}").hosts[NODE].address == (expected or NODE)


def test_other_sources_add_to_the_nodes(tmp_path: Path, cluster: World) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "kubernetes.yaml").write_text("ansible_user: file\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / f"{NODE}.yaml").write_text("ansible_host: bastion-side\n")
    load(tmp_path, cluster, "vars: {ansible_user: ops}\nlabel_selector: zone=a")
    (tmp_path / "more.ini").write_text(f"[canary]\n{NODE}\n")
    found = load_inventory([str(tmp_path / "cluster.yaml"), str(tmp_path / "more.ini")], tmp_path)
    assert found.groups["canary"] == (NODE,)
    assert (found.hosts[NODE].user, found.hosts[NODE].address) == ("file", "bastion-side")


def test_an_address_is_data(tmp_path: Path, cluster: World) -> None:
    put_node(cluster, "evil", "{{ lookup('pipe', 'id') }}")
    said = problem(tmp_path, cluster)
    assert "-evil: ansible_host has a template, and what a program or a cluster says is" in said


def test_many_nodes_are_read_page_by_page(
    tmp_path: Path, cluster: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE", 2)
    assert len(load(tmp_path, cluster).hosts) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label_selector: zone=nowhere", "no node matches zone=nowhere\n    kubectl get nodes"),
        ("label_selector: 'zone=('", "cluster.yaml:1:9: http://"),
        ("labelselector: x", "cluster.yaml:3:1: plugin kubernetes has no key labelselector\n"),
        ("address: internal", "cluster.yaml:3:10: address: one of InternalIP, ExternalIP"),
        ("address: ExternalIP", "has no address of type ExternalIP; it has: InternalIP"),
        ("groups_from_labels: zone", "a list of labels is expected, or a mapping"),
        ("groups_from_labels: {zone: 1}", "a prefix must be text, found the number 1"),
        ("groups: {a: zone}", "group a: label=value is expected"),
        ("vars: [1]", "vars: a mapping of variables is expected, found a list"),
        ("context: '{{ x }}'", "context: text without templates is expected"),
        ("context: nowhere", "nowhere"),
        ("groups_from_labels: {zone: z, nvidia.com/gpu.count: z}\nvars: {}", ""),
    ],
)
def test_wrong_files(tmp_path: Path, cluster: World, text: str, message: str) -> None:
    if not message:
        put_node(cluster, "odd", "10.0.0.9", zone="1", nvidia_com__gpu_count="1")
        message = "labels zone and nvidia.com/gpu.count both give group z_1"
    assert message in problem(tmp_path, cluster, text)


def test_a_missing_kubeconfig(tmp_path: Path, cluster: World) -> None:
    assert "nowhere: no such kubeconfig" in problem(tmp_path, cluster, kubeconfig="nowhere")


def test_a_server_that_refuses_or_is_down(tmp_path: Path, cluster: World) -> None:
    cluster.fault(code=403, message="nodes is forbidden: User x cannot list resource nodes")
    said = problem(tmp_path, cluster)
    assert said.startswith("cluster.yaml:1:9: http://127.0.0.1")
    assert "nodes is forbidden" in said
    assert len(said.splitlines()) <= 2
    cluster.fault(kind="drop", count=None)
    assert "list nodes" in problem(tmp_path, cluster)


@pytest.mark.parametrize(
    ("label", "value", "prefix", "group"),
    [
        ("nvidia.com/gpu.product", "Tesla-T4", "", "Tesla_T4"),
        ("nvidia.com/mig.capable", "true", "", "mig_capable_true"),
        ("topology.kubernetes.io/zone", "eu-1a", "zone", "zone_eu_1a"),
        ("nvidia.com/gpu.count", "8", "", "gpu_count_8"),
        ("role", "", "", "role_"),
    ],
)
def test_names_of_groups(label: str, value: str, prefix: str, group: str) -> None:
    assert group_name(label, value, prefix) == group


def host(name: str, **variables: str) -> Host:
    return Host(name, "10.0.0.1", Origin("hosts.yaml"), variables=variables)


def node_of(world: World, host: Host) -> str:
    found = read_nodes(Cluster(world.kubeconfig), [host])[0][host.name]
    return str(found) if isinstance(found, Unknown) else found.name


def test_the_node_of_a_host(world: World) -> None:
    one, two, three = (node_name(name) for name in ("gpu1", "gpu2", "gpu3"))
    for name in ("gpu1", "gpu2.example.com", "gpu3.a.com", "gpu3.b.com"):
        world.node(name)
    assert node_of(world, host(one)) == one
    assert node_of(world, host(f"{one}.example.com")) == one, "a long name of a short one"
    assert node_of(world, host(two)) == f"{two}.example.com", "a short name of a long one"
    assert node_of(world, host("x", kubernetes_node=two)) == f"{two}.example.com"
    assert f"'{three}' may be any of {three}.a.com, {three}.b.com" in node_of(world, host(three))
    assert f"no node '{two}.example.org'" in node_of(world, host(f"{two}.example.org"))
    none = node_name("gpu")
    assert f"no node '{none}'" in node_of(world, host(none))


def test_an_address_is_not_shortened() -> None:
    assert host("10.0.0.1").node_names == ("10.0.0.1",), "not the node 10"

"""The real kubectl against the lab's API, as people use it on a cluster of GPU nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.lab.kube import LabCluster, SimulatedNode, seed
from tests.lab_kube.kubectl import Kubectl, kubectl_for

pytestmark = pytest.mark.lab

PLUGIN = f"daemonset/{seed.DEVICE_PLUGIN}"
MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: example, namespace: default}
data: {key: "%s"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: example, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: example}}
  template:
    metadata: {labels: {app: example}}
    spec: {containers: [{name: example, image: "registry.example/example:%s"}]}
"""


@pytest.fixture
def lab() -> Iterator[LabCluster]:
    nodes = [SimulatedNode(f"gpu{n}", address=f"192.0.2.{n}", count=2) for n in (1, 2, 3)]
    with LabCluster(nodes, workloads=True) as lab:
        lab.settle()
        yield lab


@pytest.fixture
def kubectl(lab: LabCluster, tmp_path: Path) -> Kubectl:
    return kubectl_for(lab.kubeconfig, tmp_path)


def header(text: str) -> list[str]:
    return text.splitlines()[0].split()


def test_tables(lab: LabCluster, kubectl: Kubectl) -> None:
    nodes = kubectl("get", "nodes")
    assert header(nodes) == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert nodes.splitlines()[1].split()[:3] == ["gpu1", "Ready", "<none>"]
    wide = kubectl("get", "nodes", "-o", "wide")
    assert "INTERNAL-IP" in wide and "192.0.2.1" in wide and "containerd://" in wide
    pods = kubectl("get", "pods", "-A")
    assert header(pods) == ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    wanted = ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE"]
    assert header(kubectl("get", "ds", "-n", "kube-system"))[:7] == wanted
    assert header(kubectl("get", "deploy")) == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert "ALLOWED DISRUPTIONS" in kubectl("get", "pdb")
    here = kubectl("get", "pods", "-A", "--field-selector", "spec.nodeName=gpu1", "-o", "name")
    assert set(here.split()) == {f"pod/{pod['metadata']['name']}" for pod in lab.pods_on("gpu1")}
    offered = kubectl(
        "get", "node", "gpu1", "-o", r"jsonpath={.status.allocatable.nvidia\.com/gpu}"
    )
    assert offered == "2"
    assert "NotFound" in kubectl.fails("get", "node", "gpu9")


def test_describe(lab: LabCluster, kubectl: Kubectl) -> None:
    node = kubectl("describe", "node", "gpu1")
    assert "Unschedulable:      false" in node
    assert "nvidia-device-plugin-daemonset-" in node
    allocated = [line.split() for line in node.splitlines()]
    assert ["nvidia.com/gpu:", "2"] in allocated and ["nvidia.com/gpu", "1", "1"] in allocated
    assert "registry.example/trainer:1.0" in kubectl("describe", "pods", "-l", "app=trainer")
    assert "3 Running / 0 Waiting" in kubectl("describe", PLUGIN, "-n", "kube-system")


def test_cordon_and_uncordon(kubectl: Kubectl) -> None:
    assert kubectl("cordon", "gpu1") == "node/gpu1 cordoned\n"
    assert kubectl("cordon", "gpu1") == "node/gpu1 already cordoned\n"
    assert "Ready,SchedulingDisabled" in kubectl("get", "node", "gpu1")
    assert kubectl("uncordon", "gpu1") == "node/gpu1 uncordoned\n"
    assert "SchedulingDisabled" not in kubectl("get", "node", "gpu1")


def test_drain_until_a_budget_lets_the_last_pod_go(lab: LabCluster, kubectl: Kubectl) -> None:
    assert "ignore-daemonsets" in kubectl.fails("drain", "gpu1", "--timeout=5s")
    assert "SchedulingDisabled" in kubectl("get", "node", "gpu1"), "it cordons before it looks"
    drained = kubectl.run("drain", "gpu1", "--ignore-daemonsets", "--timeout=60s")
    assert drained.returncode == 0, drained.stderr
    assert "evicting pod default/" in drained.stdout + drained.stderr
    owners = {pod["metadata"]["ownerReferences"][0]["kind"] for pod in lab.pods_on("gpu1")}
    assert owners == {"DaemonSet"}


def test_apply_is_idempotent_and_owned(lab: LabCluster, kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(MANIFEST % ("one", "1.0"))
    assert kubectl("apply", "-f", str(manifest)).splitlines() == [
        "configmap/example created",
        "deployment.apps/example created",
    ]
    assert kubectl("apply", "-f", str(manifest)).splitlines() == [
        "configmap/example unchanged",
        "deployment.apps/example unchanged",
    ]
    manifest.write_text(MANIFEST % ("two", "2.0"))
    assert "configmap/example configured" in kubectl("apply", "-f", str(manifest))
    lab.settle()
    images = kubectl("get", "pods", "-l", "app=example", "-o", "jsonpath={..image}")
    assert "example:2.0" in images
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(manifest))
    kubectl("delete", "-f", str(manifest))
    assert lab.get("ConfigMap", "example") is None


def test_label_and_taint(lab: LabCluster, kubectl: Kubectl) -> None:
    kubectl("label", "node", "gpu1", "zone=a")
    assert "--overwrite is false" in kubectl.fails("label", "node", "gpu1", "zone=b")
    kubectl("label", "node", "gpu1", "zone=b", "--overwrite")
    assert kubectl("get", "nodes", "-l", "zone=b", "-o", "name") == "node/gpu1\n"
    kubectl("label", "node", "gpu1", "zone-")
    assert kubectl("get", "nodes", "-l", "zone", "-o", "name") == ""
    kubectl("taint", "node", "gpu1", "repair=yes:NoSchedule")
    found = json.loads(kubectl("get", "node", "gpu1", "-o", "json"))["spec"]["taints"]
    assert found == [{"key": "repair", "value": "yes", "effect": "NoSchedule"}]
    kubectl("taint", "node", "gpu1", "repair-")
    assert "taints" not in json.loads(kubectl("get", "node", "gpu1", "-o", "json"))["spec"]


@pytest.mark.parametrize(
    ("name", "namespace"), [(PLUGIN, "kube-system"), ("deployment/web", "default")]
)
def test_rollout_restart_and_status(
    lab: LabCluster, kubectl: Kubectl, name: str, namespace: str
) -> None:
    before = {pod["metadata"]["uid"] for pod in lab.list("Pod", namespace)}
    kubectl("rollout", "restart", name, "-n", namespace)
    assert "successfully rolled out" in kubectl(
        "rollout", "status", name, "-n", namespace, "--timeout=60s"
    )
    lab.settle()
    plain = name.partition("/")[2]
    after = {
        pod["metadata"]["uid"]
        for pod in lab.list("Pod", namespace)
        if pod["metadata"]["name"].startswith(plain)
    }
    assert after and not after & before


def test_what_a_pod_has_printed(lab: LabCluster, kubectl: Kubectl) -> None:
    lab.create(
        {
            "kind": "Pod",
            "metadata": {"name": "once"},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "c", "image": "x", "command": ["echo", "hello"]}],
            },
        }
    )
    lab.settle()
    assert kubectl("logs", "once") == "hello\n"
    assert "Completed" in kubectl("get", "pod", "once")


def test_permissions_are_those_of_the_kubeconfig(lab: LabCluster, tmp_path: Path) -> None:
    reader = kubectl_for(lab.kubeconfig_reader, tmp_path)
    assert "gpu1" in reader("get", "nodes")
    said = reader.fails("label", "node", "gpu1", "zone=a")
    assert 'User "lab-reader" cannot patch resource "nodes"' in said


def test_create_and_ask_what_one_may(lab: LabCluster, kubectl: Kubectl) -> None:
    assert kubectl("create", "namespace", "team") == "namespace/team created\n"
    assert kubectl("create", "serviceaccount", "me", "-n", "team") == "serviceaccount/me created\n"
    kubectl("create", "configmap", "settings", "-n", "team", "--from-literal=a=b")
    found = lab.get("ConfigMap", "settings", "team")
    assert found and found["data"] == {"a": "b"}
    kubectl("create", "role", "looks", "-n", "team", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "looks", "-n", "team", "--role=looks", "--user=me")
    asked = ("auth", "can-i", "-n", "team", "--as=me")
    assert kubectl(*asked, "get", "pods") == "yes\n"
    assert kubectl.run(*asked, "delete", "pods").stdout == "no\n"
    assert "pods" in kubectl("auth", "can-i", "--list", "-n", "team", "--as=me")


def test_scale(lab: LabCluster, kubectl: Kubectl) -> None:
    assert "scaled" in kubectl("scale", "deployment/web", "--replicas=3")
    lab.settle()
    assert len(kubectl("get", "pods", "-l", "app=web", "-o", "name").splitlines()) == 3
    said = kubectl.fails("scale", "deployment/web", "--replicas=2", "--current-replicas=1")
    assert "Expected replicas to be 1, was 3" in said


def test_a_misspelt_field_is_told(lab: LabCluster, kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndat: {a: b}\n")
    done = kubectl.run("apply", "-f", str(manifest))
    assert 'unknown field "dat"' in done.stderr
    said = kubectl.fails("apply", "--server-side", "-f", str(manifest))
    assert ".dat: field not declared in schema" in said


def test_what_the_api_refuses_is_told_in_its_words(
    lab: LabCluster, kubectl: Kubectl, tmp_path: Path
) -> None:
    said = kubectl.fails("label", "node", "gpu1", "a=b c")
    assert "a valid label must be an empty string or consist of alphanumeric" in said
    manifest = tmp_path / "pod.yaml"
    manifest.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: []}\n")
    assert "spec.containers: Required value" in kubectl.fails("create", "-f", str(manifest))
    patch = '{"spec":{"selector":{"matchLabels":{"app":"other"}}}}'
    said = kubectl.fails("patch", "deployment/web", "-p", patch)
    assert "spec.selector" in said and "field is immutable" in said

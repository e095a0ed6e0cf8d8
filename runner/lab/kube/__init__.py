"""A small Kubernetes API server with controllers and kubelets, for the lab and for tests.

`LabCluster` is the whole of it in one object; `python -m runner.lab.kube` runs it as a program.
What it answers follows a real Kubernetes 1.36, whose recorded answers its tests compare with.
"""

from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.nodes import SimulatedNode

__all__ = ["LabCluster", "SimulatedNode"]

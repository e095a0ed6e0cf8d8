"""Names of a lab: folders, addresses, namespaces, control groups, all derived from its name."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from runner.errors import GpurunError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
"""Names of labs and nodes are also host names, so the rules of host names hold (RFC 1123)."""

MOST_NODES = 240
"""A lab is one /24: addresses from .10 on."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node should be: `count` GPUs of one model."""

    name: str
    model: str
    count: int

    @property
    def groups(self) -> tuple[str, ...]:
        """Inventory groups: all nodes are `gpu`, and the family of the card (`a100`, `t4`)."""
        return ("gpu", self.model.partition("-")[0].lower())


DEFAULT_NODES = (
    NodeSpec("gpu-a1", "A100-80", 2),
    NodeSpec("gpu-a2", "A100-40", 1),
    NodeSpec("gpu-h1", "H100-80", 2),
    NodeSpec("gpu-t1", "T4", 1),
)


def parse_node(text: str) -> NodeSpec:
    """Read NODE=MODEL:COUNT, for example `gpu-a1=A100-80:2`; without a count it is 1.

    Raises:
        GpurunError: when the name is no host name, the model is unknown or the count is not 1..16.
    """
    from runner.lab.gpu.models import MODELS

    name, _, card = text.partition("=")
    model, _, count = card.partition(":")
    check_name(name, "node")
    if model not in MODELS:
        raise GpurunError(
            f"{text}: there is no GPU model {model!r} in the lab",
            f"Write NODE=MODEL:COUNT with one of {', '.join(MODELS)}, like gpu-a1=A100-80:2.",
        )
    if not (count or "1").isdigit() or not 1 <= int(count or 1) <= 16:
        raise GpurunError(f"{text}: the number of GPUs must be 1 to 16, not {count!r}")
    return NodeSpec(name, model, int(count or 1))


def check_name(name: str, what: str) -> None:
    """Raise GpurunError when `name` cannot be the name of a lab or node."""
    if not NAME.fullmatch(name):
        raise GpurunError(
            f"{name!r} cannot be the name of a {what}",
            "Use small letters, digits and hyphens, 32 at most, like gpu-a1.",
        )


@dataclass(frozen=True, slots=True)
class Lab:
    """Where a lab lives on this machine.

    Args:
        name: of the lab; several run side by side.
        folder: its state, all of it removed by `down`.
        cache: base images, shared by all labs and kept.
    """

    name: str
    folder: Path
    cache: Path

    @property
    def tag(self) -> str:
        """Eight hex digits that stand for this lab where names must be short (interfaces: 15)."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def bridge(self) -> str:
        return f"gl{self.tag}"

    def hardware_address(self, number: int) -> str:
        """One of this lab's, always the same, so that no neighbour keeps a stale one for a minute.

        Args:
            number: 0 to 255: a node's index, or 255 for the bridge.
        """
        pairs = [self.tag[i : i + 2] for i in range(0, 8, 2)]
        return ":".join(["02", *pairs, f"{number:02x}"])

    @property
    def namespace_prefix(self) -> str:
        return f"gpurun.{self.name}."

    @property
    def cgroup(self) -> str:
        """Control group of all of the lab's processes, below each hierarchy's root."""
        return f"gpurun/{self.name}"

    @property
    def lock(self) -> Path:
        return self.folder.with_name(f".{self.name}.lock")

    @property
    def settings(self) -> Path:
        return self.folder / "lab.json"

    @property
    def key(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def nodes_file(self) -> Path:
        return self.folder / "nodes.json"

    @property
    def kube(self) -> Path:
        return self.folder / "kube"

    @property
    def kubeconfig(self) -> Path:
        return self.kube / "kubeconfig"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a lab, as names and paths on this machine.

    Args:
        index: from 0, unique in the lab; gives address and interface.
        subnet: first three bytes of the lab's /24, for example `198.18.77`.
        profile: `full` (systemd) or `light` (sshd as PID 1).
    """

    lab: Lab
    spec: NodeSpec
    index: int
    subnet: str
    profile: str

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def folder(self) -> Path:
        return self.lab.folder / "nodes" / self.name

    @property
    def root(self) -> Path:
        """The node's `/` as this machine sees it."""
        return self.folder / "root"

    @property
    def disk(self) -> Path:
        """Holds all the node writes; a file system of its own, so that it can be full."""
        return self.folder / "disk"

    @property
    def identity(self) -> Path:
        """Host key and machine id: they outlive a reset, so that known_hosts stays true."""
        return self.folder / "identity"

    @property
    def address(self) -> str:
        return f"{self.subnet}.{self.index + 10}"

    @property
    def namespace(self) -> str:
        return f"{self.lab.namespace_prefix}{self.name}"

    @property
    def namespace_file(self) -> Path:
        return Path("/run/netns") / self.namespace

    @property
    def interface(self) -> str:
        """The end of its cable on this machine; the other end is the node's eth0."""
        return f"{self.lab.bridge}-{self.index}"

    @property
    def hardware_address(self) -> str:
        return self.lab.hardware_address(self.index)

    @property
    def cgroup(self) -> str:
        return f"{self.lab.cgroup}/{self.name}"


LABS = Path("/var/lib/gpurun/labs")
CACHE = Path("/var/cache/gpurun")

ROOTLESS = "GPURUN_ROOTLESS"
"""Environment variable of what runs inside an ordinary user's lab (runner/lab/rootless.py)."""


def users_labs() -> Path:
    """Where this user's rootless labs live."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state, "gpurun/labs")


def users_cache() -> Path:
    """Where this user's images live."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gpurun")


def keeper_file() -> Path:
    """Names the process that holds the namespaces of this user's labs."""
    return users_labs().with_name("rootless")


def is_rootless() -> bool:
    """Whether this process runs inside an ordinary user's lab."""
    return ROOTLESS in os.environ


def find_lab(name: str) -> Lab:
    """The lab of that name, whether it exists or not."""
    check_name(name, "lab")
    if is_rootless():
        return Lab(name, users_labs() / name, users_cache())
    return Lab(name, LABS / name, CACHE)


def existing_labs() -> list[Lab]:
    """Labs that have left anything in the state folder, by name."""
    folder = users_labs() if is_rootless() else LABS
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [find_lab(name) for name in names if NAME.fullmatch(name)]

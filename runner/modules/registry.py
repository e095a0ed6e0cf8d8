"""Modules by the name tasks use. Imported only when a playbook names them: start-up stays fast."""

from __future__ import annotations

import importlib
from typing import Any

from runner.modules.base import Module

MODULES: dict[str, str] = {
    "apt": "runner.modules.apt:Apt",
    "assert": "runner.modules.assertion:Assert",
    "blockinfile": "runner.modules.blockinfile:Blockinfile",
    "collect_evidence": "runner.modules.collect_evidence:CollectEvidence",
    "command": "runner.modules.command:CommandModule",
    "containerd_runtime": "runner.modules.containerd_runtime:ContainerdRuntime",
    "copy": "runner.modules.copy:Copy",
    "crio_runtime": "runner.modules.crio_runtime:CrioRuntime",
    "daemonset_restart": "runner.modules.daemonset_restart:DaemonsetRestart",
    "deb822_repository": "runner.modules.deb822_repository:Deb822Repository",
    "debug": "runner.modules.debug:Debug",
    "dnf": "runner.modules.dnf:Dnf",
    "docker_runtime": "runner.modules.docker_runtime:DockerRuntime",
    "driver_reload": "runner.modules.driver_reload:DriverReload",
    "evict_pods": "runner.modules.evict_pods:EvictPodsModule",
    "fail": "runner.modules.fail:Fail",
    "file": "runner.modules.file:File",
    "get_url": "runner.modules.get_url:GetUrl",
    "gpu_persistence": "runner.modules.gpu_persistence:GpuPersistence",
    "gpu_record": "runner.modules.gpu_record:GpuRecord",
    "gpu_reset": "runner.modules.gpu_reset:GpuReset",
    "gpu_restore": "runner.modules.gpu_restore:GpuRestore",
    "ini_file": "runner.modules.ini_file:IniFile",
    "json": "runner.modules.json_file:Json",
    "kubernetes_info": "runner.modules.kubernetes_info:KubernetesInfo",
    "kubernetes_object": "runner.modules.kubernetes_object:KubernetesObject",
    "lineinfile": "runner.modules.lineinfile:Lineinfile",
    "mig": "runner.modules.mig:Mig",
    "modprobe": "runner.modules.modprobe:Modprobe",
    "node_cordon": "runner.modules.node_cordon:NodeCordon",
    "node_label": "runner.modules.node_label:NodeLabel",
    "node_taint": "runner.modules.node_taint:NodeTaint",
    "node_uncordon": "runner.modules.node_uncordon:NodeUncordon",
    "nvidia_driver": "runner.modules.nvidia_driver:NvidiaDriver",
    "package": "runner.modules.package:Package",
    "pause": "runner.modules.pause:Pause",
    "pod_check": "runner.modules.pod_check:PodCheck",
    "power_cycle": "runner.modules.power_cycle:PowerCycle",
    "reboot": "runner.modules.reboot:RebootModule",
    "require": "runner.modules.require:Require",
    "script": "runner.modules.script:Script",
    "service": "runner.modules.service:Service",
    "set_fact": "runner.modules.set_fact:SetFact",
    "shell": "runner.modules.command:ShellModule",
    "stat": "runner.modules.stat:Stat",
    "sysctl": "runner.modules.sysctl:Sysctl",
    "template": "runner.modules.template:Template",
    "toml": "runner.modules.toml:Toml",
    "uri": "runner.modules.uri:Uri",
    "wait_allocatable": "runner.modules.wait_allocatable:WaitAllocatableModule",
    "wait_for": "runner.modules.wait_for:WaitFor",
    "xid_record": "runner.modules.xid_record:XidRecord",
    "xid_remedy": "runner.modules.xid_remedy:XidRemedy",
    "yaml": "runner.modules.yaml_file:Yaml",
}
"""Task name -> "module:Class", in the order documentation lists them."""

INTERNAL: dict[str, str] = {"restore": "runner.modules.restore:Restore"}
"""Modules of tasks that gpurun itself makes; no playbook can name them."""

ALIASES: dict[str, str] = {
    "ansible.posix.sysctl": "sysctl",
    "community.general.ini_file": "ini_file",
    "community.general.modprobe": "modprobe",
    "ini": "ini_file",
    "kernel_module": "modprobe",
    "systemd": "service",
    "systemd_service": "service",
    "toml_patch": "toml",
}
"""Another name a task may use -> the module's own name."""

_BUILTIN = ("ansible.builtin.", "ansible.legacy.")


def short_name(name: str) -> str:
    """A module's own name for what a task may call it: Ansible's full name, an alias.

    A name that means no module is returned without its collection.
    """
    for prefix in _BUILTIN:
        name = name.removeprefix(prefix)
    return ALIASES.get(name, name)


def task_names(name: str) -> tuple[str, ...]:
    """Everything a task may call a module, its own name first."""
    names = (name, *(alias for alias, own in ALIASES.items() if own == name))
    return (*names, *(f"{_BUILTIN[0]}{each}" for each in names if "." not in each))


def load_module(name: str) -> Module[Any]:
    """The module a task names. Raises KeyError for an unknown name."""
    path, _, attribute = {**MODULES, **INTERNAL}[name].partition(":")
    module: Module[Any] = getattr(importlib.import_module(path), attribute)()
    return module

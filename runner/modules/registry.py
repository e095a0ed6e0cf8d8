"""Modules by the name tasks use. Imported only when a playbook names them: start-up stays fast."""

from __future__ import annotations

import importlib
from typing import Any

from runner.modules.base import Module

MODULES: dict[str, str] = {
    "apt": "runner.modules.apt:Apt",
    "assert": "runner.modules.assertion:Assert",
    "command": "runner.modules.command:CommandModule",
    "containerd_runtime": "runner.modules.containerd_runtime:ContainerdRuntime",
    "copy": "runner.modules.copy:Copy",
    "daemonset_restart": "runner.modules.daemonset_restart:DaemonsetRestart",
    "debug": "runner.modules.debug:Debug",
    "file": "runner.modules.file:File",
    "kubernetes_object": "runner.modules.kubernetes_object:KubernetesObject",
    "mig": "runner.modules.mig:Mig",
    "node_label": "runner.modules.node_label:NodeLabel",
    "node_taint": "runner.modules.node_taint:NodeTaint",
    "reboot": "runner.modules.reboot:RebootModule",
    "service": "runner.modules.service:Service",
    "set_fact": "runner.modules.set_fact:SetFact",
    "shell": "runner.modules.command:ShellModule",
    "template": "runner.modules.template:Template",
    "toml": "runner.modules.toml:Toml",
    "wait_allocatable": "runner.modules.wait_allocatable:WaitAllocatableModule",
}
"""Task name -> "module:Class", in the order documentation lists them."""


def load_module(name: str) -> Module[Any]:
    """The module a task names. Raises KeyError for an unknown name."""
    path, _, attribute = MODULES[name].partition(":")
    module: Module[Any] = getattr(importlib.import_module(path), attribute)()
    return module

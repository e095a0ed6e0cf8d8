"""The JSON Schema of YAML inventories, for editors and for validation in CI."""

from __future__ import annotations

from typing import Any

from runner.inventory.kubernetes import ADDRESSES, KEYS

_TEXT = {"type": "string"}
_PORT = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string"}],
}
VARIABLES: dict[str, tuple[dict[str, Any], str]] = {
    "ansible_host": (_TEXT, "address; default the host's name"),
    "ansible_port": (_PORT, "port of sshd; default as ~/.ssh/config says, else 22"),
    "ansible_user": (_TEXT, "login user"),
    "ansible_ssh_private_key_file": (_TEXT, "private key"),
    "ansible_ssh_common_args": (
        _TEXT,
        "options of ssh: -o ProxyJump=, -J, -o UserKnownHostsFile=, -i",
    ),
    "ansible_become_password": (_TEXT, "sudo password; better -K or $GPURUN_BECOME_PASSWORD"),
    "kubernetes_node": (_TEXT, "name of the Kubernetes node; default the host's name"),
    "kubernetes_context": (_TEXT, "context in the kubeconfig"),
    "kubernetes_labels": ({"type": "object"}, "labels of the node, for patterns label=value"),
    "kubeconfig": (_TEXT, "kubeconfig file of the host's cluster"),
}
"""Variables that gpurun itself reads: their type, and what they say."""


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an inventory: groups, or `plugin: kubernetes`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpurun inventory",
        "type": "object",
        "if": {"required": ["plugin"]},
        "then": {"$ref": "#/$defs/kubernetes"},
        "else": {"additionalProperties": {"$ref": "#/$defs/group"}, "minProperties": 1},
        "$defs": {
            "group": _group(),
            "variables": _variables(),
            "kubernetes": _kubernetes(),
        },
    }


def _variables() -> dict[str, Any]:
    from runner.playbook.schema import drain_schema

    known = {name: {**kind, "description": text} for name, (kind, text) in VARIABLES.items()}
    known["drain"] = {**drain_schema(), "description": "how the host's node is drained"}
    return {"type": ["object", "null"], "properties": known}


def _group() -> dict[str, Any]:
    def named(definition: str, text: str) -> dict[str, Any]:
        return {
            "type": ["object", "null", "string"],
            "additionalProperties": {"$ref": f"#/$defs/{definition}"},
            "description": text,
        }

    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "hosts": named("variables", "hosts, also as ranges: gpu-[01:16]:, and their variables"),
            "children": named("group", "groups in this group"),
            "vars": {"$ref": "#/$defs/variables", "description": "variables of all its hosts"},
        },
    }


def _kubernetes() -> dict[str, Any]:
    texts = {"type": "array", "items": _TEXT}
    pair = {"type": "string", "pattern": "^[^=]+="}
    kinds: dict[str, dict[str, Any]] = {
        "plugin": {"enum": ["kubernetes", "gpurun.kubernetes"]},
        "address": {"enum": list(ADDRESSES)},
        "groups_from_labels": {
            "anyOf": [
                texts,
                {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
            ]
        },
        "groups": {
            "type": "object",
            "additionalProperties": {"anyOf": [pair, {"type": "array", "items": pair}]},
        },
        "vars": {"$ref": "#/$defs/variables"},
    }
    return {
        "additionalProperties": False,
        "properties": {
            name: {**kinds.get(name, _TEXT), "description": text} for name, text in KEYS.items()
        },
    }

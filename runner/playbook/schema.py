"""The JSON Schema of playbooks, made of the same types that check them."""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
from typing import Any, get_args

from runner.kube.state import DrainMode, DrainOptions
from runner.modules.base import Disruption, Module, Risk
from runner.modules.registry import MODULES, load_module, task_names
from runner.playbook.keywords import BLOCK_KEYS, IMPORT_KEYS, PLAY_KEYS, TASK_KEYS
from runner.playbook.secret_tags import KINDS

_TEMPLATE = {"type": "string", "pattern": r"\{[{%]"}
_SECRET = {
    "type": "object",
    "description": "!secret: where a secret is read from",
    "additionalProperties": False,
    "properties": {
        "env": {"type": "string", "description": KINDS["env"]},
        "file": {"type": "string", "description": KINDS["file"]},
        "command": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "description": KINDS["command"],
        },
        "sops": {"type": "string", "description": KINDS["sops"]},
        "key": {"type": "string", "description": "of sops: which value, a.b.c"},
    },
    "oneOf": [{"required": [kind]} for kind in KINDS],
}
"""What stands at the tag `!secret`; a schema sees no tags."""
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_CONDITION = {"type": ["string", "boolean"]}
_CONDITIONS = {"anyOf": [_CONDITION, {"type": "array", "items": _CONDITION}]}
_SECONDS = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^\d+(\.\d+)?[smh]?$"},
    ]
}
_SIZE = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d+%?$"}]}
_SIZES = {"anyOf": [_SIZE, {"type": "array", "items": _SIZE, "minItems": 1}]}
_MAPPING = {"type": ["object", "null"]}
_FLAG = {"type": "boolean"}
_TEXT = {"type": "string"}
_TASKS = {
    "type": "array",
    "items": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("task", "block", "import")]},
}


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a playbook, for editors and for validation in CI."""
    definitions: dict[str, Any] = {"secret": _SECRET}
    modules = {name: _module(load_module(name), definitions) for name in MODULES}
    definitions["task"] = _task(modules)
    definitions["block"], definitions["import"] = _block(), _import()
    definitions["play"] = _play()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpurun playbook",
        "type": "array",
        "minItems": 1,
        "items": {"$ref": "#/$defs/play"},
        "$defs": definitions,
    }


def _object(properties: dict[str, Any], docs: dict[str, str] | None = None) -> dict[str, Any]:
    described = {
        name: {**part, "description": docs[name]} if docs else part
        for name, part in properties.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": described}


def _names(levels: type[IntEnum]) -> dict[str, Any]:
    return {"enum": [level.name.lower() for level in levels]}


def _play() -> dict[str, Any]:
    tasks = {**_TASKS, "type": ["array", "null"]}
    rollout = _object({"waves": _SIZES, "max_failed": {"type": "integer", "minimum": 0}})
    properties: dict[str, Any] = {
        "name": _TEXT,
        "hosts": _TEXTS,
        "become": _FLAG,
        "become_user": _TEXT,
        "become_method": {"const": "sudo"},
        "vars": _MAPPING,
        "vars_files": _TEXTS,
        "environment": _MAPPING,
        "preconditions": tasks,
        "tasks": tasks,
        "handlers": tasks,
        "verify": tasks,
        "rollout": rollout,
        "serial": _SIZES,
        "risk": _names(Risk),
        "drain": _drain(),
        "gather_facts": _FLAG,
    }
    return {**_object(properties, PLAY_KEYS), "required": ["hosts"]}


def _drain() -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "mode": {"enum": list(get_args(DrainMode))},
        "pod_selector": _TEXT,
        "namespace_exclude": _TEXTS,
        "grace_period": {"type": "integer", "minimum": 0},
        "timeout": _SECONDS,
    }
    return _object({item.name: kinds.get(item.name, _FLAG) for item in fields(DrainOptions)})


def _task(modules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": _TEXT,
        "when": _CONDITIONS,
        "notify": _TEXTS,
        "register": {"type": "string", "pattern": r"^[A-Za-z_]\w*$"},
        "loop": {"anyOf": [{"type": "array"}, _TEMPLATE]},
        "vars": _MAPPING,
        "args": _MAPPING,
        "become": _FLAG,
        "become_user": _TEXT,
        "become_method": {"const": "sudo"},
        "timeout": _SECONDS,
        "environment": _MAPPING,
        "risk": _names(Risk),
        "disruption": _names(Disruption),
        "because": _TEXT,
        "failed_when": _CONDITIONS,
        "changed_when": _CONDITIONS,
        "ignore_errors": _FLAG,
        "run_once": _FLAG,
        "delegate_to": _TEXT,
        "until": _CONDITIONS,
        "retries": {"type": "integer", "minimum": 0},
        "delay": {"type": "number", "minimum": 0},
        "backoff": {"type": "number", "minimum": 1},
        "tags": _TEXTS,
    }
    made = _object(properties, TASK_KEYS)
    for name, part in modules.items():
        made["properties"].update(dict.fromkeys(task_names(name), part))
    made["oneOf"] = [{"required": [name]} for name in made["properties"] if name not in properties]
    return made


_INHERITED: dict[str, Any] = {
    "name": _TEXT,
    "when": _CONDITIONS,
    "become": _FLAG,
    "become_user": _TEXT,
    "become_method": {"const": "sudo"},
    "vars": _MAPPING,
    "environment": _MAPPING,
    "tags": _TEXTS,
    "ignore_errors": _FLAG,
    "run_once": _FLAG,
    "delegate_to": _TEXT,
}


def _block() -> dict[str, Any]:
    parts = {name: {**_TASKS, "minItems": 1} for name in ("block", "rescue", "always")}
    made = _object({**parts, **_INHERITED}, BLOCK_KEYS)
    return {**made, "required": ["block"]}


def _import() -> dict[str, Any]:
    file = {"anyOf": [_TEXT, {**_object({"file": _TEXT}), "required": ["file"]}]}
    made = _object({"import_tasks": file, **_INHERITED}, IMPORT_KEYS)
    long = "ansible.builtin.import_tasks"
    made["properties"][long] = made["properties"]["import_tasks"]
    return {**made, "oneOf": [{"required": ["import_tasks"]}, {"required": [long]}]}


def _module(module: Module[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a module's arguments, in which every value may be a template or a
    secret."""
    made = module.arguments.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(made.pop("$defs", {}))
    # `args:` and the one-line form may bring what is required: the loader checks that.
    made.pop("required", None)
    made["description"] = (module.__doc__ or "").strip().split("\n\n")[0]
    properties = made.get("properties", {})
    for name, part in properties.items():
        kept = {key: part[key] for key in ("description", "default", "title") if key in part}
        # One value may stand for a list of one.
        one = [part["items"]] if part.get("items") else []
        secret = {"$ref": "#/$defs/secret"}
        properties[name] = {"anyOf": [part, _TEMPLATE, secret, *one], **kept}
    for other, own in module.arguments.other_names.items():
        properties[other] = properties[own]
    forms: list[dict[str, Any]] = [made, {"type": "null"}]
    if module.free_form:
        forms.append({"type": "string"})
    return {"anyOf": forms, "description": made["description"]}

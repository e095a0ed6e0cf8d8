"""The JSON Schema of playbooks, made of the same types that check them."""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
from typing import Any, get_args

from runner.kube.state import DrainMode, DrainOptions
from runner.kube.taints import EFFECTS
from runner.modules.base import Disruption, Module, Risk
from runner.modules.registry import MODULES, load_module, task_names
from runner.playbook.keywords import (
    APPLY_KEYS,
    BLOCK_KEYS,
    IMPORT_KEYS,
    IMPORT_PLAYBOOK_KEYS,
    IMPORT_ROLE_KEYS,
    INCLUDE_KEYS,
    INCLUDE_ROLE_KEYS,
    INCLUDE_VARS_KEYS,
    LOOP_CONTROL_KEYS,
    PLAY_KEYS,
    ROLE_ARGUMENTS,
    ROLE_KEYS,
    TASK_KEYS,
)
from runner.playbook.rollout import ORDERS
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
_FLAG_OR_TEMPLATE = {"anyOf": [_FLAG, _TEMPLATE]}
_VARIABLE = {"type": "string", "pattern": r"^[A-Za-z_]\w*$"}
_PERCENT = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 100},
        {"type": "string", "pattern": r"^\d+(\.\d+)?%?$"},
    ]
}
_INCLUDING = (
    "import_tasks",
    "include_tasks",
    "import_role",
    "include_role",
    "include_vars",
)
_TASKS = {
    "type": "array",
    "items": {
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("task", "block", *_INCLUDING)],
    },
}


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a playbook, for editors and for validation in CI."""
    definitions: dict[str, Any] = {"secret": _SECRET}
    modules = {name: _module(load_module(name), definitions) for name in MODULES}
    definitions["task"] = _task(modules)
    definitions["block"], definitions["apply"] = _block(), _object(_INHERITED, APPLY_KEYS)
    definitions |= {name: _include(name) for name in _INCLUDING}
    definitions["role"], definitions["play"] = _role(), _play()
    definitions["import_playbook"] = _import_playbook()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpurun playbook",
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"$ref": "#/$defs/play"}, {"$ref": "#/$defs/import_playbook"}]},
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
    failures = {"type": "integer", "minimum": 0}
    share = {"type": "string", "pattern": r"^\d+(\.\d+)?%$"}
    rollout = _object({"waves": _SIZES, "max_failed": {"anyOf": [failures, share]}})
    files = {"anyOf": [_TEXTS, {"type": "array", "items": _TEXTS}]}
    roles = {"type": ["array", "null"], "items": {"$ref": "#/$defs/role"}}
    properties: dict[str, Any] = {
        "name": _TEXT,
        "hosts": _TEXTS,
        "become": _FLAG,
        "become_user": _TEXT,
        "become_method": {"const": "sudo"},
        "vars": _MAPPING,
        "vars_files": files,
        "environment": _MAPPING,
        "module_defaults": _MAPPING,
        "pre_tasks": tasks,
        "roles": roles,
        "post_tasks": tasks,
        "tags": _TEXTS,
        "no_log": _FLAG_OR_TEMPLATE,
        "timeout": _SECONDS,
        "ignore_errors": _FLAG,
        "ignore_unreachable": _FLAG,
        "any_errors_fatal": _FLAG,
        "max_fail_percentage": _PERCENT,
        "order": {"enum": list(ORDERS)},
        "force_handlers": _FLAG,
        "preconditions": tasks,
        "tasks": tasks,
        "handlers": tasks,
        "verify": tasks,
        "rollout": rollout,
        "serial": _SIZES,
        "risk": _names(Risk),
        "drain": drain_schema(),
        "gather_facts": _FLAG,
    }
    return {**_object(properties, PLAY_KEYS), "required": ["hosts"]}


def drain_schema() -> dict[str, Any]:
    """The options of a drain, also as a variable of an inventory."""
    kinds: dict[str, dict[str, Any]] = {
        "mode": {"enum": list(get_args(DrainMode))},
        "pod_selector": _TEXT,
        "namespace_exclude": _TEXTS,
        "grace_period": {"type": "integer", "minimum": 0},
        "timeout": _SECONDS,
        "wait_for_jobs": {
            **_object({"selector": _TEXT, "timeout": _SECONDS}),
            "type": ["object", "null"],
            "required": ["selector"],
        },
        "skip_wait_for_delete_timeout": {"type": "integer", "minimum": 0},
        "taint": {**_TEXT, "pattern": rf"^[^=:]+(=[^=:]*)?:({'|'.join(EFFECTS)})$"},
    }
    return _object({item.name: kinds.get(item.name, _FLAG) for item in fields(DrainOptions)})


def _task(modules: dict[str, dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": _TEXT,
        "when": _CONDITIONS,
        "notify": _TEXTS,
        "register": _VARIABLE,
        **_loop(),
        "listen": _TEXTS,
        "no_log": _FLAG_OR_TEMPLATE,
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


def _loop() -> dict[str, Any]:
    several = {"anyOf": [{"type": "array"}, _TEMPLATE]}
    control = {
        "loop_var": _VARIABLE,
        "index_var": _VARIABLE,
        "label": {},
        "extended": _FLAG,
        "extended_allitems": _FLAG,
    }
    return {
        "loop": several,
        "with_list": several,
        "with_items": several,
        "with_dict": {"anyOf": [{"type": "object"}, _TEMPLATE]},
        "loop_control": _object(control, LOOP_CONTROL_KEYS),
    }


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
    "notify": _TEXTS,
    "timeout": _SECONDS,
    "no_log": _FLAG_OR_TEMPLATE,
    "module_defaults": _MAPPING,
    "run_once": _FLAG,
    "delegate_to": _TEXT,
}


def _block() -> dict[str, Any]:
    parts = {name: {**_TASKS, "minItems": 1} for name in ("block", "rescue", "always")}
    made = _object({**parts, **_INHERITED}, BLOCK_KEYS)
    return {**made, "required": ["block"]}


_KEYS = {
    "import_tasks": IMPORT_KEYS,
    "include_tasks": INCLUDE_KEYS,
    "import_role": IMPORT_ROLE_KEYS,
    "include_role": INCLUDE_ROLE_KEYS,
    "include_vars": INCLUDE_VARS_KEYS,
}


def _include(name: str) -> dict[str, Any]:
    """What stands where a task stands and brings in a file or a role."""
    argument = "name" if name.endswith("_role") else "file"
    given = {
        "file": {"file": _TEXT, "apply": {"$ref": "#/$defs/apply"}},
        "name": dict.fromkeys(ROLE_ARGUMENTS, _TEXT),
    }[argument]
    if argument == "name":
        given |= {"apply": {"$ref": "#/$defs/apply"}, "public": _FLAG, "allow_duplicates": _FLAG}
    if name == "include_vars":
        given = {"file": _TEXT, "name": _VARIABLE}
    known = {**_INHERITED, **_loop(), "args": _MAPPING, "apply": {"$ref": "#/$defs/apply"}}
    under = {"anyOf": [_TEXT, {**_object(given), "required": [argument]}]}
    made = _object({key: known.get(key, under) for key in _KEYS[name]}, _KEYS[name])
    long = f"ansible.builtin.{name}"
    made["properties"][long] = made["properties"][name]
    return {**made, "oneOf": [{"required": [name]}, {"required": [long]}]}


def _role() -> dict[str, Any]:
    properties = {key: _INHERITED.get(key, _TEXT) for key in ROLE_KEYS}
    named = [{"required": ["role"]}, {"required": ["name"]}]
    return {"anyOf": [_TEXT, {**_object(properties, ROLE_KEYS), "anyOf": named}]}


def _import_playbook() -> dict[str, Any]:
    properties = {key: _INHERITED.get(key, _TEXT) for key in IMPORT_PLAYBOOK_KEYS}
    made = _object(properties, IMPORT_PLAYBOOK_KEYS)
    long = "ansible.builtin.import_playbook"
    made["properties"][long] = made["properties"]["import_playbook"]
    return {**made, "oneOf": [{"required": ["import_playbook"]}, {"required": [long]}]}


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

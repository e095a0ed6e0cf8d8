"""Filters, tests, functions and lookups that Ansible has and gpurun has not: each with the nearest
way to do it here. They are refused while a playbook is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_DIFFERS = "A plan would differ at every look"
_RANDOM = f"{_DIFFERS}. Choose with hash: items[(inventory_hostname | hash | int(base=16)) % n]."
_ADDRESS = "Compare texts with match or regex_search, or write the parts as variables."
_CONTROLLER = "It would look at the controller, not at the host. "
_STAT = _CONTROLLER + "Use command with read_only: true and register for the host's files."
_QUERY = "Use selectattr, rejectattr, map(attribute=...) and dict2items."
_WINDOWS = "Hosts run Linux: use basename, dirname or splitext."
_XML = "Register the output of a command with --output json, or use regex_findall."
_VAULT = "Encrypted values are not read here: give secrets with -e or lookup('env', NAME)."
_ASYNC = "There are no async tasks: gpurun waits for a step, as long as timeout says."
_PASSWORD = (
    f"{_DIFFERS} (a new salt each time). Make the hash once with mkpasswd -m sha-512 "
    "and keep it as a variable."
)
_PATH = "It depends on the controller. Write the path in full."

FILTERS: dict[str, str] = {
    "cidr_merge": _ADDRESS,
    "consolidate": "Use combine with recursive=true.",
    "counter": "Use groupby and length.",
    "dict_kv": "Write the mapping: {'name': value}.",
    "expanduser": _PATH,
    "expandvars": f"{_PATH} For a variable of the environment: lookup('env', NAME).",
    "fileglob": "Use query('fileglob', pattern).",
    "from_csv": "Use split: lines | map('split', ',').",
    "from_xml": _XML,
    "groupby_as_dict": "Use rekey_on_member.",
    "hwaddr": _ADDRESS,
    "ipaddr": _ADDRESS,
    "ipmath": _ADDRESS,
    "ipsubnet": _ADDRESS,
    "ipv4": _ADDRESS,
    "ipv6": _ADDRESS,
    "ipwrap": _ADDRESS,
    "jc": _XML,
    "json_query": _QUERY,
    "k8s_config_resource_name": "Write the name in full.",
    "keep_keys": "Use dict2items, selectattr('key', 'in', [...]) and items2dict.",
    "lists_mergeby": "Use rekey_on_member on both lists and combine.",
    "macaddr": _ADDRESS,
    "network_in_network": _ADDRESS,
    "network_in_usable": _ADDRESS,
    "nthhost": _ADDRESS,
    "parse_cli": _XML,
    "parse_xml": _XML,
    "password_hash": _PASSWORD,
    "random": _RANDOM,
    "random_mac": _RANDOM,
    "realpath": f"{_PATH} normpath takes . and .. out of a path.",
    "reduce_on_network": _ADDRESS,
    "remove_keys": "Use dict2items, rejectattr('key', 'in', [...]) and items2dict.",
    "shuffle": _RANDOM,
    "slaac": _ADDRESS,
    "to_xml": "Write a template file.",
    "unicode_normalize": "Write the text as it shall be.",
    "unvault": _VAULT,
    "usable_range": _ADDRESS,
    "validate": "Use assert with is match, is version or in.",
    "vault": _VAULT,
    "version_sort": "Use sort, or compare two with is version.",
    "win_basename": _WINDOWS,
    "win_dirname": _WINDOWS,
    "win_splitdrive": _WINDOWS,
}

TESTS: dict[str, str] = {
    "a_module": "gpurun doc lists the modules.",
    "directory": _STAT,
    "exists": _STAT,
    "file": _STAT,
    "finished": _ASYNC,
    "ip": _ADDRESS,
    "ip_address": _ADDRESS,
    "ipv4": _ADDRESS,
    "ipv6": _ADDRESS,
    "is_dir": _STAT,
    "is_file": _STAT,
    "is_link": _STAT,
    "is_mount": _STAT,
    "is_same_file": _STAT,
    "link": _STAT,
    "link_exists": _STAT,
    "mount": _STAT,
    "same_file": _STAT,
    "started": _ASYNC,
    "timedout": "Use is failed: a step that takes too long has failed.",
    "vault_encrypted": _VAULT,
    "vaulted_file": _VAULT,
}

FUNCTIONS: dict[str, str] = {
    "cycler": "Use loop.cycle('a', 'b') inside a for.",
    "joiner": "Use join, or loop.last inside a for.",
    "lipsum": f"{_DIFFERS}.",
    "now": f"{_DIFFERS}. Pass the time with -e, or lookup('pipe', 'date +%s').",
    "undef": "Leave the variable out; mandatory and assert tell who needs it.",
}

LOOKUPS: dict[str, str] = {
    "config": "gpurun config shows the settings.",
    "csvfile": "Use lookup('file', ...) with split, or a YAML file in vars_files.",
    "dig": "Use lookup('pipe', 'dig +short NAME').",
    "hashi_vault": "Use lookup('pipe', ...) with the client, or -e.",
    "indexed_items": "Use loop.index0 inside a for, or zip with range.",
    "ini": "Use lookup('file', ...) with regex_search, or a YAML file in vars_files.",
    "inventory_hostnames": "Use groups['NAME'].",
    "k8s": "Use lookup('pipe', 'kubectl get ... -o json') | from_json.",
    "lines": "Use lookup('pipe', ...) with the filter splitlines: lookup(...).splitlines().",
    "password": _PASSWORD,
    "random_choice": _RANDOM,
    "random_string": _RANDOM,
    "redis": "Use lookup('pipe', ...).",
    "subelements": "Use the filter subelements.",
    "together": "Use the filter zip or zip_longest.",
    "unvault": _VAULT,
    "url": "Use lookup('pipe', 'curl -fsS URL').",
    "varnames": "Write the names.",
}

PREFIXES = ("ansible.builtin.", "ansible.legacy.")
_KINDS: dict[str, dict[str, str]] = {
    "filter": FILTERS,
    "test": TESTS,
    "function": FUNCTIONS,
    "lookup": LOOKUPS,
}


def short_name(name: str) -> str:
    """Ansible's fully qualified name of what it has built in as its short name."""
    return next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), name)


def why_absent(kind: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """What to say about a name that is not offered: the message and the hint.

    Args:
        kind: filter, test, function or lookup.
        known: the names of that kind that are.
    """
    absent = _KINDS[kind]
    last = name.rpartition(".")[2]
    if last in absent and (short_name(name) == last or last not in known):
        return f"the {kind} {last} of Ansible is not offered", absent[last]
    names = sorted(n for n in known if n.isidentifier())
    near = difflib.get_close_matches(last, names, 1)
    hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(names)}."
    if "." in name and short_name(name) == name:
        return f"the {kind} {name} comes from a collection; there are none here", hint
    return f"there is no {kind} named {name}", hint

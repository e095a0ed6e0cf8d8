"""What Ansible has and gpurun has not: each with the nearest way to do it here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

PLAY_KEYS: dict[str, str] = {
    "name": "what the play is for",
    "hosts": "pattern of inventory hosts",
    "become": "run as root, or become_user, through sudo",
    "become_user": "whom tasks become (root)",
    "become_method": "only sudo",
    "vars": "variables of the play",
    "vars_files": "YAML files of variables, relative to the playbook",
    "environment": "environment variables of its commands",
    "preconditions": "tasks that look only; a host that fails one is left alone",
    "tasks": "what the hosts shall be like",
    "handlers": "tasks that run when notified by a change",
    "verify": "tasks that look only, after the changes",
    "rollout": "waves and how many hosts may fail",
    "serial": "Ansible's name for rollout.waves",
    "risk": "the least risk of every change of the play",
    "drain": "how nodes are drained",
    "gather_facts": "accepted; facts are read when a task names them",
}

TASK_KEYS: dict[str, str] = {
    "name": "what the task makes true",
    "when": "condition, or a list of conditions that must all hold",
    "notify": "handlers to run after a change",
    "register": "variable that takes the result",
    "loop": "list; the task runs for each `item`",
    "vars": "variables of the task",
    "args": "further arguments of a module written as one line",
    "become": "run as root, or become_user, through sudo",
    "become_user": "whom tasks become (root)",
    "become_method": "only sudo",
    "timeout": "seconds a command may take on the host",
    "environment": "environment variables of its commands",
    "risk": "low, medium or high",
    "disruption": "none, service, gpu, node or reboot",
    "because": "why risk or disruption is set lower than the module's own",
    "failed_when": "conditions on the result that mean failure",
    "changed_when": "conditions on a command's result that mean it changed something",
    "ignore_errors": "go on after a failure",
    "until": "conditions on the result: the task is done again until they all hold",
    "retries": "tries after the first one (3 with until); without until: until it succeeds",
    "delay": "seconds between two tries (5)",
    "backoff": "by what each wait is longer than the one before (1)",
    "run_once": "one host of the play does it for all",
    "delegate_to": "another host that is looked at and changed instead",
    "tags": "names for --tags and --skip-tags",
}

_SHARED = (
    "name",
    "when",
    "become",
    "become_user",
    "become_method",
    "vars",
    "environment",
    "tags",
    "ignore_errors",
    "run_once",
    "delegate_to",
)
BLOCK_KEYS: dict[str, str] = {
    "block": "list of tasks that all take what stands beside it",
    "rescue": "tasks for when one of the block's tasks fails",
    "always": "tasks that follow in any case",
    **{key: TASK_KEYS[key] for key in _SHARED},
}
IMPORT_KEYS: dict[str, str] = {
    "import_tasks": "file with a list of tasks, relative to the importing file",
    **{key: TASK_KEYS[key] for key in _SHARED},
}

_INCLUDE = "Use import_tasks: file, with when: where it is not always wanted."
_ROLE = "Write what the role does as tasks of the play; roles are not read yet."
_LOOP = "Write loop: with the list; the item is the variable `item`."

REFUSED_TASK_KEYS: dict[str, str] = {
    "action": "Write the module's name as the key.",
    "local_action": "Write the module as the key and delegate_to: localhost beside it.",
    "always": "Put it beside a block: - block: [...], then always: with a list of tasks.",
    "any_errors_fatal": "Set rollout.max_failed of the play (0 is the default).",
    "become_exe": "Only sudo is used.",
    "become_flags": "Only sudo is used, with -n or -S, and -H for users other than root.",
    "async": "Set timeout; gpurun waits for a step and kills it on the host when time is up.",
    "check_mode": "Leave it out: a plan never changes anything.",
    "collections": "Leave it out: modules are built in.",
    "connection": "Write delegate_to: localhost, or set ansible_connection in the inventory.",
    "debugger": "Leave it out; look at gpurun plan.",
    "delegate_facts": "Leave it out: facts and results stay with the play's own hosts.",
    "diff": "Leave it out: a plan always shows differences.",
    "import_playbook": "Run the playbooks one after the other.",
    "import_role": _ROLE,
    "include": _INCLUDE,
    "include_role": _ROLE,
    "include_tasks": _INCLUDE,
    "include_vars": "Use vars_files of the play.",
    "listen": "Notify the handler by its name.",
    "loop_control": "Leave it out; the item is the variable `item`.",
    "module_defaults": "Write the arguments at the tasks.",
    "no_log": "Leave it out: secrets are redacted by value everywhere.",
    "poll": "Set timeout instead.",
    "rescue": "Put it beside a block: - block: [...], then rescue: with a list of tasks.",
    "throttle": "Use rollout.waves of the play.",
    "with_dict": 'Write loop: "{{ mapping | dict2items }}"; item.key and item.value.',
    "with_fileglob": _LOOP,
    "with_first_found": _LOOP,
    "with_flattened": 'Write loop: "{{ lists | flatten }}".',
    "with_indexed_items": _LOOP,
    "with_items": _LOOP,
    "with_list": _LOOP,
    "with_nested": _LOOP,
    "with_sequence": 'Write loop: "{{ range(1, 5) | list }}".',
    "with_subelements": _LOOP,
    "with_together": "Write loop: with a list of the pairs; the item is the variable `item`.",
}

_AT_TASKS = "Put it at the tasks inside."
REFUSED_BLOCK_KEYS: dict[str, str] = {
    **REFUSED_TASK_KEYS,
    "changed_when": _AT_TASKS,
    "failed_when": _AT_TASKS,
    "loop": _AT_TASKS,
    "notify": _AT_TASKS,
    "register": _AT_TASKS,
    "retries": _AT_TASKS,
    "timeout": _AT_TASKS,
    "until": _AT_TASKS,
}

REFUSED_PLAY_KEYS: dict[str, str] = {
    "any_errors_fatal": "Set rollout.max_failed (0, the default, stops at the first failure).",
    "become_exe": "Only sudo is used.",
    "become_flags": "Only sudo is used, with -n or -S, and -H for users other than root.",
    "collections": "Leave it out: modules are built in.",
    "connection": "Set ansible_connection (ssh or local) in the inventory.",
    "fact_path": "Leave it out.",
    "force_handlers": "Leave it out: a notification survives a failed run.",
    "gather_subset": "Leave it out: facts are read when a task names them.",
    "gather_timeout": "Leave it out.",
    "import_playbook": "Run the playbooks one after the other.",
    "max_fail_percentage": "Set rollout.max_failed to the number of hosts that may fail.",
    "module_defaults": "Write the arguments at the tasks.",
    "order": "Hosts go in inventory order.",
    "port": "Set ansible_port in the inventory.",
    "post_tasks": "Put them at the end of tasks; checks belong in verify.",
    "pre_tasks": "Put them at the start of tasks; checks belong in preconditions.",
    "remote_user": "Set ansible_user in the inventory.",
    "roles": _ROLE,
    "strategy": "Use rollout.waves; inside a wave hosts go independently.",
    "tags": "Put tags at the tasks, or at a block around them.",
    "throttle": "Use rollout.waves.",
    "user": "Set ansible_user in the inventory.",
    "vars_prompt": "Pass values with -e name=value.",
}

_FILE = "Use lineinfile or blockinfile for a part of the file, copy or template for the whole."
_LOOK = "Use command with read_only: true and register."

ABSENT_MODULES: dict[str, str] = {
    "add_host": "Put the host into the inventory.",
    "apt_key": "Use copy to put the key into /etc/apt/keyrings.",
    "apt_repository": "Use copy to write the file under /etc/apt/sources.list.d.",
    "cron": "Use copy to write a file under /etc/cron.d.",
    "dnf": "Only apt is managed so far; use command with unless.",
    "expect": "Use command with input it needs on the command line or in a file.",
    "fetch": _LOOK,
    "find": _LOOK,
    "git": "Use command with creates.",
    "group": "Use command with unless.",
    "group_by": "Use groups of the inventory.",
    "hostname": "Use command with unless.",
    "import_role": _ROLE,
    "include": _INCLUDE,
    "include_role": _ROLE,
    "include_tasks": _INCLUDE,
    "include_vars": "Use vars_files of the play.",
    "k8s": "Use node_label or daemonset_restart, or kubectl.",
    "k8s_drain": "Leave it out: nodes are cordoned and drained when a change needs it.",
    "kubernetes.core.k8s": "Use node_label or daemonset_restart, or kubectl.",
    "kubernetes.core.k8s_drain": "Leave it out: nodes are drained when a change needs it.",
    "meta": "Leave it out: handlers run after a play's tasks.",
    "mount": "Use copy for a systemd mount unit and service.",
    "package_facts": "Use facts.packages.",
    "ping": "Leave it out: an unreachable host is reported as such.",
    "pip": "Use command with unless.",
    "raw": "Use shell.",
    "replace": _FILE,
    "service_facts": "Use command with read_only: true and register.",
    "setup": "Leave it out: facts.NAME is read when a task names it.",
    "slurp": _LOOK,
    "synchronize": "Use copy for single files.",
    "tempfile": "Use shell.",
    "unarchive": "Use command with creates.",
    "user": "Use command with unless.",
    "wait_for_connection": "Leave it out: reboot waits until the host answers.",
    "yum": "Only apt is managed so far; use command with unless.",
}


def similar(name: str, known: Iterable[str]) -> str:
    """A hint naming what was probably meant, if anything is near."""
    near = difflib.get_close_matches(name, sorted(known), 2, 0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming what was probably meant, else all that is known."""
    names = sorted(known)
    return similar(name, names) or f"Known: {', '.join(names)}."

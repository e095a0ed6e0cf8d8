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
    "module_defaults": "arguments of modules, where a task does not give them",
    "pre_tasks": "tasks before the roles",
    "roles": "roles, before tasks",
    "post_tasks": "tasks after tasks",
    "tags": "tags of all tasks of the play",
    "no_log": "arguments and output of all tasks are not shown",
    "timeout": "seconds a command may take on the host",
    "ignore_errors": "go on after a failure",
    "ignore_unreachable": "plan hosts too that do not answer; facts.reachable tells",
    "preconditions": "tasks that look only; a host that fails one is left alone",
    "tasks": "what the hosts shall be like",
    "handlers": "tasks that run when notified by a change",
    "verify": "tasks that look only, after the changes",
    "rollout": "waves and how many hosts may fail",
    "serial": "Ansible's name for rollout.waves",
    "any_errors_fatal": "accepted; true is rollout.max_failed: 0, the default",
    "max_fail_percentage": "Ansible's name for rollout.max_failed as a percentage",
    "order": "inventory, sorted, reverse_inventory or reverse_sorted",
    "force_handlers": "accepted; a notification survives a failed run",
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
    "with_list": "Ansible's older name for loop",
    "with_items": "as loop; lists in the list are taken apart",
    "with_dict": "mapping; the task runs for each `item.key` and `item.value`",
    "loop_control": "loop_var, index_var, label and extended of a loop",
    "listen": "topics a handler answers beside its name",
    "no_log": "arguments and output are not shown",
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
    "notify",
    "timeout",
    "no_log",
    "run_once",
    "delegate_to",
)
_MODULE_DEFAULTS = {"module_defaults": PLAY_KEYS["module_defaults"]}
INCLUDES = (
    "import_tasks",
    "include_tasks",
    "include",
    "import_role",
    "include_role",
    "include_vars",
)
"""What stands where a task stands and brings in a file or a role."""
APPLY_KEYS: dict[str, str] = {
    **{key: TASK_KEYS[key] for key in _SHARED},
    **_MODULE_DEFAULTS,
}
BLOCK_KEYS: dict[str, str] = {
    "block": "list of tasks that all take what stands beside it",
    "rescue": "tasks for when one of the block's tasks fails",
    "always": "tasks that follow in any case",
    **APPLY_KEYS,
}
IMPORT_KEYS: dict[str, str] = {
    "import_tasks": "file with a list of tasks, relative to the importing file",
    **APPLY_KEYS,
}
_AT_INCLUDES = (
    "name",
    "when",
    "vars",
    "tags",
    "no_log",
    "args",
    "loop",
    "with_list",
    "with_items",
    "with_dict",
    "loop_control",
)
INCLUDE_KEYS: dict[str, str] = {
    "include_tasks": "as import_tasks; its name may hold a template, and it may have a loop",
    **{key: TASK_KEYS[key] for key in _AT_INCLUDES},
}
IMPORT_ROLE_KEYS: dict[str, str] = {
    "import_role": "a role, where it stands",
    **APPLY_KEYS,
    "args": TASK_KEYS["args"],
}
INCLUDE_ROLE_KEYS: dict[str, str] = {
    "include_role": "as import_role, and it may have a loop",
    **{key: TASK_KEYS[key] for key in _AT_INCLUDES},
}
INCLUDE_VARS_KEYS: dict[str, str] = {
    "include_vars": "YAML file of variables for the tasks after it",
    **{key: TASK_KEYS[key] for key in ("name", "when", "tags", "no_log", "args")},
}
ROLE_ARGUMENTS: dict[str, str] = {
    "name": "the role",
    "tasks_from": "file of its tasks instead of main",
    "vars_from": "file of its vars instead of main",
    "defaults_from": "file of its defaults instead of main",
    "handlers_from": "file of its handlers instead of main",
    "apply": "what the tasks inside take, as at a block; of include_role",
    "public": "accepted at import_role, whose variables all tasks of the play see",
    "allow_duplicates": "accepted as true: a role runs wherever it is named",
}
ROLE_KEYS: dict[str, str] = {
    "role": "the role",
    "name": "the role, as role",
    **{key: APPLY_KEYS[key] for key in APPLY_KEYS if key not in ("name", "notify")},
}
IMPORT_PLAYBOOK_KEYS: dict[str, str] = {
    "import_playbook": "another playbook; its plays stand here",
    "name": "what it is for",
    "vars": "variables of its plays; they win over their own",
    "tags": "tags of all its tasks",
    "when": "condition of all its tasks",
}
LOOP_CONTROL_KEYS: dict[str, str] = {
    "loop_var": "name of the item instead of `item`",
    "index_var": "name of the item's number, from 0",
    "label": "what is shown of the item",
    "extended": "gives the variable `ansible_loop`",
    "extended_allitems": "false: ansible_loop has no allitems",
}

_APPLY = "Put it under apply: of the include, or at the tasks inside."
_LOOP = "Write loop: with the list; the item is the variable `item`."

REFUSED_TASK_KEYS: dict[str, str] = {
    "action": "Write the module's name as the key.",
    "always": "Put it beside a block: - block: [...], then always: with a list of tasks.",
    "any_errors_fatal": "Set rollout.max_failed of the play (0 is the default).",
    "become_exe": "Only sudo is used.",
    "become_flags": "Only sudo is used, with -n or -S, and -H for users other than root.",
    "apply": "Put it under include_tasks or include_role, beside file: or name:.",
    "async": "Set timeout; gpurun waits for a step and kills it on the host when time is up.",
    "check_mode": "Leave it out: a plan never changes anything.",
    "collections": "Leave it out: modules are built in.",
    "connection": "Write delegate_to: localhost, or set ansible_connection in the inventory.",
    "debugger": "Leave it out; look at gpurun plan.",
    "delegate_facts": "Leave it out: facts and results stay with the play's own hosts.",
    "diff": "Leave it out: a plan always shows differences.",
    "ignore_unreachable": "Put it at the play, and ask for facts.reachable in when: of its tasks.",
    "import_playbook": "Put it beside the plays: - import_playbook: FILE.",
    "local_action": "Write the module as the key and delegate_to: localhost beside it.",
    "module_defaults": "Put it at the play or at a block, or write the arguments at the task.",
    "poll": "Set timeout instead.",
    "port": "Set ansible_port in the inventory.",
    "remote_user": "Set ansible_user in the inventory.",
    "throttle": "Use rollout.waves of the play.",
    "with_env": _LOOP,
    "with_file": _LOOP,
    "rescue": "Put it beside a block: - block: [...], then rescue: with a list of tasks.",
    "with_fileglob": _LOOP,
    "with_first_found": _LOOP,
    "with_flattened": 'Write loop: "{{ lists | flatten }}".',
    "with_indexed_items": _LOOP,
    "with_inventory_hostnames": 'Write loop: "{{ groups.NAME }}".',
    "with_lines": "Register a command with read_only: true, and loop over its stdout_lines.",
    "with_nested": "Use include_tasks with a loop for the outer list.",
    "with_random_choice": "Leave it out: a plan would differ at every look.",
    "with_sequence": 'Write loop: "{{ range(1, 5) | list }}".',
    "with_subelements": _LOOP,
    "with_together": "Write loop: with a list of the pairs; the item is the variable `item`.",
}

_AT_TASKS = "Put it at the tasks inside."
_AT_INCLUDE = "Use include_tasks, which takes a loop; or put it at the tasks inside."
REFUSED_BLOCK_KEYS: dict[str, str] = {
    **REFUSED_TASK_KEYS,
    "args": _AT_TASKS,
    "changed_when": _AT_TASKS,
    "failed_when": _AT_TASKS,
    "listen": _AT_TASKS,
    "loop": _AT_INCLUDE,
    "loop_control": _AT_INCLUDE,
    "register": _AT_TASKS,
    "retries": _AT_TASKS,
    "until": _AT_TASKS,
    "delay": _AT_TASKS,
    "backoff": _AT_TASKS,
    "with_dict": _AT_INCLUDE,
    "with_items": _AT_INCLUDE,
    "with_list": _AT_INCLUDE,
}
REFUSED_INCLUDE_KEYS: dict[str, str] = {
    **REFUSED_BLOCK_KEYS,
    **dict.fromkeys(APPLY_KEYS, _APPLY),
    "register": "Register the results of the tasks inside.",
}
REFUSED_LOOP_CONTROL_KEYS: dict[str, str] = {
    "break_when": "Put the condition into when: of the task.",
    "pause": "Leave it out: waiting modules wait for what is meant.",
}

REFUSED_PLAY_KEYS: dict[str, str] = {
    "become_exe": "Only sudo is used.",
    "become_flags": "Only sudo is used, with -n or -S, and -H for users other than root.",
    "check_mode": "Leave it out: a plan never changes anything.",
    "collections": "Leave it out: modules are built in.",
    "connection": "Set ansible_connection (ssh or local) in the inventory.",
    "debugger": "Leave it out; look at gpurun plan.",
    "diff": "Leave it out: a plan always shows differences.",
    "fact_path": "Leave it out.",
    "gather_subset": "Leave it out: facts are read when a task names them.",
    "gather_timeout": "Leave it out.",
    "port": "Set ansible_port in the inventory.",
    "remote_user": "Set ansible_user in the inventory.",
    "run_once": "Write a play of its own for one host: hosts: group[0].",
    "strategy": "Use rollout.waves; inside a wave hosts go independently.",
    "throttle": "Use rollout.waves.",
    "user": "Set ansible_user in the inventory.",
    "validate_argspec": "Say what has to hold with assert in preconditions.",
    "vars_prompt": "Pass values with -e name=value.",
}

_FILE = "Use lineinfile or blockinfile for a part of the file, copy or template for the whole."
_LOOK = "Use command with read_only: true and register."

ABSENT_MODULES: dict[str, str] = {
    "add_host": "Put the host into the inventory.",
    "apt_key": "Use deb822_repository, whose signed_by is the key.",
    "apt_repository": "Use deb822_repository.",
    "cron": "Use copy to write a file under /etc/cron.d.",
    "expect": "Use command with input it needs on the command line or in a file.",
    "fetch": _LOOK,
    "find": _LOOK,
    "git": "Use command with creates.",
    "group": "Use command with unless.",
    "group_by": "Use groups of the inventory.",
    "hostname": "Use command with unless.",
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
    "yum": "Use dnf.",
}


def similar(name: str, known: Iterable[str]) -> str:
    """A hint naming what was probably meant, if anything is near."""
    near = difflib.get_close_matches(name, sorted(known), 2, 0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming what was probably meant, else all that is known."""
    names = sorted(known)
    return similar(name, names) or f"Known: {', '.join(names)}."

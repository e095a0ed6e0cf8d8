"""Every keyword of Ansible is supported, or refused by name with the nearest way to do it here."""

from pathlib import Path

import pytest

from runner.errors import InputError
from runner.playbook.keywords import (
    BLOCK_KEYS,
    PLAY_KEYS,
    ROLE_KEYS,
    TASK_KEYS,
)
from runner.playbook.load import load_playbook_text

EVERYWHERE = """any_errors_fatal become become_exe become_flags become_method become_user check_mode
    collections connection debugger diff environment ignore_errors ignore_unreachable
    module_defaults name no_log port remote_user run_once tags throttle timeout vars"""
ANSIBLE = {
    "play": f"""{EVERYWHERE} fact_path force_handlers gather_facts gather_subset gather_timeout
        handlers hosts max_fail_percentage order post_tasks pre_tasks roles serial strategy tasks
        vars_files vars_prompt""",
    "role": f"{EVERYWHERE} delegate_facts delegate_to when",
    "block": f"{EVERYWHERE} always block delegate_facts delegate_to notify rescue when",
    "task": f"""{EVERYWHERE} action args async changed_when delay delegate_facts delegate_to
        failed_when local_action loop loop_control notify poll register retries until when listen
        with_dict with_file with_fileglob with_first_found with_flattened with_indexed_items
        with_items with_list with_lines with_nested with_random_choice with_sequence
        with_subelements with_together""",
}
"""The playbook keywords of ansible-core 2.19, from its documentation."""

OWN = {"play": PLAY_KEYS, "role": ROLE_KEYS, "block": BLOCK_KEYS, "task": TASK_KEYS}
AROUND = {
    "play": "- hosts: all\n  KEY: x\n",
    "role": "- hosts: all\n  roles:\n    - role: app\n      KEY: x\n",
    "block": "- hosts: all\n  tasks:\n    - block: [{debug: {msg: x}}]\n      KEY: x\n",
    "task": "- hosts: all\n  tasks:\n    - debug: {msg: x}\n      KEY: x\n",
}
CASES = [(kind, key) for kind, keys in ANSIBLE.items() for key in sorted(keys.split())]


@pytest.mark.parametrize(("kind", "key"), CASES, ids=lambda value: value)
def test_a_keyword_is_known_or_refused_by_name(kind: str, key: str) -> None:
    if key in OWN[kind]:
        return
    text = AROUND[kind].replace("KEY", key)
    with pytest.raises(InputError) as caught:
        load_playbook_text(text, Path("p.yaml"))
    told = [p for p in caught.value.problems if p.message.startswith(f"{key} of Ansible is not")]
    assert told, str(caught.value)
    assert told[0].hint

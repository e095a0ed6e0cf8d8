"""Inventories in every form they come in, and what is said of wrong ones."""

import json
from pathlib import Path

import pytest

from runner.errors import InputError
from runner.inventory.blame import as_graph, as_list, blame
from runner.inventory.load import load_inventory, load_tree, select
from runner.inventory.model import Host, Inventory
from runner.kube.state import JobWait

EXAMPLE = Path(__file__).parents[2] / "inventory" / "prod.example.yaml"

YAML = """
all:
  vars: {ansible_user: ops, level: all}
  children:
    gpu:
      vars: {level: gpu}
      children:
        a100:
          hosts:
            a[01:02]:
              rack: r1
          vars: {level: a100, deep: "{{ level }}"}
        h100:
          hosts:
            h1: {ansible_host: 10.0.0.9, ansible_port: 2222, level: host}
  hosts:
    loose:
"""
INI = """
; comment
loose ansible_user=ops

[a100]
a[01:02] rack=r1 count=3 flag=True words="two words" list='[1, 2]' # comment

[h100]
h1:2222 ansible_host=10.0.0.9 level=host

[gpu:children]
a100
h100

[gpu:vars]
level=gpu
note = a # stays
[a100:vars]
level=a100
"""
PROGRAM = """#!/bin/sh
cat <<'END'
{"gpu": {"hosts": ["a1"], "vars": {"x": 1}, "children": ["h100"]}, "h100": ["h1"],
 "_meta": {"hostvars": {"a1": {"ansible_host": "10.0.0.1", "evil": "{{ 1 + 1 }}"}}}}
END
"""


def load(folder: Path, text: str, name: str = "hosts.yaml") -> Inventory:
    (folder / name).write_text(text)
    return load_inventory([str(folder / name)], folder)


def problem(folder: Path, text: str, name: str = "hosts.yaml") -> str:
    with pytest.raises(InputError) as caught:
        load(folder, text, name)
    return str(caught.value).replace(f"{folder}/", "")


def only(folder: Path, variables: str) -> Host:
    return load(folder, f"all: {{hosts: {{a: {{{variables}}}}}}}").hosts["a"]


@pytest.mark.parametrize(
    ("text", "name"), [(YAML, "hosts.yaml"), (INI, "hosts.ini"), (INI, "hosts")]
)
def test_groups_hosts_and_precedence(tmp_path: Path, text: str, name: str) -> None:
    found = load(tmp_path, text, name)
    assert set(found.hosts) == {"a01", "a02", "h1", "loose"}
    assert found.groups["gpu"] == ("a01", "a02", "h1")
    assert found.groups["ungrouped"] == ("loose",)
    assert found.hosts["a01"].groups == ("a100", "gpu")
    assert found.hosts["a01"].variables["level"] == "a100"
    assert found.hosts["h1"].variables["level"] == "host"
    assert (found.hosts["h1"].address, found.hosts["h1"].port) == ("10.0.0.9", 2222)
    assert found.hosts["loose"].user == "ops"
    assert found.hosts["a02"].address == "a02"


def test_ini_values_are_typed_as_in_ansible(tmp_path: Path) -> None:
    got = load(tmp_path, INI, "hosts.ini").hosts["a01"].variables
    assert (got["count"], got["flag"], got["words"]) == (3, True, "two words")
    assert (got["list"], got["note"]) == ([1, 2], "a # stays")


def test_connection_settings(tmp_path: Path) -> None:
    args = "-o UserKnownHostsFile=/k -o ProxyJump=ops@bastion:22 -i /key -o ControlMaster=auto"
    host = only(tmp_path, f"ansible_ssh_common_args: '{args}', ansible_become_pass: secret")
    assert (host.known_hosts, host.proxy_jump, host.key_file) == ("/k", "ops@bastion:22", "/key")
    assert host.become_password == "secret"
    assert "secret" not in repr(host.become_password is None)
    usual = '-o ProxyCommand=\\"ssh -W %h:%p -q -p 2200 me@bastion\\"'
    assert only(tmp_path, f'ansible_ssh_common_args: "{usual}"').proxy_jump == "me@bastion:2200"
    assert only(tmp_path, "ansible_host: '{{ inventory_hostname }}.x'").address == "a.x"
    assert only(tmp_path, "kubernetes_node: ip-1").node_name == "ip-1"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ("ansible_host: ''", "hosts.yaml:1:33: host a: ansible_host is empty"),
        ("ansible_port: ssh", "ansible_port must be a number from 1 to 65535"),
        ("ansible_host: '{{ nowhere }}'", "variable nowhere is not defined"),
        ("ansible_ssh_common_args: '-o ProxyCommand=nc'", "ProxyCommand is not offered: nc"),
        ('ansible_ssh_common_args: "-o \'x"', "cannot be split into words"),
    ],
)
def test_wrong_connection_settings(tmp_path: Path, variables: str, message: str) -> None:
    assert message in problem(tmp_path, f"all: {{hosts: {{a: {{{variables}}}}}}}")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ("ansible_connection: docker", "ansible_connection docker is not offered"),
        ("ansible_ssh_pass: x", "logins with a password are not offered"),
    ],
)
def test_hosts_that_load_but_cannot_be_chosen(tmp_path: Path, variables: str, message: str) -> None:
    found = load(tmp_path, f"all: {{hosts: {{a: {{{variables}}}, b: }}}}")
    assert [host.name for host in select(found, "all", "!a")] == ["b"]
    with pytest.raises(InputError, match=message):
        select(found, "all")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "h.yaml", "h.yaml: the inventory is empty"),
        ("- a\n- b\n", "h.yaml", "h.yaml:1:1: an inventory is a mapping of groups, found a list"),
        ("gpu:\n  host:\n    a:\n", "h.yaml", "h.yaml:2:3: group gpu has no key host\n    Did you"),
        ("gpu:\n  hosts: [a, b]\n", "h.yaml", "h.yaml:2:10: group gpu: hosts is a mapping"),
        ("gpu:\n  hosts:\n    a[3:1]:\n", "h.yaml", "h.yaml:3:5: range [3:1] runs backwards"),
        ("plugin: aws_ec2\n", "h.yaml", "inventory plugin aws_ec2 is not offered"),
        ("a:\n  children: {b: {children: {a: }}}\n", "h.yaml", "contain each other: a -> b -> a"),
        ("all:\n  vars: {x: 1}\n", "h.yaml", "the inventory has no hosts"),
        ("[gpu:var]\nx=1\n", "h.ini", "h.ini:1:1: [gpu:var] is no kind of section\n    Did you"),
        ("[gpu:vars]\na1\n", "h.ini", "h.ini:2:1: [gpu:vars]: expected name=value, found 'a1'"),
        ("[gpu]\na1 a2\n", "h.ini", "h.ini:2:1: expected name=value after the host's name"),
        ("[gpu]\nansible_user=ops\n", "h.ini", "a host's line begins with its name"),
        ("[gpu]\na1 x='y\n", "h.ini", "a quote is not closed"),
        ("[gpu:children]\na b\n", "h.ini", "expected the name of one group"),
    ],
)
def test_wrong_inventories(tmp_path: Path, text: str, name: str, message: str) -> None:
    assert message in problem(tmp_path, text, name)


def program(folder: Path, text: str) -> Path:
    path = folder / "hosts"
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_program(tmp_path: Path) -> None:
    found = load_inventory([str(program(tmp_path, PROGRAM))], tmp_path)
    assert found.groups["gpu"] == ("a1", "h1")
    assert found.hosts["a1"].address == "10.0.0.1"
    assert found.hosts["h1"].variables == {"x": 1}
    assert type(found.hosts["a1"].variables["evil"]) is str, "what a program prints is data"


def test_a_program_without_meta_is_asked_for_each_host(tmp_path: Path) -> None:
    text = '#!/bin/sh\n[ $1 = --list ] && echo \'{"g": ["a"]}\' || echo "{\\"me\\": \\"$2\\"}"\n'
    found = load_inventory([str(program(tmp_path, text))], tmp_path)
    assert found.hosts["a"].variables == {"me": "a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#!/bin/sh\necho garbage\n", "printed no JSON"),
        ("#!/bin/sh\necho '[]'\n", "printed a list, an object is expected"),
        ("#!/bin/sh\necho no credentials >&2; exit 1\n", "ended with exit code 1: no credentials"),
        ("#!/no/such/shell\n", "cannot be run"),
    ],
)
def test_a_program_that_fails(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_inventory([str(program(tmp_path, text))], tmp_path)


def test_a_program_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.inventory.program.SECONDS", 0.2)
    with pytest.raises(InputError, match="did not end within"):
        load_inventory([str(program(tmp_path, "#!/bin/sh\nexec sleep 600\n"))], tmp_path)


def test_names_folders_lists_and_merging(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    (folder / "site").mkdir(parents=True)
    (folder / "prod.yml").write_text("gpu: {hosts: {a: {x: 1, y: 1}}}")
    (folder / "site" / "one.ini").write_text("[gpu]\na x=2\n")
    (folder / "site" / "two.yaml").write_text("gpu: {hosts: {b: }}")
    (folder / "site" / "notes.md").write_text("not an inventory")
    found = load_inventory(["prod", "site", "c,d:2222,"], tmp_path)
    assert list(found.hosts) == ["c", "d", "a", "b"], "ungrouped ones first, as in Ansible"
    assert found.hosts["a"].variables == {"x": 2, "y": 1}
    assert found.groups["ungrouped"] == ("c", "d")
    assert found.hosts["d"].port == 2222
    with pytest.raises(InputError, match=r"there is no inventory prd\n    Did you mean prod\?"):
        load_inventory(["prd"], tmp_path)
    with pytest.raises(InputError, match="Start the lab: gpurun lab up"):
        load_inventory(["lab"], tmp_path)
    with pytest.raises(InputError, match="one of: prod, site"):
        load_inventory([], tmp_path)


def test_variable_files_and_blame(tmp_path: Path) -> None:
    for name, text in {
        "hosts.yaml": "all: {vars: {x: 1}}\ngpu: {hosts: {a: {x: 4}}, vars: {x: 2}}\n",
        "group_vars/all.yaml": "x: 2.5\ny: all\n",
        "group_vars/gpu/10-first": "x: 3\n",
        "group_vars/gpu/20-then.yml": "y: gpu\nansible_become_password: hunter2\n",
        "host_vars/a.yaml": "x: 5\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    tree = load_tree([str(tmp_path / "hosts.yaml")], tmp_path)
    text = blame(tree, "a").replace(f"{tmp_path}/", "")
    assert text.splitlines() == [
        'ansible_become_password = "«secret:ansible_become_password»"'
        "    group_vars/gpu/20-then.yml:2:26 (gpu)",
        "x = 5    host_vars/a.yaml:1:4 (a)",
        "    over 4    hosts.yaml:2:22 (a)",
        "    over 3    group_vars/gpu/10-first:1:4 (gpu)",
        "    over 2.5    group_vars/all.yaml:1:4 (all)",
        "    over 2    hosts.yaml:2:34 (gpu)",
        "    over 1    hosts.yaml:1:14 (all)",
        'y = "gpu"    group_vars/gpu/20-then.yml:1:4 (gpu)',
        '    over "all"    group_vars/all.yaml:2:4 (all)',
    ]
    assert "hunter2" not in json.dumps(as_list(tree))


def test_list_and_graph(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text("gpu: {children: {a100: {hosts: {a1: {x: 1}}}}, hosts: {g: }}")
    tree = load_tree([str(tmp_path / "h.yaml")], tmp_path)
    assert as_list(tree) == {
        "_meta": {"hostvars": {"a1": {"x": 1}}},
        "all": {"children": ["ungrouped", "gpu"]},
        "gpu": {"children": ["a100"], "hosts": ["g"]},
        "a100": {"hosts": ["a1"]},
    }
    assert as_graph(tree).splitlines() == [
        "@all:",
        "  |--@ungrouped:",
        "  |--@gpu:",
        "  |  |--@a100:",
        "  |  |  |--a1",
        "  |  |--g",
    ]


def test_limits(tmp_path: Path) -> None:
    found = load(tmp_path, YAML)
    assert [host.name for host in select(found, "gpu", "a*")] == ["a01", "a02"]
    with pytest.raises(InputError, match="limit 'h9' matches no host"):
        select(found, "gpu", "h9")
    with pytest.raises(InputError, match="leaves none of the hosts of 'gpu'"):
        select(found, "gpu", "loose")


def test_the_example_of_a_real_inventory() -> None:
    found = load_inventory([str(EXAMPLE)], EXAMPLE.parent)
    assert len(found.hosts) == 6
    assert found.hosts["gpu-a100-01"].proxy_jump == "ops@bastion.example.com"
    assert found.hosts["gpu-h100-01"].node_name == "ip-10-20-0-11.example.internal"


class TestDrain:
    """The variable `drain` of the inventory holds options of a drain, checked like a play's."""

    def test_it_is_read_with_its_types(self, tmp_path: Path) -> None:
        host = only(tmp_path, "drain: {force: yes, timeout: 30m, namespace_exclude: 'a, b'}")
        assert host.drain == {"force": True, "timeout": 1800.0, "namespace_exclude": ("a", "b")}

    def test_a_host_wins_over_its_group(self, tmp_path: Path) -> None:
        text = (
            "all:\n  vars: {drain: {force: true}}\n"
            "  hosts:\n    a: {drain: {mode: none}}\n    b:\n    c: {drain: null}\n"
        )
        hosts = load(tmp_path, text).hosts
        assert [hosts[name].drain for name in "abc"] == [{"mode": "none"}, {"force": True}, {}]

    def test_all_mistakes_are_told_with_their_places_and_once(self, tmp_path: Path) -> None:
        text = (
            "all:\n  hosts: {a: , b: }\n  vars:\n    drain:\n      mode: ful\n"
            "      forse: true\n      timeout: {x: 1}\n      wait_for_jobs: {timeout: 1h}\n"
        )
        said = problem(tmp_path, text)
        assert "hosts.yaml:5:13: mode: expected one of gpu, full, none" in said
        assert "hosts.yaml:6:7: forse is not a key of a drain" in said
        assert "hosts.yaml:7:16: timeout: expected a time in seconds" in said
        assert "hosts.yaml:8:22: wait_for_jobs has no selector" in said
        assert said.count("forse") == 1

    def test_a_value_of_another_kind(self, tmp_path: Path) -> None:
        text = problem(tmp_path, "all: {hosts: {a: {drain: full}}}")
        assert 'drain: expected a mapping (option: value), found the text "full"' in text

    def test_an_ini_file_may_set_it(self, tmp_path: Path) -> None:
        text = "a drain=\"{'wait_for_jobs': {'selector': 'app=x'}}\"\n"
        host = load(tmp_path, text, "hosts.ini").hosts["a"]
        assert host.drain == {"wait_for_jobs": JobWait("app=x")}

"""`deb822_repository`: what is written, what is refused before any host is touched."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from runner.hosts.script import Command, Result
from runner.modules.base import Change, Context, Risk
from runner.modules.deb822_repository import ARMOUR, Deb822RepositoryArguments, rendered
from runner.modules.registry import load_module

KEY = f"{ARMOUR}\nmQINBF\n-----END PGP PUBLIC KEY BLOCK-----\n"
WANTED: dict[str, Any] = {
    "name": "toolkit",
    "uris": "https://mirror.example.com/stable/deb/amd64",
    "suites": "/",
    "signed_by": KEY,
}
NONE = b"none No such file or directory\nme uid=0(root) gid=0(root) groups=0(root)\nlooked\n"
FOLDER = b"stat 41ed:0:0:0:root:root\nparent\nlooked\n"


def changes(arguments: dict[str, Any], seen: dict[str, bytes] | None = None) -> list[Change]:
    """The plan on a host that has the folders, and these files."""
    module = load_module("deb822_repository")
    args = module.arguments.model_validate(arguments)
    context = Context("gpu1", read=lambda name: f"binary {name}".encode())
    observed = {}
    for probe in module.probes(args, context):
        path = probe.key.partition(":")[2]
        leaf = path.endswith((".sources", ".asc", ".gpg"))
        printed = (seen or {}).get(path, NONE if leaf else FOLDER)
        observed[probe.key] = probe.parse(Result(0, printed))
    planned = module.plan(args, observed, context).changes
    after = observed | {key: value for c in planned for key, value in c.overlay.items()}
    assert module.plan(args, after, context).changes == (), "the second run changes nothing"
    return list(planned)


def commands(change: Change) -> list[Command]:
    return [action for action in change.do if isinstance(action, Command)]


def test_key_first_then_the_source_which_is_read_at_once() -> None:
    key, source = changes(WANTED)
    assert key.summary.startswith("create /etc/apt/keyrings/toolkit.asc")
    assert commands(key)[0].stdin == KEY.encode()
    assert source.summary.endswith("; apt-get update of it")
    assert source.risk == Risk.MEDIUM
    write, read = commands(source)
    assert write.stdin.decode() == (
        "Types: deb\nURIs: https://mirror.example.com/stable/deb/amd64\nSuites: /\n"
        "Signed-By: /etc/apt/keyrings/toolkit.asc\n"
    )
    assert "Dir::Etc::SourceList=/etc/apt/sources.list.d/toolkit.sources" in read.shell
    assert source.undo, "a source that cannot be read is taken out again"


def test_a_key_of_the_playbook_and_one_of_the_host() -> None:
    key, _ = changes({**WANTED, "signed_by": "nvidia.gpg"})
    assert key.summary.startswith("create /etc/apt/keyrings/toolkit.gpg")
    (source,) = changes({**WANTED, "signed_by": "/usr/share/keyrings/nvidia.asc"})
    assert b"Signed-By: /usr/share/keyrings/nvidia.asc\n" in commands(source)[0].stdin


def test_all_that_a_source_can_say() -> None:
    args = Deb822RepositoryArguments.model_validate(
        {
            "name": "ours",
            "types": ["deb", "deb-src"],
            "uris": ["file:/srv/mirror", "https://mirror.example.com/ubuntu"],
            "suites": ["noble", "noble-updates"],
            "components": "main restricted",
            "architectures": ["amd64"],
            "trusted": True,
            "check_valid_until": False,
            "enabled": False,
        }
    )
    assert rendered(args, "") == (
        "Types: deb deb-src\nURIs: file:/srv/mirror https://mirror.example.com/ubuntu\n"
        "Suites: noble noble-updates\nComponents: main restricted\nArchitectures: amd64\n"
        "Trusted: yes\nCheck-Valid-Until: no\nEnabled: no\n"
    )


def test_without_signatures_it_is_high_risk_and_a_disabled_one_is_not_read() -> None:
    unsigned = {**WANTED, "signed_by": "", "trusted": True}
    (source,) = changes(unsigned)
    assert source.risk == Risk.HIGH
    (disabled,) = changes({**unsigned, "enabled": False})
    assert len(commands(disabled)) == 1


def test_absent_removes_the_source() -> None:
    there = b"stat 81a4:0:0:10:root:root\ncontent\nVHlwZXM6IGRlYgo=\nend\nparent\nlooked\n"
    gone = {"name": "toolkit", "state": "absent"}
    (change,) = changes(gone, {"/etc/apt/sources.list.d/toolkit.sources": there})
    assert change.summary == "remove /etc/apt/sources.list.d/toolkit.sources"
    assert changes(gone) == []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"uris": "https://me:secret@mirror.example.com/x"}, "auth.conf.d"),
        ({"uris": "mirror.example.com"}, "no URI that apt reads"),
        ({"signed_by": "https://nvidia.example.com/key.asc"}, "not downloaded"),
        ({"signed_by": ""}, "give its key in signed_by"),
        ({"trusted": True}, "give its key in signed_by"),
        ({"components": "main"}, "exact path"),
        ({"suites": "noble"}, "components is needed"),
        ({"suites": ["a\nb: c"]}, "is no suite"),
        ({"signed_by": "/a b"}, "no path of a keyring"),
        ({"uris": []}, "uris and suites are needed"),
        ({"name": "../x"}, "should match pattern"),
    ],
)
def test_mistakes_are_named(edit: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Deb822RepositoryArguments.model_validate({**WANTED, **edit})

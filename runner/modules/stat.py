"""`stat`: what is at a path, for `register`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from runner.facts.stat import probe
from runner.modules.base import Arguments, Context, Module, Outcome, Probe
from runner.modules.files.arguments import HostPath, Switch


class StatArguments(Arguments):
    other_names: ClassVar[Mapping[str, str]] = {"dest": "path", "name": "path"}
    path: HostPath = Field(description="The path on the host.")
    follow: Switch = Field(False, description="Tell about what a link leads to, not the link.")
    get_checksum: Switch = Field(True, description="Read a regular file for its checksum.")
    checksum_algorithm: Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] = Field(
        "sha1", description="Which checksum; the default is Ansible's."
    )
    get_attributes: Literal[False] = Field(False, description="Accepted; they are never read.")
    get_mime: Literal[False] = Field(False, description="Accepted; the type is never guessed.")

    @property
    def read_only(self) -> bool:
        """It looks at the host as it is: after a change of the same play its answer is known only
        then."""
        return True


class Stat(Module[StatArguments]):
    """Looks at a path and tells what is there; changes nothing.

    `register` stores `stat` with `exists` and, if it does, Ansible's keys: `isreg`, `isdir`,
    `islnk`, `isblk`, `ischr`, `isfifo`, `issock`, `mode` (text, `"0644"`), `size`, `uid`, `gid`,
    `pw_name`, `gr_name`, `inode`, `dev`, `nlink`, `atime`, `mtime`, `ctime`, `readable`,
    `writeable`, `executable`, of a link `lnk_target` (as written) and `lnk_source` (resolved), of a
    regular file `checksum`. It is known in a plan, unless an earlier task of the play would change
    the host: then it is known after that change.
    """

    name = "stat"
    arguments = StatArguments
    changes_nothing = True
    examples = (
        """\
- name: is there a driver that a runfile installed
  stat:
    path: /usr/bin/nvidia-uninstall
  register: runfile

- name: it would fight with the packages
  fail:
    msg: run nvidia-uninstall first
  when: runfile.stat.exists
""",
    )

    def probes(self, args: StatArguments, context: Context) -> Sequence[Probe]:
        algorithm = args.checksum_algorithm if args.get_checksum else ""
        return (probe(args.path.rstrip("/"), args.follow, algorithm, context.become),)

    def plan(self, args: StatArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        return Outcome(result={"stat": observed[self.probes(args, context)[0].key]})

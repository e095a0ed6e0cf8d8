"""`script`: a program beside the playbook, run on the host."""

from __future__ import annotations

import hashlib
import shlex

from pydantic import Field, field_validator

from runner.modules.base import Context, Refused
from runner.modules.command import Execute, ExecuteArguments


class ScriptArguments(ExecuteArguments):
    cmd: str = Field(
        min_length=1,
        description="The script beside the playbook (or in its `files/`) and its arguments, split"
        " like a shell does.",
    )
    executable: str = Field(
        "", description="Program on the host that runs it; by default its first line (#!) says."
    )

    @field_validator("cmd")
    @classmethod
    def _words(cls, value: str) -> str:
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cmd cannot be split into words: {error}") from None
        if not words:
            raise ValueError("cmd names no script")
        return value

    @property
    def path(self) -> str:
        """The script, as the playbook names it."""
        return shlex.split(self.cmd)[0]

    def input(self, context: Context) -> bytes:
        if context.read is None:
            raise Refused(f"script {self.path}: files of the playbook cannot be read here")
        return context.read(self.path)

    def script(self, context: Context) -> str:
        arguments = shlex.join(shlex.split(self.cmd)[1:])
        program = f'{shlex.join(shlex.split(self.executable))} "$t"' if self.executable else '"$t"'
        digest = hashlib.sha256(self.input(context)).hexdigest()
        return _RUN.format(digest=digest, line=f"{program} {arguments}".rstrip())

    def shown(self, context: Context) -> str:
        content = self.input(context)
        if context.secret_in(content.decode("utf-8", "replace")):
            return f"script {self.cmd}"  # a digest would help to guess what is secret in it
        return f"script {self.cmd} (sha256 {hashlib.sha256(content).hexdigest()[:12]})"


_RUN = """\
t=$(mktemp) || exit 126
trap 'rm -f -- "$t"' EXIT
trap 'exit 129' HUP INT TERM
cat > "$t" || exit 126
if [ "$(sha256sum < "$t" | cut -c 1-64)" != {digest} ]; then
  echo 'the script did not arrive whole; it was not run' >&2
  exit 126
fi
chmod 0700 -- "$t"
{line} < /dev/null"""


class Script(Execute):
    """Runs a program that lies beside the playbook on the host, and leaves nothing of it there.

    It travels through the connection into a temporary file that only its user can read (in
    `TMPDIR`, else `/tmp`), and runs without standard input. Everything else is as with `command`:
    what it does cannot be known beforehand, unless `read_only: true` says that it changes nothing,
    and `creates`, `removes`, `unless` and `onlyif` say whether it is needed. The plan names its
    SHA-256, so a script that was changed since is not what was approved.
    """

    name = "script"
    arguments = ScriptArguments
    examples = (
        """\
- name: the vendor's firmware updater
  script:
    cmd: update-firmware.sh --yes
    creates: /var/lib/firmware-1.2.3
  disruption: gpu
""",
        """\
- name: the link is fast
  script:
    cmd: check-nvlink.py --min-gbps 400
    executable: python3
    read_only: true
""",
    )

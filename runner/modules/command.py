"""`command` and `shell`: what no other module can do."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from posixpath import join, normpath
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from runner.facts.paths import exists_key, exists_probe
from runner.hosts.script import DEFAULT_TIMEOUT, Command, Result
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
    Unknown,
)
from runner.modules.files.state import key as file_key

_SALT = secrets.token_bytes(16)
"""Makes digests of standard input useless for guessing what was in it."""

_OPERATORS = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "<", "<<", "2>&1", "2>/dev/null"})

_WORD = re.compile(r"""[^\s'"`=<>|;&()$*?]+""")

Words = tuple[str, ...]
Switch = Annotated[bool, Field(strict=True)]


class ExecuteArguments(Arguments):
    """What `command`, `shell` and `script` have in common."""

    creates: str = Field("", description="Do not run when this path exists; afterwards it must.")
    removes: str = Field("", description="Run only if this path exists; afterwards it must not.")
    unless: str = Field(
        "", description="Look (sh): do not run when it exits 0; afterwards it must exit 0."
    )
    onlyif: str = Field("", description="Look (sh): run only if it exits 0.")
    read_only: Switch = Field(
        False, description="It changes nothing: it runs while looking, even for a plan."
    )
    chdir: str = Field("", description="Folder to run in.")
    expect: tuple[int, ...] = Field(
        (0,), description="Exit statuses that are fine; an empty list: any (see `failed_when`)."
    )

    @field_validator("expect", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @field_validator("creates", "removes", "chdir")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError(f"{value!r} must be an absolute path on the host")
        return value

    @model_validator(mode="after")
    def _looks_need_no_condition(self) -> ExecuteArguments:
        if self.read_only and (self.creates or self.removes or self.unless or self.onlyif):
            raise ValueError(
                "read_only: true runs in every look; use `when` instead of creates, removes, "
                "unless or onlyif"
            )
        return self

    def script(self, context: Context) -> str:
        """The task's own command as sh."""
        raise NotImplementedError

    def shown(self, context: Context) -> str:
        """It on one line, for a person."""
        return _short(self.script(context))

    def input(self, context: Context) -> bytes:
        """Its standard input."""
        return b""


class FedArguments(ExecuteArguments):
    """What `command` and `shell` have in common."""

    stdin: str = Field("", description="Standard input; the place for secrets.")

    def input(self, context: Context) -> bytes:
        return self.stdin.encode()


class CommandArguments(FedArguments):
    cmd: str = Field("", description="Program and arguments, split like a shell does, no globs.")
    argv: Words = Field((), description="Instead of `cmd`: program and arguments as a list.")

    @model_validator(mode="after")
    def _exactly_one(self) -> CommandArguments:
        if bool(self.cmd) == bool(self.argv):
            raise ValueError("give either cmd or argv")
        operators = [word for word in self.words() if word in _OPERATORS] if self.cmd else []
        if operators:
            raise ValueError(
                f"{operators[0]!r} would be an ordinary word here; use `shell` for pipes and "
                "redirections, or `argv` if the word is meant"
            )
        return self

    def words(self) -> Words:
        """Program and arguments."""
        try:
            return self.argv or tuple(shlex.split(self.cmd))
        except ValueError as error:
            raise ValueError(f"cmd cannot be split into words: {error}") from None

    def script(self, context: Context) -> str:
        return shlex.join(self.words())


class ShellArguments(FedArguments):
    cmd: str = Field(min_length=1, description="Text for the host's POSIX sh.")

    def script(self, context: Context) -> str:
        return self.cmd


def text_for_host(
    script: str, args: ExecuteArguments, context: Context, stdin: bytes = b""
) -> tuple[str, bytes]:
    """The sh text and the standard input that carry a script to the host.

    Environment values may be secrets, so they travel on standard input before the command's own:
    `read` takes no byte beyond its lines, the command finds the rest.
    """
    shell, exports = exported(context)
    if args.chdir:
        shell += f"cd -- {shlex.quote(args.chdir)} || exit 126\n"
    return shell + script, exports + stdin


def exported(context: Context) -> tuple[str, bytes]:
    """What takes the task's environment from standard input, and what it reads there."""
    exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in context.environment.items())
    lines = exports.count("\n")
    return _READ_ENVIRONMENT.format(lines=lines) if lines else "", exports.encode()


_READ_ENVIRONMENT = """\
n={lines} e=
while [ $n -gt 0 ]; do IFS= read -r l; e="$e$l
"; n=$((n-1)); done
eval "$e"; unset n l e
"""


def _look(script: str, args: ExecuteArguments, context: Context, given: bytes = b"") -> Probe:
    """A probe that runs a script of the playbook; its key tells equal looks from others."""
    shell, stdin = text_for_host(script, args, context, given)
    timeout = context.seconds(DEFAULT_TIMEOUT)
    digest = look_digest(shell, stdin, timeout, context)
    parse = partial(_seen, script)
    return Probe(f"look:{digest}", shell, parse, timeout, stdin, context.become, brief=False)


def look_digest(shell: str, stdin: bytes, timeout: float, context: Context) -> str:
    """Tells equal looks from others; nothing of their standard input can be guessed from it."""
    secret = hmac.new(_SALT, stdin, hashlib.sha256).digest() if stdin else b""
    login = f"{context.become}\0{context.user}"
    told = f"{shell}\0{timeout}\0{login}\0".encode() + secret
    return hashlib.sha256(told).hexdigest()[:16]


def _seen(script: str, result: Result) -> Result:
    if result.timed_out:
        raise Unknown(f"'{_short(script)}' did not end within its timeout")
    if result.truncated:
        raise Unknown(f"'{_short(script)}' printed more than is kept; print less of it")
    return result


class Execute(Module[ExecuteArguments]):
    """Shared by `command`, `shell` and `script`, which differ only in where their text is from."""

    risk = Risk.MEDIUM
    free_form = "cmd"

    def probes(self, args: ExecuteArguments, context: Context) -> Sequence[Probe]:
        if args.read_only:
            return (_look(args.script(context), args, context, args.input(context)),)
        paths = [
            exists_probe(path, context.become) for path in (args.creates, args.removes) if path
        ]
        looks = [_look(text, args, context) for text in (args.unless, args.onlyif) if text]
        return (*paths, *looks)

    def plan(
        self, args: ExecuteArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        if args.read_only:
            return _looked(args, observed[self.probes(args, context)[0].key], context)
        reason, overlay = _conditions(args, observed, context)
        if not reason and not overlay and not context.notified:
            reason = "it has run"
        if reason:
            return Outcome(result={**_registered(Result(0)), "reason": reason})
        return Outcome(changes=(_change(self.name, args, context, overlay),))


def _conditions(
    args: ExecuteArguments, observed: Mapping[str, Any], context: Context
) -> tuple[str, dict[str, Any]]:
    """Why it need not run ("" if it must), and what its conditions will read afterwards."""
    overlay: dict[str, Any] = {}
    if args.creates:
        key = exists_key(args.creates)
        overlay[key] = True
        if observed[key]:
            return f"{args.creates} exists", overlay
    if args.removes:
        key = exists_key(args.removes)
        overlay[key] = False
        if not observed[key]:
            return f"{args.removes} does not exist", overlay
    if args.unless:
        key = _look(args.unless, args, context).key
        overlay[key] = Result(0)
        if _holds(args.unless, observed[key]):
            return f"unless: '{_short(args.unless)}' holds", overlay
    if args.onlyif:
        key = _look(args.onlyif, args, context).key
        if not _holds(args.onlyif, observed[key]):
            return f"onlyif: '{_short(args.onlyif)}' does not hold", overlay
    return "", overlay


def _holds(script: str, result: Result) -> bool:
    if result.rc in (126, 127):
        raise Unknown(
            f"'{_short(script)}' could not be run (exit {result.rc}: {result.error_text}); if a "
            "missing program is an answer, write: command -v PROGRAM >/dev/null && …"
        )
    return result.rc == 0


def _looked(args: ExecuteArguments, result: Result, context: Context) -> Outcome:
    if args.expect and result.rc not in args.expect:
        expected = " or ".join(str(rc) for rc in args.expect)
        said = result.error_text[-500:]
        raise Refused(
            f"'{args.shown(context)}' exited {result.rc}, expected {expected}"
            + (f": {said}" if said else ""),
            _registered(result),
        )
    return Outcome(result=_registered(result))


def _registered(result: Result) -> dict[str, Any]:
    return {
        "rc": result.rc,
        "stdout": result.text.removesuffix("\n"),
        "stderr": result.stderr.decode("utf-8", "replace").removesuffix("\n"),
        "stdout_lines": result.text.splitlines(),
    }


def _change(
    name: str, args: ExecuteArguments, context: Context, overlay: Mapping[str, Any]
) -> Change:
    text = _unless_done(args) + _expecting(args, args.script(context))
    shell, stdin = text_for_host(text, args, context, args.input(context))
    timeout = context.seconds(DEFAULT_TIMEOUT)
    return Change(
        summary=f"run {args.shown(context)}",
        do=(Command(name, shell, stdin, timeout, context.become),),
        risk=Risk.MEDIUM,
        disruption=Disruption.NONE,
        overlay=overlay,
        predictable=False,
        unsure=_files_named(text, args.chdir or "/"),
    )


def _files_named(script: str, folder: str) -> tuple[str, ...]:
    """The probe keys of files that a script names: what it makes of them is not known."""
    paths = (normpath(join(folder, word)) for word in _WORD.findall(script))
    return tuple(dict.fromkeys(file_key(path) for path in paths))


def _unless_done(args: ExecuteArguments) -> str:
    """Leaves the command out when an earlier change of the same run did its work."""
    done = ""
    if args.creates:
        done += f"if [ -e {shlex.quote(args.creates)} ]; then exit 0; fi\n"
    if args.removes:
        path = shlex.quote(args.removes)
        done += f"if [ ! -e {path} ] && [ ! -L {path} ]; then exit 0; fi\n"
    return done


def _expecting(args: ExecuteArguments, script: str) -> str:
    """The script, ending with 0 for every expected status and with another for all else."""
    if args.expect == (0,):
        return script
    if not args.expect:
        return f"(\n{script}\n)\nexit 0"
    fine = "|".join(str(rc) for rc in args.expect)
    return f"(\n{script}\n)\nrc=$?; case $rc in {fine}) exit 0;; 0) exit 1;; esac; exit $rc"


def _short(script: str) -> str:
    """One line of a script for a message."""
    first, *more = script.strip().splitlines() or [""]
    return first if len(first) <= 100 and not more else f"{first[:97]}..."


class CommandModule(Execute):
    """Runs a program without a shell: no pipes, no globs, no variables.

    What a command does cannot be known beforehand: it is listed as unpredictable and only run by
    `apply`, unless `read_only: true` says that it changes nothing. A read-only command runs while
    looking, also for a plan, and what it printed can be used at once (`register`).

    `creates`, `removes` and `unless` say how to see that the work is done: the command is left
    out when it is, and it has failed if it is not done afterwards. `onlyif` only asks whether to
    run. Without any of them a command runs in every apply. Environment and standard input never
    show in the host's process list.

    `register` stores `rc`, `stdout`, `stderr`, `stdout_lines` and `changed`. Of a command that
    changes something, a status listed in `expect` is stored as 0.
    """

    name = "command"
    arguments = CommandArguments
    examples = (
        """\
- name: which profiles the GPUs offer
  command:
    cmd: nvidia-smi mig -lgip
    read_only: true
  register: profiles
""",
        """\
- name: generate the CDI specification
  command:
    cmd: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml
    creates: /etc/cdi/nvidia.yaml
""",
    )


class ShellModule(Execute):
    """Runs a text with the host's POSIX sh: pipes, redirections and variables work.

    Everything else is as with `command`. Never put values of the host or secrets into the text:
    give them in `environment` or `stdin`.
    """

    name = "shell"
    arguments = ShellArguments
    examples = (
        """\
- name: XIDs since boot
  shell:
    cmd: dmesg | grep -c 'NVRM. Xid'
    read_only: true
    expect: [0, 1]
  register: xids
""",
        """\
- name: keep the old configuration
  shell:
    cmd: cp -a /etc/containerd /etc/containerd.before
    creates: /etc/containerd.before
""",
    )

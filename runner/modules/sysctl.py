"""`sysctl`: a kernel parameter has a value, now and after a reboot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from shlex import quote
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from runner.facts import apt, kernel_modules
from runner.facts.sysctl import key, plain, probe, proc_path
from runner.hosts.script import Command
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
)
from runner.modules.files.arguments import HostPath, Switch
from runner.modules.files.state import probes
from runner.modules.files.text import EditArguments, plan_edit


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} is no value of a kernel parameter: write 1 or 0")
    return str(value) if isinstance(value, int) else value


class SysctlArguments(Arguments):
    other_names: ClassVar[Mapping[str, str]] = {"key": "name", "val": "value"}
    name: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_:@/.-]*$",
        examples=["net.ipv4.ip_forward"],
        description="The parameter, as in `net.ipv4.ip_forward`.",
    )
    value: Annotated[str, BeforeValidator(_text)] | None = Field(
        None, description="Its value. Needed for `state: present`."
    )
    state: Literal["present", "absent"] = Field(
        "present", description="absent: `sysctl_file` does not set it; its value is left as it is."
    )
    sysctl_file: HostPath = Field(
        "/etc/sysctl.conf",
        description="The file that keeps it over a reboot; created when missing. A file of your"
        " own below `/etc/sysctl.d` is better.",
    )
    reload: Switch = Field(True, description="Set the value now as well (only this parameter).")
    sysctl_set: Switch = Field(False, description="The same as `reload` (Ansible has both).")

    @model_validator(mode="after")
    def _fitting(self) -> SysctlArguments:
        if ".." in self.name:
            raise ValueError(f"{self.name!r} is not the name of a kernel parameter")
        if self.state == "present" and not (self.value or "").strip():
            raise ValueError("value is needed with state: present")
        if "\n" in (self.value or ""):
            raise ValueError("value is one line")
        return self

    @property
    def live(self) -> bool:
        """Whether the running kernel is managed too."""
        return self.state == "present" and (self.reload or self.sysctl_set)


class Sysctl(Module[SysctlArguments]):
    """Sets a kernel parameter in a file and in the running kernel; both are looked at.

    In the file only this parameter's line is changed; where it is set twice, the last line counts.
    The running kernel gets just this value, not the rest of the file, and is read again: a value
    that the kernel rounds or refuses is a failure.
    """

    name = "sysctl"
    arguments = SysctlArguments
    risk = Risk.MEDIUM
    examples = (
        """\
- name: many files may be watched
  sysctl:
    name: fs.inotify.max_user_watches
    value: "1048576"
    sysctl_file: /etc/sysctl.d/90-gpu-node.conf
""",
    )

    def probes(self, args: SysctlArguments, context: Context) -> Sequence[Probe]:
        files = probes(args.sysctl_file, context)
        if not args.live:
            return files
        become = context.become
        planned = (kernel_modules.planned_probe(become), apt.planned_probe(become))
        return (*files, probe(args.name, become), *planned)

    def plan(self, args: SysctlArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        edit = partial(edited, name=args.name, value=args.value, absent=args.state == "absent")
        file = EditArguments(path=args.sysctl_file, create=True)
        outcome = plan_edit(file, edit, observed, context, removes=args.state == "absent")
        changes = outcome.changes
        result: dict[str, Any] = {"name": args.name, "path": args.sysctl_file}
        if args.live:
            result["value"] = observed[key(args.name)]
            changes += _live(args, observed, context)
        return Outcome(changes, result=result)


_ASSIGNMENT = re.compile(rb"[ \t]*-?[ \t]*(?P<name>[^#;=\s][^=]*?)[ \t]*=[ \t]*(?P<value>[^\r\n]*)")


def edited(content: bytes, name: str, value: str | None, absent: bool) -> bytes:
    """The file's content with the parameter's last line changed, a new one, or without any."""
    lines = content.splitlines(keepends=True)
    found = [(number, match) for number, match in enumerate(map(_ASSIGNMENT.match, lines)) if match]
    own = [pair for pair in found if _same(pair[1]["name"], name)]
    if absent:
        gone = {number for number, _ in own}
        return b"".join(line for number, line in enumerate(lines) if number not in gone)
    wanted = (value or "").strip().encode()
    if not own:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        return b"".join([*lines, name.encode(), b" = ", wanted, b"\n"])
    number, match = own[-1]
    if plain(match["value"].decode(errors="replace")) != plain(wanted.decode()):
        line = lines[number]
        lines[number] = line[: match.start("value")] + wanted + line[match.end("value") :]
    return b"".join(lines)


def _same(written: bytes, name: str) -> bool:
    return proc_path(written.decode(errors="replace")) == proc_path(name)


def _live(
    args: SysctlArguments, observed: Mapping[str, Any], context: Context
) -> tuple[Change, ...]:
    now, wanted = observed[key(args.name)], plain(args.value or "")
    if now == wanted:
        return ()
    expected = now is None and (observed[kernel_modules.PLANNED] or observed[apt.PLANNED])
    if now is None and not expected:
        raise Refused(
            f"this kernel has no parameter {args.name}; if it belongs to a kernel module, load it"
            " first with modprobe"
        )
    path = quote(proc_path(args.name))
    later = " (once this play has loaded its module)" if expected else ""
    change = Change(
        summary=f"{args.name}: {'none' if now is None else now} -> {wanted}{later}",
        do=(_write(path, wanted, context),),
        guard="" if now is None else _reads(path, now),
        risk=Risk.MEDIUM,
        before={"name": args.name, "value": now},
        after={"name": args.name, "value": wanted},
        overlay={key(args.name): wanted},
        predictable=not expected,
        undo=() if now is None else (_write(path, now, context),),
    )
    return (change,)


def _write(path: str, value: str, context: Context) -> Command:
    shell = f"set -e\nprintf '%s\\n' {quote(value)} > {path}\n{_reads(path, value)}"
    return Command("set", shell, become=context.become)


def _reads(path: str, value: str) -> str:
    """Shell that exits 0 while the parameter has the value, however it is spaced."""
    return f'(set -f; set -- $(cat -- {path}); [ "$*" = {quote(value)} ])'

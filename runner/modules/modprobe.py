"""`modprobe`: a kernel module is loaded, now and at boot, or is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from shlex import quote, split
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from runner.facts import apt
from runner.facts.kernel_modules import PLANNED, ModuleState, canonical, key, planned_probe, probe
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
)
from runner.modules.files.line_edit import Line, with_line, without
from runner.modules.files.state import probes
from runner.modules.files.text import EditArguments, expression, plan_edit


class ModprobeArguments(Arguments):
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        examples=["nvidia_uvm"],
        description="The module; - and _ mean the same.",
    )
    params: str = Field(
        "", description="Parameters for loading it; those of a loaded module are not changed."
    )
    state: Literal["present", "absent"] = Field("present", description="Whether it is loaded.")
    persistent: Literal["disabled", "present", "absent"] = Field(
        "disabled",
        description="present: it is loaded at boot, with `params`; absent: it is not, and has no"
        " options of its own; disabled: the files that say so are left alone.",
    )

    blacklisted: Annotated[bool, Field(strict=True)] | None = Field(
        None,
        description="Whether the kernel leaves it alone when it finds its device; not given: as it"
        " is. modprobe loads it by its name all the same.",
    )

    @model_validator(mode="after")
    def _fitting(self) -> ModprobeArguments:
        try:
            split(self.params)
        except ValueError as error:
            raise ValueError(f"params cannot be split into words: {error}") from None
        if "\n" in self.params:
            raise ValueError("params is one line")
        if self.blacklisted and self.persistent == "present":
            raise ValueError("a module that is loaded at boot is not to be blacklisted too")
        if self.params and "absent" in (self.state, self.persistent):
            raise ValueError("params belongs to a module that is loaded; leave it out")
        return self

    @property
    def boot_file(self) -> str:
        """Where it is named for loading at boot (modules-load.d(5))."""
        return f"/etc/modules-load.d/{self.name}.conf"

    @property
    def options_file(self) -> str:
        """Where its parameters are (modprobe.d(5))."""
        return f"/etc/modprobe.d/{self.name}.conf"

    @property
    def blacklist_file(self) -> str:
        """Where it is kept from being loaded for its device (modprobe.d(5))."""
        return f"/etc/modprobe.d/blacklist-{self.name}.conf"


class Modprobe(Module[ModprobeArguments]):
    """Loads or unloads a kernel module, and says whether it is loaded at boot.

    A module that is built into the kernel counts as loaded. Unloading one of NVIDIA's takes the
    GPUs away from whoever uses them, so its disruption is `gpu`; a module that is in use does not
    let itself be unloaded, and the task fails. With `persistent` and `blacklisted` the module's
    own files in `/etc/modules-load.d` and `/etc/modprobe.d` are edited; a module that another file
    there names already is not named twice. One that is in the initramfs is loaded from there: after
    blacklisting a module like nouveau make that anew (`update-initramfs -u`, `dracut -f`) in a
    handler.
    """

    name = "modprobe"
    arguments = ModprobeArguments
    risk = Risk.MEDIUM
    disruption = Disruption.GPU
    examples = (
        """\
- name: GPUDirect RDMA
  modprobe:
    name: nvidia_peermem
    persistent: present
""",
        """\
- name: bridged packets pass iptables
  modprobe:
    name: br_netfilter
    persistent: present
""",
        """\
- name: the free driver keeps off the GPUs
  kernel_module:
    name: nouveau
    state: absent
    blacklisted: true
""",
    )

    def probes(self, args: ModprobeArguments, context: Context) -> Sequence[Probe]:
        files = []
        if args.persistent != "disabled":
            files += [*probes(args.boot_file, context), *probes(args.options_file, context)]
        if args.blacklisted is not None:
            files += probes(args.blacklist_file, context)
        files = list({each.key: each for each in files}.values())
        become = context.become
        planned = (planned_probe(become), apt.planned_probe(become))
        return (probe(args.name, become), *planned, *files)

    def plan(
        self, args: ModprobeArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        state: ModuleState = observed[key(args.name)]
        changes = [*_files(args, state, observed, context)]
        change = _load(args, state, observed, context)
        if change is not None:
            changes.append(change)
        return Outcome(tuple(changes), result={"name": args.name, "state": state.kind})


def _files(
    args: ModprobeArguments, state: ModuleState, observed: Mapping[str, Any], context: Context
) -> Iterator[Change]:
    """What its own files shall say."""
    for path, line, removes in (*_boot_lines(args, state), *_blacklist_lines(args, state)):
        edit = partial(without if removes else with_line, line=line)
        file = EditArguments(path=path, create=True)
        yield from plan_edit(file, edit, observed, context, removes=removes).changes


def _boot_lines(args: ModprobeArguments, state: ModuleState) -> list[tuple[str, Line, bool]]:
    """Files that have it loaded at boot, and with what: path, line, whether that goes."""
    if args.persistent == "disabled":
        return []
    name = "[-_]".join(canonical(args.name).split("_"))
    boot = Line(args.name.encode(), expression(rf"^\s*{name}\s*$"))
    text = f"options {args.name} {args.params}".encode()
    options = Line(text, expression(rf"^\s*options\s+{name}\s"))
    others = [path for path in state.named_in if path != args.boot_file]
    removes = args.persistent == "absent"
    if removes and others:
        raise Refused(
            f"{args.name} is loaded at boot by {', '.join(others)} too; take it out with"
            " lineinfile first"
        )
    wanted = []
    if removes or args.params:
        wanted.append((args.options_file, options, removes))
    if removes or not others:
        wanted.append((args.boot_file, boot, removes))
    return wanted


def _blacklist_lines(args: ModprobeArguments, state: ModuleState) -> list[tuple[str, Line, bool]]:
    """The file that keeps it from being loaded for a device: path, line, whether that goes."""
    if args.blacklisted is None:
        return []
    others = [path for path in state.blacklisted_in if path != args.blacklist_file]
    if others and args.blacklisted:
        return []
    if others:
        raise Refused(
            f"{args.name} is blacklisted by {', '.join(others)} too; take it out with lineinfile"
            " first"
        )
    name = "[-_]".join(canonical(args.name).split("_"))
    line = Line(f"blacklist {args.name}".encode(), expression(rf"^\s*blacklist\s+{name}\s*$"))
    return [(args.blacklist_file, line, not args.blacklisted)]


def _load(
    args: ModprobeArguments, state: ModuleState, observed: Mapping[str, Any], context: Context
) -> Change | None:
    loaded = state.kind in ("loaded", "builtin")
    if loaded == (args.state == "present"):
        return None
    if loaded:
        return _unload(args, state, context)
    if state.kind == "missing" and not observed[apt.PLANNED]:
        raise Refused(
            f"this kernel has no module {args.name}: install the package that brings it for the"
            " running kernel (`uname -r`), or check its name"
        )
    after = replace(state, kind="loaded", users=0)
    words = " ".join(quote(word) for word in split(args.params))
    later = " (once this play has brought it)" if state.kind == "missing" else ""
    return Change(
        summary=f"load kernel module {args.name}{f' {args.params}' if args.params else ''}{later}",
        do=(context.command("load", f"modprobe -- {quote(args.name)} {words}".rstrip()),),
        guard=_guard(state.name, False),
        before={"module": args.name, "state": state.kind},
        after={"module": args.name, "state": "loaded"},
        overlay={key(args.name): after, PLANNED: {*observed[PLANNED], state.name}},
        predictable=state.kind != "missing",
        undo=(context.command("unload", f"modprobe -r -- {quote(args.name)}"),),
    )


def _unload(args: ModprobeArguments, state: ModuleState, context: Context) -> Change:
    if state.kind == "builtin":
        raise Refused(f"{args.name} is built into this kernel: it cannot be unloaded")
    nvidia = state.name.startswith("nvidia")
    used = f" (now held by {state.users})" if state.users else ""
    return Change(
        summary=f"unload kernel module {args.name}{used}",
        do=(context.command("unload", f"modprobe -r -- {quote(args.name)}"),),
        guard=_guard(state.name, True),
        risk=Risk.MEDIUM,
        disruption=Disruption.GPU if nvidia else Disruption.NONE,
        before={"module": args.name, "state": "loaded"},
        after={"module": args.name, "state": "available"},
        overlay={key(args.name): replace(state, kind="available", users=0)},
        undo=(context.command("load", f"modprobe -- {quote(args.name)}"),),
    )


def _guard(name: str, loaded: bool) -> str:
    return f"{'' if loaded else '! '}grep -q {quote(f'^{name} ')} /proc/modules"

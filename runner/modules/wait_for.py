"""`wait_for`: until a port answers or a path is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from runner.hosts.script import Command
from runner.modules.base import NOT_YET, Arguments, Context, HostWait, Module, Outcome, Probe
from runner.modules.files.arguments import HostPath

_SLICE = 15
"""Seconds that the host looks again and again before it answers "not yet": so long a stop waits."""


class WaitForArguments(Arguments):
    """Exactly one of `port` and `path` is given."""

    port: int | None = Field(None, ge=1, le=65535, description="TCP port to connect to.")
    host: str = Field(
        "127.0.0.1",
        pattern=r"^[A-Za-z0-9:._-]+$",
        examples=["127.0.0.1", "gpu-a1.example.com"],
        description="Where the port is, seen from the host: by default the host itself.",
    )
    path: HostPath | None = Field(None, description="Path on the host.")
    search_regex: str | None = Field(
        None,
        min_length=1,
        description="A line of the file, or of what the port says first, must match this"
        " expression (`grep -P`).",
    )
    state: Literal["started", "present", "stopped", "absent"] = Field(
        "started",
        description="`started` or `present`: it is there; `stopped` or `absent`: it is not, or"
        " `search_regex` matches no line.",
    )
    timeout: float = Field(300.0, gt=0, description="Seconds to wait at most.")
    delay: float = Field(0.0, ge=0, description="Seconds to wait before the first look.")
    sleep: float = Field(1.0, gt=0, le=10, description="Seconds between two looks.")
    connect_timeout: float = Field(5.0, gt=0, le=60, description="Seconds one connection may take.")
    msg: str = Field("", description="Shown when time is over: what to do about it.")

    @field_validator("search_regex")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and "\n" in value:
            raise ValueError("it holds a line break, but lines are looked at one by one")
        return value

    @model_validator(mode="after")
    def _one_thing(self) -> WaitForArguments:
        if (self.port is None) == (self.path is None):
            raise ValueError("give either port or path; to wait for some time only, use pause")
        return self

    @property
    def gone(self) -> bool:
        """Whether it is waited for that something is not there."""
        return self.state in ("stopped", "absent")


class WaitFor(Module[WaitForArguments]):
    """Waits until a port of the host answers, or a path is there; or until it is not.

    It looks on the host every `sleep` seconds and changes nothing. A plan says what it would wait
    for; on a host where nothing is to be changed nothing is waited for, but in `verify` it is.
    Time that runs out is a failure. Connecting to a port needs bash on the host.
    """

    name = "wait_for"
    arguments = WaitForArguments
    changes_nothing = True
    examples = (
        """\
- name: the kubelet is healthy
  wait_for:
    port: 10248
    timeout: 60
""",
        """\
- name: the toolkit has told that it is ready
  wait_for:
    path: /run/nvidia/validations/toolkit-ready
    timeout: 600
    msg: look at the logs of nvidia-container-toolkit-daemonset
""",
    )

    def probes(self, args: WaitForArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: WaitForArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        timeout = context.seconds(args.timeout)
        most = _SLICE + args.sleep + args.connect_timeout + 10
        look = Command(
            "wait", script(args, min(_SLICE, timeout)), timeout=most, become=context.become
        )
        text = _described(args)
        wait = HostWait(text, args.delay, look, timeout, args.msg)
        return Outcome(waits=(wait,))


def _described(args: WaitForArguments) -> str:
    what = args.path or f"port {args.port} of {args.host}"
    if args.search_regex:
        verb = "no longer says" if args.gone else "says"
        return f"{what} {verb} {args.search_regex!r}"
    if args.path:
        return f"{what} {'is gone' if args.gone else 'is there'}"
    return f"{what} {'is closed' if args.gone else 'answers'}"


def script(args: WaitForArguments, slice_seconds: float) -> str:
    """The look: exits 0 when it is so, `NOT_YET` when not yet, else it could not look."""
    wanted = "1" if args.gone else "0"
    return _LOOP.format(
        test=_path_test(args) if args.path else _port_test(args),
        wanted=wanted,
        not_yet=NOT_YET,
        most=int(slice_seconds),
        sleep=f"{args.sleep:g}",
    )


_LOOP = """\
export LC_ALL=C
seen() {{
{test}
}}
end=$(($(date +%s) + {most}))
while :; do
  s=0; seen || s=$?
  case $s in
  {wanted}) exit 0 ;;
  0 | 1) ;;
  *) exit 70 ;;
  esac
  [ "$(date +%s)" -lt "$end" ] || exit {not_yet}
  sleep {sleep}
done
"""


def _path_test(args: WaitForArguments) -> str:
    path = quote(args.path or "")
    there = f"[ -e {path} ] || [ -L {path} ] || return 1"
    if not args.search_regex:
        return there
    return f"{there}\ngrep -qP -e {quote(args.search_regex)} -- {path}"


def _port_test(args: WaitForArguments) -> str:
    connect = 'exec 3<> "/dev/tcp/$0/$1"'
    search = ""
    if args.search_regex:
        connect += ' && grep -m 1 -qP -e "$2" <&3'
        search = quote(args.search_regex)
    # bash says 1 for a refused connection, timeout 124; grep says 1 for no match and 2 for errors.
    return f"""\
command -v bash > /dev/null || {{ echo 'there is no bash here to connect with' >&2; return 2; }}
s=0; timeout {args.connect_timeout:g} bash -c {quote(connect)} {quote(args.host)} {args.port} \
{search} 2> /dev/null || s=$?
[ $s != 124 ] || s=1
return $s"""

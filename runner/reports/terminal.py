"""What a person sees: grouped plans with diffs, progress as it happens, and the end of each host.

Text of hosts and playbooks never reaches the terminal as control codes or markup: everything goes
through `printable` into rich `Text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from runner.engine.events import Event
from runner.hosts.display import names, printable
from runner.reports.data import host_plan, summary
from runner.reports.highlight import highlighted
from runner.secrets.redact import KNOWN, Redactor

if TYPE_CHECKING:
    from runner.engine.states import HostState

MOST_LINES = 500
"""Lines of one diff that are shown."""
MOST_KEYS = 20

_STYLES = {
    "pending": "yellow",
    "changed": "yellow",
    "ok": "green",
    "failed": "bold red",
    "unreachable": "bold red",
    "drifted": "bold red",
    "unknown": "magenta",
    "denied": "magenta",
    "skipped": "cyan",
}


class Terminal:
    """Prints plans, progress and results.

    Args:
        console: where to; `--output json` gives one that writes to stderr.
        redact: takes secrets out.
    """

    def __init__(self, console: Console, redact: Redactor = KNOWN) -> None:
        self._console = console
        self._redact = redact
        self._gone = False
        self._held: list[Text] | None = None
        """Lines that are printed together: rich takes its time for each printing."""

    def line(self, text: str, style: str = "") -> None:
        """One line, made safe. A reader that is gone ends the printing, never the work."""
        self._print(printable(self._redact(text)), style)

    def _sentence(self, text: str, style: str = "") -> None:
        """A line that breaks between words, and goes on under its beginning, in a terminal."""
        text = printable(self._redact(text))
        if self._console.is_terminal:
            indent = " " * (len(text) - len(text.lstrip()) + 4)
            lines = wrap(
                text,
                max(self._console.width, 40),
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            text = "\n".join(lines)
        self._print(text, style)

    def _print(self, text: str, style: str) -> None:
        self._show(Text(text, style=style))

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Print what is shown meanwhile at once, at the end."""
        held: list[Text] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            if held:
                self._show(Text("\n").join(held))

    def _show(self, text: Text) -> None:
        if self._held is not None:
            self._held.append(text)
            return
        if self._gone:
            return
        try:
            self._console.print(text, soft_wrap=True)
        except (OSError, SystemExit):  # rich turns a broken pipe into SystemExit
            self._gone = True

    # -- plans --------------------------------------------------------------------------------

    def plans(self, states: Sequence[HostState]) -> None:
        """All plans, hosts with equal ones together."""
        plays = {id(state.play): state.play for state in states}
        for play in plays.values():
            of_play = [state for state in states if state.play is play]
            self.line(f"Play: {play.name} ({_count(len(of_play), 'host')})", "bold")
            groups = _groups(of_play, self._redact)
            shared = Shared(groups)
            for group in groups:
                with self._together():
                    self._group(*group, shared)
            self.line("")

    def _group(self, hosts: list[str], plan: Mapping[str, Any], shared: Shared) -> None:
        status, changes = plan["status"], plan["changes"]
        style = _STYLES.get(status, "")
        named = names(hosts)
        if status == "ok":
            self.line(f"  {named}: nothing to do", style)
        elif status == "pending" and not changes:
            self.line(f"  {named}: nothing to change", style)
        elif status == "pending":
            self.line(
                f"  {named}: {_count(len(changes), 'change')}, "
                f"risk {plan['risk']}, disruption {plan['disruption']}",
                style,
            )
        else:
            self.line(f"  {named}: {status}", style)
            for reason in plan["reasons"]:
                self._indented(reason, "      ")
        for text in plan["messages"]:
            self._indented(text, "      ")
        self._changes(changes, shared)
        self._drain(plan.get("drain"), plan["reasons"])
        for text in plan.get("gpu_users", ()):
            self._indented(text, "    GPU in use: ")

    def _changes(self, changes: Sequence[Mapping[str, Any]], shared: Shared) -> None:
        for change in changes:
            mark = "~" if change["predictable"] else "?"
            unpredictable = "" if change["predictable"] else " (unpredictable)"
            shown = shared.shown_on(change)
            again = f" (diff as on {shown})" if shown else ""
            self._sentence(
                f"    {mark} {change['task']}: {change['summary']}{unpredictable}{again}"
            )
            if not shown:
                self._difference(change, shared.note(change))

    def _difference(self, change: Mapping[str, Any], note: str) -> None:
        """By keys, as far as the summary does not say it, and as text."""
        if note:
            self._sentence(f"        {note}")
        keys = [key for key in change["keys"] if not _is_said(key, change["summary"])]
        for key in keys[:MOST_KEYS]:
            self._sentence(f"        {_key(key)}")
        if len(keys) > MOST_KEYS:
            self.line(f"        ... {len(keys) - MOST_KEYS} more keys (--output json has all)")
        lines = change["diff"].split("\n") if change["diff"] else []
        safe = [printable(self._redact(line)) for line in lines[:MOST_LINES]]
        for text in highlighted(safe):
            self._show(Text("        ").append_text(text))
        if len(lines) > MOST_LINES:
            self.line(f"        ... {len(lines) - MOST_LINES} more lines (--output json has all)")

    def _drain(self, drain: Mapping[str, Any] | None, reasons: Sequence[str]) -> None:
        """Which pods go, by owner, and all that is to be known of it but what `reasons` say."""
        if not drain:
            return
        evict = drain.get("evict", [])
        if evict:
            grace = f"grace periods up to {drain['grace_seconds']:g} s"
            self.line(f"    drain: evicts {_count(len(evict), 'pod')} ({grace})")
            for owner, pods in _by_owner(evict, drain["owners"]).items():
                self._sentence(f"      {owner}: {', '.join(pods)}")
        elif "evict" in drain:
            self.line("    drain: no pod has to go")
        if drain.get("pauses"):
            self._sentence(f"    drain: pauses {', '.join(drain['pauses'])} meanwhile")
        for kind in ("unknown", "taint", "warnings", "waits", "blocked"):
            texts = drain.get(kind) or ()
            for text in [texts] if isinstance(texts, str) else texts:
                if not any(text in reason for reason in reasons):
                    self._indented(text, "    drain: ")

    def _indented(self, text: str, indent: str) -> None:
        for line in self._redact(text).splitlines():
            self._sentence(indent + line)

    # -- progress -----------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        """One line for what just happened, where a person wants to see it."""
        if event.kind == "wave-started":
            self.line(f"Wave {event.data['number']}: {event.text}", "bold")
        elif event.kind == "progress":
            self._sentence(f"  {event.host}: {_about(event)}", "dim")
        elif event.kind == "step-started":
            self.line(f"  {event.host}: {event.text} ...")
        elif event.kind == "step-done":
            self.line(f"  {event.host}: {event.text}: done", "green")
        elif event.kind == "host-done" and event.data["status"] == "changed":
            note = f" ({_about(event)})" if event.text else ""
            self._sentence(f"  {event.host}: changed{note}", "green")
        elif event.kind == "host-done":
            self._host_done(event)

    def _host_done(self, event: Event) -> None:
        status = event.data["status"]
        why = f": {event.text}" if event.text else ""
        self._indented(f"{event.host}: {status}{why}", "  ")
        if event.data.get("left"):
            self._sentence(f"  {event.host}: {event.data['left']}", "bold red")

    # -- the end ------------------------------------------------------------------------------

    def end(self, run: str, states: Sequence[HostState], applied: bool) -> None:
        """The closing lines."""
        if applied:
            for state in states:
                if state.result is not None and state.result.left:
                    self._sentence(f"{state.host.name}: {state.result.left}", "bold red")
        counts = summary(states, applied)
        shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        if applied and counts["ok"] == sum(counts.values()):
            shown += ": no change"
        self.line(f"{'Applied' if applied else 'Plan'}: {shown or 'no host'}", "bold")
        if applied:
            self.line(f"Run {run} (gpurun show {run})", "dim")


def _by_owner(pods: Sequence[str], owners: Mapping[str, str]) -> dict[str, list[str]]:
    """ "Job default/x" -> the names of its pods; those without an owner with their namespace."""
    found: dict[str, list[str]] = {}
    for pod in pods:
        namespace, _, name = pod.partition("/")
        kind, _, owner = owners.get(pod, "").partition(" ")
        if kind:
            found.setdefault(f"{kind} {namespace}/{owner}", []).append(name)
        else:
            found.setdefault("no owner", []).append(pod)
    return found


def _about(event: Event) -> str:
    """What happened to a host, without its name again."""
    text = event.text.removeprefix(f"node {event.host}: ")
    return text.removeprefix(f"node {event.host} ")


def _key(change: Mapping[str, str]) -> str:
    """One key of a document that differs."""
    values = {
        "added": f" = {change['after']}" if change["after"] else "",
        "removed": "",
        "changed": f": {change['before']} -> {change['after']}",
    }
    return f"{change['kind']} {change['name']}{values[change['kind']]}"


def _is_said(change: Mapping[str, str], summary: str) -> bool:
    """Whether a summary, which lists keys behind commas, already names this one."""
    said = {"added": f"+ {change['name']}", "removed": f"- {change['name']}"}
    key = said.get(change["kind"], f"{change['name']} {change['before']} ->")
    return re.search(rf"(^|: |, ){re.escape(key)}( |,|$)", summary) is not None


Group = tuple[list[str], dict[str, Any]]


class Shared:
    """The changes of a play that are equal on hosts whose plans differ elsewhere: such a diff is
    shown once. Risk, disruption, drain and gate stand with each group of hosts all the same.

    Args:
        groups: hosts with their plans, in the order in which they are shown.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._hosts: dict[str, list[str]] = {}
        self._of_task: dict[str, list[str]] = {}
        self._shown: dict[str, str] = {}
        for hosts, plan in groups:
            for change in plan["changes"]:
                if change["diff"]:
                    self._hosts.setdefault(_body(change), []).extend(hosts)
                    self._of_task.setdefault(change["task"], []).extend(hosts)

    def shown_on(self, change: Mapping[str, Any]) -> str:
        """The host with which an equal diff was already shown; "": this one is to be shown."""
        if not change["diff"]:
            return ""
        key = _body(change)
        if key in self._shown:
            return self._shown[key]
        self._shown[key] = self._hosts[key][0]
        return ""

    def note(self, change: Mapping[str, Any]) -> str:
        """On how many hosts this change is the same, where the task changes something."""
        if not change["diff"]:
            return ""
        same = dict.fromkeys(self._hosts[_body(change)])
        every = dict.fromkeys(self._of_task[change["task"]])
        others = [host for host in every if host not in same]
        if len(same) == 1 or not others:
            return ""
        return f"identical on {len(same)} of {len(every)} hosts, not on {names(others)}"


def _body(change: Mapping[str, Any]) -> str:
    """A change without the host."""
    return json.dumps({**change, "host": ""}, sort_keys=True, default=str)


def _groups(states: Iterable[HostState], redact: Redactor) -> list[Group]:
    """Hosts with equal plans together, in the order of their first host."""
    groups: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for state in states:
        # Before it is cut into lines: a secret may go on in the next one.
        plan = redact.data(host_plan(state))
        anonymous = {
            **plan,
            "changes": [{k: v for k, v in c.items() if k != "host"} for c in plan["changes"]],
        }
        key = json.dumps(anonymous, sort_keys=True, default=str)
        groups.setdefault(key, ([], plan))[0].append(state.host.name)
    return list(groups.values())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

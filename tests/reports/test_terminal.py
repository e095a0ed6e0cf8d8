"""What a person reads, and what happens when nobody can read any more."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from runner.engine.events import Event
from runner.reports import terminal as printing
from runner.reports.terminal import Terminal


class Lost(io.StringIO):
    """A terminal whose connection broke."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_long_sentences_go_on_between_words_under_their_beginning() -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, width=60, force_terminal=True, no_color=True))
    text = "node gpu-1: paused kube-system/nvidia-dcgm-exporter, kube-system/nvidia-device-plugin"
    terminal.event(Event("progress", "gpu-1", text))
    plain = out.getvalue().splitlines()
    assert len(plain) == 2
    assert "gpu-1: paused kube-system/nvidia-dcgm-exporter," in plain[0]
    assert "      kube-system/nvidia-device-plugin" in plain[1]
    assert "node gpu-1" not in out.getvalue()


def test_lines_for_programs_are_not_broken() -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, width=60))
    terminal.event(Event("progress", "gpu-1", "word " * 40 + "end"))
    assert out.getvalue().count("\n") == 1


def test_a_lost_terminal_ends_the_printing_and_not_the_work() -> None:
    terminal = Terminal(Console(file=Lost()))
    terminal.line("first")
    terminal.event(Event("progress", "gpu-1", "second"))


# ---- equal differences on many hosts ---------------------------------------------------------

PLAY = SimpleNamespace(name="p")
DIFF = "--- /etc/x (before)\n+++ /etc/x (after)\n@@ -1 +1 @@\n-old\n+new"


def change(diff: str = DIFF, summary: str = "change /etc/x", keys: Any = ()) -> dict[str, Any]:
    return {
        "task": "t",
        "summary": summary,
        "risk": "low",
        "predictable": True,
        "diff": diff,
        "keys": list(keys),
    }


def plan(changes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    nothing = {"reasons": [], "messages": [], "risk": "low", "disruption": "none"}
    status = "pending" if changes else "ok"
    return {**nothing, "status": status, "changes": changes, **more}


def printed(monkeypatch: pytest.MonkeyPatch, plans: dict[str, dict[str, Any]], **more: Any) -> str:
    def as_planned(state: Any) -> dict[str, Any]:
        found = plans[state.host.name]
        return {**found, "changes": [{"host": state.host.name, **c} for c in found["changes"]]}

    monkeypatch.setattr(printing, "host_plan", as_planned)
    out = io.StringIO()
    states: Any = [SimpleNamespace(play=PLAY, host=SimpleNamespace(name=name)) for name in plans]
    Terminal(Console(file=out, width=200, **more)).plans(states)
    return out.getvalue()


DRAIN = {
    "evict": ["default/trainer"],
    "owners": {"default/trainer": "Job train"},
    "grace_seconds": 30,
    "taint": "taints the node with a=b:NoSchedule",
    "pauses": ["kube-system/plugin"],
}


def test_an_equal_diff_is_shown_once_and_what_is_different_with_every_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = {f"gpu-{n}": plan([change()]) for n in range(1, 10)}
    plans["gpu-4"] = plan([change()], risk="high")
    plans["gpu-5"] = plan([change()], drain=DRAIN)
    plans["gpu-6"] = plan([change()], status="denied", reasons=["the lock is held"])
    plans["gpu-7"] = plan([change(DIFF.replace("old", "older"))])
    plans["gpu-8"] = plan([])
    text = printed(monkeypatch, plans)
    assert text.count("+new") == 2 and text.count("-old\n") == 1
    assert "identical on 7 of 8 hosts, not on gpu-7" in text
    assert text.count("(diff as on gpu-1)") == 3
    assert "gpu-1, gpu-2, gpu-3, gpu-9: 1 change, risk low" in text
    assert "gpu-4: 1 change, risk high" in text
    assert (
        "drain: evicts 1 pod (grace periods up to 30 s)\n      Job default/train: trainer\n" in text
    )
    assert "drain: taints the node with a=b:NoSchedule" in text
    assert "drain: pauses kube-system/plugin meanwhile" in text
    assert "gpu-6: denied\n      the lock is held" in text
    assert "gpu-8: nothing to do" in text


def test_nothing_is_said_of_a_diff_that_is_the_same_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = printed(monkeypatch, {"gpu-1": plan([change()]), "gpu-2": plan([change()])})
    assert "identical" not in text and "diff as" not in text


def test_keys_stand_beside_the_text_unless_the_summary_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = [
        {"name": "a.b", "kind": "changed", "before": "1", "after": "2"},
        {"name": "c", "kind": "added", "before": "", "after": ""},
        {"name": "d", "kind": "removed", "before": "", "after": ""},
    ]
    text = printed(monkeypatch, {"gpu-1": plan([change(summary="/etc/x: - d", keys=keys)])})
    assert "        changed a.b: 1 -> 2\n        added c\n        --- /etc/x" in text
    assert "removed" not in text


def test_a_long_diff_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [{"name": f"k{n}", "kind": "removed", "before": "", "after": ""} for n in range(25)]
    hunk = "@@ -0,0 +1,700 @@\n" + "\n".join(f"+line {n}" for n in range(700))
    long = change(hunk, keys=keys)
    text = printed(monkeypatch, {"gpu-1": plan([long])})
    assert "+line 498\n" in text and "+line 499\n" not in text
    assert "removed k19\n        ... 5 more keys" in text
    assert "... 201 more lines (--output json has all)" in text


def test_only_a_colour_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = {"gpu-1": plan([change("@@ -1 +1 @@\n-a = 1\n+a = 2")])}
    assert "\x1b" not in printed(monkeypatch, plans)
    coloured = printed(monkeypatch, plans, force_terminal=True, color_system="standard")
    assert "\x1b[32m+a = \x1b[0m\x1b[7;32m2\x1b[0m" in coloured


def test_a_line_of_a_file_cannot_pass_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(monkeypatch, {"gpu-1": plan([change("@@ -0,0 +1 @@\n+a\u2028+b\x1b[2J")])})
    assert "+a\\u2028+b\\x1b[2J" in text

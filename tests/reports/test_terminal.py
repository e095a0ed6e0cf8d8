"""What a person reads, and what happens when nobody can read any more."""

from __future__ import annotations

import io

from rich.console import Console

from runner.engine.events import Event
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

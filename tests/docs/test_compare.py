"""The comparison of the tutorial's output must itself tell right from wrong."""

from __future__ import annotations

from tests.docs.compare import difference


def test_equal_lines_agree() -> None:
    assert difference(["Plan: 3 pending"], ["Plan: 3 pending"]) == ""


def test_another_line_is_named() -> None:
    assert "Plan: 3 pending" in difference(["Plan: 3 pending"], ["Plan: 2 pending"])


def test_a_line_that_the_page_does_not_show_is_a_difference() -> None:
    assert difference(["one"], ["one", "two"]) != ""


def test_dots_stand_for_any_lines_and_for_any_text() -> None:
    assert difference(["one", "...", "four"], ["one", "two", "three", "four"]) == ""
    assert difference(["one", "...", "two"], ["one", "two"]) == ""
    assert difference(["drain: evicts ..."], ["drain: evicts a, b"]) == ""
    assert difference(["one", "...", "five"], ["one", "two"]) != ""


def test_what_differs_in_every_run_is_not_compared() -> None:
    shown = ["Run 20260101-120000-ab12", "pod trainer-0123456789-abcde on 198.18.1.10"]
    real = ["Run 20261231-235959-00ff", "pod trainer-9876543210-edcba on 198.19.22.111"]
    assert difference(shown, real) == ""
    assert difference(["pod trainer-abcde"], ["pod exporter-abcde"]) != ""

"""Mistakes in users' files for programs: JSON, and SARIF 2.1.0 for code review tools."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.errors import Problem

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_json(found: Iterable[Problem]) -> list[dict[str, Any]]:
    """One object for each mistake: level, file, line, column (from 1), message, hint."""
    return [
        {
            "level": problem.level,
            "file": problem.origin.file if problem.origin else None,
            "line": (problem.origin.line or None) if problem.origin else None,
            "column": (problem.origin.column or None) if problem.origin else None,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in found
    ]


def as_sarif(found: Iterable[Problem]) -> dict[str, Any]:
    """The mistakes as one run of SARIF 2.1.0 (OASIS), as code scanning services read it."""
    driver = {"name": "gpurun", "rules": [{"id": "playbook"}]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(problem) for problem in found],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(problem: Problem) -> dict[str, Any]:
    text = f"{problem.message}\n{problem.hint}" if problem.hint else problem.message
    result: dict[str, Any] = {
        "ruleId": "playbook",
        "level": problem.level,
        "message": {"text": text},
    }
    if problem.origin and problem.origin.file:
        path = Path(problem.origin.file)
        uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
        place: dict[str, Any] = {"artifactLocation": {"uri": uri}}
        if problem.origin.line:
            region = {"startLine": problem.origin.line, "startColumn": problem.origin.column or 1}
            place["region"] = region
        result["locations"] = [{"physicalLocation": place}]
    return result

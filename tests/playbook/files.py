"""Playbooks of several files for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from runner.errors import InputError


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files by their path; gives the path of `site.yaml`."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "site.yaml"


def told(load: object, path: Path) -> list[str]:
    """The messages of the mistakes that loading the file finds."""
    with pytest.raises(InputError) as caught:
        load(path)  # type: ignore[operator]
    return [problem.message for problem in caught.value.problems]

"""Filters and tests of expressions beside Jinja2's own: those Ansible's users know.

Behaviour and argument names follow Ansible's documentation of each; tests compare them with
Ansible's own results. None of them reads a file, the environment, the clock or the network, so
that two looks at the same values give the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runner.playbook.filters import (
    data,
    lists,
    mappings,
    paths,
    regexes,
    results,
    scalars,
    texts,
    versions,
)

FILTERS: dict[str, Callable[..., Any]] = {
    **data.FILTERS,
    **lists.FILTERS,
    **mappings.FILTERS,
    **paths.FILTERS,
    **regexes.FILTERS,
    **scalars.FILTERS,
    **texts.FILTERS,
}
TESTS: dict[str, Callable[..., bool]] = {
    **lists.TESTS,
    **paths.TESTS,
    **regexes.TESTS,
    **results.TESTS,
    **scalars.TESTS,
    **texts.TESTS,
    **versions.TESTS,
}

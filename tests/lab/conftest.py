"""Fixtures of tests on the lab."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import LabUnderTest
from tests.lab.program import Cluster, Program


@pytest.fixture
def program(lab: LabUnderTest, tmp_path: Path) -> Program:
    return Program(lab, tmp_path)


@pytest.fixture
def cluster(lab: LabUnderTest) -> Cluster:
    return Cluster(lab)


@pytest.fixture
def fresh(lab: LabUnderTest) -> LabUnderTest:
    """The lab as it is right after `up`; it stays as the test leaves it."""
    lab.reset()
    return lab

"""How a geometry is written, and that any legal one is reached from any other."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from runner.facts.gpu_models import (
    FAMILIES,
    Family,
    Profile,
    family_of,
    free_starts,
    place,
)
from runner.facts.nvidia import GPUS_KEY, Gpus, parse_gpus
from runner.hosts.script import Result
from runner.lab.gpu.models import MODELS
from runner.modules.base import Context
from runner.modules.mig import Mig, MigArguments
from runner.modules.mig_at_boot import KEPT_KEY, Kept
from runner.modules.mig_geometry import parse_geometry, step_for
from tests.gpu.test_facts import look
from tests.gpu.transcripts import Node


class TestWriting:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("off", ()),
            ("7x1g", (("1g", 7),)),
            ("7x 1g.10gb", (("1g.10gb", 7),)),
            ("1g.10gb:7", (("1g.10gb", 7),)),
            ("3g.40gb", (("3g.40gb", 1),)),
            ("1x3g,4x1g", (("1g", 4), ("3g", 1))),
            (
                "3g.40gb: 1, 2g.20gb: 1, 1g.10gb: 2",
                (("1g.10gb", 2), ("2g.20gb", 1), ("3g.40gb", 1)),
            ),
            ("3g:1, 1g:4", (("1g", 4), ("3g", 1))),
            ("1x 3g + 4x 1g", (("1g", 4), ("3g", 1))),
            ("1g.10gb+me,6x1g", (("1g", 6), ("1g.10gb+me", 1))),
            ("1g,1g", (("1g", 2),)),
            ({"3g.40gb": 1, "1g.10gb": 4}, (("1g.10gb", 4), ("3g.40gb", 1))),
        ],
    )
    def test_forms(self, text: Any, wanted: object) -> None:
        assert parse_geometry(text).profiles == wanted

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("seven", "'seven' is no part of a geometry"),
            ("7x", "is no part of a geometry"),
            ("2x1g:3", "is no part of a geometry"),
            ("0x1g", "leave out what is not wanted"),
            ("", "is no part of a geometry"),
            ({}, 'write "off"'),
            ({"1g": -1}, "leave out"),
            ({"1g": "7"}, "valid integer"),
            ({"7x1g": 1}, "'7x1g' is no MIG profile"),
            ({"1c.3g.40gb": 3}, "is a part of a GPU instance"),
            (False, 'write geometry: "off" with quotes'),
            (7, "valid string"),
        ],
    )
    def test_mistakes_are_found_before_any_host_is_asked(self, text: Any, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            MigArguments(geometry=text)

    def test_selector_is_no_boolean(self) -> None:
        with pytest.raises(ValidationError):
            MigArguments(geometry="7x1g", gpus=True)


STEADY = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""The same examples every time, however busy the machine is."""

FAMILY = st.sampled_from(FAMILIES)


@st.composite
def geometries(draw: st.DrawFn, family: Family) -> list[Profile]:
    """Profiles that fit together: each drawn next is one that still has a place."""
    placed: list[tuple[Profile, int]] = []
    for _ in range(draw(st.integers(1, 7))):
        free = [(p, start) for p in family.profiles for start in free_starts(p, placed)]
        if not free:
            break
        placed.append(draw(st.sampled_from(free)))
    return [profile for profile, _ in placed]


@STEADY
@given(st.data())
def test_placements_never_overlap(data: st.DataObject) -> None:
    family = data.draw(FAMILY)
    placed: list[tuple[Profile, int]] = []
    for profile in data.draw(st.lists(st.sampled_from(family.profiles), max_size=9)):
        if starts := free_starts(profile, placed):
            placed.append((profile, data.draw(st.sampled_from(starts))))
    slices = [unit for p, start in placed for unit in range(start, start + p.size)]
    assert len(slices) == len(set(slices))
    assert place(family, [profile for profile, _ in placed]) is not None


@STEADY
@given(st.data())
def test_written_order_does_not_matter(data: st.DataObject) -> None:
    family = data.draw(FAMILY)
    names = [profile.name for profile in data.draw(geometries(family))]
    shuffled = data.draw(st.permutations(names))
    assert parse_geometry(",".join(names)) == parse_geometry(", ".join(shuffled))
    assert parse_geometry(dict(Counter(names))) == parse_geometry(",".join(names))


def observe(node: Node) -> Gpus:
    return parse_gpus(look(node))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_set_of_profiles_with_room_finds_it_from_any_start(family: Family) -> None:
    """Whatever lies there already: if the rest can be placed at all, `place` does it."""
    small = sorted(family.profiles, key=lambda p: p.size)[0]
    for taken in range(1 << len(small.starts)):
        placed = [(small, at) for bit, at in enumerate(small.starts) if taken >> bit & 1]
        for profile in family.profiles:
            if profile.name == small.name:
                continue
            free = free_starts(profile, placed)
            found = place(family, [profile], placed)
            assert (found is None) == (not free)
            assert found is None or found[0][1] in free


def test_each_takes_the_place_that_spoils_the_fewest_others() -> None:
    """As the driver does: what is made later finds room."""
    family = family_of("2330", "an H100")
    small, third, seven = (family.resolve(name) for name in ("1g", "3g", "7g"))
    assert small and third and seven
    assert place(family, [small]) == ((small, 6),)
    assert place(family, [third]) == ((third, 4),)
    assert place(family, [seven, small]) is None


CUT = st.sampled_from(sorted(key for key, model in MODELS.items() if model.profiles))


@STEADY
@given(st.data())
def test_what_stays_is_wanted_and_what_is_as_wanted_stays(data: st.DataObject) -> None:
    key = data.draw(CUT)
    family = next(f for f in FAMILIES if MODELS[key].device in f.devices)
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder), key)
        node.smi("-mig 1")
        for profile in data.draw(geometries(family)):
            node.smi(f"mig -C -cgi {profile.name}")
        (gpu,) = observe(node)
        profiles = data.draw(geometries(family))
        step = step_for(gpu, parse_geometry(dict(Counter(p.name for p in profiles))))
        want, kept = Counter(p.name for p in profiles), Counter(i.profile for i in step.keep)
        assert kept <= want
        assert kept + Counter(p.name for p, _ in step.create) == want
        assert set(step.keep) | set(step.destroy) == set(gpu.instances)
        if Counter(i.profile for i in gpu.instances) == want:
            assert not step.needed


@STEADY
@given(st.data())
def test_plan_of_the_overlay_is_empty(data: st.DataObject) -> None:
    key = data.draw(CUT)
    family = next(f for f in FAMILIES if MODELS[key].device in f.devices)
    with tempfile.TemporaryDirectory() as folder:
        gpus = observe(Node(Path(folder), key, count=2))
    observed = {GPUS_KEY: gpus, KEPT_KEY: Kept()}
    for _ in range(2):
        names = Counter(p.name for p in data.draw(geometries(family)))
        args = MigArguments(geometry=dict(names))
        for change in Mig().plan(args, observed, Context(host="gpu1")).changes:
            observed = {**observed, **change.overlay}
        assert Mig().plan(args, observed, Context(host="gpu1")).changes == ()


def test_short_names_are_unambiguous() -> None:
    for family in FAMILIES:
        names = [name for p in family.profiles for name in (p.name, p.short) if name]
        assert len(names) == len(set(names))
        assert all(re.fullmatch(r"\d+g(\.\d+gb)?(\+me)?", name) for name in names)


def test_result_of_a_command_is_data_not_shell() -> None:
    """A product name with shell characters changes nothing."""
    node_text = look_with_product("H100 $(touch /tmp/x); '\"")
    (gpu,) = parse_gpus(Result(0, node_text.encode()))
    observed = {GPUS_KEY: Gpus([gpu]), KEPT_KEY: Kept()}
    outcome = Mig().plan(MigArguments(geometry="7x1g"), observed, Context(host="gpu1"))
    (change,) = outcome.changes
    shells = [change.guard, *(command.shell for command in change.do if hasattr(command, "shell"))]
    assert not any("touch" in shell for shell in shells)


def look_with_product(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        text = Node(Path(folder), "H100-80").smi("-q -x").out
    return text.replace("NVIDIA H100 80GB HBM3", name.replace("&", "&amp;"))

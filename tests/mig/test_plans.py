"""Whatever a GPU has and whatever is wanted: the planned commands, run by sh against the simulator,
give exactly that, and leave alone what may stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.facts.gpu_models import Family, Placed, family_of, place
from runner.facts.nvidia import GPUS_KEY, Gpu
from runner.lab.gpu import add_client, remove_client
from runner.lab.gpu.kernel import mig_uuid
from runner.lab.gpu.models import MODELS
from runner.lab.gpu.placement import instance_id
from runner.lab.gpu.state import changing
from runner.modules.base import Disruption
from runner.modules.mig_geometry import in_use, parse_geometry, step_for
from tests.mig.simulated import SimulatedHost
from tests.mig.test_geometry import STEADY, geometries

CUT = sorted(key for key, model in MODELS.items() if model.profiles)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SimulatedHost]]:
    yield {key: SimulatedHost(tmp_path_factory.mktemp(key), key) for key in CUT}


def cut(host: SimulatedHost, key: str, placed: tuple[Placed, ...], used: set[int]) -> None:
    """MIG on, with these instances; processes on those whose number is in `used`."""
    with changing(host.root) as state:
        state["clients"] = {}
        (gpu,) = state["gpus"]
        gpu["mig"] = gpu["mig_pending"] = True
        gpu["instances"] = []
        for profile, start in placed:
            known = MODELS[key].profile(profile.name)
            assert known is not None
            gpu["instances"].append(
                {
                    "id": instance_id(MODELS[key], known, start),
                    "profile": profile.name,
                    "start": start,
                    "compute": [{"id": 0, "slices": known.slices, "start": 0}],
                }
            )
        uuids = [mig_uuid(gpu, one["id"], 0) for one in gpu["instances"]]
    for number in used:
        add_client(host.root, uuids[number], 100 + number, "train", [uuids[number]])


def only_gpu(observed: dict[str, Any]) -> Gpu:
    (gpu,) = observed[GPUS_KEY]
    assert isinstance(gpu, Gpu)
    return gpu


def drain(host: SimulatedHost, stay: set[int]) -> None:
    """What an eviction ends: the processes on the instances that go."""
    with changing(host.root) as state:
        (gpu,) = state["gpus"]
        going = [mig_uuid(gpu, o["id"], 0) for o in gpu["instances"] if o["id"] not in stay]
    for uuid in going:
        remove_client(host.root, uuid)


@settings(STEADY, max_examples=20)
@given(st.data())
def test_exactly_what_is_wanted_and_nobody_disturbed(
    hosts: dict[str, SimulatedHost], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(CUT), label="model")
    host, model = hosts[key], MODELS[key]
    family = family_of(model.device, model.product)
    placed = data.draw(places(family), label="now")
    used = data.draw(used_of(placed), label="in use")
    cut(host, key, placed, used)
    observed = host.observe()
    before = only_gpu(observed)
    names = Counter(p.name for p in data.draw(geometries(family), label="wanted"))
    step = step_for(before, parse_geometry(dict(names)))
    outcome = host.plan(observed, geometry=dict(names))
    assert bool(outcome.changes) == step.needed
    drain(host, {one.id for one in step.keep})
    for change in outcome.changes:
        assert host.enact(change) is None
    observed = host.observe()
    after = only_gpu(observed)
    if all(change.disruption == Disruption.NONE for change in outcome.changes):
        assert set(before.instances) <= set(after.instances)
    assert Counter(one.profile for one in after.instances if one.whole) == names
    assert set(step.keep) <= set(after.instances), "ids and places of what stays"
    assert {p.pid for p in after.processes} == {
        p.pid for p in before.processes if p.instance in {one.id for one in step.keep}
    }
    units = [
        unit
        for one in after.instances
        for unit in range(one.start, one.start + int(one.placement.split(":")[1]))
    ]
    assert len(units) == len(set(units))
    assert host.plan(observed, geometry=dict(names)).changes == ()


@st.composite
def places(draw: st.DrawFn, family: Family) -> tuple[Placed, ...]:
    """Instances anywhere on a card, perhaps none."""
    found = place(family, draw(geometries(family)))
    assert found is not None
    return tuple(one for one in found if draw(st.booleans()))


@STEADY
@given(st.data())
def test_all_that_is_in_use_and_wanted_stays_where_there_is_room(
    hosts: dict[str, SimulatedHost], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(CUT))
    model = MODELS[key]
    family = family_of(model.device, model.product)
    placed = data.draw(places(family))
    used = data.draw(used_of(placed))
    cut(hosts[key], key, placed, used)
    gpu = only_gpu(hosts[key].observe())
    profiles = data.draw(geometries(family))
    names = Counter(p.name for p in profiles)
    step = step_for(gpu, parse_geometry(dict(names)))
    busy = [one for one in gpu.instances if in_use(gpu, one)]
    have = Counter(one.profile for one in busy)
    if have - names:
        return
    by_name = {p.name: p for p in family.profiles}
    rest = [by_name[name] for name in (names - have).elements()]
    if place(family, rest, [(by_name[one.profile], one.start) for one in busy]) is not None:
        assert set(busy) <= set(step.keep)
        assert step.in_the_way == ()


def used_of(placed: tuple[Placed, ...]) -> st.SearchStrategy[set[int]]:
    return st.sets(st.sampled_from(range(len(placed)))) if placed else st.just(set())

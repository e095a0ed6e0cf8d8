"""One run per node: a lease that names its holder, outlives nobody and is noticed when lost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runner.errors import ClusterError
from runner.kube import lock
from runner.kube.cluster import Cluster
from runner.kube.lock import LockedError, NodeLock, lease_name
from runner.kube.waiting import StoppedError
from tests.kube.names import NODE
from tests.kube.world import DEADLINE, World

LEASE = f"gpurun-{NODE}"


@pytest.fixture(autouse=True)
def _lease(world: World) -> None:
    world.removes("Lease", LEASE, "kube-system")


def node_lock(world: World, run: str = "run-1", wait: float = 0.0, **more: Any) -> NodeLock:
    return NodeLock(world.cluster, NODE, run, f"me@here {run}", wait, **more)


def lease(world: World) -> dict[str, Any]:
    return world.get("Lease", LEASE, "kube-system")


def held_by_another(world: World, age: float = 0.0, duration: int = 60) -> None:
    """A lease as another run's process left it `age` seconds ago."""
    renewed = datetime.now(UTC) - timedelta(seconds=age)
    meta = {
        "name": LEASE,
        "namespace": "kube-system",
        "annotations": {"gpurun.dev/run": "other"},
    }
    spec = {
        "holderIdentity": "you@there 7 other",
        "leaseDurationSeconds": duration,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    world.create("Lease", {"metadata": meta, "spec": spec}, "kube-system")


def test_the_lease_names_who_holds_it(world: World) -> None:
    with node_lock(world) as held:
        assert lease(world)["spec"]["holderIdentity"] == "me@here run-1"
        assert lease(world)["metadata"]["annotations"] == {"gpurun.dev/run": "run-1"}
        assert not held.lost.is_set()


def test_released_it_is_free_for_the_next(world: World) -> None:
    with node_lock(world):
        pass
    assert "holderIdentity" not in lease(world)["spec"]
    with node_lock(world, "run-2"):
        assert lease(world)["metadata"]["annotations"] == {"gpurun.dev/run": "run-2"}


def test_it_is_released_when_the_work_fails(world: World) -> None:
    with pytest.raises(ValueError, match="inside"), node_lock(world):
        raise ValueError("inside")
    assert "holderIdentity" not in lease(world)["spec"]


def test_another_run_is_named_with_since_when(world: World) -> None:
    held_by_another(world)
    with pytest.raises(LockedError) as caught, node_lock(world):
        pass
    assert caught.value.message == (
        f"node {NODE} is locked by you@there 7 other (run other) since 2026-01-01T00:00:00.000000Z"
    )
    assert (caught.value.run, caught.value.holder) == ("other", "you@there 7 other")
    assert isinstance(caught.value, ClusterError)


def test_of_two_at_once_one_gets_it(world: World) -> None:
    inside: list[str] = []
    refused: list[str] = []
    together = threading.Barrier(4)
    done = threading.Barrier(4)

    def work(run: str) -> None:
        together.wait(DEADLINE)
        try:
            with node_lock(world, run):
                inside.append(run)
                done.wait(DEADLINE)
        except LockedError as error:
            refused.append(error.run)
            done.wait(DEADLINE)

    threads = [threading.Thread(target=work, args=(f"run-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(inside) == 1
    assert refused == inside * 3


def test_waiting_for_the_other_to_release(world: World) -> None:
    first = node_lock(world)
    first.__enter__()
    waiter = node_lock(world, "run-2", wait=DEADLINE)
    thread = threading.Thread(target=waiter.__enter__)
    thread.start()
    first.__exit__(None, None, None)
    thread.join(DEADLINE)
    assert lease(world)["metadata"]["annotations"] == {"gpurun.dev/run": "run-2"}
    waiter.__exit__(None, None, None)


def test_a_stop_ends_the_waiting(world: World) -> None:
    held_by_another(world)
    world.stop.set()
    with pytest.raises(StoppedError), node_lock(world, wait=DEADLINE, stop=world.stop):
        pass


def test_what_has_run_out_is_taken_over(world: World) -> None:
    held_by_another(world, age=3600)
    with node_lock(world):
        assert lease(world)["spec"]["holderIdentity"] == "me@here run-1"


def test_just_run_out_by_a_clock_that_may_differ_is_not(world: World) -> None:
    held_by_another(world, age=65, duration=60)
    with pytest.raises(LockedError), node_lock(world):
        pass


def test_whose_clock_is_ahead_is_watched_for_one_duration(world: World) -> None:
    held_by_another(world, age=-3600, duration=1)
    with node_lock(world, wait=DEADLINE):
        assert lease(world)["spec"]["holderIdentity"] == "me@here run-1"


def test_a_killed_run_takes_its_own_lock_back_at_once(world: World) -> None:
    held_by_another(world)
    with NodeLock(Cluster(world.kubeconfig), NODE, "other", "me@here 9 other"):
        assert lease(world)["spec"]["holderIdentity"] == "me@here 9 other"


def test_a_creation_whose_answer_is_lost_is_ours(world: World) -> None:
    world.fault(kind="lose", method="POST", path="leases")
    with node_lock(world):
        assert lease(world)["spec"]["holderIdentity"] == "me@here run-1"


class TestRenewal:
    @pytest.fixture(autouse=True)
    def _often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lock, "RENEW", 0.01)

    def await_renewal(self, world: World) -> None:
        before = lease(world)["spec"]["renewTime"]
        world.until(lambda: lease(world)["spec"]["renewTime"] != before, "it is renewed")

    def test_it_is_renewed_while_held(self, world: World) -> None:
        with node_lock(world) as held:
            self.await_renewal(world)
            assert lease(world)["spec"]["acquireTime"] < lease(world)["spec"]["renewTime"]
            assert not held.lost.is_set()

    def test_a_short_silence_does_not_lose_it(self, world: World) -> None:
        with node_lock(world) as held:
            world.fault(kind="drop", path="leases", count=5)
            self.await_renewal(world)
            assert not held.lost.is_set()

    def test_an_edit_by_somebody_else_does_not_lose_it(self, world: World) -> None:
        with node_lock(world) as held:
            world.change("Lease", LEASE, "kube-system", metadata={"labels": {"a": "b"}})
            self.await_renewal(world)
            assert not held.lost.is_set()

    def test_a_long_silence_loses_it(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lock, "DURATION", 1)
        with node_lock(world) as held:
            world.fault(kind="drop", path="leases", count=None)
            assert held.lost.wait(DEADLINE)
            world.proxy.faults.clear()

    @pytest.mark.parametrize("how", ["taken", "deleted"])
    def test_taken_or_deleted_it_is_lost_at_once(self, world: World, how: str) -> None:
        with node_lock(world) as held:
            if how == "taken":
                thief = {"holderIdentity": "thief"}
                world.change("Lease", LEASE, "kube-system", spec=thief)
            else:
                world.delete("Lease", LEASE, "kube-system")
            assert held.lost.wait(DEADLINE)
        if how == "taken":
            assert lease(world)["spec"]["holderIdentity"] == "thief", "not ours to release"


def test_long_node_names_stay_within_what_the_api_allows() -> None:
    one, two = lease_name("n" * 252 + "a"), lease_name("n" * 252 + "b")
    assert len(one) == 253 and one != two
    assert lease_name("gpu-1") == "gpurun-gpu-1"


def test_a_rollback_takes_the_lock_of_the_run_it_brings_back(world: World) -> None:
    held_by_another(world)
    with pytest.raises(LockedError), node_lock(world, "run-2", heir_of="third"):
        pass
    with node_lock(world, "run-2", heir_of="other"):
        assert lease(world)["metadata"]["annotations"] == {"gpurun.dev/run": "run-2"}

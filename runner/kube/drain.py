"""Draining a node: what it would mean, and doing it. Done means: the pods are seen gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runner.errors import ClusterError
from runner.kube.api import RefusalError, SilenceError
from runner.kube.budgets import Budget, guarding, parse_budget
from runner.kube.cluster import BUDGETS, DAEMONSETS, Cluster
from runner.kube.eviction import Answer, Kind, evict, jittered
from runner.kube.filters import Selection, select
from runner.kube.parse import Pod
from runner.kube.state import DrainMode, DrainOptions, NodeState, PodState
from runner.kube.waiting import POLL, Patience, Progress, StoppedError

WORKERS = 8
"""Evictions asked at once for one node."""
FIRST_POLL = 0.1
"""Seconds until the first look; doubled up to `POLL`."""


@dataclass(frozen=True, slots=True)
class DrainPreview:
    """What a drain would do now.

    Args:
        evict: pods that would be evicted.
        ignored: why other pods stay.
        blocked: why it can never succeed with these options.
        waits: what it would have to wait for.
        grace: the longest grace period of those pods, in seconds.
        warnings: what a person should know of the pods that go (lost local data).
    """

    evict: tuple[PodState, ...] = ()
    ignored: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    grace: float = 0.0
    warnings: tuple[str, ...] = ()


def preview(
    cluster: Cluster, node: NodeState | str, options: DrainOptions, mode: DrainMode
) -> DrainPreview:
    """Look at what a drain would do, asking the server itself (dry run) about every eviction.

    Raises:
        ClusterError: the API server is down, or refuses to be asked.
    """
    name = node if isinstance(node, str) else node.name
    if mode == "none":
        return DrainPreview()
    selection = _Selector(cluster, name, options, mode).select()
    answers = _ask_all(cluster, selection.evict, options)
    # Read after asking, which makes the server look at them anew.
    items = cluster.api.collection(BUDGETS, "list PodDisruptionBudgets") if answers else ()
    budgets = [parse_budget(item) for item in items]
    blocked, waits = [*selection.errors], _one_by_one(budgets, selection.evict)
    for pod, answer in zip(selection.evict, answers, strict=True):
        text = f"{pod.state.full_name}: {_explain(answer, guarding(budgets, pod))}"
        if answer.kind is Kind.NEVER or _hopeless(answer, guarding(budgets, pod)):
            blocked.append(text)
        elif answer.kind is Kind.WAIT:
            waits.append(text)
    return DrainPreview(
        evict=tuple(pod.state for pod in selection.evict),
        ignored=selection.ignored,
        blocked=tuple(blocked),
        waits=tuple(waits),
        grace=float(max((_grace(pod, options) for pod in selection.evict), default=0)),
        warnings=selection.warnings,
    )


def _ask_all(cluster: Cluster, pods: Sequence[Pod], options: DrainOptions) -> list[Answer]:
    if not pods:
        return []
    with ThreadPoolExecutor(min(WORKERS, len(pods))) as pool:
        return list(pool.map(lambda pod: evict(cluster.api, pod, options.grace_period, True), pods))


def _one_by_one(budgets: Iterable[Budget], pods: Sequence[Pod]) -> list[str]:
    """Budgets that let some but not all of their pods here go at once."""
    texts = []
    for budget in budgets:
        here = [p for p in pods if budget.guards(p) and not (p.finished or p.state.deleting)]
        if 0 < budget.allowed < len(here):
            texts.append(
                f"PodDisruptionBudget {budget.full_name} allows {budget.allowed} of the"
                f" {len(here)} pods here to go; the others follow as replacements become Ready"
            )
    return texts


def _hopeless(answer: Answer, budgets: Sequence[Budget]) -> bool:
    return answer.kind is Kind.WAIT and answer.budget and any(b.never() for b in budgets)


def _explain(answer: Answer, budgets: Sequence[Budget]) -> str:
    """An answer in words that name the budgets behind it."""
    if not answer.budget or not budgets:
        return answer.reason
    names = " and ".join(budget.full_name for budget in budgets)
    if len(budgets) > 1:
        return f"PodDisruptionBudgets {names} both guard it, which the eviction API does not allow"
    never = budgets[0].never()
    return f"PodDisruptionBudget {names}: " + (
        f"never allows an eviction: {never}" if never else answer.reason
    )


def _grace(pod: Pod, options: DrainOptions) -> int:
    return pod.grace if options.grace_period is None else options.grace_period


class _Selector:
    """Reads a node's pods and filters them; DaemonSets are read once, and only if needed."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        options: DrainOptions,
        mode: DrainMode,
        only: Collection[str] = (),
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._options = options
        self._mode = mode
        self._only = frozenset(only)
        self._daemonsets: frozenset[str] | None = None

    def select(self) -> Selection:
        found = self._cluster.pods_on(self._node, self._options.pod_selector)
        pods = [pod for pod in found if not self._only or pod.state.uid in self._only]
        if self._daemonsets is None and any(p.state.owner_kind == "DaemonSet" for p in pods):
            items = self._cluster.api.collection(DAEMONSETS, "list DaemonSets")
            self._daemonsets = frozenset(
                f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in items
            )
        return select(pods, self._options, self._mode, self._daemonsets or frozenset())


@dataclass(slots=True)
class _Leaving:
    """A pod on its way out: when to ask (again), and why it is still there."""

    pod: Pod
    ask_at: float = 0.0
    accepted: bool = False
    reason: str = "not asked yet"


def drain(
    cluster: Cluster,
    node: str,
    options: DrainOptions,
    mode: DrainMode,
    progress: Progress,
    stop: threading.Event,
    only: Collection[str] = (),
) -> None:
    """Evict the node's pods and return when they are seen gone; pods that arrive meanwhile too.

    A pod is gone when its UID is: one of the same name elsewhere (StatefulSet) is another pod.

    Args:
        options: `timeout` bounds the whole drain in seconds; 0: no bound.
        mode: "gpu" evicts only pods that ask for a GPU; "none" does nothing.
        only: UIDs; where there are any, no other pod is considered.

    Raises:
        ClusterError: filters forbid it (then nothing was evicted), an eviction can never
            succeed, time is over, or the API failed for too long: names what is left and why.
        StoppedError: `stop` was set.
    """
    if mode != "none":
        selector = _Selector(cluster, node, options, mode, only)
        _Drain(cluster, node, options, selector, progress, stop).run()


class _Drain:
    def __init__(
        self,
        cluster: Cluster,
        node: str,
        options: DrainOptions,
        selector: _Selector,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._options = options
        self._progress = progress
        self._stop = stop
        self._selector = selector
        self._leaving: dict[str, _Leaving] = {}
        self._told: set[str] = set()

    def run(self) -> None:
        end = time.monotonic() + self._options.timeout if self._options.timeout > 0 else None
        patience = Patience(self._progress)
        pause = FIRST_POLL
        over = False
        while True:
            if self._stop.is_set():
                raise StoppedError(f"node {self._node}: drain stopped{self._left()}")
            try:
                if self._look():
                    return
                if over:
                    raise self._timed_out()
                patience.heard()
                self._ask()
            except SilenceError as error:
                if over:
                    raise self._timed_out() from error
                patience.bear(error)
            # The last look comes after the end, so that what is told is what is there.
            over = end is not None and time.monotonic() >= end
            self._stop.wait(pause)
            pause = min(POLL, pause * 2)

    def _timed_out(self) -> ClusterError:
        return ClusterError(
            f"node {self._node}: not drained after {self._options.timeout:.0f} s{self._left()}",
            "the node stays cordoned; the pods named are still on it",
        )

    def _look(self) -> bool:
        """Read the node's pods and note who is gone and who came; True when none is left."""
        selection = self._selector.select()
        if selection.errors:
            raise ClusterError(
                f"unable to drain node {self._node}: " + "; ".join(selection.errors),
                "no pod was evicted for this" if not self._leaving else "",
            )
        for text in (*selection.ignored, *selection.warnings):
            self._tell(text)
        here = {pod.state.uid: pod for pod in selection.evict}
        for uid in [uid for uid in self._leaving if uid not in here]:
            self._progress(f"{self._leaving.pop(uid).pod.state.full_name} is gone")
        for uid, pod in here.items():
            known = self._leaving.setdefault(uid, _Leaving(pod))
            known.pod = pod
            if pod.state.deleting and not known.accepted:
                known.accepted = True
                self._progress(f"{pod.state.full_name} is already terminating")
            if known.accepted:
                known.reason = "still terminating"
        return not self._leaving

    def _ask(self) -> None:
        """Evict, several at once, the pods whose turn it is."""
        now = time.monotonic()
        due = [each for each in self._leaving.values() if not each.accepted and each.ask_at <= now]
        if not due:
            return
        for each in due:
            name = each.pod.state.full_name
            self._tell(f"evicting {name} (grace {_grace(each.pod, self._options)} s)")
        with ThreadPoolExecutor(min(WORKERS, len(due))) as pool:
            answers = list(pool.map(self._evict, due))
        never = []
        for each, answer in zip(due, answers, strict=True):
            if self._note(each, answer).kind is Kind.NEVER:
                never.append(f"{each.pod.state.full_name}: {self._because(each.pod, answer)}")
        if never:
            raise ClusterError(
                f"unable to drain node {self._node}: " + "; ".join(never),
                "the node stays cordoned; pods evicted so far are not brought back here",
            )

    def _evict(self, each: _Leaving) -> Answer:
        if self._stop.is_set():
            return Answer(Kind.WAIT, "stopped")
        return evict(self._cluster.api, each.pod, self._options.grace_period)

    def _note(self, each: _Leaving, answer: Answer) -> Answer:
        name = each.pod.state.full_name
        if answer.kind is Kind.ACCEPTED:
            each.accepted, each.reason = True, "still terminating"
        elif answer.kind is Kind.GONE:
            # The next look shows whether that is so.
            each.reason = answer.reason
            each.ask_at = time.monotonic() + POLL
        elif answer.kind is Kind.WAIT:
            each.reason = answer.reason
            each.ask_at = time.monotonic() + jittered(answer.after)
            if self._stop.is_set():
                return answer
            self._tell(f"{name} must wait (asked again every {answer.after:.0f} s): {each.reason}")
        return answer

    def _because(self, pod: Pod, answer: Answer) -> str:
        if not answer.budget:
            return answer.reason
        try:
            items = self._cluster.api.collection(BUDGETS, "list PodDisruptionBudgets")
        except (RefusalError, SilenceError):
            return answer.reason
        return _explain(answer, guarding(map(parse_budget, items), pod))

    def _tell(self, text: str) -> None:
        """Once is enough, however often it is found."""
        if text not in self._told:
            self._told.add(text)
            self._progress(text)

    def _left(self) -> str:
        texts = [f"{each.pod.state.full_name} ({each.reason})" for each in self._leaving.values()]
        return f"; still there: {', '.join(texts)}" if texts else ""

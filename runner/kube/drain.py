"""Draining a node: what it would mean, and doing it. Done means: the pods are seen gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from runner.errors import ClusterError
from runner.kube.api import RefusalError, SilenceError
from runner.kube.budgets import Budget, guarding
from runner.kube.eviction import Answer, Kind, evict, jittered
from runner.kube.filters import Selection, select
from runner.kube.maintenance import pauses
from runner.kube.parse import Pod
from runner.kube.snapshot import Snapshot
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
    snapshot: Snapshot,
    node: NodeState,
    options: DrainOptions,
    mode: DrainMode,
    holders: Mapping[str, str] | None = None,
) -> DrainPreview:
    """Look at what a drain would do, asking the server itself (dry run) about evictions.

    It is asked about every pod that a budget guards, and about one pod of each owner: what else
    could refuse, like a missing permission or an admission rule, treats replicas alike.

    Args:
        holders: UID of a pod -> what of the GPUs its processes hold, as seen on the node.

    Raises:
        ClusterError: the API server is down, or refuses to be asked.
    """
    if mode == "none":
        return DrainPreview()
    selector = _Selector(snapshot, node.name, options, mode, holders)
    selection = selector.select(snapshot.pods_on(node.name, options.pod_selector))
    answers = _ask(snapshot, selection.evict, options)
    # Read after asking, which makes the server look at them anew.
    asked = any(answer.budget for answer in answers.values())
    budgets = snapshot.budgets_anew() if asked else snapshot.budgets() if answers else ()
    blocked, waits = [*selection.errors], _one_by_one(budgets, selection.evict)
    for pod in selection.evict:
        answer = answers.get(pod.state.uid, _ALLOWED)
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
        warnings=(*selection.warnings, *selector.held(node)),
    )


_ALLOWED = Answer(Kind.ACCEPTED)


def _ask(snapshot: Snapshot, pods: Sequence[Pod], options: DrainOptions) -> dict[str, Answer]:
    """Answers by the UID of those asked about."""
    budgets = snapshot.budgets() if pods else ()
    alike: set[str] = set()
    chosen = []
    for pod in pods:
        owner = pod.owner_uid or pod.state.uid
        if owner not in alike or guarding(budgets, pod):
            chosen.append(pod)
        alike.add(owner)
    if not chosen:
        return {}
    api = snapshot.cluster.api
    with ThreadPoolExecutor(min(WORKERS, len(chosen))) as pool:
        answers = list(pool.map(lambda pod: evict(api, pod, options.grace_period, True), chosen))
    return {pod.state.uid: answer for pod, answer in zip(chosen, answers, strict=True)}


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
    """Filters a node's pods; what is needed beside them is read once, and only if needed."""

    def __init__(
        self,
        snapshot: Snapshot,
        node: str,
        options: DrainOptions,
        mode: DrainMode,
        holders: Mapping[str, str] | None,
    ) -> None:
        self._snapshot = snapshot
        self._node = node
        self._options = options
        self._mode = mode
        self._holders = holders or {}
        self._staying: tuple[Pod, ...] = ()

    def select(self, pods: Sequence[Pod]) -> Selection:
        """What the filters make of these pods of the node."""
        names: frozenset[str] = frozenset()
        if any(pod.state.owner_kind == "DaemonSet" for pod in pods):
            names = frozenset(each.full_name for each in self._snapshot.daemonsets())
        using = {pod.state.uid: why for pod in pods if (why := self._use(pod))}
        selection = select(pods, self._options, self._mode, names, using)
        going = {pod.state.uid for pod in selection.evict}
        self._staying = tuple(
            p for p in pods if p.state.uid not in going and self._held_by(p) and not p.finished
        )
        found = tuple(
            f"{pod.state.full_name} asks for no GPU but uses one: {using[pod.state.uid]}"
            for pod in selection.evict
            if self._mode == "gpu" and pod.state.uid in using and not pod.asks_for_gpu
        )
        return replace(selection, warnings=(*selection.warnings, *found))

    def held(self, node: NodeState) -> tuple[str, ...]:
        """Of the pods that stay although they hold a GPU: what ends them."""
        return tuple(
            f"{pod.state.full_name} stays although its process {self._held_by(pod)}:"
            f" {self._stays(pod)}"
            for pod in self._staying
            if not self._paused(pod, node)
        )

    def _paused(self, pod: Pod, node: NodeState) -> bool:
        """Whether NVIDIA's operator takes it away for the time of the work."""
        return any(
            each.uid == pod.owner_uid and pauses(each.selector, node.labels)
            for each in self._snapshot.daemonsets()
        )

    @staticmethod
    def _stays(pod: Pod) -> str:
        if pod.mirror:
            return "a static pod goes with its manifest on the node"
        if pod.state.owner_kind == "DaemonSet":
            return f"keep its DaemonSet {pod.state.owner_name} off the node meanwhile"
        return "the options of this drain leave it where it is"

    def _held_by(self, pod: Pod) -> str:
        return self._holders.get(pod.static_uid or pod.state.uid, "")

    def _use(self, pod: Pod) -> str:
        """Why a pod counts as a user of a GPU beside what it asks for by resource; "": not."""
        if held := self._held_by(pod):
            return f"its process {held}"
        if self._mode != "gpu" or not pod.claims or pod.finished:
            return ""
        claims = self._snapshot.gpu_claims()
        if not claims.held_by(pod):
            return ""
        unknown = f"; what its resource claims are for is not known: {claims.unknown}"
        return "a resource claim" + (unknown if claims.unknown else "")


@dataclass(slots=True)
class _Leaving:
    """A pod on its way out: when to ask (again), and why it is still there."""

    pod: Pod
    ask_at: float = 0.0
    accepted: bool = False
    reason: str = "not asked yet"


def drain(
    snapshot: Snapshot,
    node: str,
    options: DrainOptions,
    mode: DrainMode,
    progress: Progress,
    stop: threading.Event,
    holders: Mapping[str, str] | None = None,
) -> None:
    """Evict the node's pods and return when they are seen gone; pods that arrive meanwhile too.

    A pod is gone when its UID is: one of the same name elsewhere (StatefulSet) is another pod.

    Args:
        snapshot: of what does not change while nodes are drained; pods are looked at anew.
        options: `timeout` bounds the whole drain in seconds; 0: no bound.
        mode: "gpu" evicts only pods that use a GPU; "none" does nothing.
        holders: UID of a pod -> what of the GPUs its processes hold, as seen on the node.

    Raises:
        ClusterError: filters forbid it (then nothing was evicted), an eviction can never
            succeed, time is over, or the API failed for too long: names what is left and why.
        StoppedError: `stop` was set.
    """
    if mode != "none":
        selector = _Selector(snapshot, node, options, mode, holders)
        _Drain(snapshot, node, options, selector, progress, stop).run()


class _Drain:
    def __init__(
        self,
        snapshot: Snapshot,
        node: str,
        options: DrainOptions,
        selector: _Selector,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._snapshot = snapshot
        self._cluster = snapshot.cluster
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
        pods = self._cluster.pods_on(self._node, self._options.pod_selector)
        selection = self._selector.select(pods)
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
            budgets = self._snapshot.budgets_anew()
        except (RefusalError, SilenceError):
            return answer.reason
        return _explain(answer, guarding(budgets, pod))

    def _tell(self, text: str) -> None:
        """Once is enough, however often it is found."""
        if text not in self._told:
            self._told.add(text)
            self._progress(text)

    def _left(self) -> str:
        texts = [f"{each.pod.state.full_name} ({each.reason})" for each in self._leaving.values()]
        return f"; still there: {', '.join(texts)}" if texts else ""

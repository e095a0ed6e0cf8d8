"""Draining a node. Done means: the pods are seen gone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runner.errors import ClusterError
from runner.kube.api import RefusalError, SilenceError
from runner.kube.budgets import guarding
from runner.kube.cluster import Cluster
from runner.kube.eviction import WORKERS, Answer, Kind, evict, jittered
from runner.kube.filters import Selection
from runner.kube.parse import Pod
from runner.kube.preview import explain
from runner.kube.selecting import Selector, at_work, grace_of, held_up
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainMode, DrainOptions
from runner.kube.waiting import (
    POLL,
    REMIND,
    Patience,
    Progress,
    StoppedError,
    passes,
    wait_until,
)

FIRST_POLL = 0.1
"""Seconds until the first look; doubled up to `POLL`."""
RETURNS = 5
"""How many pods more than it had on the node a controller may bring there while it is drained:
some were on their way, but one whose pods tolerate the cordon would never come to an end."""


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
    only: Collection[str] = (),
    guard: Callable[[], None] = lambda: None,
) -> None:
    """Evict the node's pods and return when they are seen gone; pods that arrive meanwhile too.

    A pod is gone when its UID is: one of the same name elsewhere (StatefulSet) is another pod.

    Args:
        snapshot: of what does not change while nodes are drained; pods are looked at anew.
        options: `timeout` bounds the whole drain in seconds; 0: no bound.
        mode: "gpu" evicts only pods that use a GPU; "none" does nothing.
        holders: UID of a pod -> what of the GPUs its processes hold, as seen on the node.
        only: UIDs; where there are any, no other pod is considered.
        guard: called before pods that came meanwhile are evicted, and with every reminder; raises
            where the drain has lost its reason (the node was uncordoned).

    Raises:
        ClusterError: filters forbid it (then nothing was evicted), an eviction can never
            succeed, pods come back again and again, time is over, or the API failed for too long:
            names what is left and why.
        StoppedError: `stop` was set.
    """
    if mode == "none":
        return
    selector = Selector(snapshot, node, options, mode, holders, only)
    if options.wait_for_jobs is not None:
        _finish_jobs(snapshot.cluster, node, options, selector, progress, stop)
    _Drain(snapshot, node, options, selector, progress, stop, guard).run()


def _finish_jobs(
    cluster: Cluster,
    node: str,
    options: DrainOptions,
    selector: Selector,
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Wait until the pods of `wait_for_jobs` that would have to go have finished their work."""
    jobs = options.wait_for_jobs
    assert jobs is not None

    def missing() -> str:
        matching = {pod.state.uid for pod in cluster.pods_on(node, jobs.selector)}
        selection = selector.select(cluster.pods_on(node, options.pod_selector))
        _refuse(node, selection, "no pod was evicted")
        left = at_work(pod for pod in selection.evict if pod.state.uid in matching)
        return f"{', '.join(left)} still at work" if left else ""

    wait_until(
        missing,
        doing=f"node {node}: waiting for jobs ({jobs.selector}) to finish",
        timeout=jobs.timeout,
        progress=progress,
        stop=stop,
        advice="no pod was evicted; end them, or give wait_for_jobs a longer timeout",
    )


def _refuse(node: str, selection: Selection, hint: str) -> None:
    """Raise what the filters object to: nothing may be evicted then."""
    if selection.errors:
        raise ClusterError(f"unable to drain node {node}: " + "; ".join(selection.errors), hint)


class _Drain:
    def __init__(
        self,
        snapshot: Snapshot,
        node: str,
        options: DrainOptions,
        selector: Selector,
        progress: Progress,
        stop: threading.Event,
        guard: Callable[[], None],
    ) -> None:
        self._snapshot = snapshot
        self._cluster = snapshot.cluster
        self._node = node
        self._options = options
        self._progress = progress
        self._stop = stop
        self._selector = selector
        self._guard = guard
        self._brings: Counter[str] | None = None
        self._leaving: dict[str, _Leaving] = {}
        self._told: set[str] = set()

    def run(self) -> None:
        end = time.monotonic() + self._options.timeout if self._options.timeout > 0 else None
        patience = Patience(self._progress)
        began = told = time.monotonic()
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
                if time.monotonic() - told > REMIND:
                    told = time.monotonic()
                    self._remind(told - began)
                    self._guard()
            except ClusterError as error:
                if over and passes(error):
                    raise self._timed_out() from error
                patience.bear(error)
            # The last look comes after the end, so that what is told is what is there.
            over = end is not None and time.monotonic() >= end
            self._stop.wait(pause)
            pause = min(POLL, pause * 2)

    def _timed_out(self) -> ClusterError:
        return ClusterError(
            f"node {self._node}: not drained after {self._options.timeout:.0f} s{self._left()}",
            f"drain: {{timeout: ...}} gives it longer; {self._advice()}",
        )

    def _advice(self) -> str:
        """What a person can do that it goes on."""
        leaving = self._leaving.values()
        texts = []
        if not all(each.accepted for each in leaving):
            texts.append("a budget lets pods go once enough others of theirs are Ready elsewhere")
        if any(each.accepted for each in leaving):
            texts.append(
                "drain: {skip_wait_for_delete_timeout: ...} goes on without those that never end"
            )
        if any(each.pod.finalizers for each in leaving):
            texts.append("a finalizer is removed by the program it belongs to")
        return "; ".join(texts)

    def _remind(self, seconds: float) -> None:
        most = f" of {self._options.timeout:.0f} s" if self._options.timeout > 0 else ""
        self._progress(f"node {self._node}: draining for {seconds:.0f} s{most}{self._left()}")
        if self._leaving:
            self._tell(f"node {self._node}: {self._advice()}; Ctrl-C gives the node back")

    def _look(self) -> bool:
        """Read the node's pods and note who is gone and who came; True when none is left."""
        pods = self._cluster.pods_on(self._node, self._options.pod_selector)
        selection = self._selector.select(pods)
        _refuse(self._node, selection, "" if self._leaving else "no pod was evicted for this")
        for text in (*selection.ignored, *selection.warnings):
            self._tell(text)
        here = {pod.state.uid: pod for pod in selection.evict}
        there = {pod.state.uid for pod in pods}
        for uid in [uid for uid in self._leaving if uid not in here]:
            end = "is no longer waited for" if uid in there else "is gone"
            self._progress(f"{self._leaving.pop(uid).pod.state.full_name} {end}")
        self._check_arrivals([pod for uid, pod in here.items() if uid not in self._leaving])
        for uid, pod in here.items():
            known = self._leaving.setdefault(uid, _Leaving(pod))
            known.pod = pod
            if pod.state.deleting and not known.accepted:
                known.accepted = True
                self._progress(f"{pod.state.full_name} is already terminating")
            if known.accepted:
                known.reason = f"still terminating{held_up(pod, self._cluster.api.now())}"
        return not self._leaving

    def _check_arrivals(self, pods: list[Pod]) -> None:
        """Pods that are new here: why they must not be evicted as well, if they must not."""
        if self._brings is None:
            # Those that were here; from now on what is spent of the pods each may bring.
            self._brings = Counter({owner: -number for owner, number in _owners(pods).items()})
            return
        if pods:
            self._guard()
        self._brings.update(_owners(pods))
        for pod in pods:
            if self._brings[pod.owner_uid] > RETURNS:
                owner = f"{pod.state.owner_kind} {pod.state.namespace}/{pod.state.owner_name}"
                raise ClusterError(
                    f"unable to drain node {self._node}: pods of {owner} come back to it as often"
                    " as they are evicted: they tolerate the cordon, or name this node",
                    "stop that controller for the time of the work, or leave its pods where they"
                    " are with drain: {pod_selector: ...} or {namespace_exclude: [...]}",
                )

    def _ask(self) -> None:
        """Evict, several at once, the pods whose turn it is."""
        now = time.monotonic()
        due = [each for each in self._leaving.values() if not each.accepted and each.ask_at <= now]
        if not due:
            return
        for each in due:
            name = each.pod.state.full_name
            doing = "deleting" if self._options.disable_eviction else "evicting"
            self._tell(f"{doing} {name} (grace {grace_of(each.pod, self._options)} s)")
        with ThreadPoolExecutor(min(WORKERS, len(due))) as pool:
            answers = list(pool.map(self._evict, due))
        never = []
        for each, answer in zip(due, answers, strict=True):
            if self._note(each, answer).kind is Kind.NEVER:
                never.append(f"{each.pod.state.full_name}: {self._because(each.pod, answer)}")
        if never:
            raise ClusterError(
                f"unable to drain node {self._node}: " + "; ".join(never),
                "pods evicted so far are not brought back here",
            )

    def _evict(self, each: _Leaving) -> Answer:
        if self._stop.is_set():
            return Answer(Kind.WAIT, "stopped")
        grace, delete = self._options.grace_period, self._options.disable_eviction
        return evict(self._cluster.api, each.pod, grace, delete=delete)

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
        return explain(answer, guarding(budgets, pod))

    def _tell(self, text: str) -> None:
        """Once is enough, however often it is found."""
        if text not in self._told:
            self._told.add(text)
            self._progress(text)

    def _left(self) -> str:
        by_reason: dict[str, list[str]] = {}
        for each in self._leaving.values():
            by_reason.setdefault(each.reason, []).append(each.pod.state.full_name)
        texts = [f"{', '.join(names)} ({reason})" for reason, names in by_reason.items()]
        return f"; still there: {', '.join(texts)}" if texts else ""


def _owners(pods: list[Pod]) -> Counter[str]:
    """How many of the pods each controller has; those without one, and those that are already
    ending, do not count."""
    return Counter(pod.owner_uid for pod in pods if pod.owner_uid and not pod.state.deleting)

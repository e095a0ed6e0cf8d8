"""What draining a node would mean, before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runner.kube import taints
from runner.kube.budgets import Budget, guarding
from runner.kube.eviction import WORKERS, Answer, Kind, evict
from runner.kube.maintenance import CLIENTS, pauses
from runner.kube.parse import Pod
from runner.kube.selecting import Selector, at_work, grace_of, held_up
from runner.kube.snapshot import Snapshot
from runner.kube.state import DrainMode, DrainOptions, NodeState, PodState


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
        taint: what becomes of the taint that the options name; "": they name none.
        pauses: DaemonSets that NVIDIA's operator is made to take off the node meanwhile.
    """

    evict: tuple[PodState, ...] = ()
    ignored: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    grace: float = 0.0
    warnings: tuple[str, ...] = ()
    taint: str = ""
    pauses: tuple[str, ...] = ()


def preview(
    snapshot: Snapshot,
    node: NodeState,
    options: DrainOptions,
    mode: DrainMode,
    holders: Mapping[str, str] | None = None,
    frees_gpus: bool = False,
) -> DrainPreview:
    """Look at what a drain would do, asking the server itself (dry run) about evictions.

    It is asked about one of all pods that are alike to it: of one owner, guarded by the same
    budgets, and equally ready. What one of them is told holds for the others.

    Args:
        holders: UID of a pod -> what of the GPUs its processes hold, as seen on the node.
        frees_gpus: GPU clients of the operator are taken off the node too.

    Raises:
        ClusterError: the API server is down, or refuses to be asked.
    """
    if mode == "none":
        return DrainPreview()
    selector = Selector(snapshot, node.name, options, mode, holders)
    selection = selector.select(snapshot.pods_on(node.name, options.pod_selector))
    asking = [pod for pod in selection.evict if not pod.state.deleting]
    answers = _ask(snapshot, asking, options)
    # Read after asking, which makes the server look at them anew.
    asked = any(answer.budget for answer in answers.values())
    budgets = snapshot.budgets_asked() if asked else snapshot.budgets() if answers else ()
    blocked, waits = [*selection.errors], _jobs(snapshot, node.name, options, selection.evict)
    blocked += _kept_off(snapshot, node, options.taint)
    warnings = [*selection.warnings, *selector.held(node)]
    if options.disable_eviction:
        warnings += _overridden(budgets, selection.evict)
    else:
        waits += _one_by_one(budgets, selection.evict)
    for pod in selection.evict:
        answer = answers.get(pod.state.uid)
        if answer is None:
            late = held_up(pod, snapshot.cluster.api.now())
            waits.append(f"{pod.state.full_name} is already terminating{late}")
            continue
        if answer.kind not in (Kind.NEVER, Kind.WAIT):
            continue
        guards = guarding(budgets, pod)
        never = answer.kind is Kind.NEVER or _hopeless(answer, guards)
        (blocked if never else waits).append(f"{pod.state.full_name}: {explain(answer, guards)}")
    return DrainPreview(
        evict=tuple(pod.state for pod in selection.evict),
        ignored=selection.ignored,
        blocked=tuple(blocked),
        waits=tuple(waits),
        grace=float(max((grace_of(pod, options) for pod in selection.evict), default=0)),
        warnings=tuple(warnings),
        taint=taints.previewed(node, options.taint),
        pauses=_paused(snapshot, node) if frees_gpus else (),
    )


def _paused(snapshot: Snapshot, node: NodeState) -> tuple[str, ...]:
    """The DaemonSets that `pause_daemonsets` would name."""
    if not any(key in node.labels for key in CLIENTS):
        return ()
    placed = snapshot.daemonsets()
    return tuple(sorted(ds.full_name for ds in placed if pauses(ds.selector, node.labels)))


def _kept_off(snapshot: Snapshot, node: NodeState, text: str) -> list[str]:
    """Why the taint must not be set; empty where it may, and where it is not to be set."""
    taint = taints.to_set(node, text)
    names = taints.kept_off(taint, snapshot.pods_on(node.name)) if taint else []
    if not names:
        return []
    return [
        f"the taint {text} would keep pods of DaemonSets from being started anew there: "
        f"{', '.join(names)} (give them a toleration, or the taint the effect PreferNoSchedule)"
    ]


def _ask(snapshot: Snapshot, pods: Sequence[Pod], options: DrainOptions) -> dict[str, Answer]:
    """Answers by the UID of each pod."""
    if not pods:
        return {}
    budgets, api = snapshot.budgets(), snapshot.cluster.api

    def alike(pod: Pod) -> tuple[object, ...]:
        state, names = pod.state, tuple(budget.full_name for budget in guarding(budgets, pod))
        return (
            *("evict", state.namespace, pod.owner_uid or state.uid, names),
            *(state.phase, state.ready, state.deleting),
            *(options.grace_period, options.disable_eviction),
        )

    def ask(key: tuple[object, ...], pod: Pod) -> Answer:
        return snapshot.once(
            key, lambda: evict(api, pod, options.grace_period, True, options.disable_eviction)
        )

    keys = {pod.state.uid: alike(pod) for pod in pods}
    left = {keys[p.state.uid]: p for p in pods if not snapshot.knows(keys[p.state.uid])}
    if left:
        with ThreadPoolExecutor(min(WORKERS, len(left))) as pool:
            list(pool.map(ask, left.keys(), left.values()))
    return {pod.state.uid: ask(keys[pod.state.uid], pod) for pod in pods}


def _jobs(snapshot: Snapshot, node: str, options: DrainOptions, evict: Sequence[Pod]) -> list[str]:
    """The pods that are let finish before anything is evicted."""
    jobs = options.wait_for_jobs
    if jobs is None:
        return []
    matching = {pod.state.uid for pod in snapshot.pods_on(node, jobs.selector)}
    left = at_work(pod for pod in evict if pod.state.uid in matching)
    most = f"at most {jobs.timeout:g} s, then nothing is evicted and the node is given back"
    return [f"waits first until {', '.join(left)} have finished ({most})"] if left else []


def _overridden(budgets: Iterable[Budget], pods: Sequence[Pod]) -> list[str]:
    """Budgets that would not be asked."""
    texts = []
    for budget in budgets:
        here = at_work(pod for pod in pods if budget.guards(pod))
        if here:
            name = budget.full_name
            texts.append(
                f"disable_eviction deletes past PodDisruptionBudget {name}: {', '.join(here)}"
            )
    return texts


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


def explain(answer: Answer, budgets: Sequence[Budget]) -> str:
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

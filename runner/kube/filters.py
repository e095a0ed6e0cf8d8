"""Which pods a drain may evict: the filters, order and texts of kubectl drain 1.36. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from runner.kube.parse import Pod
from runner.kube.state import DrainMode, DrainOptions


@dataclass(frozen=True, slots=True)
class Selection:
    """What the filters made of a node's pods.

    Args:
        evict: pods to evict.
        ignored: why others stay, for a person.
        warnings: what a person should know of those evicted.
        errors: why the drain must not begin; nothing is evicted while there is one.
    """

    evict: tuple[Pod, ...] = ()
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A filter's word: the pod may go (perhaps with a warning), is left alone, or is an error."""

    text: str = ""
    stays: bool = False
    error: bool = False


_GO = _Verdict()
_STAY = _Verdict(stays=True)


def select(
    pods: Iterable[Pod],
    options: DrainOptions,
    mode: DrainMode,
    daemonsets: Collection[str],
    gpu_pods: Collection[str] = (),
    now: datetime | None = None,
) -> Selection:
    """Apply the filters to the pods of one node.

    Args:
        mode: "gpu" considers only pods that use a GPU; "none" no pod at all.
        daemonsets: namespace/name of the DaemonSets that exist.
        gpu_pods: UIDs of pods that use a GPU beside those that ask for one by resource.
        now: the time by the API server's clock; None: this machine's.
    """
    if mode == "none":
        return Selection()
    filters = _Filters(options, mode, daemonsets, gpu_pods, now or datetime.now(UTC))
    evict: list[Pod] = []
    ignored: dict[str, list[str]] = {}
    warnings: dict[str, list[str]] = {}
    errors: dict[str, list[str]] = {}
    for pod in pods:
        verdicts = filters.judge(pod)
        last = verdicts[-1]
        if not last.stays:
            evict.append(pod)
        kept = [last] if last.stays else verdicts
        for verdict in kept:
            if verdict.text:
                group = errors if verdict.error else ignored if verdict.stays else warnings
                group.setdefault(verdict.text, []).append(pod.state.full_name)
    return Selection(tuple(evict), _texts(ignored), _texts(warnings), _texts(errors))


class _Filters:
    """kubectl's filters in kubectl's order; ours, which narrow what is looked at, come first."""

    def __init__(
        self,
        options: DrainOptions,
        mode: DrainMode,
        daemonsets: Collection[str],
        gpu_pods: Collection[str],
        now: datetime,
    ) -> None:
        self._options = options
        self._mode = mode
        self._daemonsets = daemonsets
        self._gpu_pods = gpu_pods
        self._now = now

    def judge(self, pod: Pod) -> list[_Verdict]:
        """Verdicts up to the first that keeps the pod."""
        verdicts = []
        for judge in (
            self._gpu,
            self._excluded,
            self._deleted,
            self._daemonset,
            self._mirror,
            self._local_storage,
            self._unreplicated,
        ):
            verdicts.append(judge(pod))
            if verdicts[-1].stays:
                break
        return verdicts

    def _gpu(self, pod: Pod) -> _Verdict:
        uses = pod.asks_for_gpu or pod.state.uid in self._gpu_pods
        return _GO if self._mode == "full" or uses else _STAY

    def _excluded(self, pod: Pod) -> _Verdict:
        if pod.state.namespace not in self._options.namespace_exclude:
            return _GO
        return _Verdict("ignoring Pods of excluded namespaces", stays=True)

    def _deleted(self, pod: Pod) -> _Verdict:
        most = self._options.skip_wait_for_delete_timeout
        return _STAY if most > 0 and int(pod.overdue(self._now)) > most else _GO

    def _daemonset(self, pod: Pod) -> _Verdict:
        if pod.state.owner_kind != "DaemonSet" or pod.finished:
            return _GO
        if f"{pod.state.namespace}/{pod.state.owner_name}" not in self._daemonsets:
            text = f'daemonsets.apps "{pod.state.owner_name}" not found'
            return _Verdict(text) if self._options.force else _error(text)
        if not self._options.ignore_daemonsets:
            return _error("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
        return _Verdict("ignoring DaemonSet-managed Pods", stays=True)

    def _mirror(self, pod: Pod) -> _Verdict:
        return _STAY if pod.mirror else _GO

    def _local_storage(self, pod: Pod) -> _Verdict:
        if not pod.local_storage or pod.finished:
            return _GO
        if self._options.delete_emptydir_data:
            return _Verdict("deleting Pods with local storage")
        return _error("Pods with local storage (use --delete-emptydir-data to override)")

    def _unreplicated(self, pod: Pod) -> _Verdict:
        if pod.state.owner_kind or pod.finished:
            return _GO
        if self._options.force:
            return _Verdict("deleting Pods that declare no controller")
        return _error("Pods that declare no controller (use --force to override)")


def _error(text: str) -> _Verdict:
    return _Verdict(f"cannot delete {text}", stays=True, error=True)


def _texts(groups: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(f"{text}: {', '.join(names)}" for text, names in groups.items())

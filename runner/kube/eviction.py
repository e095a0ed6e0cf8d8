"""One eviction: asked, and what the answer means.

Kept behind one function, so that Kubernetes' EvictionRequest (KEP-4563) can take its place.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from runner.kube.api import Api, RefusalError, SilenceError
from runner.kube.parse import Pod
from runner.kube.waiting import is_logged_out

RETRY = 5.0
"""Seconds until an eviction that a budget holds is asked again, as kubectl has it."""
WORKERS = 8
"""Evictions asked at once for one node."""


class Kind(enum.Enum):
    """What an answer means for the pod."""

    ACCEPTED = "accepted"
    GONE = "gone"
    """It, or at least this UID of it, is no longer there."""
    WAIT = "wait"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an eviction. `after`: seconds until asking again is worthwhile.

    `budget`: a disruption budget is what holds the pod.
    """

    kind: Kind
    reason: str = ""
    after: float = 0.0
    budget: bool = False


def evict(
    api: Api, pod: Pod, grace: int | None = None, dry_run: bool = False, delete: bool = False
) -> Answer:
    """Ask for the eviction of exactly this pod (by UID), or only whether it would be allowed.

    Args:
        grace: seconds; None: the pod's own.
        delete: delete it, which no disruption budget keeps from being done.
    """
    options: dict[str, object] = {"preconditions": {"uid": pod.state.uid}}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if dry_run:
        options["dryRun"] = ["All"]
    name, method = pod.state.full_name, "POST"
    path = f"/api/v1/namespaces/{pod.state.namespace}/pods/{pod.state.name}"
    body: dict[str, object] = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
    if delete:
        method = "DELETE"
    else:
        path += "/eviction"
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.state.name, "namespace": pod.state.namespace},
            "deleteOptions": options,
        }
    asked = f"{'delete' if delete else 'evict'} pod {name}"
    try:
        api.request(method, path, asked, body=body, repeatable=True)
    except RefusalError as error:
        if is_logged_out(error) and not dry_run:
            return Answer(Kind.WAIT, error.message, RETRY)
        return classify(error)
    except SilenceError as error:
        if dry_run:
            raise
        return Answer(Kind.WAIT, error.message, RETRY)
    return Answer(Kind.ACCEPTED)


def classify(error: RefusalError) -> Answer:
    """What a refused eviction means (pkg/registry/core/pod/storage/eviction.go of the server)."""
    if error.code in (404, 409):
        return Answer(Kind.GONE, error.said)
    if error.code == 429:
        held = [text for reason, text in error.causes if reason == "DisruptionBudget"]
        why = "; ".join(held) or error.said or "the API server is busy"
        budget = bool(held) or "disruption budget" in error.said.lower()
        return Answer(Kind.WAIT, why, max(RETRY, error.retry_after or 0.0), budget)
    if error.code == 403 and any(reason == "NamespaceTerminating" for reason, _ in error.causes):
        return Answer(Kind.WAIT, error.said, RETRY)
    budget = "Budget" in error.said
    if error.code in (502, 503, 504) or (error.code == 500 and not budget):
        return Answer(Kind.WAIT, error.message, max(RETRY, error.retry_after or 0.0))
    advice = f" ({error.hint})" if error.hint else ""
    return Answer(Kind.NEVER, (error.said or error.message) + advice, budget=budget)


def jittered(delay: float) -> float:
    """The delay and up to a fifth more, so that many nodes do not ask at once."""
    return delay * random.uniform(1.0, 1.2)

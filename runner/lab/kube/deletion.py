"""Deleting objects, gracefully where pods are concerned, and evicting pods."""

from __future__ import annotations

from dataclasses import dataclass

from runner.lab.kube import budgets, clock, failures
from runner.lab.kube.kinds import KIND, Json, Kind
from runner.lab.kube.store import Store

_POD = KIND["Pod"]
_IMMORTAL = ("default", "kube-system", "kube-public")
_POLICIES = ("Foreground", "Background", "Orphan")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a DELETE or an Eviction asks for; None where it says nothing."""

    grace: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False
    orphan: bool = False

    @classmethod
    def of(cls, body: Json, query: dict[str, str]) -> DeleteOptions:
        """From a DeleteOptions object and the query of the request.

        Raises:
            ApiFailure: 400 for a grace period that is no number, 422 for a propagation policy
                there is not.
        """
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        if not str(grace or 0).lstrip("-").isdigit():
            why = f'strconv.ParseInt: parsing "{grace}": invalid syntax'
            raise failures.bad_request(why)
        preconditions = body.get("preconditions") or {}
        policy = body.get("propagationPolicy", query.get("propagationPolicy"))
        if policy and policy not in _POLICIES:
            entry = failures.unsupported("propagationPolicy", policy, (*_POLICIES, "nil"))
            raise failures.bad_option("DELETE", entry)
        return cls(
            None if grace is None else max(0, int(grace)),
            preconditions.get("uid"),
            preconditions.get("resourceVersion"),
            "All" in (body.get("dryRun") or ()) or query.get("dryRun") == "All",
            policy == "Orphan",
        )


def delete(store: Store, kind: Kind, item: Json, options: DeleteOptions) -> Json:
    """Delete one object; returns the answer's body.

    Raises:
        ApiFailure: 409 when a precondition does not hold.
    """
    _check(kind, item, options)
    if kind is _POD:
        return _delete_pod(store, item, options)
    if kind.name == "Namespace":
        if item["metadata"]["name"] in _IMMORTAL:
            raise failures.immortal_namespace(item["metadata"]["name"])
        return _delete_namespace(store, item, options)
    if item["metadata"].get("finalizers"):
        metadata = {"deletionTimestamp": clock.now(), "deletionGracePeriodSeconds": 0}
        return _put(store, kind, {**item, "metadata": {**metadata, **item["metadata"]}}, options)
    if not options.dry_run:
        if options.orphan:
            _release_dependents(store, item["metadata"]["uid"])
        store.remove(kind, item)
    name, uid = item["metadata"]["name"], item["metadata"]["uid"]
    return failures.success({**failures.details_of(kind, name), "uid": uid})


def _check(kind: Kind, item: Json, options: DeleteOptions) -> None:
    metadata = item["metadata"]
    if options.uid and options.uid != metadata["uid"]:
        raise failures.precondition(kind, metadata["name"], "UID", options.uid, metadata["uid"])
    version = options.resource_version
    if version and version != metadata["resourceVersion"]:
        name, found = metadata["name"], metadata["resourceVersion"]
        raise failures.precondition(kind, name, "ResourceVersion", version, found)


def _put(store: Store, kind: Kind, item: Json, options: DeleteOptions) -> Json:
    return item if options.dry_run else store.put(kind, item)


def _delete_pod(store: Store, pod: Json, options: DeleteOptions) -> Json:
    metadata = pod["metadata"]
    grace = pod["spec"]["terminationGracePeriodSeconds"] if options.grace is None else options.grace
    if "nodeName" not in pod["spec"] or is_finished(pod):
        grace = 0
    if grace >= metadata.get("deletionGracePeriodSeconds", grace + 1):
        return pod
    marked = {
        **metadata,
        "deletionTimestamp": clock.now(grace),
        "deletionGracePeriodSeconds": grace,
        "generation": metadata.get("generation", 1) + ("deletionTimestamp" not in metadata),
    }
    pod = _put(store, _POD, {**pod, "metadata": marked}, options)
    if grace == 0 and not options.dry_run and not metadata.get("finalizers"):
        return store.remove(_POD, pod)
    return pod


def _delete_namespace(store: Store, item: Json, options: DeleteOptions) -> Json:
    """The namespace controller removes its content first, then the namespace itself."""
    metadata = {"deletionTimestamp": clock.now(), **item["metadata"]}
    terminating = {**item, "metadata": metadata, "status": {"phase": "Terminating"}}
    return _put(store, KIND["Namespace"], terminating, options)


def _release_dependents(store: Store, uid: str) -> None:
    for kind in KIND.values():
        for item in store.list(kind):
            owners = item["metadata"].get("ownerReferences", ())
            kept = [owner for owner in owners if owner["uid"] != uid]
            if len(kept) != len(owners):
                metadata = {**item["metadata"], "ownerReferences": kept}
                store.put(kind, {**item, "metadata": metadata})


def is_finished(pod: Json) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def evict(store: Store, pod: Json, options: DeleteOptions) -> Json:
    """Evict a pod as policy/v1 does; returns the Status of success.

    Pods that are pending, finished or terminating already are not held by any budget.

    Raises:
        ApiFailure: 429 when the budget allows no disruption, 500 when two budgets match, 409 when
            a precondition does not hold.
    """
    _check(_POD, pod, options)
    ignored = pod["status"].get("phase") == "Pending" or is_finished(pod)
    if not ignored and "deletionTimestamp" not in pod["metadata"]:
        _check_budgets(store, pod)
    if not options.dry_run:
        with store.lock:
            _delete_pod(store, _disrupted(pod), options)
            for budget in budgets.budgets_of(store, pod):
                budgets.refresh(store, budget)
    return failures.success(code=201)


def _check_budgets(store: Store, pod: Json) -> None:
    matching = budgets.budgets_of(store, pod)
    if len(matching) > 1:
        raise failures.two_budgets()
    for budget in matching:
        current = budgets.refresh(store, budget)
        status = current["status"]
        if status["disruptionsAllowed"] == 0 and not _unhealthy_may_go(pod, current):
            raise failures.budget_blocks(
                budget["metadata"]["name"], status["desiredHealthy"], status["currentHealthy"]
            )


def _unhealthy_may_go(pod: Json, budget: Json) -> bool:
    """unhealthyPodEvictionPolicy, for a pod that runs but is not ready."""
    if budgets.is_ready(pod):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget["status"]
    return bool(status["currentHealthy"] >= status["desiredHealthy"] > 0)


def _disrupted(pod: Json) -> Json:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": clock.now(),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    others = [
        entry for entry in pod["status"].get("conditions", ()) if entry["type"] != condition["type"]
    ]
    return {**pod, "status": {**pod["status"], "conditions": [*others, condition]}}

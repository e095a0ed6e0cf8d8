"""Questions that are answered and never stored: who am I, what may I do?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runner.lab.kube import clock
from runner.lab.kube.answers import Answer
from runner.lab.kube.authorization import Access, allowed, groups_of, rules_of
from runner.lab.kube.bodies import read_as
from runner.lab.kube.kinds import REVIEWS, Json
from runner.lab.kube.requests import Request
from runner.lab.kube.schema import Struct
from runner.lab.kube.store import Store


def review(store: Store, request: Request) -> Answer | None:
    """The answer to a review; None: the path is not that of one."""
    for group, reviews in REVIEWS.items():
        for plural, kind in reviews.items():
            if request.path == f"/apis/{group}/v1/{plural}" and request.method == "POST":
                body = read_as(request, Struct(f"{group.partition('.')[0]}_v1", kind))
                spec = body.get("spec") or {}
                head: Json = {"kind": kind, "apiVersion": f"{group}/v1"}
                return Answer(201, head | _ANSWERS[kind](store, request, spec))
    return None


def _access(store: Store, request: Request, spec: Json) -> Json:
    asked = spec.get("resourceAttributes") or {}
    resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
    names = ("namespace", "name")
    access = Access(
        asked.get("verb", ""),
        asked.get("group", ""),
        resource,
        *(asked.get(name, "") for name in names),
    )
    status = {"allowed": allowed(store, request.user, access)}
    return {"metadata": {}, "spec": spec, "status": status}


def _rules(store: Store, request: Request, spec: Json) -> Json:
    rules = rules_of(store, request.user, spec.get("namespace", ""))
    status = {"resourceRules": rules, "nonResourceRules": [], "incomplete": False}
    return {"metadata": {}, "spec": {}, "status": status}


def _self(store: Store, request: Request, spec: Json) -> Json:
    user = {"username": request.user.name, "groups": list(groups_of(request.user))}
    return {"metadata": {"creationTimestamp": clock.now()}, "status": {"userInfo": user}}


_ANSWERS: Mapping[str, Callable[[Store, Request, Json], Json]] = {
    "SelfSubjectAccessReview": _access,
    "SelfSubjectRulesReview": _rules,
    "SelfSubjectReview": _self,
}

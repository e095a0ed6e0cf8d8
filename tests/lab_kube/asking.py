"""Requests to the lab's API without a server around it."""

from __future__ import annotations

import json
from typing import Any

from runner.lab.kube import api
from runner.lab.kube.answers import Answer
from runner.lab.kube.credentials import ADMIN
from runner.lab.kube.kinds import Json
from runner.lab.kube.requests import Request
from runner.lab.kube.seed import create
from runner.lab.kube.store import Store

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


def started() -> Store:
    """A store with the namespace `default` and nothing else."""
    store = Store()
    create(store, {"kind": "Namespace", "metadata": {"name": "default"}})
    return store


def ask(
    store: Store, method: str, path: str, body: Any = None, kind: str = "", **query: str
) -> Answer:
    """One request of the administrator; `body` is JSON, or text as it is to be sent."""
    content = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
    request = Request(method, path, ADMIN, query, kind, agent="test", content=content.encode())
    answer = api.answer(store, request)
    assert isinstance(answer, Answer)
    return answer


def made(answer: Answer) -> Json:
    """The object of an answer that is no failure."""
    assert answer.code < 300 and isinstance(answer.body, dict), answer
    return answer.body


def refused(answer: Answer) -> tuple[int, str, str]:
    """Status, reason and message of a failure."""
    assert answer.code >= 400 and isinstance(answer.body, dict), answer
    return answer.code, answer.body.get("reason", ""), answer.body["message"]

"""What clients ask first: which groups, resources and fields the API serves."""

from __future__ import annotations

from runner.lab.kube import kinds
from runner.lab.kube.answers import Answer
from runner.lab.kube.openapi import V2, V2_PROTOBUF, openapi


def discovery(path: str) -> Answer | None:
    """The answer to a question about the API itself; None: the path is not one."""
    path = path.rstrip("/")
    if path == "/openapi/v2":
        return Answer(200, V2, {"Content-Type": V2_PROTOBUF})
    if path.startswith("/openapi/v3"):
        document = openapi(path)
        return None if document is None else Answer(200, document)
    if path == "/api":
        return Answer(200, {"kind": "APIVersions", "versions": ["v1"]})
    if path == "/api/v1":
        return Answer(200, kinds.resource_list(""))
    groups = kinds.groups()
    if path == "/apis":
        listed = [kinds.api_group(group) for group in groups]
        return Answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
    for group in groups:
        if path == f"/apis/{group}":
            head = {"kind": "APIGroup", "apiVersion": "v1"}
            return Answer(200, {**head, **kinds.api_group(group)})
        if path == f"/apis/{group}/v1":
            return Answer(200, kinds.resource_list(group))
    if path.startswith("/apis/") and path.split("/")[2] not in groups:
        return Answer(404, "404 page not found\n")
    return None

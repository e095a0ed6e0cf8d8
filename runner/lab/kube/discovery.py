"""What clients ask first: which groups, resources and fields the API serves."""

from __future__ import annotations

from runner.lab.kube import kinds
from runner.lab.kube.answers import Answer

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OPENAPI = "\n\x032.0\x12\t\n\x03lab\x12\x02v1"
"""An OpenAPI document that describes no kind, as protobuf: kubectl asks for one before it applies,
and does not check kinds of which it finds nothing. Fields 1 (swagger), 2 (info: title, version)."""


def discovery(path: str) -> Answer | None:
    """The answer to a question about the API itself; None: the path is not one."""
    path = path.rstrip("/")
    if path == "/openapi/v2":
        return Answer(200, OPENAPI, {"Content-Type": PROTOBUF})
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
    return None

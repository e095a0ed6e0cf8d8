"""What kubectl 1.32 sends as protobuf is read as the object it means.

Each file has the bytes of one command, and the object it prints with `--dry-run=client -o json`.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from runner.lab.kube import api
from runner.lab.kube.answers import Answer
from runner.lab.kube.credentials import ADMIN
from runner.lab.kube.kinds import KIND
from runner.lab.kube.protobuf import MEDIA_TYPE, decode_protobuf
from runner.lab.kube.requests import Request
from runner.lab.kube.schema import Struct, shape_of
from tests.lab_kube.asking import refused, started

FILES = sorted((Path(__file__).parent / "protobuf").glob("*.json"))
REVIEW = Struct("authorization_v1", "SelfSubjectAccessReview")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_kubectl_sends(path: Path) -> None:
    record = json.loads(path.read_text())
    wanted = record["object"]
    shape = REVIEW if path.stem == "review" else shape_of(KIND[wanted["kind"]])
    found = decode_protobuf(base64.b64decode(record["content"]), shape)
    if "namespace" not in wanted["metadata"]:
        found["metadata"].pop("namespace", None)
    assert {**found, "status": None} == {**wanted, "status": None}, "no client sets a status here"


def post(content: bytes, kind: str) -> Answer:
    path = "/api/v1/namespaces/default/configmaps"
    request = Request("POST", path, ADMIN, content_type=kind, content=content)
    answer = api.answer(started(), request)
    assert isinstance(answer, Answer)
    return answer


@pytest.mark.parametrize("content", [b"{}", b"k8s\x00\xff", b"k8s\x00\x12\x7f"])
def test_what_is_no_protobuf_is_a_bad_request(content: bytes) -> None:
    assert refused(post(content, MEDIA_TYPE))[:2] == (400, "BadRequest")


@pytest.mark.parametrize("kind", ["text/plain", "application/cbor", "application/xml"])
def test_other_media_types_are_named_as_unsupported(kind: str) -> None:
    code, reason, message = refused(post(b"{}", kind))
    assert (code, reason) == (415, "UnsupportedMediaType")
    assert MEDIA_TYPE in message and "application/json" in message

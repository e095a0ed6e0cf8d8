"""A request as the API understands it: who asks, for which object or collection, to do what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from runner.lab.kube import protobuf
from runner.lab.kube.decoding import json_content, yaml_content
from runner.lab.kube.failures import bad_request, unknown_path, unreadable_media_type
from runner.lab.kube.kinds import KINDS, Kind
from runner.lab.kube.schema import Struct

_KINDS: Mapping[tuple[str, str], Kind] = {(kind.group, kind.plural): kind for kind in KINDS}
READS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class User:
    """Who holds a token. `bound`: may do what roles allow, and nothing else."""

    name: str
    writes: bool = True
    bound: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, without anything of its connection."""

    method: str
    path: str
    user: User
    query: dict[str, str] = field(default_factory=dict)
    content_type: str = ""
    accept: str = ""
    agent: str = ""
    content: bytes = b""
    warnings: list[str] = field(default_factory=list)
    """Filled while the request is answered; the client gets them as Warning headers."""

    @property
    def dry_run(self) -> bool:
        return self.query.get("dryRun") == "All"

    @property
    def wants_table(self) -> bool:
        return "as=Table" in self.accept.split(",")[0]

    @property
    def manager(self) -> str:
        """The field manager: as given, else the program's name."""
        return self.query.get("fieldManager") or self.agent.partition("/")[0] or "unknown"

    def parsed(self, shape: Struct | None = None) -> tuple[Any, Sequence[str]]:
        """The content, and what it says of fields that are repeated in it.

        Args:
            shape: what it is to be, where it may come as protobuf.

        Raises:
            ApiFailure: 400 when it cannot be read, 415 for a media type that is not taken.
        """
        if not self.content:
            return {}, ()
        kind = self.content_type.rpartition("/")[2]
        try:
            if kind.endswith("yaml"):
                return yaml_content(self.content)
            if kind in ("", "json") or kind.endswith("+json"):
                return json_content(self.content)
            if self.content_type == protobuf.MEDIA_TYPE and shape:
                return protobuf.decode_protobuf(self.content, shape), ()
        except (ValueError, yaml.YAMLError) as error:
            raise bad_request(f"the object provided is unrecognized: {error}") from None
        raise unreadable_media_type()


@dataclass(frozen=True, slots=True)
class Target:
    """What the path names."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def verb(self, request: Request) -> str:
        """The API verb, as authorization knows it."""
        if request.method == "GET":
            watched = request.query.get("watch") in ("true", "1")
            return "get" if self.name else "watch" if watched else "list"
        if request.method == "DELETE":
            return "delete" if self.name else "deletecollection"
        return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, "")


def target(path: str) -> Target:
    """What a path under /api or /apis names.

    Raises:
        ApiFailure: 404 for a path the API does not serve.
    """
    parts = [part for part in path.split("/") if part]
    group, version, rest = ("", parts[1:2], parts[2:])
    if parts[0] == "apis":
        group, version, rest = parts[1], parts[2:3], parts[3:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    kind = _KINDS.get((group, rest[0])) if rest else None
    if kind is None or version != [kind.version] or len(rest) > 3:
        raise unknown_path()
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource and subresource not in kind.subresources:
        raise unknown_path()
    if kind.namespaced != bool(namespace) and (name or not kind.namespaced):
        raise unknown_path()
    return Target(kind, namespace, name, subresource)

"""The objects of a cluster as the lab's kubelet stand-in reads and writes them: through its API."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from runner.kube.api import RefusalError
from runner.lab.kube.kinds import Kind
from runner.lab.kube.programs import LOG
from tests.kube.names import PREFIX
from tests.kube.world import World, path_of

Json = dict[str, Any]


class RemoteStore:
    """What `runner.lab.kube.store.Store` offers a kubelet, for pods of the world's own nodes.

    With it the lab's kubelet works for any cluster: it sees the pods that are bound to these nodes,
    reports their status, and removes those that have ended.
    """

    def __init__(self, world: World) -> None:
        self.lock = threading.RLock()
        self._world = world
        self._annotations: dict[str, Mapping[str, str]] = {}

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        try:
            return self._seen(self._world.get(kind.name, name, namespace))
        except RefusalError as error:
            if error.code != 404:
                raise
            return None

    def list(self, kind: Kind, namespace: str = "") -> Sequence[Json]:
        items = self._world.direct.collection(f"/api/v1/{kind.plural}", "list")
        return [
            self._seen(dict(item))
            for item in items
            if str(item["spec"].get("nodeName") or "").startswith(PREFIX)
        ]

    def _seen(self, item: Json) -> Json:
        meta = item["metadata"]
        self._annotations[meta["uid"]] = meta.get("annotations") or {}
        return item

    def put(self, kind: Kind, item: Json) -> Json:
        """Report what changed of annotations and status."""
        meta = item["metadata"]
        place = (kind.name, meta["name"], meta.get("namespace", ""))
        wanted, known = meta.get("annotations") or {}, self._annotations[meta["uid"]]
        if LOG in wanted:
            self._world.proxy.logs[log_path(item)] = wanted[LOG]
        if wanted != known:
            gone = {key: None for key in known if key not in wanted}
            self._world.change(*place, metadata={"annotations": {**wanted, **gone}})
        return self._seen(self._world.change(*place, status=item["status"]))

    def remove(self, kind: Kind, item: Json) -> Json:
        self._world.end(item)
        return item


def log_path(pod: Mapping[str, Any]) -> str:
    meta = pod["metadata"]
    return path_of("Pod", meta["namespace"], meta["name"]) + "/log"

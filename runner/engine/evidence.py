"""Keeping what a host says: each look's output in one archive on the machine gpurun runs on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.engine.observe import Hosts
from runner.errors import GpurunError
from runner.facts.base import plain
from runner.hosts.script import Result
from runner.kube.state import NodeState
from runner.modules.base import Collect
from runner.secrets.redact import KNOWN

_LIKE_A_SECRET = re.compile(
    r"(?P<name>\b[\w.-]*(?:password|passwd|secret|token|api[_-]?key|auth)\b[\"']?\s*[=:]\s*)"
    r"(?P<value>\"[^\"\n]+\"|'[^'\n]+'|[^\s\"',;]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<name>\b(?:Bearer|Basic)\s+)(?P<value>[\w.~+/=-]{8,})")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.S
)
TAKEN_OUT = "«taken out»"


def redacted(text: str) -> str:
    """Text without the secrets that gpurun knows, and without what looks like one."""
    text = KNOWN(text)
    text = _PRIVATE_KEY.sub(TAKEN_OUT, text)
    for pattern in (_LIKE_A_SECRET, _BEARER):
        text = pattern.sub(lambda found: found["name"] + TAKEN_OUT, text)
    return text


def default_folder() -> Path:
    """Where archives go when nothing else is said."""
    from runner.journal.store import default_path

    return default_path().parent / "evidence"


def collect(action: Collect, host: str, connection: Hosts, node: Any) -> str:
    """Run the looks and write the archive.

    Args:
        node: the host's node as its cluster has it, if that is known.

    Returns:
        A sentence for a person: where it is and what is missing.

    Raises:
        GpurunError: the archive cannot be written.
        UnreachableError: as `Connection.look`.
    """
    results = connection.look(list(action.looks))
    now = datetime.now(UTC)
    name = f"{re.sub(r'[^A-Za-z0-9._-]', '_', host)}-{now:%Y%m%dT%H%M%S%fZ}"
    texts = {file: redacted(_text(results[file])) for file in action.files}
    rows = [_row(file, shell, results[file], texts[file]) for file, shell in action.files.items()]
    if isinstance(node, NodeState):
        texts["kubernetes/node.json"] = redacted(json.dumps(plain(node), indent=1))
        rows.append({"file": "kubernetes/node.json", **_digest(texts["kubernetes/node.json"])})
    manifest = {"host": host, "time": now.isoformat(), "files": rows}
    texts["manifest.json"] = json.dumps(manifest, indent=1) + "\n"
    path = _write(Path(action.folder).expanduser() if action.folder else None, name, texts)
    failed = [row["file"] for row in rows if row.get("exit")]
    missing = f"; without an answer: {', '.join(failed)}" if failed else ""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"kept in {path} (sha256 {digest}){missing}"


def _text(result: Result) -> str:
    ended = "\n[ended at its deadline]\n" if _late(result) else ""
    both = (result.stdout + result.stderr).decode("utf-8", "replace")
    return both + ended


def _late(result: Result) -> bool:
    return result.timed_out or result.rc in (124, 137)


def _row(file: str, shell: str, result: Result, text: str) -> dict[str, Any]:
    return {
        "file": file,
        "command": shell,
        "exit": result.rc,
        "seconds": round(result.seconds, 3),
        "ended_at_deadline": _late(result),
        "cut": result.truncated,
        **_digest(text),
    }


def _digest(text: str) -> dict[str, Any]:
    body = text.encode()
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def _write(folder: Path | None, name: str, texts: dict[str, str]) -> Path:
    folder = folder or default_folder()
    path = folder / f"{name}.tar.gz"
    fresh = folder / f".{name}.part"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                for member, body in _members(name, texts):
                    archive.addfile(member, io.BytesIO(body))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise GpurunError(
            f"evidence cannot be kept in {folder}: {error.strerror or error}",
            "name another place with folder",
        ) from error
    return path


def _members(name: str, texts: dict[str, str]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for file, text in texts.items():
        body = text.encode()
        member = tarfile.TarInfo(f"{name}/{file}")
        member.size, member.mode = len(body), 0o600
        yield member, body

"""What a request carries, read as the kind its path is about, under the field validation it asks.

`fieldValidation` is Warn unless the request says otherwise: unknown and repeated fields are dropped
and told in Warning headers; Strict refuses them, Ignore says nothing. Server-side apply has a
schema of its own: it refuses unknown fields whatever was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from runner.lab.kube import applied
from runner.lab.kube.decoding import Decoded, Unreadable, decode
from runner.lab.kube.failures import (
    ApiFailure,
    bad_option,
    bad_request,
    internal,
    invalid_patch,
    unsupported,
)
from runner.lab.kube.golang import printed, quoted
from runner.lab.kube.kinds import KINDS, Json, Kind
from runner.lab.kube.requests import Request
from runner.lab.kube.schema import Struct, shape_of

_DIRECTIVES = ("Ignore", "Strict", "Warn")
_SCHEME = 'in scheme "pkg/api/legacyscheme/scheme.go:30"'
_KNOWN = frozenset((kind.api_version, kind.name) for kind in KINDS)


def read(request: Request, kind: Kind) -> Json:
    """The body of a create or an update, as an object of this kind.

    Raises:
        ApiFailure: 400 for another kind, a wrong type, or what strict validation refuses.
    """
    shape = shape_of(kind)
    body, repeated = request.parsed(shape)
    if not isinstance(body, dict):
        raise bad_request(
            "the object provided is unrecognized (must be of type "
            f"{kind.name}): couldn't get version/kind; json parse error: not an object"
        )
    _check_head(kind, body)
    return _decoded(request, shape, body, repeated, kind.version)


def read_as(request: Request, shape: Struct) -> Json:
    """The body as an object that is not stored, such as an Eviction or DeleteOptions.

    Raises:
        ApiFailure: as of `read`.
    """
    body, repeated = request.parsed(shape)
    return _decoded(request, shape, body, repeated, "v1")


def _decoded(
    request: Request, shape: Struct, body: Any, repeated: Sequence[str], version: str
) -> Json:
    name = shape.name

    def refusal(why: object) -> ApiFailure:
        return bad_request(f'{name} in version "{version}" cannot be handled as a {name}: {why}')

    try:
        decoded = decode(shape, body)
    except Unreadable as error:
        raise refusal(error) from None
    return _accepted(request, decoded, repeated, refusal)


def patched(request: Request, kind: Kind, new: Json) -> Json:
    """The object that a patch has made, if it still is one of its kind.

    Raises:
        ApiFailure: 422 for a wrong type, or what strict validation refuses.
    """
    body, repeated = request.parsed()
    strategic = request.content_type == "application/strategic-merge-patch+json"
    shown = printed(body) if strategic else quoted(new)

    def refusal(why: object) -> ApiFailure:
        return invalid_patch(shown, str(why))

    try:
        decoded = decode(shape_of(kind), new)
    except Unreadable as error:
        raise refusal(error.converted if strategic else error) from None
    return _accepted(request, decoded, repeated, refusal)


def converted(kind: Kind, item: Json) -> Json:
    """What server-side apply has merged, as an object of its kind.

    Raises:
        ApiFailure: 500 for values that the kind cannot take, such as a bad quantity.
    """
    try:
        return decode(shape_of(kind), item).object
    except Unreadable as error:
        raise internal(f"failed to convert new typed object to object: {error.converted}") from None


def _accepted(
    request: Request,
    decoded: Decoded,
    repeated: Sequence[str],
    refusal: Callable[[object], ApiFailure],
) -> Json:
    problems = [*repeated, *decoded.problems]
    asked = directive(request)
    if problems and asked == "Strict":
        raise refusal(f"strict decoding error: {', '.join(problems)}")
    if asked == "Warn":
        request.warnings.extend(problems)
    return decoded.object


def directive(request: Request) -> str:
    """The field validation a request asks for.

    Raises:
        ApiFailure: 422 for one there is not.
    """
    asked = request.query.get("fieldValidation") or "Warn"
    if asked not in _DIRECTIVES:
        values = ("", *_DIRECTIVES)
        raise bad_option(request.method, unsupported("fieldValidation", asked, values))
    return asked


def _check_head(kind: Kind, body: Json) -> None:
    """The body has to be of the kind that the path names, where it names one."""
    version, name = body.get("apiVersion") or kind.api_version, body.get("kind") or kind.name
    if (version, name) == (kind.api_version, kind.name):
        return
    why = f'no kind "{name}" is registered for version "{version}" {_SCHEME}'
    if (version, name) in _KNOWN:
        group = kind.group.partition(".")[0] or "core"
        why = f"converting (v1.{name}) to ({group}.{kind.name}): unknown conversion"
    short = str(version).rpartition("/")[2]
    raise bad_request(f'{name} in version "{short}" cannot be handled as a {kind.name}: {why}')


def apply_configuration(request: Request, kind: Kind, namespace: str, name: str) -> Json:
    """The body of a server-side apply.

    Raises:
        ApiFailure: 400 for another version or repeated fields under strict validation, 500 for
            fields or types that the schema does not have.
    """
    body, repeated = request.parsed()
    if not isinstance(body, dict):
        raise bad_request("error decoding YAML: not an object")
    version = body.get("apiVersion") or ""
    if version != kind.api_version:
        raise bad_request(
            "Incorrect version specified in apply patch. Specified patch version: "
            f"{version}, expected: {kind.api_version}"
        )
    if (body.get("metadata") or {}).get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    problems = applied.problems(shape_of(kind), body)
    if problems:
        group = kind.api_version if kind.group else f"/{kind.version}"
        what = f"{namespace}/{name}; {group}, Kind={kind.name}"
        told = problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems])
        raise internal(f"failed to create typed patch object ({what}): {told}")
    if repeated:
        told = "\n  ".join(["error converting YAML to JSON: yaml: unmarshal errors:", *repeated])
        if directive(request) == "Strict":
            raise bad_request(f"error strict decoding YAML: {told}")
        if directive(request) == "Warn":
            request.warnings.append(told)
    return body

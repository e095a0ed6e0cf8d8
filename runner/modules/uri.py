"""`uri`: ask a web server, from the machine gpurun runs on."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from shlex import quote
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlencode

from pydantic import Field, field_validator, model_validator

from runner.hosts.script import Command, Result
from runner.modules.base import Change, Context, Module, Outcome, Probe, Refused, Risk, Unknown
from runner.modules.command import exported, look_digest
from runner.modules.files.arguments import Switch
from runner.modules.web import RequestArguments, curl_options, quoted

_LOOKS = ("GET", "HEAD", "OPTIONS")
_TYPES = {"json": "application/json", "form-urlencoded": "application/x-www-form-urlencoded"}


class UriArguments(RequestArguments):
    """What is asked, and which answers are good."""

    other_names: ClassVar[Mapping[str, str]] = {
        **RequestArguments.other_names,
        "user": "url_username",
    }
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="GET", description="GET, HEAD and OPTIONS only look."
    )
    body: Any = Field(default=None, description="What is sent: a text, or data for `body_format`.")
    body_format: Literal["raw", "json", "form-urlencoded"] = Field(
        default="raw", description="How data becomes the body; also sets Content-Type."
    )
    status_code: tuple[int, ...] = Field(
        default=(200,), min_length=1, description="Status or list of statuses that are good."
    )
    return_content: Switch = Field(default=False, description="Register the body as `content`.")
    timeout: float = Field(default=30.0, gt=0, description="Seconds the request may take.")

    @field_validator("method", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("status_code", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @model_validator(mode="after")
    def _body_fits(self) -> Self:
        if self.body_format == "raw" and not isinstance(self.body, str | None):
            raise ValueError("body is data: say with body_format how it is sent")
        if self.body_format == "form-urlencoded" and not isinstance(self.body, Mapping | str):
            raise ValueError("a body for form-urlencoded is a mapping")
        return self

    @property
    def read_only(self) -> bool:
        """It looks, so it runs for a plan too; after a change of the play it is known only then."""
        return self.method in _LOOKS

    def text(self) -> str | None:
        """The body as it is sent."""
        if self.body is None or isinstance(self.body, str):
            return self.body
        if self.body_format == "json":
            return json.dumps(self.body, ensure_ascii=False)
        return urlencode(self.body, doseq=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `status` -1 and `error` where nothing did. Names of headers in lower case."""

    status: int
    url: str = ""
    headers: Mapping[str, str] | None = None
    body: bytes = b""
    error: str = ""


class Uri(Module[UriArguments]):
    """Asks a web server, from the machine gpurun runs on, as that user and with its proxies.

    GET, HEAD and OPTIONS look: they are asked while planning too, follow redirects, and may stand
    in `preconditions` and `verify`. `register` stores `status`, `url`, `headers`, `content_type`,
    `json` where the answer is JSON, and `content` if `return_content` says so. Another status than
    `status_code` refuses the host; with `until` and `retries` it is asked again.

    Other methods change something somewhere: they are unpredictable, asked in every apply and only
    there; `register` stores the answer's body as `stdout`. The request, with its headers, password
    and body, travels to curl on standard input. With `delegate_to` another host asks.
    """

    name = "uri"
    arguments = UriArguments
    risk = Risk.MEDIUM
    on_controller = True
    examples = (
        """\
- name: nobody has silenced the fleet
  uri:
    url: https://alertmanager.example.com/api/v2/status
    url_username: gpurun
    url_password: "{{ alertmanager_password }}"
  register: alertmanager
""",
        """\
- name: tell the inventory
  uri:
    url: https://cmdb.example.com/hosts/{{ inventory_hostname }}
    method: PATCH
    body: {driver: "570.148.08"}
    body_format: json
    status_code: [200, 204]
""",
    )

    def looks_only(self, arguments: Mapping[str, Any]) -> bool:
        return str(arguments.get("method", "GET")).upper() in _LOOKS

    def probes(self, args: UriArguments, context: Context) -> Sequence[Probe]:
        if not args.read_only:
            return ()
        shell, stdin = _request(args, context, _ANSWER)
        timeout = context.seconds(args.timeout) + 10
        key = f"uri:{look_digest(shell, stdin, timeout, context)}"
        parse = partial(parse_answer, args.url)
        return (Probe(key, shell, parse, timeout, stdin, context.become, brief=False),)

    def plan(self, args: UriArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        if args.read_only:
            return _judged(args, observed[self.probes(args, context)[0].key])
        if not context.notified:
            return Outcome()
        good = "|".join(str(status) for status in args.status_code)
        expected = quote(f"expected {' or '.join(map(str, args.status_code))}")
        shell, stdin = _request(args, context, _JUDGE.format(good=good, expected=expected))
        command = Command(
            "request", shell, stdin, context.seconds(args.timeout) + 10, context.become
        )
        return Outcome(
            changes=(
                Change(
                    summary=f"{args.method} {args.url}",
                    do=(command,),
                    risk=Risk.MEDIUM,
                    predictable=False,
                ),
            )
        )


_REQUEST = """\
export LC_ALL=C
if ! command -v curl > /dev/null; then
  echo 'curl is needed on the machine that asks' >&2
  exit 127
fi
d=$(mktemp -d) || exit 126
trap 'rm -rf -- "$d"' EXIT
trap 'exit 129' HUP INT TERM
told=$(curl -K - -D "$d/head" -o "$d/body" -w '%{http_code} %{url_effective}') || exit $?
touch "$d/body"
"""

_ANSWER = """\
printf 'status %s\\n' "$told"
echo head; base64 < "$d/head"
echo body; base64 < "$d/body"
echo end
"""

_JUDGE = """\
cat "$d/body"
case ${{told%% *}} in {good}) exit 0 ;; esac
echo "status ${{told%% *}}, "{expected} >&2
exit 1
"""


def _request(args: UriArguments, context: Context, then: str) -> tuple[str, bytes]:
    """The sh text and the standard input of a request."""
    options = curl_options(args, context.seconds(args.timeout))
    if args.method == "HEAD":
        options.append("head")
    elif args.method != "GET":
        options.append(f"request = {quoted(args.method)}")
    if args.read_only:
        options.append("location")
    body = args.text()
    if body is not None:
        if args.body_format in _TYPES and "content-type" not in map(str.lower, args.headers):
            options.append(f"header = {quoted(f'Content-Type: {_TYPES[args.body_format]}')}")
        if args.method == "GET":
            options.append('request = "GET"')
        # Unlike `data`, a leading @ names no file.
        options.append(f"data-raw = {quoted(body)}")
    prefix, exports = exported(context)
    config = "".join(f"{option}\n" for option in options)
    return prefix + _REQUEST + then, exports + config.encode()


def parse_answer(url: str, result: Result) -> Answer:
    """What the look printed."""
    if result.rc == 127:
        raise Unknown(f"{url} cannot be asked: {result.error_text}")
    if result.rc != 0:
        return Answer(-1, url, error=result.error_text or f"curl ended with {result.rc}")
    parts: dict[str, list[str]] = {"": []}
    section = ""
    for line in result.text.splitlines():
        if line in ("head", "body", "end"):
            section = line
            parts[section] = []
        else:
            parts[section].append(line)
    if "end" not in parts:
        raise Unknown(f"{url}: the answer broke off")
    _, status, where = parts[""][0].split(" ", 2)
    head = base64.b64decode("".join(parts["head"])).decode("utf-8", "replace")
    body = base64.b64decode("".join(parts["body"]))
    return Answer(int(status), where, _headers(head), body)


def _headers(head: str) -> dict[str, str]:
    """The headers of the last answer: those of redirects stand before it."""
    blocks = head.replace("\r", "").strip("\n").split("\n\n")
    lines = blocks[-1].split("\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _judged(args: UriArguments, answer: Answer) -> Outcome:
    """The answer as `register` stores it. Raises `Refused` for a status that is not good."""
    result = _registered(args, answer)
    what = f"{args.method} {args.url}"
    if answer.error:
        raise Refused(f"{what}: {answer.error}", result)
    if answer.status not in args.status_code:
        good = " or ".join(map(str, args.status_code))
        raise Refused(f"{what}: status {answer.status}, expected {good}", result)
    return Outcome(result=result)


def _registered(args: UriArguments, answer: Answer) -> dict[str, Any]:
    headers = dict(answer.headers or {})
    content_type = headers.get("content-type", "")
    result: dict[str, Any] = {
        "status": answer.status,
        "url": answer.url,
        "headers": headers,
        "content_type": content_type,
    }
    # Asked for the headers only, curl gives them for the body too.
    text = "" if args.method == "HEAD" else answer.body.decode("utf-8", "replace")
    if args.return_content:
        result["content"] = text
    kind = content_type.partition(";")[0].strip()
    if kind.endswith(("/json", "+json")) and text:
        try:
            result["json"] = json.loads(text)
        except (ValueError, RecursionError):
            raise Refused(f"{args.url} says that it is JSON, but it is not", result) from None
    return result

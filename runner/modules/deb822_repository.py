"""`deb822_repository`: one source of apt, with its key, read before it counts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from runner.facts.apt import FLAGS
from runner.modules.base import (
    Arguments,
    Change,
    Context,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
)
from runner.modules.file import File, FileArguments
from runner.modules.files.arguments import Content
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.state import probes

Switch = Annotated[bool, Field(strict=True)]
Words = tuple[str, ...]

_SCHEMES = ("http", "https", "file", "copy", "cdrom", "mirror+http", "mirror+https", "mirror+file")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~:_/-]*|\./?|/")
_PATH = re.compile(r"/[A-Za-z0-9._/+-]+")
ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


class Deb822RepositoryArguments(Arguments):
    other_names: ClassVar[Mapping[str, str]] = {"uri": "uris", "suite": "suites"}
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        examples=["nvidia-container-toolkit"],
        description="Of the files: `/etc/apt/sources.list.d/NAME.sources`, "
        "`/etc/apt/keyrings/NAME.asc`.",
    )
    state: Literal["present", "absent"] = Field("present", description="Whether it is there.")
    uris: Words = Field((), description="Where it is: http, https, file, copy, mirror+https.")
    suites: Words = Field((), description="Such as `noble`; ending with / it is an exact path.")
    components: Words = Field((), description="Such as `main`; none with an exact path.")
    types: tuple[Literal["deb", "deb-src"], ...] = Field(
        ("deb",), min_length=1, description="`deb`, `deb-src`."
    )
    architectures: Words = Field((), description="Only these; none given: those of the host.")
    signed_by: str = Field(
        "",
        description="Its key: the text of an armoured one, a file of the playbook, or the absolute"
        " path of a keyring that is on the host.",
    )
    trusted: Switch = Field(
        False, description="Take its packages without a signature: for a mirror of your own."
    )
    check_valid_until: Switch = Field(
        True, description="false: a mirror that was frozen may be older than it says it is valid."
    )
    enabled: Switch = Field(True, description="Whether apt uses it.")

    @field_validator("uris", "suites", "components", "types", "architectures", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return value.split() if isinstance(value, str) else value

    @field_validator("suites", "components", "architectures")
    @classmethod
    def _words(cls, values: Words) -> Words:
        for value in values:
            if not _WORD.fullmatch(value):
                raise ValueError(f"{value!r} is no suite, component or architecture")
        return values

    @field_validator("uris")
    @classmethod
    def _places(cls, values: Words) -> Words:
        for value in values:
            parts = urlsplit(value)
            if parts.scheme not in _SCHEMES or not value.isprintable() or " " in value:
                raise ValueError(f"{value!r} is no URI that apt reads; it begins with https://")
            if parts.password or parts.username:
                raise ValueError(
                    "a user or password in a URI can be read by everybody: put it into a file of "
                    "/etc/apt/auth.conf.d (apt_auth.conf(5)), with mode 0600"
                )
        return values

    @field_validator("signed_by")
    @classmethod
    def _no_download(cls, value: str) -> str:
        if "://" in value and not value.startswith(ARMOUR):
            raise ValueError("a key is not downloaded: put it beside the playbook, and name it")
        if value.startswith("/") and not _PATH.fullmatch(value):
            raise ValueError(f"{value!r} is no path of a keyring")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Deb822RepositoryArguments:
        if self.state == "absent":
            return self
        if not self.uris or not self.suites:
            raise ValueError("uris and suites are needed")
        exact = [suite for suite in self.suites if suite.endswith("/")]
        if exact and (self.components or len(exact) < len(self.suites)):
            raise ValueError("a suite that ends with / is an exact path: it has no components")
        if not exact and not self.components:
            raise ValueError("components is needed, such as main")
        if bool(self.signed_by) == self.trusted:
            raise ValueError(
                "give its key in signed_by; or trusted: true for a mirror without signatures"
            )
        return self

    @property
    def sources(self) -> str:
        """Where it is written (sources.list(5))."""
        return f"/etc/apt/sources.list.d/{self.name}.sources"

    def keyring(self, key: bytes | None) -> str:
        """The keyring that it is checked with; apt tells armoured keys by the name's end."""
        if key is None:
            return self.signed_by
        end = "asc" if key.startswith(ARMOUR.encode()) else "gpg"
        return f"/etc/apt/keyrings/{self.name}.{end}"


class Deb822Repository(Module[Deb822RepositoryArguments]):
    """Manages one source of apt in the deb822 form, with the key that signs it.

    The key comes with the playbook: nothing is downloaded for it, so that a mirror without the
    internet is as good as NVIDIA's server. Once the file is written apt reads this one source
    (`apt-get update`), and a source that it cannot read or whose signature is wrong is taken out
    again: the task fails. Other sources are not read.

    What a new source offers is not known before: a task with `apt` behind it needs
    `update_cache: true`. Medium risk, as a source may bring packages of any name; `trusted` is
    high. Source: sources.list(5).
    """

    name = "deb822_repository"
    arguments = Deb822RepositoryArguments
    risk = Risk.HIGH
    examples = (
        """\
- name: our mirror of NVIDIA's container toolkit
  deb822_repository:
    name: nvidia-container-toolkit
    uris: https://mirror.example.com/libnvidia-container/stable/deb/amd64
    suites: /
    signed_by: /usr/share/keyrings/nvidia-container-toolkit.asc
    check_valid_until: false
""",
        "- deb822_repository: {name: nvidia-container-toolkit, state: absent}\n",
    )

    def probes(self, args: Deb822RepositoryArguments, context: Context) -> Sequence[Probe]:
        key = None if args.state == "absent" else _key(args, context)
        paths = [args.sources] if key is None else [args.keyring(key), args.sources]
        found = [probe for path in paths for probe in probes(path, context)]
        return list({probe.key: probe for probe in found}.values())

    def plan(
        self, args: Deb822RepositoryArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        if args.state == "absent":
            gone = FileArguments(path=args.sources, state="absent")
            return File().plan(gone, observed, context)
        key = _key(args, context)
        readable = Content(mode="0644", owner="root", group="root")
        changes: tuple[Change, ...] = ()
        if key is not None:
            wanted = Wanted(args.keyring(key), key, readable, Risk.MEDIUM)
            changes += plan_content(wanted, observed, context).changes
        risk = Risk.HIGH if args.trusted else Risk.MEDIUM
        text = rendered(args, args.keyring(key)).encode()
        wanted = Wanted(args.sources, text, readable, risk)
        changes += plan_content(wanted, observed, context).changes
        if not changes:
            return Outcome()
        *first, last = changes
        return Outcome((*first, _then_read(last, args, context)))


def _key(args: Deb822RepositoryArguments, context: Context) -> bytes | None:
    """The key that comes with the playbook; None for one that is on the host, and for none."""
    if not args.signed_by or args.signed_by.startswith("/"):
        return None
    if args.signed_by.startswith(ARMOUR):
        return args.signed_by.rstrip("\n").encode() + b"\n"
    if context.read is None:
        raise Refused(f"signed_by {args.signed_by}: files of the playbook cannot be read here")
    return context.read(args.signed_by)


def rendered(args: Deb822RepositoryArguments, keyring: str) -> str:
    """The source as sources.list(5) has it."""
    fields = {
        "Types": " ".join(args.types),
        "URIs": " ".join(args.uris),
        "Suites": " ".join(args.suites),
        "Components": " ".join(args.components),
        "Architectures": " ".join(args.architectures),
        "Signed-By": keyring,
        "Trusted": "yes" if args.trusted else "",
        "Check-Valid-Until": "" if args.check_valid_until else "no",
        "Enabled": "" if args.enabled else "no",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _then_read(change: Change, args: Deb822RepositoryArguments, context: Context) -> Change:
    """The change, after which apt reads this source alone."""
    if not args.enabled:
        return change
    shell = _READ.format(flags=FLAGS, file=quote(args.sources))
    read = context.command("update", shell, 300.0)
    return replace(change, do=(*change.do, read), summary=f"{change.summary}; apt-get update of it")


_READ = """\
LC_ALL=C; export LC_ALL
said=$(apt-get {flags} -o APT::Update::Error-Mode=any -o Dir::Etc::SourceList={file} \\
    -o Dir::Etc::SourceParts=- -o APT::Get::List-Cleanup=0 update 2>&1)
rc=$?
bad=$(printf '%s\\n' "$said" | grep -E '^(E:|Err:|W: (Failed|GPG|An error))')
[ "$rc" = 0 ] && [ -z "$bad" ] && exit 0
printf '%s\\n' 'apt cannot read this source' "${{bad:-$said}}" >&2
exit 1
"""

"""`get_url`: a file that the host downloads, known by its SHA-256."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from runner.hosts.script import Command
from runner.modules.base import Context, Module, Outcome, Probe
from runner.modules.command import exported
from runner.modules.files import shell
from runner.modules.files.arguments import Content, HostPath
from runner.modules.files.change import NewFile, plan_file
from runner.modules.files.state import FileState, follow, probes, state_of
from runner.modules.web import RequestArguments, curl_options


class GetUrlArguments(Content, RequestArguments):
    """What is downloaded, and where it goes."""

    dest: HostPath = Field(description="Path on the host; ending in / it is the folder to put it.")
    checksum: str = Field(
        pattern=r"^sha256:[0-9a-fA-F]{64}$",
        examples=["sha256:" + "0123456789abcdef" * 4],
        description="`sha256:` and what `sha256sum` prints of the file: no other content is taken.",
    )
    timeout: float = Field(default=300.0, gt=0, description="Seconds the download may take.")

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if self.path.endswith("/"):
            raise ValueError(f"the URL names no file: end dest {self.dest} with the file's name")
        return self

    @property
    def path(self) -> str:
        """The file's path on the host."""
        if not self.dest.endswith("/"):
            return self.dest
        return self.dest + posixpath.basename(unquote(urlsplit(self.url).path))

    @property
    def digest(self) -> str:
        """The wanted SHA-256."""
        return self.checksum.partition(":")[2].lower()


class GetUrl(Module[GetUrlArguments]):
    """Downloads a file to the host, and takes it only with the wanted SHA-256.

    The checksum makes the plan exact: a file that has it is not downloaded again, whatever the
    server has by now. The host downloads, with curl (or wget, where neither headers nor a password
    are needed), beside the target; only when the checksum is right it is renamed. Headers and
    passwords travel on standard input. Proxies are those of the task's `environment`. For a small
    file `copy` is simpler: it needs no server.
    """

    name = "get_url"
    arguments = GetUrlArguments
    examples = (
        """\
- name: nvidia-bug-report of the vendor
  get_url:
    url: https://downloads.example.com/tools/gpu-check-1.4
    dest: /usr/local/bin/gpu-check
    checksum: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    mode: "0755"
""",
    )

    def probes(self, args: GetUrlArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(self, args: GetUrlArguments, observed: Mapping[str, Any], context: Context) -> Outcome:
        before = follow(state_of(args.path, observed), observed)
        after = before
        if before.kind != "file" or before.sha256 != args.digest:
            after = replace(before, kind="file", sha256=args.digest, size=None, content=None)

        def write(state: FileState, backup: str) -> Command:
            return _download(args, state, backup, context)

        return plan_file(NewFile(args.path, after, args, write), observed, context)


def _download(args: GetUrlArguments, state: FileState, backup: str, context: Context) -> Command:
    seconds = context.seconds(args.timeout)
    plain = not (args.headers or args.url_username or not args.validate_certs)
    command = shell.download(
        state.path,
        args.digest,
        shell.Download(args.url, curl_config(args, seconds).encode(), seconds, plain),
        shell.attributes_of(state),
        validate=args.validate_with,
        backup=backup,
        become=context.become,
    )
    prefix, exports = exported(context)
    return replace(command, shell=prefix + command.shell, stdin=exports + command.stdin)


def curl_config(args: GetUrlArguments, seconds: float) -> str:
    """The download as curl reads it."""
    options = [*curl_options(args, seconds), "fail", "location"]
    options += ["retry = 2", f"retry-max-time = {seconds:g}"]
    return "".join(f"{option}\n" for option in options)

"""`template`: a file rendered with the task's variables."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from runner.modules.base import Context, Module, Outcome, Probe, Refused
from runner.modules.files.arguments import Content, HostPath
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.state import probes


class TemplateArguments(Content):
    """A template and where its result goes."""

    src: str = Field(description="Template beside the playbook, in its `templates/` or `files/`.")
    dest: HostPath = Field(
        description="Path on the host; ending in / it is the folder to put it, without `.j2`."
    )

    @property
    def path(self) -> str:
        """The file's path on the host."""
        if self.dest.endswith("/"):
            return self.dest + posixpath.basename(self.src).removesuffix(".j2")
        return self.dest


class Template(Module[TemplateArguments]):
    """Render a Jinja template with the task's variables and put the result on the host.

    Rendering happens here, not on the host; an undefined variable is an error with the template's
    file and line. Written as `copy` writes.
    """

    name = "template"
    arguments = TemplateArguments
    examples = (
        'template: {src: dcgm-exporter.env.j2, dest: /etc/default/dcgm-exporter, mode: "0644"}',
    )

    def probes(self, args: TemplateArguments, context: Context) -> Sequence[Probe]:
        return probes(args.path, context)

    def plan(
        self, args: TemplateArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        return plan_content(Wanted(args.path, _rendered(args, context), args), observed, context)


def _rendered(args: TemplateArguments, context: Context) -> bytes:
    if context.read is None or context.template is None:
        raise Refused(f"src {args.src}: templates of the playbook cannot be read here")
    try:
        text = context.read(args.src).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(
            f"the template {args.src} is not UTF-8 text (byte {error.start}); use copy for it"
        ) from None
    rendered = context.template(text, args.src)
    # Jinja drops the last line break of a template; the file keeps it.
    if text.endswith("\n") and rendered and not rendered.endswith("\n"):
        rendered += "\n"
    return rendered.encode()

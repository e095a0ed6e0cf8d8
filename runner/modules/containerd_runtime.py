"""`containerd_runtime`: a runtime such as nvidia in containerd's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from runner.facts import container_runtime, containerd
from runner.facts.containerd import ContainerdState
from runner.modules import containerd_config as config
from runner.modules import containerd_drop_in as drop_in
from runner.modules import containerd_effect as effect
from runner.modules import containerd_template as template
from runner.modules import containerd_traces as traces
from runner.modules.base import (
    Change,
    Context,
    Module,
    Outcome,
    Probe,
    Refused,
    Risk,
    Unknown,
)
from runner.modules.containerd_arguments import ContainerdRuntimeArguments
from runner.modules.containerd_config import Patch
from runner.modules.containerd_drop_in import Place
from runner.modules.containerd_template import Made
from runner.modules.file import File, FileArguments, missing_folder
from runner.modules.files.arguments import Content
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.state import follow, probes, state_of
from runner.modules.files.summary import differences
from runner.modules.files.toml_edit import edit, parse
from runner.modules.toml import toml_text


class ContainerdRuntime(Module[ContainerdRuntimeArguments]):
    """Give containerd a runtime, as `nvidia-ctk runtime configure` means it, by the least edit.

    The new runtime is a copy of the current default (else runc, else crun) with its own program,
    so that SystemdCgroup and every other option come along. Comments and layout of the file stay.
    In mode drop_in a copy of the CRI plugin's settings with the runtime is imported from a file of
    its own, and made anew when the main file has changed since: containerd before 2.1 reads of a
    plugin only the last file that names it.

    containerd must accept the new file before it replaces the old one; afterwards its own
    `config dump` must show the runtime. A file imported over this one that would hide the change
    is named and nothing is written; so is the containerd that the kubelet uses, where that reads
    another configuration. The daemon reads its configuration only at its start: notify a handler
    that restarts it.

    What has to be added beside the runtime (the default where none was named, the built-in runtime
    of containerd 1.x in a file without any) gets a comment. So state absent leaves the file as it
    was before the runtime was added; the default goes back to the runtime that ours is a copy of.

    k3s, RKE2 and MicroK8s make the configuration at their start: there `path` is the template
    (`config-v3.toml.tmpl`, `config.toml.tmpl`, `containerd-template.toml`), and the service of the
    distribution is restarted. k3s and RKE2 add the nvidia runtimes themselves.
    """

    name = "containerd_runtime"
    arguments = ContainerdRuntimeArguments
    examples = (
        "containerd_runtime: {name: nvidia}",
        "containerd_runtime: {name: nvidia, set_as_default: true, enable_cdi: true}",
        "containerd_runtime: {name: nvidia, mode: drop_in}",
        "containerd_runtime: {name: nvidia, state: absent}",
    )
    risk = Risk.MEDIUM

    def probes(self, args: ContainerdRuntimeArguments, context: Context) -> Sequence[Probe]:
        looks = [
            *probes(args.path, context),
            containerd.probe(args.config, context.become),
            container_runtime.probe(context.become),
        ]
        if args.mode == "drop_in":
            known = {look.key for look in looks}
            looks += [look for look in probes(args.drop_in, context) if look.key not in known]
        return looks

    def plan(
        self, args: ContainerdRuntimeArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        state = observed.get(containerd.key(args.config))
        found = template.made(args.path)
        if found and args.mode == "in_place":
            template.check_written(found, args.path)
        if not isinstance(state, ContainerdState):
            raise Unknown(f"containerd with {args.config} was not looked at")
        effect.check_daemon(args, observed.get(container_runtime.KEY))
        before = follow(state_of(args.path, observed), observed)
        text = toml_text(before) if before.exists else None
        if found and args.path == found.template:
            return _template(args, found, text, observed, context, state)
        data = parse(text or "", before.path)
        if state.error:
            raise Refused(f"containerd does not accept its configuration as it is: {state.error}")
        if args.mode == "drop_in" and (config.version_of(data) > 1 or args.state == "absent"):
            return _drop_in(args, text, observed, context, state)
        return _in_place(args, text, observed, context, state)


def _template(
    args: ContainerdRuntimeArguments,
    found: Made,
    text: str | None,
    observed: Mapping[str, Any],
    context: Context,
    state: ContainerdState,
) -> Outcome:
    """A template's change; containerd sees of it only what is made at the next start."""
    if args.mode == "drop_in":
        raise Refused(f"{args.path} is a template: for mode drop_in set path to {found.config}")
    if args.state == "absent" and not text:
        return Outcome()
    template.check_addition(found, text or "", args.request)
    before = text or template.start(found)
    data = template.parse_template(found, before, args.path)
    patch = config.patch(data, args.request, state, whole=not template.has_base(before))
    after = template.edit_template(before, patch, args.path)
    if after == text:
        return Outcome(result={"runtime": args.name})
    if args.state == "absent" and template.says_nothing(after):
        return File().plan(FileArguments(path=args.path, state="absent"), observed, context)
    old = template.parse_template(found, text or "", args.path)
    summary = differences(old, template.parse_template(found, after, args.path))
    wanted = Wanted(args.path, after.encode(), Content(backup=args.backup), Risk.MEDIUM, summary)
    return effect.with_effect(plan_content(wanted, observed, context), args, patch, state)


def _in_place(
    args: ContainerdRuntimeArguments,
    text: str | None,
    observed: Mapping[str, Any],
    context: Context,
    state: ContainerdState,
) -> Outcome:
    if args.state == "absent" and text is None:
        return Outcome()
    data = parse(text or "", args.path)
    patch = config.patch(data, args.request, state)
    after = _edited(args, text, patch)
    if effect.imported(args, data, parse(after or ""), state):
        after = text or ""
    if after == text:
        effect.check_effect(args, state)
        return Outcome(messages=effect.stale(args, data, state), result={"runtime": args.name})
    outcome = _written(args, args.path, text, after, observed, context, state)
    return effect.with_effect(outcome, args, patch, state)


def _edited(args: ContainerdRuntimeArguments, text: str | None, patch: Patch) -> str | None:
    """The file's text as the patch wants it. None: it goes with the runtime it was made for."""
    before = text or ""
    if args.state == "absent" and (default := traces.default_before(before, args.name)):
        config.give_back(patch, default)
    after = edit(before, wanted=patch.wanted, remove=patch.remove, name=args.path)
    if after == before:
        return text if args.state == "absent" else after
    if args.state == "present":
        return traces.marked(text, after, args.name)
    return traces.unmarked(after, args.path)


def _drop_in(
    args: ContainerdRuntimeArguments,
    text: str | None,
    observed: Mapping[str, Any],
    context: Context,
    state: ContainerdState,
) -> Outcome:
    """Both files: the drop-in before the import of it; the other way round when it goes."""
    own = follow(state_of(args.drop_in, observed), observed)
    place = Place(args.drop_in, text, toml_text(own) if own.exists else None)
    plan = drop_in.present if args.state == "present" else drop_in.absent
    texts = plan(place, args.request, state)
    if texts.main != text and (found := template.made(args.path)):
        template.check_written(found, args.path)
    files = [(args.drop_in, place.own, texts.own), (args.path, text, texts.main)]
    changes: list[Change] = []
    for path, before, after in files if args.state == "present" else reversed(files):
        if before != after:
            seen = {**observed, **{k: v for c in changes for k, v in c.overlay.items()}}
            changes += missing_folder(path, seen, context)
            seen |= {k: v for c in changes for k, v in c.overlay.items()}
            changes += _written(args, path, before, after, seen, context, state).changes
    if not changes:
        effect.check_effect(args, state)
        return Outcome(result={"runtime": args.name})
    outcome = effect.with_effect(Outcome(tuple(changes)), args, texts.patch, state)
    return effect.with_import(outcome, args, texts.own)


def _written(
    args: ContainerdRuntimeArguments,
    path: str,
    before: str | None,
    after: str | None,
    observed: Mapping[str, Any],
    context: Context,
    state: ContainerdState,
) -> Outcome:
    if after is None:
        return File().plan(FileArguments(path=path, state="absent"), observed, context)
    summary = differences(parse(before or ""), parse(after))
    wanted = Wanted(path, after.encode(), _options(args, state), Risk.MEDIUM, summary)
    return plan_content(wanted, observed, context)


def _options(args: ContainerdRuntimeArguments, state: ContainerdState) -> Content:
    validate = f"{quote(state.program)} --config %s config dump" if state.installed else None
    return Content(validate=validate, backup=args.backup)

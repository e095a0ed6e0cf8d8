"""`package`: a package in a wanted version, by whichever package manager the host has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from runner.facts.apt import PLANNED, Goal
from runner.hosts.script import Result
from runner.modules.apt import Apt
from runner.modules.apt_arguments import AptArguments
from runner.modules.base import (
    Arguments,
    Context,
    Disruption,
    Module,
    Outcome,
    Probe,
    Risk,
    Unknown,
)
from runner.modules.dnf import Dnf, DnfArguments

Switch = Annotated[bool, Field(strict=True)]


class PackageArguments(Arguments):
    other_names: ClassVar[Mapping[str, str]] = {"pkg": "name", "lock": "hold"}
    name: tuple[str, ...] = Field(min_length=1, description="Package or list of packages.")
    version: str = Field("", description="Version of all of them, as the host's manager has it.")
    state: Goal = Field(
        "present", description="Whether it is installed; `latest` is known of apt only."
    )
    hold: Switch | None = Field(
        None, description="Whether they are held (`apt-mark hold`, `dnf versionlock`)."
    )
    update_cache: Switch = Field(
        False, description="Read the sources anew where what the host knows does not offer it."
    )
    allow_downgrade: Switch = Field(False, description="May replace a newer version.")
    allow_removals: Switch = Field(False, description="May remove packages that are not named.")

    @field_validator("name", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def model_post_init(self, _: Any) -> None:
        """Raises ValueError for what either manager refuses."""
        _ways(self)


def _ways(args: PackageArguments) -> tuple[tuple[Module[Any], Arguments], ...]:
    """The modules that do it, the first that the host has, with the same arguments."""
    wanted = args.model_dump()
    hold = wanted.pop("hold")
    by_apt = (Apt(), AptArguments(**wanted, hold=hold))
    if args.state == "latest":
        return (by_apt,)
    return by_apt, (Dnf(), DnfArguments(**wanted, lock=hold))


class Package(Module[PackageArguments]):
    """Installs, removes and holds packages with apt where the host has it, else with dnf.

    What is planned, refused and shown is as with `apt` and `dnf`, which also do it; names and
    versions of packages are not translated. See there for what has been tried on which hosts.
    """

    name = "package"
    arguments = PackageArguments
    risk = Risk.HIGH
    disruption = Disruption.GPU
    free_form = "name"
    examples = ("- package: {name: pciutils}\n",)

    def probes(self, args: PackageArguments, context: Context) -> Sequence[Probe]:
        return [
            replace(probe, key=f"package:{probe.key}", parse=_Absent(probe))
            if probe.key != PLANNED
            else probe
            for module, arguments in _ways(args)
            for probe in module.probes(arguments, context)
        ]

    def plan(
        self, args: PackageArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        seen = {key.removeprefix("package:"): state for key, state in observed.items()}
        for module, arguments in _ways(args):
            keys = [probe.key for probe in module.probes(arguments, context)]
            if all(seen[key] is not None for key in keys):
                return _under_own_keys(module.plan(arguments, seen, context))
        if args.state == "latest":
            raise Unknown("this host has no apt, which alone knows `state: latest`; name a version")
        raise Unknown("packages are not known: this host has neither apt nor dnf")


class _Absent:
    """The parser of a manager's look; None where the host has no such manager."""

    def __init__(self, probe: Probe) -> None:
        self._parse = probe.parse

    def __call__(self, result: Result) -> Any:
        return None if result.rc == 127 else self._parse(result)


def _under_own_keys(outcome: Outcome) -> Outcome:
    def own(key: str) -> str:
        return key if key == PLANNED else f"package:{key}"

    return replace(
        outcome,
        changes=tuple(
            replace(change, overlay={own(key): state for key, state in change.overlay.items()})
            for change in outcome.changes
        ),
    )

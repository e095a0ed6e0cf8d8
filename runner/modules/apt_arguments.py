"""What a task with `apt` may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from runner.facts.apt import Goal
from runner.modules.base import Arguments

Switch = Annotated[bool, Field(strict=True)]

_SPEC = re.compile(r"[a-z0-9][a-z0-9.+-]+(=[A-Za-z0-9.+:~-]+)?")


class AptArguments(Arguments):
    other_names: ClassVar[Mapping[str, str]] = {"package": "name", "pkg": "name"}
    name: tuple[str, ...] = Field(
        min_length=1, description='Package or list of packages, `"name"` or `"name=version"`.'
    )
    version: str = Field(
        "", description="Version of every package that names none; exact, as `apt-cache policy`."
    )
    state: Goal = Field(
        "present", description="`latest`: what the host's package lists offer as they are."
    )
    hold: Switch | None = Field(
        None, description="Whether they are held (`apt-mark hold`); not given: as it is."
    )
    update_cache: Switch = Field(
        False, description="Run `apt-get update` where the lists do not offer what is wanted."
    )
    allow_downgrade: Switch = Field(False, description="May replace a newer version.")
    allow_removals: Switch = Field(
        False, description="May remove packages that are not named, when apt needs that."
    )

    @field_validator("name", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _valid_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for spec in value:
            if not _SPEC.fullmatch(spec):
                raise ValueError(f"{spec!r} is neither NAME nor NAME=VERSION")
        names = [spec.partition("=")[0] for spec in value]
        if len(set(names)) < len(names):
            raise ValueError("a package is named twice")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> AptArguments:
        pinned = self.version or any("=" in spec for spec in self.name)
        if pinned and self.state != "present":
            raise ValueError(f"a version and `state: {self.state}` exclude each other")
        if self.state == "latest" and self.update_cache:
            raise ValueError(
                "what is latest after `apt-get update` cannot be planned: update in a command "
                "task before, or name the version"
            )
        if self.state == "absent" and self.hold:
            raise ValueError("a package that is absent cannot be held")
        return self

    def wanted(self) -> dict[str, str]:
        """Package to version; "" for any."""
        pairs = (spec.partition("=")[::2] for spec in self.name)
        return {name: version or self.version for name, version in pairs}

    def specs(self) -> tuple[str, ...]:
        """As apt-get takes them."""
        return tuple(f"{n}={v}" if v else n for n, v in self.wanted().items())

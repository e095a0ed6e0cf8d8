"""What a task of `nvidia_driver` may say."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, model_validator

from runner.facts.driver_packages import Flavour, Source
from runner.modules.base import Arguments


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class NvidiaDriverArguments(Arguments):
    version: str | None = Field(
        None,
        pattern=r"^\d{3}\.\d+(\.\d+)?$",
        examples=["570.86.15"],
        description="The very version: `570.86.15`.",
    )
    branch: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        None,
        pattern=r"^\d{3}$",
        examples=["570"],
        description="Instead of `version`: any version of this branch will do, such as `570`.",
    )
    flavour: Flavour | None = Field(
        None, description="The kernel module; default: as installed, open where none is."
    )
    source: Source | None = Field(
        None,
        description="Whose packages: Ubuntu's server drivers, or those of NVIDIA's CUDA "
        "repository; default: as installed, Ubuntu's where none are.",
    )
    fabric_manager: StrictBool = Field(
        False,
        description="Install fabric manager too. Where it, nscq or imex are installed they go "
        "along in any case.",
    )
    hold: StrictBool = Field(
        True, description="Hold the packages, so that unattended-upgrades leaves them alone."
    )
    without_way_back: StrictBool = Field(
        False, description="Go on where no source offers the installed version any more."
    )

    timeout: float = Field(
        1800.0, gt=0, description="Seconds that fetching, installing and undoing may each take."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> NvidiaDriverArguments:
        if (self.version is None) == (self.branch is None):
            raise ValueError("give either version or branch")
        return self

    @property
    def wanted(self) -> str:
        """The version, or the branch."""
        return self.version or self.branch or ""

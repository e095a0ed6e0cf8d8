"""What `containerd_runtime` is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from runner.facts import containerd
from runner.modules.base import Arguments
from runner.modules.containerd_config import Request
from runner.modules.containerd_template import made
from runner.modules.files.arguments import HostPath, Switch


class ContainerdRuntimeArguments(Arguments):
    """The runtime and the configuration that shall have it."""

    name: str = Field(
        default="nvidia",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        examples=["nvidia"],
        description="The runtime's name, the handler of a RuntimeClass.",
    )
    binary: HostPath = Field(
        default="/usr/bin/nvidia-container-runtime", description="The runtime's program."
    )
    set_as_default: Switch = Field(
        default=False,
        description="Pods without a RuntimeClass get it too. When false, a default of this name is"
        " taken back.",
    )
    enable_cdi: Switch | None = Field(
        default=None,
        description="containerd's own CDI (1.7; on by itself since 2.0). Left alone if not given.",
    )
    path: HostPath = Field(
        default=containerd.CONFIG_PATH,
        description="containerd's configuration file, or the template of it.",
    )
    mode: Literal["in_place", "drop_in"] = Field(
        default="in_place",
        description="in_place: the runtime is written into the configuration file itself; drop_in:"
        " into a file of its own that this one imports, as nvidia-ctk 1.18 and later do. A"
        " configuration of version 1 is always edited in place.",
    )
    drop_in: HostPath = Field(
        default="/etc/containerd/conf.d/99-nvidia.toml",
        description="The file of its own, for mode drop_in.",
    )
    state: Literal["present", "absent"] = Field(
        default="present", description="absent: the runtime, and it as the default, are removed."
    )
    backup: Switch = Field(default=False, description="Keep the old file beside it.")

    @property
    def config(self) -> str:
        """What containerd reads: `path`, or what is made of it where that is a template."""
        found = made(self.path)
        return found.config if found else self.path

    @property
    def request(self) -> Request:
        return Request(
            self.name, self.binary, self.set_as_default, self.enable_cdi, self.state == "present"
        )

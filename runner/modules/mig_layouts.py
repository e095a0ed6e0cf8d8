"""Named layouts: the configuration file of NVIDIA's mig-parted, read as it is.

Format: NVIDIA/mig-parted, api/spec/v1 and deployments/systemd/config-default.yaml. The MIG manager
of NVIDIA's GPU operator takes the same files in its ConfigMap.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from yaml.nodes import MappingNode, Node, SequenceNode

from runner.facts.nvidia import Gpu
from runner.modules.base import Refused
from runner.modules.mig_geometry import Geometry, describe, parse_geometry, profile_name

_DEVICE_ID = re.compile(r"0[xX][0-9A-Fa-f]{4}10[dD][eE]")


def _filters(value: Any) -> tuple[str, ...]:
    """PCI device ids, upper case hex: "233010DE" without NVIDIA's vendor id."""
    ids = [value] if isinstance(value, str) else value
    if ids == [""]:
        return ()
    if not isinstance(ids, list) or not all(_DEVICE_ID.fullmatch(str(one)) for one in ids):
        raise ValueError(
            'write a PCI device id with NVIDIA\'s vendor id, as "0x233010DE", or a list of them'
        )
    return tuple(one[2:6].upper() for one in ids)


def _indexes(value: Any) -> tuple[int, ...] | None:
    """None: all."""
    if value == "all":
        return None
    if not isinstance(value, list) or not all(type(one) is int and one >= 0 for one in value):
        raise ValueError("write all or a list of indexes such as [0, 1]")
    return tuple(value)


Profile = Annotated[StrictStr, AfterValidator(profile_name)]
Count = Annotated[StrictInt, Field(ge=0)]


class Entry(BaseModel):
    """What some GPUs of a layout become."""

    model_config = ConfigDict(extra="forbid")

    device_filter: Annotated[tuple[str, ...], BeforeValidator(_filters)] = Field(
        default=(), alias="device-filter"
    )
    devices: Annotated[tuple[int, ...] | None, BeforeValidator(_indexes)]
    mig_enabled: StrictBool = Field(alias="mig-enabled")
    mig_devices: dict[Profile, Count] | None = Field(default=None, alias="mig-devices")

    @model_validator(mode="after")
    def _mode_and_devices_agree(self) -> Entry:
        if self.mig_enabled and self.mig_devices is None:
            raise ValueError("mig-devices is missing; with mig-enabled it has to be there")
        if not self.mig_enabled and self.mig_devices:
            raise ValueError("mig-devices cannot be had where mig-enabled is false")
        return self

    @property
    def geometry(self) -> Geometry:
        counts = {name: count for name, count in (self.mig_devices or {}).items() if count}
        return parse_geometry(counts) if counts else Geometry(self.mig_enabled)

    def matches(self, gpu: Gpu) -> bool:
        return (not self.device_filter or gpu.device in self.device_filter) and (
            self.devices is None or gpu.index in self.devices
        )


class Layouts(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    version: Literal["v1"]
    configs: dict[StrictStr, Annotated[list[Entry], Field(min_length=1)]] = Field(
        alias="mig-configs", min_length=1
    )


@functools.lru_cache(maxsize=16)
def read_layouts(text: bytes, file: str) -> Layouts:
    """The layouts of a file. Raises Refused with all that is wrong, and where."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return Layouts.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{file} is no YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        problems = [
            f"{file}:{_position(root, one['loc'])}: {_path(one['loc'])}: "
            + one["msg"].removeprefix("Value error, ")
            for one in error.errors()
        ]
        raise Refused("\n".join(problems)) from None


def _path(loc: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in loc if part != "[key]") or "the file"


def _position(root: Node | None, loc: Sequence[int | str]) -> str:
    """Line and column of the deepest part of a path that is there."""
    node = root
    mark = root.start_mark if root else None
    for part in loc:
        if isinstance(node, MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"


def layout_for(
    layouts: Layouts, name: str, gpus: Sequence[Gpu], file: str
) -> list[tuple[Gpu, Geometry]]:
    """The GPUs that a layout is for, each with its geometry; mig-parted leaves the others alone.

    Raises Refused for a name that is not in the file, for a layout that has nothing for any GPU
    here, and for entries that contradict each other.
    """
    if name not in layouts.configs:
        raise Refused(
            f"there is no layout {name} in {file}; it has {', '.join(sorted(layouts.configs))}"
        )
    chosen: list[tuple[Gpu, Geometry]] = []
    for gpu in gpus:
        wanted = {entry.geometry for entry in layouts.configs[name] if entry.matches(gpu)}
        if len(wanted) > 1:
            both = " and ".join(sorted(_shown(one) for one in wanted))
            raise Refused(
                f"layout {name} of {file} wants both {both} for GPU {gpu.index} ({gpu.product})"
            )
        chosen += [(gpu, one) for one in wanted]
    if not chosen:
        there = ", ".join(sorted({f"{gpu.product} (0x{gpu.device or '????'}10DE)" for gpu in gpus}))
        raise Refused(f"layout {name} of {file} has no entry for the GPUs here: {there}")
    return chosen


def _shown(geometry: Geometry) -> str:
    if not geometry.on:
        return "MIG off"
    return describe(name for name, count in geometry.profiles for _ in range(count))

"""nvidia-smi's command line: `--name=value`, `--name value`, `-x value` and flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .state import Answer, Gpu, State

INVALID = "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"


class UsageError(Exception):
    """What nvidia-smi refuses at once."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.out)
        self.answer = answer


def parse(arguments: Sequence[str], valued: Mapping[str, str], flags: Mapping[str, str],
          optional: Sequence[str] = ()) -> dict[str, str]:  # fmt: skip
    """Options by their canonical name.

    Args:
        valued, flags: spelling -> canonical name of options with and without a value.
        optional: canonical names whose value may be left out.
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in flags and not equals:
            found[flags[name]] = ""
        elif name in valued:
            wanted = valued[name]
            if not equals and rest and not rest[0].startswith("-"):
                value = rest.pop(0)
            elif not equals and wanted not in optional:
                raise UsageError(
                    Answer(
                        2, f"Option {name} needs a value. Please run 'nvidia-smi -h' for help.\n"
                    )
                )
            found[wanted] = value
        else:
            raise UsageError(Answer(2, INVALID))
    return found


def numbers(text: str) -> set[int]:
    """A comma-separated list of ids."""
    try:
        return {int(part) for part in text.split(",") if part}
    except ValueError:
        raise UsageError(Answer(2, f"Invalid id: {text}\n")) from None


def select(state: State, wanted: str | None) -> list[Gpu]:
    """The GPUs of an `-i` value (indexes, UUIDs or bus ids), in the order of their index."""
    if wanted is None:
        return list(state["gpus"])
    names = {name.strip().lower() for name in wanted.split(",")}
    chosen = [gpu for gpu in state["gpus"] if names & _names(gpu)]
    if len(chosen) != len(names):
        raise UsageError(Answer(6, "No devices were found\n"))
    return chosen


def _names(gpu: Gpu) -> set[str]:
    bus = gpu["pci"].lower()
    return {str(gpu["index"]), gpu["uuid"].lower(), bus, bus[4:], bus[9:]}

"""The simulated GPU models: what the card, its MIG profiles and the driver say of themselves.

Profile names, ids, placements, memory and engine counts are those of `nvidia-smi mig -lgip` and
`-lgipp` on the real cards (tests/fixtures/nvidia-smi holds the transcripts). Those of the B200 are
what NVIDIA's DRA driver publishes of one (memory, SMs, engines, ids, placements); its table has not
been seen.
"""

from __future__ import annotations

from typing import NamedTuple


class Profile(NamedTuple):
    """One GPU instance profile. Sizes and starts count memory slices, `slices` compute slices."""

    id: int
    name: str
    slices: int
    size: int
    starts: tuple[int, ...]
    limit: int
    memory: int
    """MiB"""
    sm: int
    copy_engines: int
    decoders: int
    encoders: int
    jpeg: int
    ofa: int


class Model(NamedTuple):
    """One GPU model. `device` is the PCI device id, `memory` in MiB, `board` as lspci names it."""

    key: str
    product: str
    brand: str
    architecture: str
    device: str
    board: str
    compute_capability: str
    memory: int
    reserved: int
    power_limit: int
    profiles: tuple[Profile, ...] = ()

    @property
    def units(self) -> int:
        """Memory slices of the card: a power of two; 0 without MIG."""
        return max((p.size for p in self.profiles), default=0)

    @property
    def mode_is_volatile(self) -> bool:
        """Hopper and later switch MIG mode at once and lose it with the driver; Ampere keeps it
        in the InfoROM and needs a reset (MIG User Guide, "Getting Started with MIG")."""
        return self.architecture != "Ampere"

    def profile(self, wanted: str) -> Profile | None:
        """The profile of an id ("19"), a name ("1g.5gb") or a full name ("MIG 1g.5gb")."""
        name = wanted.strip().removeprefix("MIG ").strip()
        return next((p for p in self.profiles if name in (str(p.id), p.name)), None)


# id, compute slices, memory slices, starts, most of them: the same on every 8-slice card.
_Grid = tuple[tuple[int, int, int, tuple[int, ...], int], ...]
_GRID: _Grid = (
    (19, 1, 1, (0, 1, 2, 3, 4, 5, 6), 7),
    (20, 1, 1, (0, 1, 2, 3, 4, 5, 6), 1),
    (15, 1, 2, (0, 2, 4, 6), 4),
    (14, 2, 2, (0, 2, 4), 3),
    (9, 3, 4, (0, 4), 2),
    (5, 4, 4, (0,), 1),
    (0, 7, 8, (0,), 1),
)
_GRID_OF_FOUR: _Grid = (
    (14, 1, 1, (0, 1, 2, 3), 4),
    (21, 1, 1, (0, 1, 2, 3), 1),
    (5, 2, 2, (0, 2), 2),
    (6, 2, 2, (0, 2), 1),
    (0, 4, 4, (0,), 1),
)

# Engines of each profile, in the order of its grid: CE, DEC, ENC, JPEG, OFA.
_Engines = tuple[tuple[int, int, int, int, int], ...]

_AMPERE: _Engines = (
    (1, 0, 0, 0, 0),
    (1, 1, 0, 1, 1),
    (1, 1, 0, 0, 0),
    (2, 1, 0, 0, 0),
    (3, 2, 0, 0, 0),
    (4, 2, 0, 0, 0),
    (7, 5, 0, 1, 1),
)
_HOPPER: _Engines = (
    (1, 1, 0, 1, 0),
    (1, 1, 0, 1, 1),
    (1, 1, 0, 1, 0),
    (2, 2, 0, 2, 0),
    (3, 3, 0, 3, 0),
    (4, 4, 0, 4, 0),
    (8, 7, 0, 7, 1),
)
_BLACKWELL: _Engines = (
    (2, 1, 0, 1, 0),
    (2, 1, 0, 1, 1),
    (2, 1, 0, 1, 0),
    (4, 2, 0, 2, 0),
    (6, 3, 0, 3, 0),
    (8, 4, 0, 4, 0),
    (16, 7, 0, 7, 1),
)
_A30: _Engines = (
    (1, 1, 0, 0, 0),
    (1, 1, 0, 1, 1),
    (2, 2, 0, 0, 0),
    (2, 2, 0, 1, 1),
    (4, 4, 0, 1, 1),
)


def _profiles(
    names: str,
    memory: tuple[int, ...],
    sm: tuple[int, ...],
    engines: _Engines,
    grid: _Grid = _GRID,
) -> tuple[Profile, ...]:
    """The profiles of a card from its columns of the `-lgip` table."""
    rows = zip(grid, names.split(), memory, sm, engines, strict=True)
    return tuple(
        Profile(number, name, slices, size, starts, limit, mib, count, ce, dec, enc, jpeg, ofa)
        for (number, slices, size, starts, limit), name, mib, count, (
            ce,
            dec,
            enc,
            jpeg,
            ofa,
        ) in rows
    )


_A100_40 = _profiles(
    "1g.5gb 1g.5gb+me 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb",
    (4864, 4864, 9856, 9856, 19968, 19968, 40192),
    (14, 14, 14, 28, 42, 56, 98),
    _AMPERE,
)
_A100_80 = _profiles(
    "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb",
    (9728, 9728, 19968, 19968, 40192, 40192, 80384),
    (14, 14, 14, 28, 42, 56, 98),
    _AMPERE,
)
_H100_80 = _profiles(
    "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb",
    (9984, 9984, 20096, 20096, 40448, 40448, 81152),
    (16, 16, 26, 32, 60, 64, 132),
    _HOPPER,
)
_H200_141 = _profiles(
    "1g.18gb 1g.18gb+me 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb",
    (16384, 16384, 33280, 33280, 71424, 71424, 143360),
    (16, 16, 26, 32, 60, 64, 132),
    _HOPPER,
)
_B200_180 = _profiles(
    "1g.23gb 1g.23gb+me 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb",
    (20992, 20992, 45312, 45312, 91136, 91136, 182784),
    (18, 18, 30, 36, 70, 72, 148),
    _BLACKWELL,
)
_A30_24 = _profiles(
    "1g.6gb 1g.6gb+me 2g.12gb 2g.12gb+me 4g.24gb",
    (5952, 5952, 11968, 11968, 24000),
    (14, 14, 28, 28, 56),
    _A30,
    _GRID_OF_FOUR,
)

MODELS: dict[str, Model] = {
    model.key: model
    for model in (
        Model(
            "A100-40", "NVIDIA A100-SXM4-40GB", "NVIDIA", "Ampere", "20B0",
            "GA100 [A100 SXM4 40GB]", "8.0", 40960, 570, 400, _A100_40,
        ),
        Model(
            "A100-80", "NVIDIA A100-SXM4-80GB", "NVIDIA", "Ampere", "20B2",
            "GA100 [A100 SXM4 80GB]", "8.0", 81920, 869, 500, _A100_80,
        ),
        Model(
            "A30", "NVIDIA A30", "NVIDIA", "Ampere", "20B7",
            "GA100GL [A30 PCIe]", "8.0", 24576, 576, 165, _A30_24,
        ),
        Model(
            "H100-80", "NVIDIA H100 80GB HBM3", "NVIDIA", "Hopper", "2330",
            "GH100 [H100 SXM5 80GB]", "9.0", 81559, 479, 700, _H100_80,
        ),
        Model(
            "H200-141", "NVIDIA H200", "NVIDIA", "Hopper", "2335",
            "GH100 [H200 SXM 141GB]", "9.0", 143771, 614, 700, _H200_141,
        ),
        Model(
            "B200", "NVIDIA B200", "NVIDIA", "Blackwell", "2901",
            "GB100 [B200]", "10.0", 183359, 575, 1000, _B200_180,
        ),
        Model(
            "L4", "NVIDIA L4", "NVIDIA", "Ada Lovelace", "27B8",
            "AD104GL [L4]", "8.9", 23034, 434, 72,
        ),
        Model(
            "T4", "Tesla T4", "NVIDIA", "Turing", "1EB8",
            "TU104GL [Tesla T4]", "7.5", 15360, 388, 70,
        ),
    )
}  # fmt: skip
"""Key of `create(model=…)` -> model."""

"""Heights of tiles become ways through strided columns: how wide tiles are, how many warps; pure Python, needs no GPU.

Those of GPUs on which a program may have as much shared memory as on an H100 were the fastest of all tried (H200; the
variants: half, once and twice the columns, 4 and 8 warps, 2 to 4 stages, bounds of registers). Other GPUs get tiles
that fit into 99 KiB.
"""

from dataclasses import dataclass
from typing import Any, Literal

Pass = Literal["forth", "back", "middle forth", "middle back", "pair forth", "pair back"]


@dataclass(frozen=True, slots=True)
class Way:
    """How a kernel goes through columns.

    Attributes:
        columns: Columns of a tile.
        warps: Warps of a program.
        registers: Registers of a thread, at most; None for as many as it takes.
        stages: Tiles that a program works on or has sent for.
        keep: Whether a pair's twiddle stays in registers.
    """

    columns: int
    warps: int
    registers: int | None
    stages: int
    keep: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """For a launch."""
        return {"C": self.columns, "STAGES": self.stages, "num_warps": self.warps, "maxnreg": self.registers}


# Bytes of shared memory that a program may have on an H100.
_MUCH = 227 << 10
# By the height of the tile, of pairs by the product of both.
WIDE: dict[Pass, dict[int, Way]] = {
    "forth": {16: Way(128, 8, None, 3), 32: Way(128, 8, None, 3), 64: Way(64, 8, None, 3), 128: Way(64, 8, None, 4)},
    "back": {16: Way(128, 8, None, 3), 32: Way(128, 8, None, 3), 64: Way(64, 4, None, 3), 128: Way(64, 8, None, 3)},
    "middle forth": {16: Way(128, 8, None, 3), 32: Way(128, 8, None, 3), 64: Way(64, 4, None, 4)},
    "middle back": {16: Way(128, 8, None, 3), 32: Way(128, 8, None, 3), 64: Way(64, 4, None, 4)},
    "pair forth": {256: Way(16, 8, 128, 3), 512: Way(16, 8, 128, 2, keep=False)},
    "pair back": {256: Way(32, 8, 128, 2), 512: Way(32, 16, 128, 2)},
}
# Of signals without gates, where it takes at least 3% less time. Low samples of frequency-sparse convolutions: 16 rows
# forth 6%, back 11%, 32 rows 5 to 11% and 7 to 10%, 64 rows forth 10%. Of 200 million samples, convolved at all
# frequencies, it makes no difference beyond that from one measurement to the next: 5.97, 6.19 and 6.62 ps a sample
# instead of 5.94, 6.14 and 6.64.
UNGATED: dict[Pass, dict[int, Way]] = {
    "forth": {16: Way(128, 4, None, 3), 32: Way(64, 4, None, 4), 64: Way(64, 4, 168, 3)},
    "back": {16: Way(128, 4, None, 3), 32: Way(128, 4, None, 3)},
}
NARROW: dict[Pass, dict[int, Way]] = {
    "forth": {16: Way(128, 4, 168, 2), 32: Way(64, 4, 168, 2), 64: Way(64, 4, 168, 2), 128: Way(32, 8, 128, 2)},
    "back": {16: Way(128, 4, None, 2), 32: Way(64, 4, None, 2), 64: Way(64, 4, None, 2), 128: Way(16, 8, None, 2)},
    "middle forth": {16: Way(128, 4, None, 2), 32: Way(64, 4, None, 2), 64: Way(64, 4, None, 2)},
    "middle back": {16: Way(128, 4, None, 2), 32: Way(64, 4, None, 2), 64: Way(64, 4, None, 2)},
    "pair forth": {256: Way(16, 8, 80, 2), 512: Way(16, 8, 128, 2)},
    "pair back": {256: Way(32, 8, 128, 2), 512: Way(16, 8, 128, 2)},
}


def way(kind: Pass, height: int, shared: int, *, ragged: bool = False, gated: bool = True) -> Way:
    """The way for tiles of some height where a program may have so many bytes of shared memory.

    Ragged signals, whose rows do not start at multiples of 16 bytes, are read without the copies that stages are made
    of: with 49 rows and the wide tiles they took 13.1 ps a sample instead of 12.8.
    """
    wide = shared >= _MUCH and not (ragged and height < 128)
    if not wide:
        return NARROW[kind][height]
    ungated = {} if gated else UNGATED.get(kind, {})
    return ungated.get(height, WIDE[kind][height])

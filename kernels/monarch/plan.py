"""Lengths become plans: which kernels convolve a signal, and with which factors; pure Python, needs no GPU.

Four methods, each best in its range:
    direct   a banded Toeplitz matrix times the signal: short signals or short filters;
    blocks   blocks that fit on chip, two factors each, with the spectra of earlier blocks kept at hand;
    signals  one outer factor and the rows in between, all by one program, whose planes fit into its part of the cache;
             of long signals, these are the rows that one more outer factor leaves;
    passes   one or two outer factors over strided columns, and convolutions on chip of the rows in between.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod
from typing import Literal

Method = Literal["direct", "blocks", "signals", "passes"]

# The two factors of a row of the planes.
ROWS = ((64, 32), (64, 64))
# Two factors of a block. The first is 64, the height of a tensor core's tile; the second sets the length.
BLOCKS = ((64, 16), (64, 32), (64, 64))
# Rows of an outer transform, alone and where there are two.
LARGEST_SINGLE, LARGEST_OUTER = 128, 64
# Largest tiles of two outer transforms that are done in one pass. A pair of tiles is not worth it if less than three
# quarters are full, as one that is not full takes longer than its memory traffic (fitted to three quarters).
LARGEST_PAIR = (32, 16)
_EMPTY_PAIR = 0.45
# The same of single transforms, by height of the tile (fitted to 10 to 110 rows, and to 41 x 25 rows).
_EMPTY = {16: 0.55, 32: 0.55, 64: 0.55, 128: 0.85}
# Rows of a signal that one program does from end to end: all of a column are in registers, all planes in the cache.
MOST_ROWS = 7
LONGEST = LARGEST_OUTER**2 * 4096
LONGEST_DIRECT = 2048
# One block before: with more, float16 sums of spectra that cancel cost accuracy (1.4e-3 with three, smooth filters).
MOST_HISTORY = 1
# Time of outer passes over rows that do not start at multiples of 16 bytes, in that over others: by height of the tile
# (fitted to 200,002 and 700,001 samples), and of pairs. And where several signals share a tile.
_RAGGED = {16: 2.4, 32: 2.4, 64: 1.8, 128: 1.95}
_RAGGED_PAIR = 3.2
_PACKED = 1.03
# Picoseconds a sample that such rows cost more where one program does all (20,001 samples, 16,383).
_RAGGED_SIGNALS = 1.6
# Where one program does all, planes of up to so many samples stay in the cache; each 4,096 more cost so many
# picoseconds a sample (20,480 and 28,672 samples, H200).
_CACHED, _CROWDED = 16384, 0.95
# Workspace for the planes of several passes, bytes: as many channels at a time as fit.
PLANE_BYTES = 1 << 30
# Rows of the smallest matrix that tensor cores take.
SMALLEST_TILE = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """How one convolution is computed.

    Attributes:
        method: The kernels to use.
        factors: Factors of one transform, outermost first; their product is its length. None for "direct".
        history: 1 if signals come in blocks (or, for "passes", in chunks) each of which needs the one before, else 0.
            Filters may then be as long as a block, or twice as long if there are two blocks at most.
    """

    method: Method
    factors: tuple[int, ...] = ()
    history: int = 0

    @property
    def n(self) -> int:
        """Samples in one transform; 1 for "direct"."""
        return prod(self.factors)

    def parts(self, taps: int) -> int:
        """Spectra of one filter of `taps` taps: one for its product with a block, one with the block before.

        In passes by one outer factor, chunks that are no shorter than the filter take the one before as their
        imaginary part instead.
        """
        alone = self.method == "passes" and len(self.factors) == 3 and taps <= self.n
        return 1 if alone else 1 + self.history

    @property
    def in_place(self) -> bool:
        """Whether results may be written over the signals: no program reads what another may have written by then."""
        return self.method in ("passes", "signals") or (self.method == "blocks" and not self.history)

    def shares_spectra(self, other: "Plan") -> bool:
        """Whether filters prepared for one plan are as the other's kernels read them."""
        outer = ("signals", "passes")
        alike = (self.factors, self.history) == (other.factors, other.history)
        return self == other or (alike and self.method in outer and other.method in outer)

    def __str__(self) -> str:
        name = " x ".join(map(str, self.factors)) or self.method
        return name + (" + before" if self.history else " at once" if self.method == "signals" else "")


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Speed of the kernels on one GPU, gated, float16: picoseconds a sample (the same number in ms per 1e9 samples).

    Attributes:
        device: What was measured.
        direct: Whatever the filter, and for each tap.
        blocks: By length of a block; a block's samples are counted whole.
        history: For each earlier block, by length of a block.
        outer: Forward and inverse pass over real signals together, by height of the tile.
        middle: Forward and inverse pass over planes together, by height of the tile.
        pair: Forward and inverse pass of two outer transforms in one, by the product of the heights of their tiles.
        inner: Convolutions of the rows, by their length.
        signals: Whole signals by one program each, by the length of their rows.
        radix: The same, more for each of the rows.
        nested: As signals, of those that one more outer transform leaves; without that one.
        nested_radix: The same, more for each of the rows.
        before: For the chunk before, in several passes, by spectra of a filter: 1 where it is read again, 2 where the
            product with it is added to the rows'.
        launch: Nanoseconds for each launch.
        programs: Programs it takes to fill the GPU.
    """

    device: str
    direct: tuple[float, float]
    blocks: dict[int, float]
    history: dict[int, float]
    outer: dict[int, float]
    middle: dict[int, float]
    pair: dict[int, float]
    inner: dict[int, float]
    signals: dict[int, float]
    radix: dict[int, float]
    nested: dict[int, float]
    nested_radix: dict[int, float]
    before: dict[int, float]
    launch: float
    programs: int


# Measured kernel by kernel in gated convolutions of 200 million samples (PyTorch 2.11, Triton 3.6; copy 4.1 TB/s).
H200 = Rates(
    device="NVIDIA H200",
    direct=(2.3, 0.0038),
    blocks={1024: 3.65, 2048: 3.1, 4096: 4.1},
    history={1024: 2.5, 2048: 1.85, 4096: 0.9},
    outer={16: 3.86, 32: 3.9, 64: 4.17, 128: 4.76},
    middle={16: 4.2, 32: 4.1, 64: 4.35},
    pair={256: 5.95, 512: 7.7},
    inner={2048: 3.0, 4096: 3.3},
    signals={2048: 5.5, 4096: 5.6},
    radix={2048: 0.12, 4096: 0.0},
    nested={2048: 4.75, 4096: 4.1},
    nested_radix={2048: 0.45, 4096: 0.65},
    before={1: 0.1, 2: 0.4},
    launch=6000.0,
    programs=264,
)


def tile(n: int) -> int:
    """Height of the tile (a power of two) that holds n rows."""
    return max(SMALLEST_TILE, 1 << (n - 1).bit_length())


def paired(n1: int, n2: int) -> bool:
    """Whether two outer transforms are done in one pass."""
    fits = tile(n1) <= LARGEST_PAIR[0] and tile(n2) <= LARGEST_PAIR[1]
    return fits and 4 * n1 * n2 >= 3 * tile(n1) * tile(n2)


def packed(n: int) -> int:
    """Signals of n rows that stand one below the other in a tile: several in the smallest tile, else one."""
    return max(1, SMALLEST_TILE // n)


@lru_cache(maxsize=4096)
def choose(batch: int, channels: int, length: int, taps: int, rates: Rates | None = None) -> Plan:
    """The cheapest plan for signals (batch, channels, length) and filters of `taps` taps.

    Raises:
        ValueError: The signal is longer than any plan.
    """
    plans = list(candidates(length, taps))
    if not plans:
        raise ValueError(f"signals of {length} samples are longer than the longest transform, {LONGEST}")
    return min(plans, key=lambda plan: cost(plan, batch, channels, length, taps, rates))


def candidates(length: int, taps: int) -> Iterator[Plan]:
    """Every plan that can convolve a signal of `length` samples with `taps` taps, with at most an eighth of waste.

    (In plans of several passes; a block that is not full costs arithmetic, but no memory traffic.)
    """
    taps = min(taps, length)
    if taps <= LONGEST_DIRECT:
        yield Plan("direct")
    for factors in BLOCKS:
        history = min(ceil(length / prod(factors)) - 1, ceil(taps / prod(factors)))
        if history <= MOST_HISTORY:
            yield Plan("blocks", factors, history)
    for inner in ROWS:
        if 1 < ceil(length / prod(inner)) <= MOST_ROWS:
            yield Plan("signals", (ceil(length / prod(inner)), *inner))
        for nested in _nested(ceil(length / prod(inner))):
            yield Plan("signals", (*nested, *inner))
        for outer in _outer(ceil(length / prod(inner))):
            yield Plan("passes", (*outer, *inner))
        for rows in _chunks(ceil(length / prod(inner)), ceil(taps / prod(inner))):
            yield Plan("passes", (rows, *inner), 1)
        for outer in _halves(ceil(length / prod(inner))):
            if taps > prod(outer) * prod(inner):
                yield Plan("passes", (*outer, *inner), 1)


def _outer(rows: int) -> Iterator[tuple[int, ...]]:
    """One outer factor for so many rows, or two: for each pair of tiles those with the least waste."""
    if 1 < rows <= LARGEST_SINGLE:
        yield (rows,)
    if rows > LARGEST_OUTER:
        found: dict[tuple[int, int], tuple[int, int]] = {}
        for second in range(2, LARGEST_OUTER + 1):
            first = ceil(rows / second)
            tiles = tile(first), tile(second)
            if 2 <= first <= LARGEST_OUTER and first * second < prod(found.get(tiles, (rows, 2))):
                found[tiles] = (first, second)
        yield from (pair for pair in found.values() if prod(pair) * 8 <= rows * 9)


def _halves(rows: int) -> Iterator[tuple[int, ...]]:
    """Outer factors of both blocks that so many rows come in, where all at once would take larger tiles, or more."""
    if LARGEST_OUTER < rows <= LARGEST_OUTER**2:
        yield from (outer for outer in _outer(ceil(rows / 2)) if 2 * prod(outer) * 8 <= rows * 9)


def _nested(rows: int) -> Iterator[tuple[int, int]]:
    """An outer factor and the rows that each of its rows is: for each height of tile those with the least waste."""
    found: dict[int, tuple[int, int]] = {}
    for few in range(2, MOST_ROWS + 1):
        first = ceil(rows / few)
        if 2 <= first <= LARGEST_SINGLE and first * few < prod(found.get(tile(first), (rows, 2))):
            found[tile(first)] = (first, few)
    yield from (pair for pair in found.values() if LARGEST_SINGLE < rows <= prod(pair) <= rows * 9 / 8)


def _chunks(rows: int, least: int) -> list[int]:
    """Heights of chunks, of at least so many rows, in which so many rows come; one for each height of tile.

    Two tiles of 128 rows, with as many on their way as one alone has, would not fit into a GPU's shared memory.
    """
    heights = (ceil(rows / ceil(rows / most)) for most in (16, 32, 64) if most < rows)
    return sorted({height for height in heights if height >= least})


def cost(plan: Plan, batch: int, channels: int, length: int, taps: int, rates: Rates | None = None) -> float:
    """Predicted time of a plan in nanoseconds."""
    rates = rates or H200
    rows = batch * channels
    taps = min(taps, length)
    if plan.method == "direct":
        # The building of the Toeplitz tiles dominates: fewer than 64 rows of the batch take as long (8 times at 8).
        seen = 64 * ceil(batch / 64) * channels * length
        each = rates.direct[0] + rates.direct[1] * taps
        return seen * each / 1e3 / _share(ceil(batch / 64) * channels * ceil(length / 128), rates) + rates.launch
    if plan.method == "blocks":
        blocks = ceil(length / plan.n)
        each = rates.blocks[plan.n] + rates.history[plan.n] * plan.history
        return rows * blocks * plan.n * each / 1e3 / _share(rows * blocks, rates) + rates.launch
    row = prod(plan.factors[-2:])
    ragged = length % 8 > 0
    if plan.method == "signals":
        few = plan.factors[-3]
        if len(plan.factors) == 3:
            each, launches = rates.signals[row] + rates.radix[row] * few + (_RAGGED_SIGNALS if ragged else 0.0), 0
        else:
            each, launches = _outer_cost(plan.factors[:1], rates, ragged=ragged)
            each += rates.nested[row] + rates.nested_radix[row] * few
        each += _CROWDED * max(0, few * row - _CACHED) / 4096
        signals = rows * plan.n // (few * row)
        programs = rates.programs * 3 // 2
        rounds = ceil(signals / programs) * programs if signals > programs else max(signals, rates.programs)
        return rounds * few * row * each / 1e3 + (launches + 1) * rates.launch
    outer, launches = _outer_cost(plan.factors[:-2], rates, ragged=ragged)
    passes = outer + rates.inner[row]
    parts = plan.parts(taps)
    if plan.history:
        rows *= ceil(length / plan.n)
        passes += rates.before[parts]
    programs = rows * plan.n // (row * parts)
    return rows * plan.n * passes / 1e3 / _share(programs, rates) + (launches + 1) * rates.launch


def _outer_cost(factors: tuple[int, ...], rates: Rates, *, ragged: bool) -> tuple[float, int]:
    """Picoseconds a sample, and launches, of all outer transforms."""
    first, *second = map(tile, factors)
    if second and paired(*factors):
        empty = first * second[0] / prod(factors)
        return rates.pair[first * second[0]] * empty**_EMPTY_PAIR * (_RAGGED_PAIR if ragged else 1.0), 2
    outer = rates.outer[first] * _empty(factors[0]) * (_RAGGED[first] if ragged else 1.0)
    if packed(factors[0]) > 1:
        outer *= _PACKED
    middle = sum(rates.middle[tile(n)] * _empty(n) for n in factors[1:])
    return outer + middle, 2 + 2 * len(second)


def _empty(n: int) -> float:
    """How many times longer a sample takes in a tile that is not full."""
    ratio: float = (tile(n) / (n * packed(n))) ** _EMPTY[tile(n)]
    return ratio


def _share(programs: int, rates: Rates) -> float:
    """The part of the GPU that so many programs keep busy."""
    return min(1.0, programs / rates.programs)

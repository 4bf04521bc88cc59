"""Constants of the kernels: DFT matrices and twiddles, computed in float64, rounded once, kept on the device.

Every transform is nearly unitary (see `unit`), so that float16 keeps its range at every length. Complex tables are
stacks of planes: real, imaginary and, for matrices, minus imaginary.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor

from genoconv.kernels.monarch.plan import Plan, packed

# Frequencies are shifted by a quarter of a bin: the wrapped half of a causal convolution turns imaginary.
SHIFT = 0.25


_takers: list[list[Tensor]] = []


@contextmanager
def handed_out() -> Iterator[list[Tensor]]:
    """The tables that are used while the context lasts; whoever holds the list may go on reading them afterwards."""
    taker: list[Tensor] = []
    _takers.append(taker)
    try:
        yield taker
    finally:
        _takers.pop()


def _kept(count: int) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Keeps the `count` tables of a kind that were used last."""

    def keeping(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        cached = lru_cache(maxsize=count)(make)

        @wraps(make)
        def table(*args: Any, **kwargs: Any) -> Tensor:
            found = cached(*args, **kwargs)
            for taker in _takers:
                taker.append(found)
            return found

        return table

    return keeping


def unit(n: int) -> float:
    """What a transform of n values is multiplied with: the power of two next to 1 / sqrt(n).

    A root that had to be rounded would make all values of the lowest frequencies wrong by the same part, up to 2e-4.
    """
    return 2.0 ** -math.ceil(math.log2(n) / 2 - 0.5)


def growth(plan: Plan) -> float:
    """What signals are multiplied with by all transforms of a plan, forth and back; spectra are divided by it."""
    return math.prod(n * unit(n) ** 2 for n in plan.factors)


def turns(x: Tensor) -> Tensor:
    """exp(-2 pi i x), complex128, for x (float64) in turns; whole turns are taken off first to keep all digits."""
    return torch.polar(torch.ones_like(x), (x - torch.floor(x)) * (-2.0 * math.pi))


def _count(n: int, device: torch.device) -> Tensor:
    return torch.arange(n, dtype=torch.float64, device=device)


def _planes(z: Tensor, *, at: int, matrix: bool) -> Tensor:
    parts = (z.real, z.imag, -z.imag) if matrix else (z.real, z.imag)
    return torch.stack(parts, dim=at).half().contiguous()


@_kept(32)
def dft_matrix(n: int, device: torch.device) -> Tensor:
    """The plain DFT over n values, (3, n, n) float16; symmetric."""
    j = _count(n, device)
    return _planes(turns(j[:, None] * j / n) * unit(n), at=0, matrix=True)


@_kept(32)
def whole_dft_matrix(n: int, device: torch.device) -> Tensor:
    """The plain DFT c + i s, for products from the right, as reals, (2 n, 2 n) float16: [[c, s], [-s, c]]."""
    c, s, m = dft_matrix(n, device)
    return _blocks(c, s, m)


def _blocks(c: Tensor, s: Tensor, m: Tensor) -> Tensor:
    return torch.cat([torch.cat((c, s), 1), torch.cat((m, c), 1)]).contiguous()


@_kept(32)
def shifted_dft_matrix(n: int, device: torch.device) -> Tensor:
    """The DFT over n values shifted by a quarter in both indices, (3, n, n) float16; symmetric."""
    j = _count(n, device) - SHIFT
    return _planes(turns(j[:, None] * j / n) * unit(n), at=0, matrix=True)


@_kept(32)
def block_twiddle(n1: int, n2: int, device: torch.device) -> Tensor:
    """Between the factors of a quarter-shifted transform, (2, n1, n2); also mends the shift in time of the first."""
    j = _count(n1, device)[:, None] - SHIFT
    return _planes(turns(j * (SHIFT / n1 + _count(n2, device) / (n1 * n2))), at=0, matrix=False)


@_kept(32)
def ordered_block_twiddle(n1: int, n2: int, device: torch.device) -> Tensor:
    """The same in the order of spectra (see `pieces.spectrum_place`), (2, n1 n2)."""
    return _spectrum_order(block_twiddle(n1, n2, device))


@_kept(32)
def half_left(device: torch.device) -> Tensor:
    """Half of a transform of 64 rows, from the left: the DFT over 32, made unitary for 64, as reals, (64, 64) float16.

    Rows and columns are those of `rows_kernel._grouped`.
    """
    j = _count(32, device)
    c, s, m = _planes(turns(j[:, None] * j / 32) * unit(64), at=0, matrix=True)
    order = torch.arange(64, device=device).view(2, 4, 8).transpose(0, 1).flatten()
    return _blocks(c, m, s)[order][:, order].contiguous()


@_kept(32)
def half_twist(device: torch.device) -> Tensor:
    """The twiddle of the odd half of a transform of 64 rows, (2, 32) float32."""
    z = turns(_count(32, device) / 64)
    return torch.stack((z.real, z.imag)).float().contiguous()


@_kept(32)
def half_right(n: int, gain: float, device: torch.device) -> Tensor:
    """The halves of a transform of n columns, from the right, of even and of odd frequencies, as reals, (2, n, n).

    They are smaller by gain, so that a transform may be multiplied with a spectrum that is larger by it. On the way
    back, when they are taken once more, the twiddle is larger by it. (It is a power of two.)
    """
    j = _count(n // 2, device)
    halves = [turns(j[:, None] * (2 * j + odd) / n) * (unit(n) / gain) for odd in (0, 1)]
    return torch.stack([_blocks(*_planes(z, at=0, matrix=True)) for z in halves])


@_kept(32)
def row_twiddle(n2: int, gain: float, device: torch.device) -> Tensor:
    """Between the transforms of a row (64, n2), forth and (larger by gain) back: (2, 2, 64 n2) float16."""
    return _forth_and_back(turns(_count(64, device)[:, None] * _count(n2, device) / (64 * n2)), gain)


def _forth_and_back(z: Tensor, gain: float) -> Tensor:
    """A twiddle (64, n2) in the order in which threads hold products of halves, each 8 values in one place."""
    bits = _planes(z, at=0, matrix=False).reshape(2, 4, 8, -1, 4, 4, 2)
    forth = bits.permute(0, 3, 1, 2, 5, 4, 6).reshape(2, -1)
    return torch.stack((forth, forth * gain))


@_kept(32)
def halved_left(device: torch.device) -> Tensor:
    """The DFT over 64 rows, (3, 64, 64) float16, its frequencies in the order of spectra of rows."""
    return dft_matrix(64, device)[:, _halved_rows(device)].contiguous()


@_kept(32)
def halved_right(n: int, device: torch.device) -> Tensor:
    """The DFT over n columns, (3, n, n) float16, its frequencies in the order of spectra of rows."""
    return dft_matrix(n, device).view(3, n, -1, 2).transpose(2, 3).reshape(3, n, n)


@_kept(32)
def halved_twiddle(n2: int, device: torch.device) -> Tensor:
    """Between the two, (2, 64, n2) float16."""
    j = _halved_rows(device).double()[:, None]
    return _planes(turns(j * _count(n2, device) / (64 * n2)), at=0, matrix=False)


def _halved_rows(device: torch.device) -> Tensor:
    """Which of 64 frequencies stands where (see `pieces.halved_row`)."""
    return torch.arange(64, device=device).view(4, 8, 2).transpose(1, 2).flatten()


@_kept(16)
def outer_matrices(
    n1: int, m: int, tile: int, columns: int, shift: float, inverse: bool, device: torch.device
) -> Tensor:
    """The outer DFT over n1 rows for each tile of columns, (m / columns, 3, tile, tile) float16.

    Row j of the matrix for the columns from c carries the twiddle of column c, c (j - shift) / (n1 m). The inverse is
    the conjugate transpose. Small transforms stand several times on the diagonal; all else is zero.
    """
    j = _count(n1, device)[:, None] - shift
    start = _count(m // columns, device)[:, None, None] * columns
    z = turns(j * _count(n1, device) / n1 + start * j / (n1 * m)) * unit(n1)
    if inverse:
        z = z.transpose(1, 2).conj()
    out = torch.zeros(m // columns, 3, tile, tile, dtype=torch.float16, device=device)
    for k in range(0, packed(n1) * n1, n1):
        out[:, :, k : k + n1, k : k + n1] = _planes(z, at=1, matrix=True)
    return out


@_kept(16)
def signal_coefficients(n1: int, inner: tuple[int, int], shift: float, device: torch.device) -> Tensor:
    """The outer DFT over n1 rows of [N1, N2], for signals that one program does from end to end.

    The coefficients of columns m1 N2 + m2 carry the twiddle of m2 = 0; `signal_twiddle` has that of m2.

    Returns:
        (n1, n1, 2, N1) float32: row of the transform, of the signal, real and imaginary part, m1.
    """
    j = _count(n1, device)[:, None, None] - shift
    z = turns(j * (_count(n1, device)[:, None] + _count(inner[0], device) / inner[0]) / n1) * unit(n1)
    return torch.stack((z.real, z.imag), 2).float().contiguous()


@_kept(16)
def signal_twiddle(n1: int, inner: tuple[int, int], shift: float, gain: float, device: torch.device) -> Tensor:
    """The twiddle of the rows and that of columns m2 (see `signal_coefficients`) in one, for each of n1 rows.

    Returns:
        (n1, 2, 2, N1 N2) float16, forth and (larger by gain) back.
    """
    j = _count(n1, device)[:, None, None] - shift
    m2 = _count(inner[1], device) / (inner[0] * inner[1])
    rows = turns(m2 * (_count(inner[0], device)[:, None] + j / n1))
    return torch.stack([_forth_and_back(row, gain) for row in rows])


@_kept(16)
def outer_twiddle(n1: int, m: int, tile: int, columns: int, shift: float, device: torch.device) -> Tensor:
    """The twiddle of the columns of one tile relative to its first, (2, tile, columns) float16; else zero."""
    j = _count(n1, device)[:, None] - shift
    w = _planes(turns(j * _count(columns, device) / (n1 * m)), at=0, matrix=False)
    out = torch.zeros(2, tile, columns, dtype=torch.float16, device=device)
    for k in range(0, packed(n1) * n1, n1):
        out[:, k : k + n1] = w
    return out


@_kept(16)
def pair_between(n1: int, n2: int, tiles: tuple[int, int], device: torch.device) -> Tensor:
    """Between the two transforms of a pair, (tile, tile) pairs of float16 in int32; else zero."""
    out = torch.zeros(*tiles, dtype=torch.int32, device=device)
    out[:n1, :n2] = _pairs(turns((_count(n1, device)[:, None] - SHIFT) * _count(n2, device) / (n1 * n2)))
    return out


@_kept(16)
def pair_twiddle(n1: int, n2: int, m: int, device: torch.device) -> Tensor:
    """After the two transforms of a pair, (n1, n2, m) pairs of float16 in int32."""
    j = _count(n1, device)[:, None, None] - SHIFT + n1 * _count(n2, device)[:, None]
    return _pairs(turns(j * _count(m, device) / (n1 * n2 * m)))


@_kept(16)
def ordered_pair_twiddle(
    n1: int, n2: int, m: int, tiles: tuple[int, int], columns: int, warps: int, device: torch.device
) -> Tensor:
    """The same for each tile of columns, in the order in which threads hold products (see `pairs_kernels`).

    Returns:
        (m / columns, tile * tile * columns) pairs of float16 in int32.
    """
    out = torch.zeros(*tiles, m, dtype=torch.int32, device=device)
    out[:n1, :n2] = pair_twiddle(n1, n2, m, device)
    parts = out.view(*tiles, m // columns, columns).permute(2, 1, 0, 3)
    bits = parts.reshape(m // columns, tiles[1] // 16, 2, 8, -1, warps, 4, 2)
    return bits.permute(0, 1, 4, 5, 3, 6, 2, 7).reshape(m // columns, -1)


def _pairs(z: Tensor) -> Tensor:
    """Complex numbers as pairs of float16, real part first, in int32."""
    return torch.view_as_real(z).half().contiguous().view(torch.int32)[..., 0]


def _spectrum_order(table: Tensor) -> Tensor:
    """A table (2, n1, n2) in the order of spectra (see `pieces.spectrum_place`)."""
    _, n1, n2 = table.shape
    bits = table.view(2, n1 // 16, 2, 8, n2 // 16, 2, 4, 2)
    return bits.permute(0, 4, 1, 3, 6, 5, 2, 7).reshape(2, n1 * n2)

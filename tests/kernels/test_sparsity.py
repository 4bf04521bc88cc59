"""Frequency-sparse convolutions in torch: against the exactly low-passed filter, and what is told about the loss."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genoconv.kernels import reference, sparsity
from genoconv.kernels.fftconv import fftconv, prepare

KEEPS = [1 / 64, 0.05, 1 / 12, 0.25, 0.27, 0.4]
# The short low-passes around decimation leak so much of a filter's loudest frequencies.
LEAK = 1e-3


def operands(L: int, K: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(L + K)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    decay = torch.exp(-3.0 * torch.arange(K) / K).to(dtype)
    return {
        "u": draw(2, 3, L), "taps": draw(3, K) * decay / K**0.5, "skip": draw(3), "in_gate": draw(2, 3, L),
        "out_gate": draw(2, 3, L),
    }  # fmt: skip


def smooth(K: int) -> Tensor:
    """Filters of slow waves, (2, K) float64."""
    t = torch.arange(K, dtype=torch.float64) / K
    return torch.stack([torch.sin(9.0 * t) * torch.exp(-4.0 * t), torch.cos(20.0 * t) * torch.exp(-2.0 * t)])


def relative(result: Tensor, expected: Tensor) -> float:
    return float((result.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize(("L", "K"), [(1, 1), (7, 3), (999, 1000), (5003, 5003), (6000, 77), (1000, 9000)])
def test_the_result_is_that_of_the_low_passed_filter(keep: float, L: int, K: int) -> None:
    case = operands(L, K)
    expected = reference.fftconv(**case, keep=keep)
    taps = case.pop("taps")
    spectrum = prepare(taps, L, keep=keep)
    assert relative(fftconv(taps=spectrum, **case), expected) < LEAK
    single = {name: tensor.float() for name, tensor in case.items()}
    assert relative(fftconv(taps=prepare(taps.float(), L, keep=keep), **single), expected) < LEAK


@pytest.mark.parametrize("keep", KEEPS)
def test_the_reference_is_a_convolution_with_low_passed_taps(keep: float) -> None:
    """The definition, once without any transform of the signal."""
    case = operands(700, 300)
    n = 1 << 14
    low = torch.fft.irfft(torch.fft.rfft(case["taps"], n) * sparsity.response(keep, n), n)
    ahead = sparsity.band_for(keep).ringing
    assert low[:, 300 + ahead : n - ahead].abs().max() < 1e-12
    taps = torch.cat([low[:, n - ahead :], low[:, : 300 + ahead]], 1)
    y = functional.conv1d(
        functional.pad(case["u"], (taps.shape[1] - 1 - ahead, ahead)), taps.flip(-1).unsqueeze(1), groups=3
    )
    assert relative(reference.fftconv(case["u"], case["taps"], keep=keep), y) < 1e-12


@pytest.mark.parametrize("keep", KEEPS)
def test_waves_pass_in_the_band_and_not_beyond(keep: float) -> None:
    L = 8192
    n = torch.arange(L, dtype=torch.float64)
    spectrum = prepare(torch.ones(1, 1, dtype=torch.float64), L, keep=keep)
    for part, gain in ((0.3, 1.0), (0.6, 1.0), (1.4, 0.0), (2.3, 0.0)):
        wave = torch.cos(torch.pi * part * keep * n + 0.3)
        inside = slice(1000, L - 1000)
        result = fftconv(wave[None, None], spectrum)[0, 0, inside]
        assert (result - gain * wave[inside]).abs().max() < LEAK


def test_the_loss_is_that_of_the_taps() -> None:
    taps = operands(1, 500)["taps"]
    n = 1 << 14
    low = torch.fft.irfft(torch.fft.rfft(taps, n) * sparsity.response(0.25, n), n)
    expected = (low - functional.pad(taps, (0, n - 500))).norm(dim=1) / taps.norm(dim=1)
    assert torch.allclose(sparsity.dropped(taps, 0.25), expected, rtol=1e-9)
    spectrum = prepare(taps, 500, keep=0.25)
    assert spectrum.dropped is not None
    assert torch.allclose(spectrum.dropped, expected, rtol=1e-9)
    assert spectrum[1:2].dropped == spectrum.dropped[1:2]


def test_what_to_keep_for_a_tolerance() -> None:
    taps = smooth(2000)
    loose, strict = sparsity.keep_for(taps, 0.2), sparsity.keep_for(taps, 0.04)
    assert loose < strict < 1.0
    for keep, tolerance in ((loose, 0.2), (strict, 0.04)):
        weight = taps.square().sum(1)
        lost = float((sparsity.dropped(taps, keep).square() * weight).sum() / weight.sum()) ** 0.5
        assert lost <= tolerance
    assert sparsity.keep_for(operands(1, 1000)["taps"], 0.1) == 1.0, "noise has no low frequencies to speak of"


def test_it_looks_ahead_and_no_further_than_it_says() -> None:
    case = operands(4000, 4000)
    taps = prepare(case["taps"], 4000, keep=0.25)
    before = fftconv(case["u"], taps)
    case["u"][..., 3000:] += 10.0
    changed = (fftconv(case["u"], taps) - before).abs().amax((0, 1))
    assert changed[2990:3000].max() > 1e-3
    assert changed[: 3000 - sparsity.looks_ahead(0.25) - 64].max() < 1e-3


def test_spectra_are_a_third_and_serve_shorter_signals() -> None:
    case = operands(9000, 9000, torch.float32)
    taps = case.pop("taps")
    spectrum, dense = prepare(taps, 9000, keep=0.25), prepare(taps, 9000)
    assert spectrum.nbytes < 0.5 * dense.nbytes
    shorter = {name: t[..., :5000] if t.ndim == 3 else t for name, t in case.items()}
    expected = reference.fftconv(taps=taps, **shorter, keep=0.25)
    assert relative(fftconv(taps=spectrum, **shorter), expected) < LEAK
    with pytest.raises(ValueError, match="up to 9000 samples"):
        fftconv(torch.zeros(1, 3, 9001), prepare(operands(1, 9100, torch.float32)["taps"], 9000, keep=0.25))


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.41, 0.99, 2.0])
def test_what_cannot_be_kept_is_refused(keep: float) -> None:
    with pytest.raises(ValueError, match="keep must be 1 or from"):
        prepare(torch.ones(1, 5), 5, keep=keep)


def test_a_low_pass_needs_room() -> None:
    with pytest.raises(ValueError, match="too few"):
        sparsity.response(0.25, 100)


@pytest.mark.parametrize("keep", [1 / 12, 0.25])
def test_windows_begin_at_whole_sectors(keep: float) -> None:
    """Of 32 bytes, 16 samples: windows of 232 samples took up to a third longer."""
    band = sparsity.band_for(keep)
    assert band.stride % 16 == 0
    assert band.left % 16 == 0


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("columns", [16, 64, 448])
def test_parts_are_made_of_all_low_samples_in_reach(keep: float, columns: int) -> None:
    """However a window is cut into parts: nothing of the low-pass lies outside their matrices."""
    band = sparsity.band_for(keep)
    low_pass = sparsity._short_low_pass(band)[1].half().double()
    matrices = sparsity.interpolation(band, columns, torch.device("cpu"), torch.float64)
    for n in range(band.stride):
        part, column = divmod(n, columns)
        at = band.phases * n - sparsity._fine_stride(band) * (torch.arange(512) - sparsity.ORIGIN)
        reach = band.phases * band.reach
        expected = torch.where(at.abs() <= reach, low_pass[(at + reach).clamp(0, 2 * reach)], 0.0)
        made = torch.zeros(512, dtype=torch.float64)
        first = band.first_low(part, columns)
        made[first : first + matrices.shape[1]] = matrices[part, :, column]
        assert first % sparsity.ALIGNED == 0
        assert torch.equal(made, expected)

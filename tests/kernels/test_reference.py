"""The reference itself: its transform against the sum that defines it, and against numbers worked out by hand."""

import pytest
import torch

from genoconv.kernels import reference


@pytest.mark.parametrize(("L", "K"), [(1, 1), (5, 1), (1, 5), (16, 16), (33, 12), (12, 33), (301, 300)])
def test_transform_equals_the_sum(L: int, K: int) -> None:
    generator = torch.Generator().manual_seed(L * 1000 + K)
    u, in_gate, out_gate = (torch.randn(2, 3, L, generator=generator) for _ in range(3))
    taps, skip = torch.randn(3, K, generator=generator), torch.randn(3, generator=generator)
    by_transform = reference.fftconv(u, taps, skip, in_gate=in_gate, out_gate=out_gate)
    by_sum = reference.direct(u, taps, skip, in_gate=in_gate, out_gate=out_gate)
    assert by_transform.dtype == torch.float64
    assert torch.allclose(by_transform, by_sum, rtol=0, atol=1e-11)


def test_by_hand() -> None:
    u = torch.tensor([[[1.0, 2.0, 3.0]]])
    taps = torch.tensor([[10.0, 1.0]])
    assert reference.direct(u, taps).flatten().tolist() == [10.0, 21.0, 32.0]
    gated = reference.direct(
        u, taps, torch.tensor([0.5]), in_gate=torch.full((1, 1, 3), 2.0), out_gate=torch.tensor([[[1.0, 0.0, -1.0]]])
    )
    assert gated.flatten().tolist() == [21.0, 0.0, -67.0]


def test_unwritten_memory_is_nan_here() -> None:
    assert torch.empty(1000).isnan().all()

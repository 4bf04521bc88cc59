"""Names of kernels to groups, and what is left of the time."""

import re
from pathlib import Path

import pytest
import torch

from genoconv.measuring.shares import group_of, kernel_shares, shares
from genoconv.model.stages import stage

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kernel", "group"),
    [
        ("nvjet_sm90_hsh_128x256_64x4_1x2_h_bz_TNT", "projections"),
        ("void cutlass::Kernel2<cutlass_80_wmma_tensorop_f16_s161616gemm_f16_32x32_128x2_tn_align8>", "projections"),
        ("sm90_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1", "projections"),
        ("gates_kernel", "short filter, gates"),
        ("transform_kernel", "output projection, MLP"),
        ("outer_inverse_kernel", "convolution"),
        ("void regular_fft<512u, EPT<8u>, 16u>", "filters"),
        ("Memcpy HtoD (Pageable -> Device)", "other"),
        ("void at::native::vectorized_elementwise_kernel<4, ...>", "other"),
    ],
)
def test_groups(kernel: str, group: str) -> None:
    assert group_of(kernel) == group


def test_every_kernel_that_embeds_has_a_group() -> None:
    sources = [path for path in sorted(KERNELS.rglob("*_kernel*.py")) if "backward" not in path.name]
    found = [name for path in sources for name in re.findall(r"^def (\w+_kernel)\(", path.read_text(), re.MULTILINE)]
    assert len(found) > 8
    not_on_the_way = {"finite_kernel", "factor_kernel", "loudness_kernel", "turn_back_kernel", "unpack_kernel"}
    assert [name for name in found if group_of(name) == "other" and name not in not_on_the_way] == []


def test_what_no_kernel_fills_is_idle() -> None:
    times = [("gates_kernel", 1.0), ("gates_kernel", 1.0), ("rows_kernel", 5.0)]
    assert kernel_shares(times, 10.0) == {"convolution": 0.5, "idle": 0.3, "short filter, gates": 0.2}
    assert "idle" not in kernel_shares(times, 6.0)
    assert kernel_shares([], 10.0) == {}


def test_steps_of_the_float32_path() -> None:
    def run() -> None:
        for name in ("one", "two", "one"):
            with stage(name, CPU):
                torch.ones(1000).cumsum(0)

    found = shares(run, CPU, precision="high", ms=1.0)
    assert set(found) == {"one", "two"}
    assert sum(found.values()) == pytest.approx(1)

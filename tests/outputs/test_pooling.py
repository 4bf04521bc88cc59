"""Pooling: right, blind to padding and mates, accurate over a million bases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genoconv.outputs import pooling
from genoconv.outputs.pooling import POOLS, pool, pool_site

EXPECTED = {
    "mean": lambda states: states.double().mean(dim=0).float(),
    "max": lambda states: states.amax(dim=0),
    "last": lambda states: states[-1],
}


@pytest.mark.parametrize("kind", POOLS)
@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), chunk=st.integers(1, 70), seed=st.integers(0, 99))
def test_a_padded_batch_pools_as_each_record_alone(kind: str, lengths: list[int], chunk: int, seed: int) -> None:
    hidden = torch.randn(len(lengths), max(lengths) + 3, 5, generator=torch.Generator().manual_seed(seed))
    records = [hidden[row, :length].clone() for row, length in enumerate(lengths)]
    for row, length in enumerate(lengths):
        hidden[row, length:] = float("nan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "CHUNK_POSITIONS", chunk)
        together = pool(hidden, lengths, kind)
    assert together.dtype == torch.float32
    for row, record in enumerate(records):
        torch.testing.assert_close(together[row], EXPECTED[kind](record), rtol=0, atol=1e-6)
        assert torch.equal(together[row], pool(record[None], [len(record)], kind)[0])


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("numbers", [1, 5 * 16 * 3, 1 << 24])
def test_the_gpu_way_gives_the_same(kind: str, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, lengths = torch.randn(5, 45, 3), [40, 1, 17, 16, 39]
    for row, length in enumerate(lengths):
        hidden[row, length:] = float("nan")
    usual = pool(hidden, lengths, kind)
    monkeypatch.setattr(pooling, "_by_record", pooling._together)
    monkeypatch.setattr(pooling, "CHUNK_NUMBERS", numbers)
    assert torch.equal(pool(hidden, lengths, kind), usual)


def test_pooled_rows_outlive_the_states() -> None:
    hidden = torch.ones(1, 1, 4)
    pooled = [pool(hidden, [1], kind) for kind in POOLS]
    hidden.fill_(7)
    assert all(bool((rows == 1).all()) for rows in pooled)


def test_the_mean_of_a_million_bases_keeps_float32_accuracy() -> None:
    length = 1_200_000
    hidden = torch.rand(1, length, 4, generator=torch.Generator().manual_seed(0)) + 1000
    exact = hidden[0].numpy().astype(np.float64).mean(axis=0)
    relative = np.abs(pool(hidden, [length], "mean")[0].numpy() - exact) / exact
    assert relative.max() < 1e-7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_come_out_as_float32(dtype: torch.dtype) -> None:
    hidden = torch.randn(2, 7, 3).to(dtype)
    for kind in POOLS:
        result = pool(hidden, [7, 3], kind)
        assert result.dtype == torch.float32
        torch.testing.assert_close(result[1], EXPECTED[kind](hidden[1, :3]).float(), rtol=1e-6, atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    hidden = torch.zeros(2, 5, 3)
    with pytest.raises(ValueError, match="none of"):
        pool(hidden, [5, 5], "median")
    with pytest.raises(ValueError, match="no bases"):
        pool(hidden, [5, 0], "mean")
    with pytest.raises(ValueError, match="5 positions of a record of 6"):
        pool(hidden, [5, 6], "last")
    with pytest.raises(ValueError, match="for 1 records"):
        pool(hidden, [5], "mean")


def test_a_site_is_the_same_base_from_both_strands() -> None:
    lengths = [5, 6, 1]
    hidden = torch.arange(18.0).view(3, 6, 1).expand(3, 6, 2)
    assert pool_site(hidden, lengths)[:, 0].tolist() == [2, 9, 12]  # the middle; of six the fourth
    assert pool_site(hidden, lengths, reverse=True)[:, 0].tolist() == [2, 8, 12]
    assert pool_site(hidden[:2], lengths[:2], 2).tolist() == [[1, 1], [7, 7]]
    assert pool_site(hidden[:2].half(), lengths[:2], 2, reverse=True).tolist() == [[3, 3], [10, 10]]
    with pytest.raises(ValueError, match="no base 2"):
        pool_site(hidden, lengths, 2)

import numpy as np
import pytest

from genoconv.errors import InputError
from genoconv.inputs.tokens import reverse_complement
from genoconv.training.sampling import WindowSampler


def sampler(
    tokens: np.ndarray, *, context: int = 16, batch: int = 4, seed: int = 1, both: bool = False
) -> WindowSampler:
    return WindowSampler(tokens, context=context, batch=batch, seed=seed, both_strands=both)


def test_every_window_comes_once_an_epoch() -> None:
    tokens = np.arange(200, dtype=np.uint8)
    # 200 tokens, offset up to 15: 11 windows of 16 an epoch.
    rows = np.concatenate([sampler(tokens, batch=11).batch(0)])
    starts = np.sort(rows[:, 0].astype(int))
    assert (np.diff(starts) == 16).all()
    assert (rows == rows[:, :1] + np.arange(17, dtype=np.uint8)).all()


def test_a_batch_depends_on_its_number_alone() -> None:
    tokens = np.random.default_rng(0).integers(7, 11, 5000).astype(np.uint8)
    inorder = sampler(tokens, both=True)
    expected = [inorder.batch(number).tobytes() for number in range(200)]
    fresh = sampler(tokens, both=True)
    assert [fresh.batch(number).tobytes() for number in (199, 3, 100)] == [expected[n] for n in (199, 3, 100)]
    assert sampler(tokens, seed=2, both=True).batch(0).tobytes() != expected[0]
    assert len(set(expected)) == 200


def test_about_half_the_windows_are_turned_and_none_without_asking() -> None:
    tokens = np.random.default_rng(0).integers(7, 11, 17 * 400).astype(np.uint8)
    text = tokens.tobytes()
    rows = sampler(tokens, batch=300, both=True).batch(0)
    forward = [row.tobytes() in text for row in rows]
    backward = [reverse_complement(row).tobytes() in text for row in rows]
    assert all(a or b for a, b in zip(forward, backward, strict=True))
    assert 100 < sum(backward) < 200
    assert all(row.tobytes() in text for row in sampler(tokens, batch=300).batch(0))


@pytest.mark.parametrize("length", [17, 18, 32, 33, 34])
def test_short_data_stays_inside_its_bounds(length: int) -> None:
    tokens = np.arange(length, dtype=np.uint8)
    drawn = sampler(tokens, batch=3)
    for number in range(20):
        rows = drawn.batch(number)
        assert (np.diff(rows.astype(int), axis=1) == 1).all()


def test_less_than_one_window_is_refused() -> None:
    with pytest.raises(InputError, match="fewer than one window"):
        sampler(np.zeros(16, dtype=np.uint8))

"""Plans: every length has one, none wastes much, and the cost decides in the right direction."""

import pytest

from genoconv.kernels.monarch.plan import H200, LONGEST, ROWS, Plan, candidates, choose, cost, paired, tile

LENGTHS = [1, 2, 63, 64, 100, 127, 1000, 1024, 1025, 4097, 8191, 12_289, 160_000, 262_144, 262_145, 450_000, 1_000_000,
           1_000_002, 1_048_577, 2_097_152, 4_194_304, 8_388_608, LONGEST]  # fmt: skip


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("taps", [1, 77, 4096, 10**8])
def test_every_length_has_plans_that_hold_it(length: int, taps: int) -> None:
    plans = list(candidates(length, taps))
    assert choose(2, 3, length, taps) in plans
    for plan in plans:
        if plan.method == "passes" and plan.history:
            assert plan.n < length
            assert -(-length // plan.n) * plan.n <= length * 9 // 8 + 4096
            assert min(taps, length) <= plan.n or length <= 2 * plan.n
        elif plan.method == "signals":
            waste = length // 8 if len(plan.factors) == 4 else 0
            assert length <= plan.n < length + waste + max(ROWS[1][0] * ROWS[1][1], 1)
        elif plan.method == "passes":
            assert plan.n >= length
            assert (
                plan.n - length < 4096 * plan.factors[0] if len(plan.factors) == 3 else plan.n <= length * 9 // 8 + 4096
            )
        if plan.method == "blocks":
            assert plan.n * (plan.history + 1) >= min(length, plan.n * plan.history + 1)
            assert plan.n * plan.history >= min(taps, length) - plan.n


@pytest.mark.parametrize("length", [n for n in LENGTHS if n > 8192])
def test_no_pass_moves_more_than_an_eighth_too_much(length: int) -> None:
    for plan in candidates(length, length):
        assert plan.n <= 1.125 * (length + 4095)


def test_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the longest"):
        choose(1, 1, LONGEST + 1, LONGEST + 1)


def test_short_filters_are_convolved_directly_and_long_ones_are_not() -> None:
    assert choose(64, 768, 256, 256).method == "direct"
    assert choose(64, 256, 100_000, 64).method == "direct"
    assert choose(64, 768, 4096, 4096).method == "blocks"
    assert choose(16, 768, 16_384, 16_384).method == "signals"
    assert choose(1, 256, 1_000_000, 4096).method == "blocks"
    assert choose(1, 256, 1_000_000, 1_000_000).method in ("passes", "signals")


def test_long_signals_with_shorter_filters_come_in_chunks() -> None:
    assert choose(1, 16, 4_194_304, 65_536).history == 1
    assert choose(1, 16, 4_194_304, 2_000_000).history == 0


def test_long_filters_come_in_two_blocks_where_one_would_take_larger_tiles() -> None:
    found = {str(plan) for plan in candidates(2_097_152, 2_097_152) if plan.method == "passes" and plan.history}
    assert {"16 x 16 x 64 x 64 + before", "64 x 8 x 64 x 32 + before"} <= found
    assert Plan("passes", (123, 64, 64), 1) in candidates(1_000_000, 1_000_000)
    assert not any(plan.history for plan in candidates(131_072, 131_072))
    assert not any(len(plan.factors) == 4 and plan.history for plan in candidates(2_097_152, 524_288))


def test_how_many_spectra_a_filter_has() -> None:
    one, two = Plan("passes", (128, 64, 64)), Plan("passes", (128, 64, 64), 1)
    assert [plan.parts(one.n + 1) for plan in (one, two)] == [1, 2]
    assert two.parts(one.n) == 1, "the chunk before is an imaginary part"
    assert Plan("passes", (16, 16, 64, 64), 1).parts(5) == 2, "pairs of outer transforms know no imaginary part"
    assert [Plan("blocks", (64, 64), history).parts(5) for history in (0, 1)] == [1, 2]
    assert not one.shares_spectra(two)


def test_two_outer_transforms_in_one_pass_only_for_rows_at_even_places() -> None:
    assert paired(*choose(8, 16, 2_097_152, 2_097_152).factors[:2])
    assert not paired(*choose(8, 16, 2_097_150, 2_097_150).factors[:2])


def test_a_signal_of_its_own_for_each_program_takes_many_signals() -> None:
    """Three programs on each multiprocessor: one signal more than they are is one round more."""
    plan = Plan("signals", (4, 64, 64))
    slots = H200.programs * 3 // 2
    one, two, half = (cost(plan, 1, signals, plan.n, plan.n) for signals in (slots, slots + 1, slots // 4))
    assert two == pytest.approx(2.0 * one, rel=0.1)
    assert half > 0.5 * one


def test_more_rows_cost_more() -> None:
    few, many = (Plan("signals", (rows, 64, 32)) for rows in (3, 6))
    assert cost(many, 16, 768, many.n, many.n) > 2.1 * cost(few, 16, 768, few.n, few.n)


def test_plans_of_the_same_factors_share_spectra() -> None:
    at_once, passes = Plan("signals", (4, 64, 64)), Plan("passes", (4, 64, 64))
    assert at_once.shares_spectra(passes)
    assert passes.shares_spectra(at_once)
    assert not at_once.shares_spectra(Plan("passes", (8, 64, 32)))
    assert not Plan("blocks", (64, 64)).shares_spectra(Plan("blocks", (64, 64), 1))


def test_cost_grows_with_the_work() -> None:
    plan = Plan("passes", (16, 16, 64, 64))
    small, large = cost(plan, 1, 64, plan.n, plan.n), cost(plan, 1, 256, plan.n, plan.n)
    assert 3.5 * small < large <= 4.0 * small


@pytest.mark.parametrize(("n", "expected"), [(1, 16), (16, 16), (17, 32), (33, 64), (64, 64)])
def test_tile_holds_its_rows(n: int, expected: int) -> None:
    assert tile(n) == expected


def test_plans_read_well() -> None:
    assert str(Plan("direct")) == "direct"
    assert str(Plan("blocks", (64, 32), 1)) == "64 x 32 + before"
    assert str(Plan("signals", (4, 64, 64))) == "4 x 64 x 64 at once"
    assert str(Plan("passes", (16, 16, 64, 64))) == "16 x 16 x 64 x 64"


def test_planes_that_outgrow_the_cache_cost_more() -> None:
    """Each row more costs the same until the planes of all programs no longer fit, and then ever more."""
    times = [cost(Plan("signals", (rows, 64, 64)), 16, 99, rows * 4096, rows * 4096) / rows for rows in (3, 4, 5, 6)]
    assert times[0] == pytest.approx(times[1], rel=0.02)
    assert times[1] * 1.1 < times[2] < times[3] / 1.1

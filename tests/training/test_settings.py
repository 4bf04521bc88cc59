import itertools
import json

import pytest

from genoconv.errors import UsageError
from genoconv.training.schedule import learning_rate, stage_of
from genoconv.training.settings import Settings, Stage, parse_stages

THREE = Settings(stages=(Stage(64, 0.5), Stage(256, 0.3), Stage(1000, 0.2)), batch_bases=2048, steps=40, l_max=1026)


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine_to_almost_nothing() -> None:
    settings = Settings(steps=100, warmup=0.1, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert all(one > two for one, two in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001


def test_no_warmup_starts_at_the_highest_rate() -> None:
    assert learning_rate(0, Settings(steps=10, warmup=0.0, learning_rate=0.5)) == 0.5


def test_stages_follow_each_other_by_their_shares() -> None:
    places = [stage_of(step, THREE) for step in range(40)]
    assert places == [(0, i) for i in range(20)] + [(1, i) for i in range(12)] + [(2, i) for i in range(8)]
    assert [THREE.context_of(step) for step in (0, 19, 20, 31, 32, 39)] == [64, 64, 256, 256, 1000, 1000]


def test_tokens_are_those_of_whole_windows() -> None:
    assert THREE.bases_until(0) == 0
    assert THREE.bases_until(21) == 21 * 2048
    assert THREE.bases_until(40) == 32 * 2048 + 8 * 2000


def test_settings_survive_json_and_tell_their_differences() -> None:
    again = Settings.from_dict(json.loads(json.dumps(THREE.to_dict())))
    assert again == THREE
    assert THREE.differences(again) == []
    assert THREE.differences(Settings.from_dict({**THREE.to_dict(), "seed": 7})) == ["seed: 0 then, 7 now"]


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["512"], (Stage(512, 1.0),)),
        (["512:0.25", "2048"], (Stage(512, 0.25), Stage(2048, 0.75))),
        (["1", "2"], (Stage(1, 0.5), Stage(2, 0.5))),
    ],
)
def test_stages_are_read(words: list[str], stages: tuple[Stage, ...]) -> None:
    assert parse_stages(words) == stages


@pytest.mark.parametrize("words", [["x"], ["512:half"], ["512:0.5"], ["512:0.8", "1024:0.8"], ["512:1.5", "1024"]])
def test_wrong_stages_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_stages(words)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"warmup": 1.0},
        {"stages": (Stage(4096, 1.0),), "batch_bases": 1024},
        {"stages": (Stage(4096, 1.0),), "l_max": 1026},
        {"stages": (Stage(1, 1.0),)},
    ],
)
def test_settings_that_cannot_be_trained_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Settings(**wrong)  # type: ignore[arg-type]

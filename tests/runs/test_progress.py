"""Progress in a log: plain lines, the speed of this start alone; and durations in words."""

import io

import pytest

from genoconv.errors import UsageError
from genoconv.runs import progress
from genoconv.runs.progress import Progress, duration, read_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("2h30m", 9000),
        ("1d", 86400),
        ("1d12h", 129600),
        ("1:30:00", 5400),
        ("00:01:30", 90),
        ("2-00:00:01", 172801),
    ],
)
def test_durations_as_people_and_slurm_write_them(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "0s", "soon", "-1h", "1h 30m", "30m1h", "1:2", "1:00:00:00"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        read_duration(text)


def test_durations_in_words() -> None:
    assert [duration(seconds) for seconds in (4.21, 200, 7500)] == ["4.2 s", "3 min 20 s", "2 h 05 min"]


def test_what_was_done_before_counts_as_done_but_not_for_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    words = io.StringIO()
    with Progress(1000, stream=words) as shown:
        shown.skip(500)
        now = progress.LINE_INTERVAL
        shown.advance(100)
    assert words.getvalue() == "genoconv: 600 of 1,000 bases (60%), 3 bases/s, 2 min 00 s left\n"

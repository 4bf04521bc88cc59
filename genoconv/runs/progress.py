"""How far a run is: a bar on a terminal, a plain line now and then in a log, nothing when quiet."""

import re
import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

import typer

from genoconv.errors import UsageError

LINE_INTERVAL = 30.0
"""Seconds between two lines of a log: about a hundred lines an hour."""


class Progress:
    """Counts bases; a context manager around the work."""

    def __init__(self, total: int, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        """Prepare to count.

        Args:
            total: Bases in all.
            quiet: Print nothing.
            stream: Where words go (stderr).
        """
        self._total = total
        self._done = 0
        self._skipped = 0
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._start = self._last_line = time.monotonic()
        self._on_terminal = not quiet and self._stream.isatty()
        self._bar: Any = typer.progressbar(
            length=max(total, 1), label="embedding", file=self._stream, item_show_func=lambda _: self._rate()
        )

    def __enter__(self) -> Self:
        self._start = self._last_line = time.monotonic()
        if self._on_terminal:
            self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_terminal:
            self._bar.__exit__(kind, error, trace)

    def skip(self, bases: int) -> None:
        """Note that `bases` were done before this start: they count as done, not for the speed."""
        self._skipped = bases
        self._done += bases
        if self._on_terminal:
            self._bar.update(bases)

    def advance(self, bases: int) -> None:
        """Note that `bases` more are done."""
        self._done += bases
        if self._on_terminal:
            self._bar.update(bases)
        elif not self._quiet and time.monotonic() - self._last_line >= LINE_INTERVAL:
            self._last_line = time.monotonic()
            computed = max(self._done - self._skipped, 1)
            left = (self._total - self._done) * (self._last_line - self._start) / computed
            share = self._done / max(self._total, 1)
            print(
                f"genoconv: {self._done:,} of {self._total:,} bases ({share:.0%}), {self._rate()}, "
                f"{duration(left)} left",
                file=self._stream,
                flush=True,
            )

    def _rate(self) -> str:
        """The mean speed so far."""
        return f"{(self._done - self._skipped) / max(time.monotonic() - self._start, 1e-9):,.0f} bases/s"


def duration(seconds: float) -> str:
    """Seconds as a person reads them: `4.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def read_duration(text: str) -> float:
    """Seconds of a duration as people and Slurm write it: `90s`, `45m`, `2h30m`, `1d`, `1:30:00`, `2-00:00:00`.

    Raises:
        UsageError: It is none of these, or zero.
    """
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d{1,2}):(\d{1,2})", text)
    units = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    found = clock or units
    numbers = [int(number or 0) for number in found.groups()] if found else [0]
    seconds = float(sum(number * unit for number, unit in zip(numbers, (86400, 3600, 60, 1), strict=False)))
    if seconds <= 0:
        raise UsageError(f"a duration is written as 90s, 45m, 2h30m, 1:30:00 or 2-00:00:00, not {text!r}")
    return seconds


def size(count: float) -> str:
    """Bytes as a person reads them, in powers of 1024: `512 B`, `3.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"

"""What a run says on stderr."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genoconv.cli.words import print_summary


def test_records_that_were_recomputed_are_counted_by_reason(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ["overflow in block 2", "overflow in block 1", "overflow in block 2", "in block 3", "in block 4"]
    job: Any = SimpleNamespace(deviation=None, recomputed=dict(enumerate(reasons)))
    summary: Any = SimpleNamespace(
        found=False, records=9, bases=90, bases_computed=90, seconds=1.0, output=Path("x.h5"), tokens=None
    )
    print_summary(job, summary)
    told = "5 records recomputed in high precision: overflow in block 2 (2); overflow in block 1 (1); in block 3 (1); "
    assert f"{told}and 1 more\n" in capsys.readouterr().err
    job.recomputed = {}
    print_summary(job, summary)
    assert "recomputed" not in capsys.readouterr().err

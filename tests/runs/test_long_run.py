"""Thousands of records of mixed lengths, one after the other: memory is what it was after the first of them."""

import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from genoconv.embed import prepare, run
from genoconv.runs.job import EmbedSettings

MODEL = Path(__file__).resolve().parents[1] / "golden" / "tiny-d64"
RECORDS = 3000
GROWTH = 1 << 20
"""Bytes that half a run may add: less than the hidden states of one unit of work, of which it has 30 and more."""


def resident() -> int:
    """Bytes of memory that this process holds now, without what the allocator only keeps."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fasta, held = tmp_path / "mixed.fa", list[int]()
    with fasta.open("w") as file:
        for number, length in enumerate(rng.integers(1, 300, RECORDS).tolist()):
            file.write(f">record_{number}\n{''.join(rng.choice(list('ACGTN'), length))}\n")
    settings = EmbedSettings(model=str(MODEL), device="cpu", threads=1, tokens=True, dtype="f2", commit_every=0.5)
    job = prepare([fasta], settings)
    done = run(job, tmp_path / "mixed.h5", advance=lambda _: held.append(resident()))
    assert done.records == RECORDS
    assert len(held) > 50
    quarter = len(held) // 4
    assert np.median(held[-quarter:]) - np.median(held[quarter : 2 * quarter]) < GROWTH, held

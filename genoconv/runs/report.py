"""How a run went, for programs: one JSON file, however the run ended; and the failed records as a table."""

import json
import os
import resource
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from genoconv import __version__
from genoconv.errors import GenoconvError, OutputError
from genoconv.outputs.atomic import explained
from genoconv.runs.job import EmbedSettings, Job, Summary
from genoconv.runs.provenance import computes, recomputed, versions
from genoconv.runs.workers import wait_for_workers

SCHEMA, VERSION = "genoconv-report", "1.0"
"""Readers accept any version with the same number before the dot."""

PARTIAL = 3
"""Exit code of a run that finished, but some records could not be embedded."""

UNEXPECTED = 1
"""Exit code of a fault of the program itself."""

FAILURES_HEADER = "id\twhere\treason"


class RunReport:
    """Collects what is known of a run; a context manager that writes it at the end, whatever that is.

    Args:
        path: The JSON file, replaced if it is there; None: write nothing.
        settings: What was asked for.
        output: The file to be made.

    Attributes:
        job: Once the input is read.
        summary: Once the output is written.
    """

    def __init__(self, path: Path | None, settings: EmbedSettings, output: Path) -> None:
        self._path = path
        self._settings = settings
        self._output = output
        self._start = time.monotonic()
        self._started = datetime.now(UTC)
        self.job: Job | None = None
        self.summary: Summary | None = None

    def __enter__(self) -> Self:
        if self._path is not None and not os.access(self._path.absolute().parent, os.W_OK):
            raise OutputError("the report cannot be written there", where=str(self._path), fix="Name another --report.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None:
            return
        try:
            with explained(self._path):
                draft = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
                draft.write_text(json.dumps(self.contents(error), indent=2) + "\n", encoding="utf-8")
                draft.replace(self._path)
        except GenoconvError:
            if error is None:
                raise
            with suppress(OSError):
                print("genoconv: the report could not be written", file=sys.stderr)

    def contents(self, error: BaseException | None) -> dict[str, Any]:
        """The report, as plain JSON values.

        Args:
            error: What ended the run, or None.
        """
        code, reason = self._end(error)
        return {
            "schema": SCHEMA,
            "schema_version": VERSION,
            "genoconv": __version__,
            "exit_code": code,
            "exit_reason": reason,
            "output": str(self._output),
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._start, 3),
            **self._counts(),
            "peak_memory_bytes": _peak_memory(),
            "settings": asdict(self._settings),
            "versions": versions(),
            "command": sys.argv,
        }

    def _end(self, error: BaseException | None) -> tuple[int, str]:
        if isinstance(error, GenoconvError):
            return error.exit_code, error.what
        if isinstance(error, MemoryError):
            return 4, "the machine ran out of memory"
        if error is not None:
            return UNEXPECTED, f"{type(error).__name__}: {error}"
        if self.job is not None and self.summary is None:
            return PARTIAL if self.job.failures else 0, "a dry run: nothing was computed"
        if self.job is not None and self.job.failures:
            return PARTIAL, f"{len(self.job.failures)} records failed, the others are complete"
        return 0, "complete"

    def _counts(self) -> dict[str, Any]:
        job, summary = self.job, self.summary
        if job is None:
            return {"records": None}
        speed = summary.bases_computed / max(summary.seconds, 1e-9) if summary else None
        return {
            "records": {
                "wanted": len(job.rows) + len([failure for failure in job.failures if failure.row not in job.rows]),
                "written": summary.records if summary else 0,
                "done_by_earlier_starts": summary.resumed if summary else None,
                "failed": len(job.failures),
                "skipped": len(job.inputs.skipped),
            },
            "bases": {"wanted": int(job.lengths.sum()), "written": summary.bases if summary else 0},
            "bases_per_second": round(speed, 1) if speed is not None else None,
            "replaced_letters": dict(job.inputs.replaced),
            "failures": [asdict(failure) for failure in job.failures],
            "skipped": [{"id": bad.id, "where": bad.where, "reason": bad.reason} for bad in job.inputs.skipped],
            "model": {"name": job.source.name, "revision": job.source.revision},
            "shard": {"index": job.shard.index, "count": job.shard.count},
            "devices": [str(device) for device in job.devices],
            "compute": computes(job.engine),
            "recomputed": recomputed(job),
            "deviation": None if job.deviation is None else asdict(job.deviation),
        }


def failures_path(output: Path) -> Path:
    """The table of failed records beside an output: genes.h5 -> genes.failures.tsv."""
    return output.with_name(f"{output.stem}.failures.tsv")


def write_failures(output: Path, failures: list[dict[str, Any]]) -> Path | None:
    """Write the failed records as a table beside the output, or remove the table of an earlier run if none failed.

    Args:
        output: The output.
        failures: Each with id, where and reason.

    Returns:
        The table, if there is one.

    Raises:
        OutputError: It cannot be written.
    """
    path = failures_path(output)
    with explained(path):
        if failures:
            rows = ["\t".join(_cell(failure[name]) for name in FAILURES_HEADER.split("\t")) for failure in failures]
            path.write_text("\n".join([FAILURES_HEADER, *rows, ""]), encoding="utf-8", errors="backslashreplace")
            return path
        with suppress(FileNotFoundError, UnicodeDecodeError):
            if path.read_text(encoding="utf-8").startswith(FAILURES_HEADER):
                path.unlink()
    return None


def _cell(text: str) -> str:
    return " ".join(text.split())


def _peak_memory() -> dict[str, int]:
    """The most memory that this process, the largest of its workers, and each GPU held, in bytes."""
    wait_for_workers()  # of living ones nothing is known
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "largest_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit,
    }
    if torch.cuda.is_available():
        peak |= {f"cuda:{gpu}": torch.cuda.max_memory_allocated(gpu) for gpu in range(torch.cuda.device_count())}
    return peak

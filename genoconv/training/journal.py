"""What a training run tells: JSON lines in its folder, plain lines on stderr."""

import json
import sys
from pathlib import Path
from typing import Any

JOURNAL = "log.jsonl"


class Journal:
    """The log of one run. Lines have an `event`, a `step`, and what the event is about."""

    def __init__(self, folder: Path, *, quiet: bool, step: int, silent: bool = False) -> None:
        """Open the log; lines after `step`, which a resumed run will write again, are dropped.

        Args:
            folder: The run's folder.
            quiet: Say nothing on stderr.
            step: Steps that are done.
            silent: Say and write nothing: another process does it.
        """
        self._path = folder / JOURNAL
        self._quiet = quiet or silent
        self._silent = silent
        if silent:
            return
        lines = self._path.read_text().splitlines() if step and self._path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        self._path.write_text("".join(f"{line}\n" for line in kept))

    def write(self, event: str, step: int, **values: Any) -> None:
        """Append a line to the log."""
        if self._silent:
            return
        with self._path.open("a") as file:
            file.write(json.dumps({"event": event, "step": step, **values}) + "\n")

    def say(self, words: str) -> None:
        """Tell a person."""
        if not self._quiet:
            print(f"genoconv: {words}", file=sys.stderr, flush=True)

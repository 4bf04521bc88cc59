"""What a shard says about its run -> the ids of all records of its input, read again to name those that are missing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genoconv.errors import InputError
from genoconv.inputs.letters import LetterPolicy
from genoconv.inputs.scan import scan
from genoconv.runs.job import EmbedSettings, wanted_regions


def record_ids(described: Mapping[str, Any], folder: Path) -> list[str]:
    """The ids of all good records of a run's input, in input order.

    Args:
        described: What the run says about itself.
        folder: Where the input may lie as well, if it is not where the run found it.

    Raises:
        InputError: The input is not there any more, or is another one.
    """
    settings = described["settings"]
    regions = wanted_regions(
        EmbedSettings(
            regions=tuple(settings["regions"]),
            region_files=tuple(str(_found(name, folder)) for name in settings["region_files"]),
            feature=settings["feature"],
            chr_prefix=settings["chr_prefix"],
        )
    )
    command = list(described["command"])
    names = [name for name in described["input"]["sha256"] if name not in settings["region_files"]]
    names.sort(key=lambda name: command.index(name) if name in command else len(command))
    paths = [_found(name, folder) for name in names]
    inputs = scan(paths, LetterPolicy(**settings["letters"]), duplicates=settings["duplicates"], regions=regions)
    if inputs.records_sha256 != described["input"]["records_sha256"]:
        raise InputError("the input is another one by now", where=", ".join(names))
    return inputs.ids


def _found(name: str, folder: Path) -> Path:
    for path in (Path(name), folder / Path(name).name):
        if path.is_file():
            return path
    raise InputError("the input is not there any more", where=name)

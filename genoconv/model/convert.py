"""From any checkpoint that can be loaded to config.json and model.safetensors, compared with their source."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from genoconv import __version__
from genoconv.errors import ModelError, OutputError
from genoconv.model.files import CONFIG_FILE, WEIGHT_FILES, file_sha256, weights_file
from genoconv.model.pretrained import Checkpoint, in_half, load_checkpoint, load_model, save_checkpoint


def convert(source: Path, folder: Path, *, overwrite: bool = False, half: bool = False) -> Path:
    """Write a model under the names of the public -hf checkpoints, and read it back before it counts.

    Args:
        source: Folder or file: Lightning checkpoint, standalone or -hf weights.
        folder: Where config.json and model.safetensors go; made if need be.
        overwrite: Replace these two files if they are there.
        half: Store projections and MLPs in float16, and leave out what follows from formulas: half the size or less,
            for genoconv alone.

    Returns:
        The weight file that was written.

    Raises:
        ModelError: The source cannot be loaded, a weight is too large for float16, or reading back gave other numbers.
        OutputError: The folder holds something already, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not overwrite)):
        raise OutputError(
            "the destination is there already",
            where=str(folder),
            fix="choose another folder"
            + (", or replace the model in this one with --force" if folder.is_dir() else ""),
        )
    model = load_model(source)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _not_written(error, folder) from error
    try:
        origin = weights_file(source)
        metadata = {
            "converted_by": f"genoconv {__version__}",
            "converted_from": origin.name,
            "source_sha256": file_sha256(origin),
        }
        save_checkpoint(model, aside, metadata=metadata, buffers=not half, half=half)
        _compare(source, aside, half=half)
        folder.mkdir(exist_ok=True)
        for name in (WEIGHT_FILES[0], CONFIG_FILE):
            (aside / name).replace(folder / name)
    except (OSError, SafetensorError) as error:
        raise _not_written(error, folder) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder / WEIGHT_FILES[0]


def _not_written(error: OSError | SafetensorError, folder: Path) -> OutputError:
    """The error for a disk that does not take the model."""
    return OutputError(
        f"the model could not be written: {getattr(error, 'strerror', None) or error}",
        where=str(getattr(error, "filename", None) or folder),
        fix="check space and permissions, or choose another folder",
    )


def _compare(source: Path, written: Path, *, half: bool) -> None:
    """Check that what was written says the same as the source, bit for bit (but for the rounding, if half)."""
    before, after = load_checkpoint(source), load_checkpoint(written)
    if half:
        before = _rounded(before)
    different = sorted(before.tensors.keys() ^ after.tensors.keys())
    different += [
        name
        for name in sorted(before.tensors.keys() & after.tensors.keys())
        if not torch.equal(before.tensors[name], after.tensors[name])
    ]
    if before.config != after.config:
        different.append(CONFIG_FILE)
    if different:
        raise ModelError(
            f"reading the converted model back gave something else: {', '.join(different[:5])}",
            where=str(written),
            fix="nothing was kept; the disk may be faulty, or this is a fault of genoconv: please report it",
        )


def _rounded(checkpoint: Checkpoint) -> Checkpoint:
    """The same with the large matrices as float16 holds them."""
    tensors = {name: tensor.half().float() if in_half(name) else tensor for name, tensor in checkpoint.tensors.items()}
    too_large = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if too_large:
        raise ModelError(f"weights are too large for float16: {', '.join(too_large[:5])}", where=str(checkpoint.origin))
    return replace(checkpoint, tensors=tensors)

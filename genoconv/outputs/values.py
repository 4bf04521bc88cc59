"""Numbers on their way to the file: converted to the stored type, and refused if they are not finite there."""

from collections.abc import Callable

import numpy as np

from genoconv.errors import OutputError
from genoconv.outputs.formats import DTYPES
from genoconv.outputs.hdf5 import Array


def check_dtype(dtype: str) -> None:
    """Raises ValueError for a type that files do not hold."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is none of {DTYPES}")


def all_finite(values: Array) -> bool:
    """Whether no number is NaN or infinite; of float16 told by their bits, six times as fast as by numpy."""
    if values.dtype == np.float16 and values.dtype.isnative and values.flags.c_contiguous:
        return int((values.view(np.uint16) & 0x7FFF).max(initial=0)) < 0x7C00
    return bool(np.isfinite(values).all())


def to_stored(values: Array, dtype: str, *, name_of: Callable[[int], str], place: str) -> Array:
    """Casts rows to the stored type.

    Args:
        values: Numbers (k, d), any float type.
        dtype: "f4" or "f2".
        name_of: Names the record of a row of `values`, for the message.
        place: What the numbers are, for the message: "pooling mean, layer 8".

    Returns:
        The rows (k, d) in the stored type, all finite.

    Raises:
        OutputError: A number is NaN or infinite, or becomes infinite in float16.
    """
    with np.errstate(over="ignore"):
        stored = values.astype(np.dtype(dtype), copy=False)
    if all_finite(stored):
        return stored
    row = int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
    where = f"record {name_of(row)}, {place}"
    if not np.isfinite(values[row]).all():
        raise OutputError(
            "the embedding has numbers that are NaN or infinite",
            where=where,
            fix="The model may be damaged, or its numbers too large for the precision it ran in.",
        )
    raise OutputError(
        f"the embedding reaches {np.abs(values[row]).max():.4g}, and float16 ends at 65504",
        where=where,
        fix="Use --dtype f4.",
    )

"""A finished file of embeddings -> its ids, one of its matrices, and its columns as texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from genoconv.errors import InputError
from genoconv.outputs import hdf5
from genoconv.outputs.columns import read_column
from genoconv.outputs.formats import EMBEDDINGS
from genoconv.outputs.hdf5 import Array, Categorical, Coded, Column
from genoconv.outputs.inspection import read_info
from genoconv.outputs.verification import DAMAGE


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a file holds of its records.

    Attributes:
        ids: n ids.
        rows: One matrix, (n, width) float32.
        columns: Name -> n values, as texts.
    """

    ids: list[str]
    rows: Array
    columns: Mapping[str, list[str]]


def read_embedded(path: str | Path, matrix: str = "X") -> Embedded:
    """Read one matrix of an embeddings file.

    Args:
        path: The file.
        matrix: Its name in the file: `X`, `obsm/max`, `layers/layer_3`.

    Raises:
        InputError: The file is missing, damaged, incomplete or of another kind, or has no such matrix.
    """
    info = read_info(path)
    names = [known.name for known in info.matrices]
    if info.format != EMBEDDINGS.name or not info.complete:
        raise InputError("expected a complete file of one row per record", where=str(path))
    if matrix not in names:
        raise InputError(f"the file has no matrix {matrix!r}", where=str(path), fix=f"it has: {', '.join(names)}")
    try:
        with hdf5.open_read(Path(path)) as file:
            table = file["obs"]
            return Embedded(
                ids=list(hdf5.read_texts(table["_index"])),
                rows=file[matrix][()].astype("f4"),
                columns={str(name): _texts(read_column(table[name])) for name in table.attrs["column-order"]},
            )
    except DAMAGE as error:
        raise InputError(f"the file is damaged: {str(error).strip().splitlines()[0]}", where=str(path)) from error


def _texts(column: Column) -> list[str]:
    """The values of a column, as texts."""
    if isinstance(column, Coded):
        return [column.categories[code] for code in column.codes.tolist()]
    values = column.values if isinstance(column, Categorical) else column
    return [str(value) for value in values]

"""The two file formats: their names, where each matrix lies, how large a file will be."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a file says about itself in the attributes of its root.

    Attributes:
        name: The attribute genoconv_format.
        version: The attribute genoconv_format_version; readers accept any with the same number before the dot.
        how_to_read: The attribute how_to_read, for a person who finds the file.
    """

    name: str
    version: str
    how_to_read: str


EMBEDDINGS = FileFormat(
    "genoconv-embeddings",
    "1.0",
    "ids = f['obs/_index'].asstr()[:]; X = f['X'][:]  # with h5py; or anndata.read_h5ad(path). "
    "Row i of every matrix belongs to ids[i].",
)
TOKENS = FileFormat(
    "genoconv-tokens",
    "1.1",
    "ids = f['id'].asstr()[:]; o = f['offsets'][:]; record_i = f['data'][o[i]:o[i + 1]]  # with h5py; "
    "one row per base, in the order of the sequence.",
)
TOKENS_SUFFIX = ".tokens.h5"
ROW_COLUMN = "row"
"""The column of a shard's file that says which row of the whole input each of its rows is."""
DTYPES = ("f4", "f2")

# Rows per chunk: the unit that is checked and read. One 256-wide float32 row is 1 KB.
CHUNK_ROWS = 64

_CHUNK_EXTRA_BYTES = 64  # checksum and index entry
_FIXED_BYTES = 65_536  # headers
_RECORD_BYTES = 300  # length, start, end, sha256 and the other columns


def matrix_name(pooling: str, layer: int, *, poolings: Sequence[str], layers: Sequence[int]) -> str:
    """The dataset of one pooling at one layer; the first of both is X.

    Args:
        pooling: A member of `poolings`.
        layer: A member of `layers`.
        poolings: All poolings of the file, the main one first.
        layers: All layers of the file, the main one first.

    Returns:
        "X", "layers/layer_3", "obsm/max" or "obsm/max_layer_3".
    """
    if pooling == poolings[0]:
        return "X" if layer == layers[0] else f"layers/layer_{layer}"
    return f"obsm/{pooling}" if layer == layers[0] else f"obsm/{pooling}_layer_{layer}"


def row_width(pooling: str, d_model: int) -> int:
    """Numbers in a row: `site` holds the states of both strands, one behind the other."""
    return 2 * d_model if pooling == "site" else d_model


def total_width(poolings: Sequence[str], layers: Sequence[int], d_model: int) -> int:
    """Numbers of a record in all matrices together."""
    return len(layers) * sum(row_width(pooling, d_model) for pooling in poolings)


def tokens_path(path: str | Path) -> Path:
    """The file of per-nucleotide embeddings that belongs to an embeddings file: genes.h5 -> genes.tokens.h5."""
    path = Path(path)
    stem = path.name.removesuffix(".gz").removesuffix(".h5ad").removesuffix(".hdf5").removesuffix(".h5")
    return path.with_name(stem + TOKENS_SUFFIX)


def predicted_bytes(records: int, width: int, *, dtype: str, id_bytes: int = 16) -> int:
    """The size of an embeddings file before it is written, to a few percent (matrices are not compressed).

    Args:
        records: Number of rows.
        width: Numbers of a record in all matrices together.
        dtype: "f4" or "f2".
        id_bytes: Mean length of an id in bytes.

    Returns:
        Bytes on disk.
    """
    return _matrix_bytes(records, width, dtype, CHUNK_ROWS) + records * (_RECORD_BYTES + id_bytes) + _FIXED_BYTES


def predicted_token_bytes(bases: int, records: int, d_model: int, *, dtype: str, id_bytes: int = 16) -> int:
    """The size of a per-nucleotide file before it is written: `bases` rows of `d_model` numbers, uncompressed."""
    return bases * d_model * np.dtype(dtype).itemsize + records * (36 + id_bytes) + _FIXED_BYTES


def _matrix_bytes(rows: int, width: int, dtype: str, chunk_rows: int) -> int:
    chunk_rows = max(1, min(chunk_rows, rows))
    return -(-rows // chunk_rows) * (chunk_rows * width * np.dtype(dtype).itemsize + _CHUNK_EXTRA_BYTES)

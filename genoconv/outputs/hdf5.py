"""The door to HDF5, and the only file that imports h5py: arrays, strings and tables go in with AnnData's encodings."""

import contextlib
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from genoconv.errors import OutputError
from genoconv.outputs.formats import FileFormat
from genoconv.outputs.sink import Sink
from genoconv.outputs.texts import Texts, displayable, texts_sha256, utf8

Array = npt.NDArray[Any]
File = h5py.File
Group = h5py.Group
Dataset = h5py.Dataset

VERSION = f"h5py {h5py.version.version}, HDF5 {h5py.version.hdf5_version}"
# Superblock 3: every header and index of the file carries a checksum, and HDF5 1.10 (2016) and later reads it.
FILE_FORMAT = ("v110", "v110")
# Blocks that arrive out of order meet half-written chunks; those wait here instead of going to disk and back.
CHUNK_CACHE_BYTES = 64 << 20
# Whoever reads a matrix in order needs the last chunk again, no more; HDF5 2.0 keeps 8 MiB, times the shards of a run.
READ_CACHE_BYTES = 1 << 18
# A matrix in one piece begins on a page, for readers that map the file into memory; small ones are not worth it.
ALIGNMENT = 4096
ALIGNED_BYTES = 1 << 16
CHECKSUM = "sha256"
STRUCTURE = "structure_sha256"


@dataclass(frozen=True, slots=True)
class Categorical:
    """A column of few distinct texts, stored as small integers and the list of their meanings.

    Attributes:
        values: One text per record.
        categories: All texts allowed, in order; by default those that occur, sorted.
    """

    values: Sequence[str]
    categories: Sequence[str] | None = None

    def take(self, rows: Array) -> "Categorical":
        """The values at some rows."""
        return Categorical([self.values[row] for row in rows], self.categories)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of few distinct texts, as it is stored.

    Attributes:
        codes: Which text, of each record, (n,) integers.
        categories: All texts allowed, in order.
    """

    codes: Array
    categories: Sequence[str]

    def take(self, rows: Array) -> "Coded":
        """The values at some rows."""
        return Coded(self.codes[rows], self.categories)

    def __len__(self) -> int:
        return len(self.codes)


Column = npt.NDArray[Any] | Sequence[Any] | Categorical | Coded


def create(sink: Sink) -> h5py.File:
    """Makes a new HDF5 file; its writer holds the only right to write it, so HDF5's own locks are not needed."""
    return h5py.File(sink, "w", libver=FILE_FORMAT, rdcc_nbytes=CHUNK_CACHE_BYTES, rdcc_nslots=10_007)


def create_around(sink: Sink | io.BytesIO, name: str, *, shape: tuple[int, int], dtype: str) -> h5py.File:
    """Makes a new HDF5 file with one matrix in one piece, whose numbers HDF5 does not touch; see `first_byte`.

    Args:
        sink: Where to.
        name: Of the matrix.
        shape: Of the matrix.
        dtype: "f4" or "f2".
    """
    size = shape[0] * shape[1] * np.dtype(dtype).itemsize
    aligned = {"alignment_threshold": max(size, ALIGNED_BYTES), "alignment_interval": ALIGNMENT}
    file = h5py.File(sink, "w", libver=FILE_FORMAT, **aligned)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.h5t.py_create(np.dtype(dtype).newbyteorder("<"))
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), plan)
    return file


def first_byte(dataset: h5py.Dataset) -> int:
    """Where in its file the numbers of a matrix in one piece begin; 0 if it has none."""
    return int(dataset.id.get_offset() or 0)


def first_byte_of(name: str, *, shape: tuple[int, int], dtype: str) -> int:
    """Where `create_around` would have the numbers of a matrix begin."""
    with create_around(io.BytesIO(), name, shape=shape, dtype=dtype) as file:
        return first_byte(file[name])


def open_read(path: Path, *, cache_bytes: int = READ_CACHE_BYTES) -> h5py.File:
    """Opens an HDF5 file for reading, with file locks where the file system knows them.

    Args:
        path: The file.
        cache_bytes: What each dataset that is open may keep of its chunks; a chunk that is larger is never kept.

    Raises:
        OSError: The file is missing, unreadable, or not a sound HDF5 file.
    """
    try:
        return h5py.File(path, "r", rdcc_nbytes=cache_bytes, locking="best-effort")
    except ValueError:  # an HDF5 library built without the choice of locks
        return h5py.File(path, "r", rdcc_nbytes=cache_bytes)


def take(column: Column, rows: Array) -> Column:
    """The values of a column at some rows."""
    if isinstance(column, Categorical | Coded | Texts):
        return column.take(rows)
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]


def write_matrix(
    group: h5py.Group, name: str, *, shape: tuple[int, ...], dtype: str, chunk_rows: int, attributes: Mapping[str, Any]
) -> h5py.Dataset:
    """Makes an empty, growable, chunked matrix of `shape`, a checksum (fletcher32) on each chunk of `chunk_rows` rows.

    Not compressed: measured on 200,000 x 256 embeddings (float32, one core), shuffle and gzip-1 take 14 % off the file
    and write at 52 MB/s; the checksum alone writes at 500 to 700 MB/s. In float16 gzip also takes 14 %, at 56 MB/s.
    """
    dataset = group.create_dataset(
        name,
        shape=shape,
        dtype=np.dtype(dtype).newbyteorder("<"),
        chunks=(max(1, min(chunk_rows, shape[0])), *shape[1:]),
        maxshape=(None, *shape[1:]),
        fletcher32=True,
    )
    encode(dataset, "array", "0.2.0")
    for key, value in attributes.items():
        dataset.attrs[key] = value
    return dataset


def keep_rows(dataset: h5py.Dataset, kept: Array, *, step: int = 4096) -> None:
    """Shortens a matrix to the rows with `kept` (n,) true, in their order, `step` rows at a time."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], kept, [False])).astype(np.int8)))
    place = 0
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        for first in range(start, end, step):
            size = min(step, end - first)
            if first != place:
                dataset[place : place + size] = dataset[first : first + size]
            place += size
    dataset.resize(place, axis=0)


def write_table(parent: h5py.Group, name: str, index: Sequence[str], columns: Mapping[str, Column]) -> None:
    """Writes a data frame: the texts of `index` as `_index`, and each column by its type.

    Raises:
        OutputError: An index text that HDF5 cannot hold.
        ValueError: A column of another length than the index, or of a type without an encoding.
    """
    table = parent.create_group(name)
    encode(table, "dataframe", "0.2.0")
    table.attrs["_index"] = "_index"
    table.attrs["column-order"] = np.array(list(columns), dtype=h5py.string_dtype())
    write_texts(table, "_index", index)
    for key, column in columns.items():
        if len(column) != len(index):
            raise ValueError(f"column {key!r} has {len(column)} values for {len(index)} records")
        _write_column(table, key, column)


def _write_column(table: h5py.Group, name: str, column: Column) -> None:
    if isinstance(column, Categorical | Coded):
        _write_categorical(table, name, column if isinstance(column, Coded) else _coded(column))
        return
    if isinstance(column, Texts):
        write_texts(table, name, column)
        return
    if len(column) and isinstance(column[0], str):
        write_texts(table, name, displayable(list(column)))
        return
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"column {name!r} of type {values.dtype} has no encoding")
    write_numbers(table, name, values)


def _coded(column: Categorical) -> Coded:
    texts = displayable(column.values)
    categories = sorted(set(texts)) if column.categories is None else list(displayable(column.categories))
    code_of = {category: code for code, category in enumerate(categories)}
    return coded(np.array([code_of[text] for text in texts], dtype=np.int64), categories)


def coded(codes: Array, categories: Sequence[str]) -> Coded:
    """A column of which it is known, for each record, which of some texts it has, (n,) integers."""
    return Coded(codes.astype("i1" if len(categories) < 128 else "i4"), displayable(categories))


def _write_categorical(table: h5py.Group, name: str, column: Coded) -> None:
    group = table.create_group(name)
    encode(group, "categorical", "0.2.0")
    group.attrs["ordered"] = False
    write_numbers(group, "codes", column.codes)
    write_texts(group, "categories", column.categories)


def write_numbers(group: h5py.Group, name: str, values: Array) -> None:
    """Writes a small array of numbers or booleans with its own checksum."""
    stored = values if values.dtype.kind == "b" else values.astype(values.dtype.newbyteorder("<"))
    dataset = group.create_dataset(name, data=stored)
    encode(dataset, "array", "0.2.0")
    dataset.attrs[CHECKSUM] = checksum(stored)


def write_texts(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Writes texts of any length, as UTF-8, with their own checksum (HDF5 has none for texts).

    Raises:
        OutputError: A text with a NUL character or a half surrogate pair, which UTF-8 strings of HDF5 cannot hold.
    """
    encoded = values.encoded if isinstance(values, Texts) else utf8(values)
    if encoded is None:
        row = next(row for row, value in enumerate(values) if utf8([value]) is None)
        raise OutputError(
            f"the text {values[row][:80]!r} has a character that an HDF5 string cannot hold",
            where=f"{name.strip('_')}, row {row}",
            fix="Rename this record in the input.",
        )
    dataset = group.create_dataset(name, shape=(len(encoded),), dtype=h5py.string_dtype())
    dataset[...] = encoded if isinstance(encoded, np.ndarray) else np.fromiter(encoded, object, len(encoded))
    encode(dataset, "string-array", "0.2.0")
    dataset.attrs[CHECKSUM] = checksum(encoded)


def write_text(group: h5py.Group, name: str, value: str) -> None:
    """Writes one text as a scalar dataset (attributes end at 64 KB on older HDF5)."""
    dataset = group.create_dataset(name, data=value, dtype=h5py.string_dtype())
    encode(dataset, "string", "0.2.0")
    dataset.attrs[CHECKSUM] = checksum([value.encode()])


def write_mapping(parent: h5py.Group, name: str) -> h5py.Group:
    """Makes an empty AnnData mapping, such as /obsm or /layers."""
    group = parent.create_group(name)
    encode(group, "dict", "0.1.0")
    return group


def encode(node: h5py.Group | h5py.Dataset, kind: str, version: str) -> None:
    """Marks a node with AnnData's name and version of its encoding."""
    node.attrs["encoding-type"] = kind
    node.attrs["encoding-version"] = version


def mark(file: h5py.File, file_format: FileFormat) -> None:
    """Names the format of a new file, which is incomplete until it says otherwise."""
    file.attrs["genoconv_format"] = file_format.name
    file.attrs["genoconv_format_version"] = file_format.version
    file.attrs["how_to_read"] = file_format.how_to_read
    file.attrs["complete"] = False


def seal(file: h5py.File, known: Mapping[str, str]) -> None:
    """Declares a file complete, with a checksum of all that its datasets' own checksums leave out.

    Args:
        file: The file, of which nothing else will change.
        known: What `structure` said of it earlier: holds for all that is not the file itself, or new.
    """
    file.attrs["complete"] = True
    file.attrs[STRUCTURE] = _structure_checksum(structure(file, known))


def structure(file: h5py.File, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Everything in a file, and the file itself as "/": name -> name, shape, type and attributes.

    Args:
        file: The file.
        known: What is not looked at again.

    Raises:
        OSError: An attribute cannot be read.
    """
    lines: dict[str, str] = {}

    def note(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if known and name in known and name != "/":
            lines[name] = known[name]
            return
        shape = f"{node.shape} {node.dtype.str}" if isinstance(node, h5py.Dataset) else "group"
        attributes = {key: np.asarray(node.attrs[key]).tolist() for key in node.attrs if key != STRUCTURE}
        lines[name] = f"{name} {shape} {sorted(attributes.items())}"

    note("/", file)
    file.visititems(note)
    return lines


def structure_checksum(file: h5py.File) -> str:
    """SHA-256 (hex) of the names, shapes, types and attributes of everything in a file.

    Raises:
        OSError: An attribute cannot be read.
    """
    return _structure_checksum(structure(file))


def _structure_checksum(lines: Mapping[str, str]) -> str:
    return checksum([line.encode() for line in sorted(lines.values())])


def close_quietly(file: h5py.File | None) -> None:
    """Closes a file that will be thrown away; a full disk may make that fail, which no longer matters."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        if file is not None:
            file.close()


def read_texts(dataset: h5py.Dataset) -> Texts:
    """All texts of a string dataset, in order."""
    return Texts(dataset[()])


def checksum(values: Array | Sequence[bytes]) -> str:
    """SHA-256 of numbers (their little-endian bytes) or of texts (UTF-8, each followed by a zero byte), in hex."""
    if isinstance(values, np.ndarray) and not values.dtype.hasobject:
        return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
    return texts_sha256(values)


def stored_checksum(dataset: h5py.Dataset) -> str:
    """The checksum of what a small dataset holds now, as `checksum` defines it."""
    if not is_text(dataset):
        return checksum(dataset[()])
    held = dataset[()]
    return checksum([held] if dataset.shape == () else held)


def is_text(dataset: h5py.Dataset) -> bool:
    """Whether a dataset holds texts."""
    return h5py.check_string_dtype(dataset.dtype) is not None


def lost_chunks(dataset: h5py.Dataset) -> int:
    """How many chunks of a matrix are not in the file (HDF5 reads such chunks as zeros)."""
    if not dataset.size or dataset.chunks is None:
        return 0
    expected = -(-dataset.shape[0] // dataset.chunks[0])
    return int(expected - dataset.id.get_num_chunks())

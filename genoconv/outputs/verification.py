"""A finished file -> everything that is wrong with it, in words; all of it is read."""

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from genoconv.outputs import hdf5
from genoconv.outputs.formats import EMBEDDINGS, TOKENS, FileFormat, row_width, tokens_path
from genoconv.outputs.hdf5 import Array, Dataset, File, Group
from genoconv.outputs.patience import signals_waiting
from genoconv.outputs.token_data import checksums
from genoconv.outputs.token_layout import CHECKED_ROWS, TokenLayout
from genoconv.outputs.tokens import CHECKS, layout_of
from genoconv.outputs.values import all_finite

READ_BYTES = 32 << 20
# What h5py raises on damaged files, by where the damage lies.
DAMAGE = (OSError, KeyError, ValueError, RuntimeError, TypeError, UnicodeDecodeError, OverflowError, MemoryError)
# The mean of a record's stored rows against its stored mean: the rounding of the stored type, over many rows.
AGREEMENT = {"f4": 1e-4, "f2": 1e-2}
AGREEMENT_BASES = 1 << 20


def verify(path: str | Path) -> list[str]:
    """Reads a whole embeddings or per-nucleotide file and lists what is wrong.

    Checked: that it is a sound HDF5 file in a known format and complete, that all matrices and columns have one row
    per record, each checksum, that all numbers are finite, that offsets rise, and that the per-nucleotide file beside
    an embeddings file (if any) belongs to it.

    Args:
        path: The file.

    Returns:
        Findings, one line each; an empty list means a good file.
    """
    path = Path(path)
    if not path.is_file():
        return ["there is no such file"]
    findings: list[str] = []
    try:
        findings.extend(filter(None, _in_steps(_read_whole(path))))
    except DAMAGE as error:
        findings.append(f"not a sound HDF5 file: {one_line(error)}")
    return findings


def _in_steps(findings: Generator[str]) -> Iterator[str]:
    """The same findings; signals come in between them only, for h5py does not bear them."""
    finding: str | None = ""
    try:
        while finding is not None:
            with signals_waiting():
                finding = next(findings, None)
            yield finding or ""
    finally:
        with signals_waiting():
            findings.close()


def _read_whole(path: Path) -> Generator[str]:
    with hdf5.open_read(path) as file:
        yield from _findings(file, path)


def _findings(file: File, path: Path) -> Iterator[str]:
    """What is wrong, and now and then an empty text, which says that this is a good moment for a signal."""
    known = {known.name: known for known in (EMBEDDINGS, TOKENS)}
    name = file.attrs.get("genoconv_format")
    if name not in known:
        yield f"not a file of genoconv: genoconv_format is {name!r}"
        return
    problem = version_problem(str(file.attrs.get("genoconv_format_version")), known[name])
    if problem:
        yield problem
        return
    if not file.attrs.get("complete", False):
        yield "the file is incomplete: it was never committed"
    elif hdf5.structure_checksum(file) != file.attrs.get(hdf5.STRUCTURE):
        yield "the structure is damaged: names, shapes, types or attributes are not those that were written"
    if name == TOKENS.name:
        yield from _token_findings(file)
    else:
        yield from _embedding_findings(file)
        yield from _sibling_findings(file, tokens_path(path))


def version_problem(version: str, file_format: FileFormat) -> str:
    """Why a file of this version cannot be read, or nothing."""
    if version.partition(".")[0] == file_format.version.partition(".")[0]:
        return ""
    return f"{file_format.name} version {version} is not known here (this program knows {file_format.version})"


def _embedding_findings(file: File) -> Iterator[str]:
    for name in ("X", "obs", "obs/_index", "obsm", "layers", "var", "var/_index", "uns/provenance"):
        if name not in file:
            yield f"{name} is missing"
    if "obs/_index" not in file or "X" not in file:
        return
    records = file["obs/_index"].shape[0]
    for name, matrix in embedding_matrices(file):
        yield from _matrix_findings(name, matrix, records)
    for table, rows in (("obs", records), ("var", file["X"].shape[1])):
        yield from _table_findings(file, table, rows)
    yield from _checksum_findings(file, "uns/provenance")


def embedding_matrices(file: File) -> list[tuple[str, Dataset]]:
    """All matrices of an embeddings file with their names, X first."""
    found = [("X", file["X"])]
    for group in ("layers", "obsm"):
        found += [(f"{group}/{name}", file[group][name]) for name in file.get(group, {})]
    return found


def _table_findings(file: File, table: str, rows: int) -> Iterator[str]:
    if table not in file:
        return
    columns = [str(column) for column in file[table].attrs.get("column-order", ())]
    if set(columns) != set(file[table]) - {"_index"}:
        yield f"{table} has the columns {sorted(set(file[table]) - {'_index'})}, and lists {sorted(columns)}"
        return
    for name in ("_index", *columns):
        node = file[table][name]
        parts = [f"{table}/{name}/codes", f"{table}/{name}/categories"] if isinstance(node, Group) else [node.name[1:]]
        for part in parts:
            yield from _checksum_findings(file, part)
        if file[parts[0]].shape != (rows,):
            yield f"{table}/{name} has the shape {file[parts[0]].shape} for {rows} records"


def _token_findings(file: File) -> Iterator[str]:
    missing = [name for name in ("data", "offsets", "id", "provenance") if name not in file]
    yield from (f"{name} is missing" for name in missing)
    if missing:
        return
    for name in ("offsets", "id", "provenance"):
        yield from _checksum_findings(file, name)
    data, offsets, records = file["data"], file["offsets"][:], file["id"].shape[0]
    if offsets.shape != (records + 1,) or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        yield f"offsets do not rise from 0 over {records} records"
    elif offsets[-1] != data.shape[0]:
        yield f"data has {data.shape[0]} rows, and offsets end at {offsets[-1]}"
    layout = layout_of(file)
    if layout is None:
        yield from _matrix_findings("data", data, data.shape[0])  # of version 1.0
    else:
        yield from _stretch_findings(file, data, layout)


def _stretch_findings(file: File, data: Dataset, layout: TokenLayout) -> Iterator[str]:
    """Reads the numbers of all bases, a few stretches at a time, and compares each one's checksum."""
    if CHECKS not in file or file[CHECKS].shape != (layout.checks[-1],):
        yield "data has no checksums"
        return
    yield from _checksum_findings(file, CHECKS)
    expected, edges = file[CHECKS][:], layout.edges()
    most = max(CHECKED_ROWS, READ_BYTES // layout.row_bytes)
    memory = np.empty((min(most, int(edges[-1])), layout.width), data.dtype)
    first = 0
    while first < len(expected):
        last = int(np.searchsorted(edges, edges[first] + most, side="right")) - 1
        block = memory[: edges[last] - edges[first]]
        data.read_direct(block, np.s_[edges[first] : edges[last]])
        for number in range(first, last):
            start, end = int(edges[number]), int(edges[number + 1])
            values = block[start - edges[first] : end - edges[first]]
            if checksums(values) != expected[number]:
                yield f"data, rows {start} to {end - 1}: damaged (the checksum does not agree)"
            elif not all_finite(values):
                row = start + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
                yield f"data, row {row}: a number is NaN or infinite"
        yield ""
        first = last


def _matrix_findings(name: str, matrix: Dataset, rows: int) -> Iterator[str]:
    if matrix.ndim != 2 or matrix.shape[0] != rows:
        yield f"{name} has the shape {matrix.shape} for {rows} records"
        return
    if not matrix.fletcher32:
        yield f"{name} has no checksums"
    lost = hdf5.lost_chunks(matrix)
    if lost:
        yield f"{name} lacks {lost} of its chunks of {matrix.chunks[0]} rows"
    for start, end, values in _blocks(matrix):
        if isinstance(values, str):
            yield f"{name}, rows {start} to {end - 1}: {values}"
        elif not all_finite(values):
            row = start + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            yield f"{name}, row {row}: a number is NaN or infinite"
        else:
            yield ""


def _blocks(matrix: Dataset, first: int = 0, last: int | None = None) -> Iterator[tuple[int, int, Array | str]]:
    """Reads (start, end, values) by blocks of whole chunks; a block that cannot be read again chunk by chunk.

    All blocks lie in the same memory.
    """
    chunk = matrix.chunks[0] if matrix.chunks else max(1, matrix.shape[0])
    end = matrix.shape[0] if last is None else last
    row_bytes = max(1, matrix.shape[1] * matrix.dtype.itemsize)
    step = max(1, READ_BYTES // (chunk * row_bytes)) * chunk if last is None else chunk
    memory = np.empty((min(step, end - first), matrix.shape[1]), matrix.dtype)
    for start in range(first, end, step):
        stop = min(end, start + step)
        try:
            block = memory[: stop - start]
            matrix.read_direct(block, np.s_[start:stop])
            yield start, stop, block
        except DAMAGE as error:
            if stop - start > chunk:
                yield from _blocks(matrix, start, stop)
            else:
                yield start, stop, f"damaged ({one_line(error)})"


def _checksum_findings(file: File, name: str) -> Iterator[str]:
    try:
        dataset = file[name]
        expected = dataset.attrs.get(hdf5.CHECKSUM)
        if expected is None:
            yield f"{name} has no checksum"
        elif hdf5.stored_checksum(dataset) != expected:
            yield f"{name} is damaged: its checksum does not agree"
        else:
            yield ""
    except DAMAGE as error:
        yield f"{name} is damaged ({one_line(error)})"


def _sibling_findings(file: File, path: Path) -> Iterator[str]:
    """Whether the per-nucleotide file beside an embeddings file has the same records and numbers."""
    if not path.is_file():
        return
    try:
        with hdf5.open_read(path) as tokens:
            if tokens.attrs.get("genoconv_format") != TOKENS.name:
                yield f"{path.name} beside it is not a per-nucleotide file"
            elif hdf5.read_texts(tokens["id"]) != hdf5.read_texts(file["obs/_index"]):
                yield f"{path.name} beside it holds other records"
            elif row_width(str(file["X"].attrs["pooling"]), tokens["data"].shape[1]) != file["X"].shape[1]:
                yield f"{path.name} beside it has {tokens['data'].shape[1]} numbers per base, X {file['X'].shape[1]}"
            else:
                yield from _disagreements(file, tokens, path.name)
    except DAMAGE as error:
        yield f"{path.name} beside it cannot be read: {one_line(error)}"


def _disagreements(file: File, tokens: File, name: str) -> Iterator[str]:
    """Compares lengths, and for the first, middle and last record of moderate length the mean of its rows."""
    data, offsets = tokens["data"], tokens["offsets"][:]
    lengths = np.diff(offsets)
    if "length" in file["obs"] and not np.array_equal(lengths, file["obs/length"][:]):
        yield f"{name} beside it has records of other lengths"
        return
    means = [
        matrix
        for _, matrix in embedding_matrices(file)
        if matrix.attrs.get("pooling") == "mean" and matrix.attrs.get("layer") == data.attrs.get("layer")
    ]
    usable = np.flatnonzero((lengths > 0) & (lengths <= AGREEMENT_BASES))
    if not means or not usable.size:
        return
    for row in sorted({int(usable[0]), int(usable[len(usable) // 2]), int(usable[-1])}):
        mean = data[offsets[row] : offsets[row + 1]].mean(axis=0, dtype=np.float64)
        stored = means[0][row].astype(np.float64)
        tolerance = max(AGREEMENT[dataset.dtype.str[-2:]] for dataset in (data, means[0]))
        if np.abs(mean - stored).max() > tolerance * max(1.0, np.abs(stored).max()):
            yield f"{name} beside it has other numbers for row {row}: it is from another run"


def one_line(error: BaseException) -> str:
    """What an error says, cut to its first line; its kind if it says nothing."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]

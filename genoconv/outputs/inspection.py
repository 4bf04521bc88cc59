"""A file -> what it says about itself: format, records, matrices, model; nothing but headers is read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genoconv.errors import InputError
from genoconv.outputs import hdf5
from genoconv.outputs.formats import EMBEDDINGS, TOKENS, tokens_path
from genoconv.outputs.hdf5 import File
from genoconv.outputs.verification import DAMAGE, embedding_matrices, version_problem

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix of a file.

    Attributes:
        name: Its dataset.
        shape: Rows and width.
        pooling: How hidden states became rows ("mean"), or "none" for one row per base.
        layer: The layer the hidden states come from; 0 is the embedding.
    """

    name: str
    shape: tuple[int, ...]
    pooling: str
    layer: int


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What an embeddings or per-nucleotide file says about itself.

    Attributes:
        path: The file, as named.
        format: "genoconv-embeddings" or "genoconv-tokens".
        version: The version of the format.
        complete: Whether the file was committed.
        size_bytes: Bytes on disk.
        records: Number of records.
        d_model: Numbers per row.
        dtype: Stored type of the numbers, "f4" or "f2".
        matrices: All matrices, the main one first.
        columns: The columns per record.
        provenance: What the run said about itself.
        tokens_file: The per-nucleotide file beside an embeddings file, if there is one.
    """

    path: str
    format: str
    version: str
    complete: bool
    size_bytes: int
    records: int
    d_model: int
    dtype: str
    matrices: tuple[Matrix, ...]
    columns: tuple[str, ...]
    provenance: dict[str, Any]
    tokens_file: str | None

    @property
    def poolings(self) -> tuple[str, ...]:
        """The poolings of the file, the main one first."""
        return tuple(dict.fromkeys(matrix.pooling for matrix in self.matrices))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers of the file, the main one first."""
        return tuple(dict.fromkeys(matrix.layer for matrix in self.matrices))

    def to_json(self) -> str:
        """All of it, as one JSON object."""
        return json.dumps({**asdict(self), "poolings": self.poolings, "layers": self.layers}, indent=2)

    def to_text(self) -> str:
        """All of it, as lines of "name: value" for a person."""
        lines = {
            "file": self.path,
            "format": f"{self.format} {self.version}" + ("" if self.complete else ", INCOMPLETE"),
            "size": f"{self.size_bytes:,} bytes",
            "records": f"{self.records:,}",
            "numbers per row": f"{self.d_model} ({'float32' if self.dtype == 'f4' else 'float16'})",
            "matrices": "; ".join(
                f"{matrix.name} ({matrix.pooling} at layer {matrix.layer}, {matrix.shape[0]:,} rows)"
                for matrix in self.matrices
            ),
            "columns": ", ".join(self.columns),
            "per-nucleotide": self.tokens_file or "",
        }
        lines |= {f"  {key}": _short(value) for key, value in self.provenance.items()}
        width = max(map(len, lines)) + 1
        return "\n".join(f"{name + ':':<{width}} {value}" for name, value in lines.items() if value != "")


def read_info(path: str | Path) -> FileInfo:
    """Reads what a file says about itself; its numbers are not read (`verify` does that).

    Args:
        path: An embeddings or per-nucleotide file.

    Returns:
        The description.

    Raises:
        InputError: The file is missing, no HDF5 file, damaged, or of a format or version not known here.
    """
    _refuse_other_files(Path(path))
    try:
        with hdf5.open_read(Path(path)) as file:
            return _describe(file, Path(path))
    except DAMAGE as error:
        raise InputError(
            f"the HDF5 file is cut short or damaged: {str(error).strip().splitlines()[0]}",
            where=str(path),
            fix="Copy it again from where it came, or run the command that made it again.",
        ) from error


def _refuse_other_files(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(HDF5_SIGNATURE))
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    if start != HDF5_SIGNATURE:
        found = "an empty file" if not start else "another kind of file"
        raise InputError(
            f"expected an HDF5 file written by genoconv, found {found}",
            where=str(path),
            fix="Name a file that `genoconv embed` wrote.",
        )


def _describe(file: File, path: Path) -> FileInfo:
    known = {known.name: known for known in (EMBEDDINGS, TOKENS)}
    name, version = str(file.attrs.get("genoconv_format")), str(file.attrs.get("genoconv_format_version"))
    if name not in known:
        raise InputError(
            "expected a file written by genoconv, found another HDF5 file (no attribute genoconv_format)",
            where=str(path),
            fix="Name a file that `genoconv embed` wrote.",
        )
    if problem := version_problem(version, known[name]):
        raise InputError(
            problem, where=str(path), fix="Use the version of genoconv that wrote the file, or a newer one."
        )
    tokens = name == TOKENS.name
    matrices = [("data", file["data"])] if tokens else embedding_matrices(file)
    ids = file["id"] if tokens else file["obs/_index"]
    provenance = file.get("provenance" if tokens else "uns/provenance")  # missing in a file that is incomplete
    sibling = tokens_path(path)
    return FileInfo(
        path=str(path),
        format=name,
        version=version,
        complete=bool(file.attrs.get("complete", False)),
        size_bytes=path.stat().st_size,
        records=int(ids.shape[0]),
        d_model=int(matrices[0][1].shape[1]),
        dtype=matrices[0][1].dtype.str[-2:],
        matrices=tuple(
            Matrix(name, tuple(node.shape), str(node.attrs.get("pooling", "none")), int(node.attrs["layer"]))
            for name, node in matrices
        ),
        columns=() if tokens else tuple(str(column) for column in file["obs"].attrs["column-order"]),
        provenance={} if provenance is None else json.loads(provenance.asstr()[()]),
        tokens_file=str(sibling) if not tokens and sibling.is_file() else None,
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."

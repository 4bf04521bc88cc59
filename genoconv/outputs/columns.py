"""Columns of a finished file -> values again, each checked against its checksum, to be joined with those of others."""

from collections.abc import Sequence

import numpy as np

from genoconv.outputs import hdf5
from genoconv.outputs.hdf5 import Array, Categorical, Column, Dataset, Group


def read_column(node: Group | Dataset) -> Column:
    """A column of a table, as `write_table` takes it.

    Raises:
        ValueError: Its checksum does not agree.
    """
    if isinstance(node, Group):
        categories = read_checked_texts(node["categories"])
        return Categorical([categories[code] for code in _read_numbers(node["codes"]).tolist()], categories)
    return read_checked_texts(node) if hdf5.is_text(node) else _read_numbers(node)


def read_checked_texts(dataset: Dataset) -> list[str]:
    """All texts of a string dataset, in order.

    Raises:
        ValueError: Its checksum does not agree.
    """
    held = list(dataset[()])
    _agree(dataset, hdf5.checksum(held))
    return [text.decode() for text in held]


def _read_numbers(dataset: Dataset) -> Array:
    held: Array = dataset[()]
    _agree(dataset, hdf5.checksum(held))
    return held


def _agree(dataset: Dataset, found: str) -> None:
    if found != dataset.attrs.get(hdf5.CHECKSUM):
        raise ValueError(f"{dataset.name} is damaged: its checksum does not agree")


def join(columns: Sequence[Column]) -> Column:
    """Several columns of one kind, one after the other."""
    categorical = [column for column in columns if isinstance(column, Categorical)]
    if categorical:
        return Categorical([value for column in categorical for value in column.values], categorical[0].categories)
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if arrays:
        return np.concatenate(arrays)
    return [value for column in columns if not isinstance(column, Categorical) for value in column]

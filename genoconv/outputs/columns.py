"""Columns of a finished file -> values again, each checked against its checksum, to be joined with those of others."""

from collections.abc import Sequence

import numpy as np

from genoconv.outputs import hdf5
from genoconv.outputs.hdf5 import Array, Coded, Column, Dataset, Group
from genoconv.outputs.texts import Texts


def read_column(node: Group | Dataset) -> Column:
    """A column of a table, as `write_table` takes it.

    Raises:
        ValueError: Its checksum does not agree.
    """
    if isinstance(node, Group):
        return Coded(_read_numbers(node["codes"]), list(read_checked_texts(node["categories"])))
    return read_checked_texts(node) if hdf5.is_text(node) else _read_numbers(node)


def read_checked_texts(dataset: Dataset) -> Texts:
    """All texts of a string dataset, in order.

    Raises:
        ValueError: Its checksum does not agree.
    """
    held = hdf5.read_texts(dataset)
    _agree(dataset, held.sha256())
    return held


def _read_numbers(dataset: Dataset) -> Array:
    held: Array = dataset[()]
    _agree(dataset, hdf5.checksum(held))
    return held


def _agree(dataset: Dataset, found: str) -> None:
    if found != dataset.attrs.get(hdf5.CHECKSUM):
        raise ValueError(f"{dataset.name} is damaged: its checksum does not agree")


def join(columns: Sequence[Column]) -> Column:
    """Several columns of one kind, as `read_column` gives them, one after the other.

    Raises:
        ValueError: They are of different kinds, or of different categories.
    """
    texts = [column for column in columns if isinstance(column, Texts)]
    coded = [column for column in columns if isinstance(column, Coded)]
    numbers = [column for column in columns if isinstance(column, np.ndarray)]
    if len(columns) not in (len(texts), len(coded), len(numbers)):
        raise ValueError("columns of different kinds cannot be joined")
    if texts:
        return Texts.joined(texts)
    if coded:
        if any(column.categories != coded[0].categories for column in coded):
            raise ValueError("columns of different categories cannot be joined")
        return Coded(np.concatenate([column.codes for column in coded]), coded[0].categories)
    return np.concatenate(numbers)

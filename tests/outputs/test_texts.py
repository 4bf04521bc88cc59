"""Texts kept as UTF-8 are the texts they were, in any order, with the checksum that the format defines."""

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoconv.outputs import texts
from genoconv.outputs.texts import Texts, displayable, texts_sha256, utf8

STORABLE = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=30)


def held(values: list[str]) -> Texts:
    return Texts(np.fromiter((value.encode() for value in values), object, len(values)))


@given(STORABLE, st.randoms(use_true_random=False))
def test_texts_come_back_in_any_order(values: list[str], numbers: random.Random) -> None:
    order = list(range(len(values)))
    numbers.shuffle(order)
    taken = held(values).take(np.array(order, dtype=np.int64))
    assert list(taken) == [values[place] for place in order]
    assert [taken[place] for place in range(len(taken))] == list(taken)
    assert list(Texts.joined([held(values), taken])) == [*values, *taken]
    assert list(taken[1:]) == list(taken)[1:]
    assert (taken == held(values)) == (list(taken) == values)


@given(STORABLE)
def test_the_checksum_is_that_of_the_texts_each_with_a_zero_byte(values: list[str]) -> None:
    expected = hashlib.sha256(b"".join(value.encode() + b"\0" for value in values)).hexdigest()
    assert texts_sha256([value.encode() for value in values]) == expected
    assert held(values).sha256() == expected


@pytest.mark.parametrize("count", [texts.STEP - 1, texts.STEP, texts.STEP + 1])
def test_the_checksum_of_many_texts(count: int) -> None:
    values = [str(number).encode() for number in range(count)]
    assert texts_sha256(values) == hashlib.sha256(b"\0".join([*values, b""])).hexdigest()


@pytest.mark.parametrize(("value", "shown"), [("a\0b", "a\\x00b"), ("odd \udcff", "odd \\udcff"), ("naïve", "naïve")])
def test_what_hdf5_cannot_hold_is_spelt_out(value: str, shown: str) -> None:
    assert (utf8([value]) is None) == (value != shown)
    assert list(displayable(["x", value])) == ["x", shown]

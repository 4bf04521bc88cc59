"""What makes two runs the same run, and how a difference is named."""

import copy
from typing import Any

import pytest

from genoconv.runs.provenance import differences

RUN: dict[str, Any] = {
    "genoconv": "1",
    "model": {"name": "a", "sha256": "00", "config": {"d_model": 8}},
    "settings": {"poolings": ["mean"], "device": "cpu", "threads": 1, "batch_bases": None, "tokens": False},
    "shard": {"index": 1, "count": 4, "unit_bases": 4096},
    "input": {"sha256": {"genes.fa": "11"}, "records_sha256": "22"},
}


def changed(*path: str, value: Any) -> dict[str, Any]:
    """The run with one thing changed."""
    other = copy.deepcopy(RUN)
    place = other
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return other


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("genoconv",), "2", "genoconv"),
        (("model", "sha256"), "99", "the model was a (sha256 00...), now it is a (sha256 99...)"),
        (("model", "config"), {"d_model": 9}, "the model's config.json was"),
        (("settings", "poolings"), ["max"], 'the setting poolings was ["mean"], now it is ["max"]'),
        (("settings", "gaps"), "drop", "the setting gaps was null"),
        (("shard", "index"), 2, "the shard's index was 1, now it is 2"),
        (("shard", "unit_bases"), 65536, "unit_bases"),
        (("shard",), None, "the shard's count was 4, now it is null"),
        (
            ("input", "sha256", "genes.fa"),
            "33",
            "the input was genes.fa (sha256 11...), now",
        ),
        (("input", "records_sha256"), "44", "the records"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_what_decides_the_numbers_is_named(path: tuple[str, ...], value: Any, words: str) -> None:
    found = differences(RUN, changed(*path, value=value))
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("path", "value"),
    [(("model", "name"), "b"), (("settings", "device"), "cuda"), (("settings", "threads"), 8), (("compute",), [])],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_what_does_not_is_free(path: tuple[str, ...], value: Any) -> None:
    assert differences(RUN, changed(*path, value=value)) == []

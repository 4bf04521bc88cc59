"""Views of hidden states are those of the model, and of `genoconv embed`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from genoconv.errors import InputError
from genoconv.evaluation.states import NEIGHBOURS, VIEWS, looked_at, views
from genoconv.inputs.tokens import encode, reverse_complement
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.names import DEFAULT_MODEL, resolve
from genoconv.model.pretrained import load_model
from genoconv.training.start import new_model

Command = Callable[..., Any]
SEQUENCES = [b"ACGTTGCANG" * 3, b"TTGACA", b"A", b"GGGTACCATTACGATCA"]


@pytest.fixture(scope="module")
def model() -> HyenaDNA:
    return new_model(HyenaConfig(d_model=8, n_layer=4, d_inner=16, l_max=66), 0)


def strands(model: HyenaDNA, sequence: bytes, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states of both strands, (L, d) each, by the plain model."""
    tokens = encode(sequence)
    with torch.no_grad():
        turned = reverse_complement(tokens)
        both = [list(model.states(torch.from_numpy(strand.copy()).long()[None])) for strand in (tokens, turned)]
    given, other = (states[layer][0].numpy() for states in both)
    return given, other


def test_every_view_is_what_it_says(model: HyenaDNA) -> None:
    assert looked_at(model.config) == (2, 3, 4, 5)
    found = views(model, SEQUENCES, list(VIEWS))
    assert list(found) == [(view, layer) for layer in (2, 3, 4, 5) for view in VIEWS]
    for row, sequence in enumerate(SEQUENCES):
        given, other = strands(model, sequence, 3)
        size, middle = len(sequence), len(sequence) // 2
        near = [min(max(middle + n, 0), size - 1) for n in NEIGHBOURS]
        back = [min(max(size - 1 - middle + n, 0), size - 1) for n in NEIGHBOURS]
        both = np.concatenate([given, other])
        mean = np.concatenate([given.mean(axis=0), other.mean(axis=0)])
        site = np.concatenate([given[middle], other[size - 1 - middle]])
        expected = {
            "mean": mean,
            "max": np.concatenate([given.max(axis=0), other.max(axis=0)]),
            "site": site,
            "window": np.concatenate([part for a, b in zip(near, back, strict=True) for part in (given[a], other[b])]),
            "site+mean": np.concatenate([site, mean]),
            "strandless": both.mean(axis=0),
            "spread": np.concatenate([both.mean(axis=0), (given.std(axis=0) + other.std(axis=0)) / 2]),
        }
        for view, numbers in expected.items():
            np.testing.assert_allclose(found[view, 3][row], numbers, atol=2e-5, err_msg=view)


def test_strandless_views_are_the_same_for_both_strands(model: HyenaDNA) -> None:
    turned = [sequence.translate(bytes.maketrans(b"ACGT", b"TGCA"))[::-1] for sequence in SEQUENCES]
    for view in ("strandless", "spread"):
        given, other = (views(model, strand, [view]) for strand in (SEQUENCES, turned))
        for key, rows in given.items():
            np.testing.assert_allclose(rows, other[key], atol=1e-5)


def test_a_site_beyond_the_end_is_refused(model: HyenaDNA) -> None:
    with pytest.raises(InputError, match="sequence 2 has 6 bases"):
        views(model, SEQUENCES, ["site"], site=7)


def test_a_site_is_that_of_embed(genoconv: Command, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    genome = data / "ecoli_20kb.fa"
    region = ["--region", "NC_000913.2:101-160", "--region", "NC_000913.2:301-340"]
    assert genoconv("embed", genome, "-o", out, "--pool", "site", "--site", "7", *region).code == 0
    text = b"".join(line for line in genome.read_bytes().splitlines() if not line.startswith(b">"))
    loaded = load_model(resolve(DEFAULT_MODEL).path)
    found = views(loaded, [text[100:160], text[300:340]], ["site"], site=7)
    with h5py.File(out) as file:
        np.testing.assert_allclose(file["X"][:], found["site", loaded.config.n_layer + 1], atol=1e-5)

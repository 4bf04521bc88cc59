import itertools
import math

import numpy as np
import pytest

from genoconv.inputs.tokens import encode
from genoconv.training import markov
from genoconv.training.markov import MarkovModel

TRAIN = "ACGTTGCANNACGGTACGTTAGCATCGATTACG|GGCATTACGATCGNTTACG|AC|"
OTHER = "CGATTACGTNACGTTA|TTAGC|"


def tokens_of(text: str) -> np.ndarray:
    ids = encode(text.encode()).copy()
    ids[[letter == "|" for letter in text]] = 1
    return ids


def complement(text: str) -> str:
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


def brute_force(train: list[str], other: str, top: int, strength: float) -> list[float]:
    """Perplexities of all orders by counting words as strings."""
    count: dict[str, int] = {}
    for text in train:
        for place in range(len(text) - top):
            word = text[place : place + top + 1]
            if set(word) <= set("ACGT"):
                count[word] = count.get(word, 0) + 1
    tables = {top: count}
    for order in range(top - 1, -1, -1):
        shorter: dict[str, int] = {}
        for word, number in tables[order + 1].items():
            shorter[word[1:]] = shorter.get(word[1:], 0) + number
        tables[order] = shorter

    def probability(order: int, before: str, base: str) -> float:
        if order < 0:
            return 0.25
        lower = probability(order - 1, before, base)
        known = before[len(before) - order :] if order else ""
        if len(known) < order or not set(known) <= set("ACGT"):
            return lower
        total = sum(tables[order].get(known + letter, 0) for letter in "ACGT")
        return (tables[order].get(known + base, 0) + strength * lower) / (total + strength)

    results = []
    for order in range(top + 1):
        logs = [math.log(probability(order, other[:place], base)) for place, base in enumerate(other) if base in "ACGT"]
        results.append(math.exp(-sum(logs) / len(logs)))
    return results


@pytest.mark.parametrize(("order", "both"), list(itertools.product([0, 1, 2, 4], [False, True])))
def test_perplexities_are_those_of_a_brute_force_count(order: int, both: bool) -> None:
    texts = [TRAIN, complement(TRAIN)] if both else [TRAIN]
    model = MarkovModel.fit(tokens_of(TRAIN), order, both_strands=both)
    found = model.perplexities(tokens_of(OTHER), strengths=[3.0])
    assert found == pytest.approx(brute_force(texts, OTHER, order, 3.0), rel=1e-12)


def test_chunks_lose_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    train, other = (random.integers(7, 12, size).astype(np.uint8) for size in (3000, 700))
    whole = MarkovModel.fit(train, 3).perplexities(other)
    monkeypatch.setattr(markov, "_CHUNK", 97)
    assert MarkovModel.fit(train, 3).perplexities(other) == pytest.approx(whole, rel=1e-12)


def test_the_best_strength_is_taken() -> None:
    model = MarkovModel.fit(tokens_of(TRAIN), 2)
    single = [model.perplexities(tokens_of(OTHER), strengths=[strength])[0] for strength in (0.5, 8.0)]
    assert model.perplexities(tokens_of(OTHER), strengths=(0.5, 8.0))[0] == min(single)


def test_a_periodic_sequence_is_certain_once_the_context_tells_the_place() -> None:
    tokens = tokens_of("AACGT" * 400)
    orders = MarkovModel.fit(tokens, 2).perplexities(tokens)
    assert orders[0] > 3.5
    assert orders[2] < 1.01

import numpy as np

from genoconv.training import duplicates
from genoconv.training.duplicates import STRETCH, WORD, SeenSequence, sampled_words

COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


def random_bases(count: int, seed: int) -> bytes:
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", dtype=np.uint8), count).tobytes()


def test_words_do_not_depend_on_the_strand() -> None:
    sequence = random_bases(50_000, 0)
    positions, hashes = sampled_words(sequence)
    other_positions, other_hashes = sampled_words(sequence[::-1].translate(COMPLEMENT))
    assert len(hashes) > 1000
    assert sorted(hashes) == sorted(other_hashes)
    assert sorted(len(sequence) - WORD - other_positions) == list(positions)


def test_chunks_give_the_same_words(monkeypatch: object) -> None:
    sequence = random_bases(20_000, 1)
    whole = sampled_words(sequence)
    original = duplicates._CHUNK
    try:
        duplicates._CHUNK = 977
        parts = sampled_words(sequence)
    finally:
        duplicates._CHUNK = original
    assert [part.tolist() for part in parts] == [part.tolist() for part in whole]


def test_words_with_n_are_left_out() -> None:
    assert not len(sampled_words(b"N" * 1000)[0])
    assert not len(sampled_words((b"ACGTTGCATTCGGATCCAGTACG" + b"N") * 200)[0])
    assert not len(sampled_words(b"ACG")[0])


def test_repeats_are_masked_on_either_strand_and_new_sequence_stays() -> None:
    old, new = random_bases(20 * STRETCH, 2), random_bases(20 * STRETCH, 3)
    seen = SeenSequence()
    assert seen.mask(old) == (old, 0)
    seen.add(old)
    assert seen.mask(new) == (new, 0)
    turned = old[::-1].translate(COMPLEMENT)
    mixed = new[: 4 * STRETCH] + turned[: 4 * STRETCH] + new[4 * STRETCH :]
    masked, replaced = seen.mask(mixed)
    assert replaced == 4 * STRETCH
    assert masked == new[: 4 * STRETCH] + b"N" * 4 * STRETCH + new[4 * STRETCH :]

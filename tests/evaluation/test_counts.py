"""Words and indicators against counting by hand."""

from itertools import product

import numpy as np

from genoconv.evaluation.counts import kmer_shares, one_hot


def test_words_are_counted_as_by_hand() -> None:
    sequences = [b"ACGTACGNTT", b"AC", b"NNNN"]
    for k in (1, 2, 3):
        words = ["".join(word) for word in product("ACGT", repeat=k)]
        for both in (False, True):
            found = kmer_shares(sequences, k, both_strands=both)
            for row, sequence in zip(found, sequences, strict=True):
                texts = [sequence.decode()]
                texts += [texts[0].translate(str.maketrans("ACGT", "TGCA"))[::-1]] if both else []
                counts = np.array([sum(t[i : i + k] == w for t in texts for i in range(len(t))) for w in words])
                np.testing.assert_allclose(row, np.sqrt(counts / max(counts.sum(), 1)), atol=1e-6)


def test_indicators_of_the_bases_around_a_site() -> None:
    (row,) = one_hot([b"AACGTT"], 4)
    assert row.reshape(4, 4).argmax(axis=1).tolist() == [0, 1, 2, 3]
    (edge,) = one_hot([b"ANGT"], 4, site=1)
    assert edge.reshape(4, 4).tolist() == [[0] * 4, [0] * 4, [1, 0, 0, 0], [0] * 4]

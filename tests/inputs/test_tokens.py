"""Token ids against the reference numbering, and padding."""

import numpy as np

from genoconv.inputs.tokens import PAD, VOCABULARY, encode, encode_batch, reverse_complement


def test_ids_are_those_of_the_reference_tokenizer() -> None:
    assert encode(b"ACGTN").tolist() == [7, 8, 9, 10, 11]
    assert [VOCABULARY[name] for name in ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[UNK]")] == [0, 1, 2, 3, 4, 6]
    assert PAD == 4


def test_every_other_byte_is_unknown() -> None:
    ids = encode(bytes(range(256)))
    assert ids.dtype == np.uint8
    known = {ord(letter) for letter in "ACGTN"}
    assert all((ids[byte] == 6) == (byte not in known) for byte in range(256))


def test_padding_is_on_the_right() -> None:
    ids = encode_batch([b"ACG", b"T", b"NNNN", b"xA"])
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[7, 8, 9, 4], [10, 4, 4, 4], [11, 11, 11, 11], [6, 7, 4, 4]]


def test_a_turned_batch_holds_reverse_complements() -> None:
    sequences = [b"ACGTN", b"A", b"GGT"]
    for row, sequence in zip(encode_batch(sequences, turn=True), sequences, strict=True):
        assert row[: len(sequence)].tolist() == reverse_complement(encode(sequence)).tolist()
        assert set(row[len(sequence) :].tolist()) <= {PAD}


def test_an_empty_batch_has_no_rows() -> None:
    assert encode_batch([]).shape == (0, 0)


def test_reverse_complement_turns_bases_and_leaves_the_rest() -> None:
    tokens = np.append(encode(b"AACGTN"), np.uint8(VOCABULARY["[SEP]"]))
    assert reverse_complement(tokens).tobytes() == bytes([VOCABULARY["[SEP]"]]) + encode(b"NACGTT").tobytes()
    assert (reverse_complement(reverse_complement(tokens)) == tokens).all()

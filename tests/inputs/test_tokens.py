"""Token ids against the reference numbering, and padding."""

import numpy as np

from genoconv.inputs.tokens import PAD, VOCABULARY, encode, pad_batch, reverse_complement


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
    ids, lengths = pad_batch([encode(b"ACG"), encode(b"T"), encode(b"NNNN")])
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[7, 8, 9, 4], [10, 4, 4, 4], [11, 11, 11, 11]]
    assert lengths.tolist() == [3, 1, 4]


def test_an_empty_batch_has_no_rows() -> None:
    ids, lengths = pad_batch([])
    assert ids.shape == (0, 0)
    assert lengths.shape == (0,)


def test_reverse_complement_turns_bases_and_leaves_the_rest() -> None:
    tokens = np.append(encode(b"AACGTN"), np.uint8(VOCABULARY["[SEP]"]))
    assert reverse_complement(tokens).tobytes() == bytes([VOCABULARY["[SEP]"]]) + encode(b"NACGTT").tobytes()
    assert (reverse_complement(reverse_complement(tokens)) == tokens).all()

"""What happens to each letter under each policy."""

import pytest

from genoconv.inputs.letters import LetterPolicy, count_letters_found, explain_refusal, normalise


def test_plain_letters_pass_unchanged() -> None:
    assert normalise(b"ACGT\nNNAC\r\n", LetterPolicy()) == (b"ACGTNNAC", 8, 0, {}, -1)


def test_lower_case_is_read_as_upper_case_and_counted() -> None:
    assert normalise(b"ACgt\nnnAC \t\n", LetterPolicy(strict=True)) == (b"ACGTNNAC", 8, 4, {}, -1)


def test_u_becomes_t_and_ambiguity_codes_become_n() -> None:
    piece = normalise(b"AUuRyswkmbdhvT\n", LetterPolicy())
    assert piece.sequence == b"ATTNNNNNNNNNNT"
    assert piece.lowercase == 10
    assert piece.replaced == {"U": 2, **dict.fromkeys("RYSWKMBDHV", 1)}


@pytest.mark.parametrize(("gaps", "sequence"), [("n", b"ACNNNGT"), ("drop", b"ACGT")])
def test_gaps_by_policy(gaps: str, sequence: bytes) -> None:
    piece = normalise(b"AC-.*GT", LetterPolicy(gaps=gaps))  # type: ignore[arg-type]
    assert piece == (sequence, 7, 0, {"-": 1, ".": 1, "*": 1}, -1)


@pytest.mark.parametrize(
    ("found", "policy", "offset"),
    [
        (b"AC\nG-T", LetterPolicy(gaps="refuse"), 4),
        (b"ACGTU", LetterPolicy(strict=True), 4),
        (b"acgtr", LetterPolicy(strict=True), 4),
        (b"A-CGT", LetterPolicy(strict=True, gaps="drop"), 1),
        (b"MKVE", LetterPolicy(), 3),
        (b"AC>GT", LetterPolicy(), 2),
        (b"AC\x00GT", LetterPolicy(), 2),
        (b"AC\xc3\xa9GT", LetterPolicy(), 2),
        (b"1 ACGT", LetterPolicy(), 0),
    ],
)
def test_the_first_refused_letter_is_found(found: bytes, policy: LetterPolicy, offset: int) -> None:
    assert normalise(found, policy).refused == offset


@pytest.mark.parametrize("letter", b"EFILPQZJOXefilpqzjox")
def test_amino_acids_are_called_protein(letter: int) -> None:
    assert normalise(b"ACGT" + bytes([letter]), LetterPolicy()).refused == 4
    assert "looks like protein" in explain_refusal(letter, LetterPolicy())[0]


@pytest.mark.parametrize(
    ("letter", "policy", "words"),
    [
        ("r", LetterPolicy(strict=True), "--strict"),
        ("U", LetterPolicy(strict=True), "--strict"),
        ("-", LetterPolicy(strict=True), "--strict"),
        ("-", LetterPolicy(gaps="refuse"), "--gaps"),
        ("X", LetterPolicy(), "write N"),
        ("5", LetterPolicy(), "'5' is not a nucleotide code"),
        ("\0", LetterPolicy(), "byte 0x00"),
    ],
)
def test_a_refusal_is_explained(letter: str, policy: LetterPolicy, words: str) -> None:
    assert words in " ".join(explain_refusal(ord(letter), policy))


def test_letters_found_are_counted_without_white_space() -> None:
    assert count_letters_found(b"AC -\r\n\tGX\n\n") == 5

"""From the letters of a sequence file to A, C, G, T and N: what is kept, changed, dropped or refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

GapPolicy = Literal["n", "drop", "refuse"]

BASES = b"ACGTN"
AMBIGUITY_CODES = b"RYSWKMBDHV"
GAPS = b"-.*"
WHITESPACE = b" \t\n\r\v\f"
_PROTEIN_ONLY = b"EFILPQZJOX"
_NOTHING_REPLACED: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LetterPolicy:
    """What happens to letters other than A, C, G, T and N. Lower case (a soft mask) is always read as upper case.

    Attributes:
        strict: Refuse every record in which a letter would have to be replaced or dropped.
        gaps: `-`, `.` and `*` become N ("n"), are left out ("drop"), or make the record a bad one ("refuse").
    """

    strict: bool = False
    gaps: GapPolicy = "n"


class Piece(NamedTuple):
    """A normalised stretch of sequence.

    Attributes:
        sequence: Only A, C, G, T, N.
        letters: How many letters the stretch had as found, gaps included.
        lowercase: How many of them were in lower case.
        replaced: Upper-case letter as found -> how often it was changed to another letter or dropped.
        refused: Offset in the given bytes of the first letter that the policy refuses, or -1; then the other
            fields are empty.
    """

    sequence: bytes
    letters: int
    lowercase: int
    replaced: Mapping[str, int]
    refused: int


class _Rules(NamedTuple):
    table: bytes
    deleted: bytes
    refused: re.Pattern[bytes]


@cache
def _rules(policy: LetterPolicy) -> _Rules:
    table = bytearray(b"N" * 256)
    for base in BASES + b"U":
        table[base] = table[base | 0x20] = ord("T") if base == ord("U") else base
    accepted = BASES
    if not policy.strict:
        accepted += b"U" + AMBIGUITY_CODES
        accepted += b"" if policy.gaps == "refuse" else GAPS
    refused = re.compile(rb"[^" + re.escape(accepted + accepted.lower() + WHITESPACE) + rb"]")
    return _Rules(bytes(table), WHITESPACE + (GAPS if policy.gaps == "drop" else b""), refused)


def normalise(found: bytes, policy: LetterPolicy) -> Piece:
    """Normalise a stretch of sequence lines: upper case, no white space, U to T, ambiguity codes to N, gaps by policy.

    Args:
        found: Bytes of one or more sequence lines, line endings included.
        policy: What happens to unusual letters.
    """
    unusual = found.translate(None, b"ACGTN\n\r")
    if not unusual:
        plain = found.replace(b"\n", b"")
        plain = plain.replace(b"\r", b"") if b"\r" in plain else plain
        return Piece(plain, len(plain), 0, _NOTHING_REPLACED, -1)
    rules = _rules(policy)
    odd = unusual.translate(None, b"acgtn \t\v\f")
    if odd and (refused := rules.refused.search(found)):
        return Piece(b"", 0, 0, _NOTHING_REPLACED, refused.start())
    sequence = found.translate(rules.table, rules.deleted)
    lowercase = len(unusual.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ" + GAPS + WHITESPACE))
    replaced = _count_letters(odd.upper()) if odd else _NOTHING_REPLACED
    dropped = sum(replaced.get(chr(gap), 0) for gap in GAPS) if policy.gaps == "drop" else 0
    return Piece(sequence, len(sequence) + dropped, lowercase, replaced, -1)


def count_letters_found(found: bytes) -> int:
    """Number of letters in sequence lines as found: everything but white space."""
    return len(found.translate(None, WHITESPACE))


def explain_refusal(letter: int, policy: LetterPolicy) -> tuple[str, str]:
    """Say in words why a letter is refused and what can be done.

    Args:
        letter: The byte as found.
        policy: The policy that refused it.

    Returns:
        Reason and fix, each a short phrase.
    """
    shown = repr(chr(letter)) if 0x20 < letter < 0x7F else f"byte 0x{letter:02x}"
    upper = bytes([letter]).upper()
    if upper in _one_by_one(b"U" + AMBIGUITY_CODES + (GAPS if policy.gaps != "refuse" else b"")):
        return f"{shown} would have to be replaced, which --strict forbids", "leave out --strict, or mend the sequence"
    if upper in _one_by_one(GAPS):
        return f"{shown} is a gap, not a nucleotide", "use --gaps n or --gaps drop, or remove the gaps"
    if upper == b"X":
        return (
            f"{shown} is not a nucleotide code: looks like protein",
            "genoconv embeds DNA or RNA; if X stands for masked bases, write N instead",
        )
    if upper in _one_by_one(_PROTEIN_ONLY):
        return f"{shown} is not a nucleotide code: looks like protein", "genoconv embeds DNA or RNA: give nucleotides"
    return (
        f"{shown} is not a nucleotide code",
        "sequence lines may hold A C G T U N, IUPAC codes, and the gaps - . *",
    )


def _count_letters(letters: bytes) -> dict[str, int]:
    counts = np.bincount(np.frombuffer(letters, dtype=np.uint8), minlength=256)
    return {chr(letter): int(counts[letter]) for letter in np.flatnonzero(counts)}


def _one_by_one(letters: bytes) -> list[bytes]:
    return [bytes([letter]) for letter in letters]

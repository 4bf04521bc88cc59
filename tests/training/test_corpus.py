from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoconv.errors import InputError, UsageError
from genoconv.inputs.tokens import encode
from genoconv.training.corpus import LONGEST_GAP, SEPARATOR, build_corpus, open_corpus, pack


def write_fasta(path: Path, *sequences: str) -> Path:
    path.write_text("".join(f">r{index}\n{sequence}\n" for index, sequence in enumerate(sequences)))
    return path


def distinct_words(count: int, length: int) -> list[str]:
    """Random sequences that share no word of 20 letters, so that any leak can be seen."""
    random = np.random.default_rng(0)
    return ["".join(random.choice(list("ACGT"), length)) for _ in range(count)]


def words(tokens: np.ndarray, size: int = 20) -> set[bytes]:
    return {
        window.tobytes()
        for window in np.lib.stride_tricks.sliding_window_view(tokens, size)
        if (window != SEPARATOR).all()
    }


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.9])
def test_a_fraction_parts_every_record_without_leak_or_loss(tmp_path: Path, fraction: float) -> None:
    sequences = distinct_words(5, 700)
    corpus = build_corpus([write_fasta(tmp_path / "a.fa", *sequences)], tmp_path / "c", validation_fraction=fraction)
    train, validation = np.array(corpus.tokens("train")), np.array(corpus.tokens("validation"))
    assert not words(train) & words(validation)
    heads, tails = (np.split(part, np.flatnonzero(part == SEPARATOR) + 1)[:-1] for part in (train, validation))
    joined = [np.concatenate((head[:-1], tail[:-1])) for head, tail in zip(heads, tails, strict=True)]
    assert [row.tobytes() for row in joined] == [encode(text.encode()).tobytes() for text in sequences]
    assert corpus.validation.bases == 5 * int(700 * fraction)


def test_validation_files_never_enter_the_training_part(tmp_path: Path) -> None:
    first, second = distinct_words(2, 500)
    train, held_out = write_fasta(tmp_path / "a.fa", first), write_fasta(tmp_path / "b.fa", second)
    corpus = build_corpus([train], tmp_path / "c", validation=[held_out])
    assert corpus.tokens("train").tobytes() == encode(first.encode()).tobytes() + bytes([SEPARATOR])
    assert corpus.tokens("validation").tobytes() == encode(second.encode()).tobytes() + bytes([SEPARATOR])


@given(st.lists(st.tuples(st.sampled_from("ACGTN"), st.integers(1, 150)), max_size=12))
def test_long_runs_of_n_are_cut_and_nothing_else_changes(runs: list[tuple[str, int]]) -> None:
    merged: list[tuple[str, int]] = []
    for letter, count in runs:
        if merged and merged[-1][0] == letter:
            merged[-1] = letter, merged[-1][1] + count
        else:
            merged.append((letter, count))
    kept = "".join(letter * (min(count, LONGEST_GAP) if letter == "N" else count) for letter, count in merged)
    tokens, cut = pack("".join(letter * count for letter, count in runs).encode())
    assert tokens.tobytes() == encode(kept.encode()).tobytes() + bytes([SEPARATOR])
    assert cut == sum(max(0, count - LONGEST_GAP) for letter, count in merged if letter == "N")


def test_a_packed_corpus_opens_again_and_damage_is_noticed(tmp_path: Path) -> None:
    built = build_corpus([write_fasta(tmp_path / "a.fa", "ACGT" * 50)], tmp_path / "c", validation_fraction=0.2)
    assert open_corpus(tmp_path / "c") == built
    tokens = tmp_path / "c" / "train.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-1])
    with pytest.raises(InputError, match="not complete"):
        open_corpus(tmp_path / "c")
    with pytest.raises(InputError, match="cannot be read"):
        open_corpus(tmp_path / "elsewhere")


@pytest.mark.parametrize("content", [">a\n\n>b\nACGT\n", ">a\nNNNNNNNNNN\n", "no header\n"])
def test_unusable_input_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.fa"
    path.write_text(content)
    with pytest.raises(InputError):
        build_corpus([path], tmp_path / "c", validation_fraction=0.2)


def test_one_kind_of_validation_is_needed(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "a.fa", "ACGT" * 50)
    with pytest.raises(UsageError):
        build_corpus([path], tmp_path / "c")
    with pytest.raises(UsageError):
        build_corpus([path], tmp_path / "c", validation=[path], validation_fraction=0.1)
    with pytest.raises(UsageError):
        build_corpus([path], tmp_path / "c", validation_fraction=1.5)

"""Random access gives the same letters as reading all, whatever the layout; the traps of pyfaidx do not bite."""

import gzip
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genoconv.errors import InputError
from genoconv.inputs import genome as genome_module
from genoconv.inputs import sections
from genoconv.inputs.genome import Genome
from genoconv.inputs.sources import Source

A = b"ACGTTGCANN"
B = b"TTGGCCAAACGT-RYacgtu"

LAYOUTS = {
    "regular": b">a x\nACGT\nTGCA\nNN\n>b\nTTGG\nCCAA\nACGT\n-RYa\ncgtu\n",
    "no final newline": b">a\nACGTTGCANN\n>b\nTTGGC\nCAAAC\nGT-RY\nacgtu",
    "CRLF": b">a\r\nACGT\r\nTGCA\r\nNN\r\n>b\r\nTTGGCC\r\nAAACGT\r\n-RYacg\r\ntu\r\n",
    "CRLF without the last": b">a\r\nACGT\r\nTGCA\r\nNN\r\n>b\r\nTTGGCCAAAC\r\nGT-RYacgtu",
    "one line": b">a\nACGTTGCANN\n>b\nTTGGCCAAACGT-RYacgtu\n",
    "long last line": b">a\nACGT\nTGCANN\n>b\nTTGG\nCCAAACGT-RYacgtu",
    "short middle line": b">a\nACGT\nTG\nCANN\n>b\nTTGGCCA\nA\nACGT-RYacgtu\n",
    "line endings that make up for lengths": b">a\nACG\r\nTTGC\nAN\r\nN\n>b\nTTGGCCAAACGT-RYacgtu\n",
    "blank lines": b">a\n\nACGT\nTGCA\nNN\n\n\n>b\nTTGG\nCCAA\n\nACGT\n-RYa\ncgtu\n\n",
    "comments": b";one\n>a\nACGT\n;two\nTGCA\nNN\n>b\nTTGGCCAAACGT-RYacgtu\n",
    "white space": b">a\nACGT \nTGCA \nNN\n>b\nTTGG\nCCAA\nACGT\n-RYa\nc tu\n".replace(b"c tu", b"cgtu "),
    "byte order mark": b"\xef\xbb\xbf>a\nACGT\nTGCA\nNN\n>b\nTTGGCCAAACGT-RYacgtu\n",
    "latin-1 header": b">a\xe9\nAC\n>a \xe9\nACGT\nTGCA\nNN\n>b\nTTGGCCAAACGT-RYacgtu\n",
    "others around": b">empty\n>double\nA\n>double\nC\n>\nGG\n>a\nACGTTGCANN\n>b\nTTGGCCAAACGT-RYacgtu\n>late\n\n",
}


def check(genome: Genome) -> None:
    for name, sequence in (("a", A), ("b", B)):
        assert genome.lengths[name] == len(sequence)
        for start in range(len(sequence)):
            for end in range(start + 1, len(sequence) + 1):
                assert genome.fetch(name, start, end) == sequence[start:end]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("ending", ["x.fa", "x.fa.gz"])
def test_every_stretch_of_every_layout(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / ending
    path.write_bytes(LAYOUTS[name])
    check(Genome([Source.of(path)], {"a", "b"}))
    path.write_bytes(gzip.compress(LAYOUTS[name]))
    check(Genome([Source.of(path)], {"a", "b"}))
    assert [item.name for item in tmp_path.iterdir()] == [ending]


@pytest.mark.parametrize("name", ["regular", "no final newline", "CRLF", "CRLF without the last", "one line"])
def test_regular_files_are_not_copied(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(LAYOUTS[name])
    monkeypatch.setattr(genome_module, "_private_copy", None)
    check(Genome([Source.of(path)], {"a", "b"}))


@settings(deadline=None, max_examples=200)
@given(
    lines=st.lists(st.text("ACGT", max_size=9), min_size=1, max_size=12),
    width=st.integers(0, 7),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    block=st.integers(1, 40),
    data=st.data(),
)
def test_any_layout(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    width: int,
    end: str,
    last: bool,
    block: int,
    data: st.DataObject,
) -> None:
    sequence = "".join(lines)
    if width:
        lines = [sequence[start : start + width] for start in range(0, len(sequence), width)]
    path = tmp_path_factory.mktemp("genome") / "x"
    path.write_bytes(end.join([">first", "ACGT", ">s", *lines, *([""] if last else [])]).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "BLOCK_BYTES", block)
        patch.setattr(sections, "LINE_BYTES", block)
        genome = Genome([Source.of(path)], {"s"})
    assert genome.lengths["s"] == len(sequence)
    if sequence:
        start = data.draw(st.integers(0, len(sequence) - 1))
        stop = data.draw(st.integers(start + 1, len(sequence)))
        assert genome.fetch("s", start, stop) == sequence[start:stop].encode()


def test_an_index_beside_the_file_is_neither_used_nor_written(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(LAYOUTS["regular"])
    wrong = tmp_path / "x.fa.fai"
    wrong.write_text("a\t10\t0\t10\t11\n")
    check(Genome([Source.of(path)], {"a", "b"}))
    assert wrong.read_text() == "a\t10\t0\t10\t11\n"


def test_a_name_used_twice_is_refused_only_when_wanted(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(LAYOUTS["others around"])
    with pytest.raises(InputError, match="'double'") as caught:
        Genome([Source.of(path)], {"double"})
    assert caught.value.where == f"{path}, line 2 and {path}, line 4"


def test_a_file_cut_after_indexing_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(LAYOUTS["regular"])
    opened, unopened = (Genome([Source.of(path)], {"b"}) for _ in range(2))
    assert opened.fetch("b", 0, len(B)) == B
    path.write_bytes(LAYOUTS["regular"][:-8])
    for genome in (opened, unopened):
        with pytest.raises(InputError, match="changed"):
            genome.fetch("b", 0, len(B))


def test_a_file_of_tomorrow_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(LAYOUTS["regular"])
    tomorrow = time.time() + 86_400
    os.utime(path, (tomorrow, tomorrow))
    check(Genome([Source.of(path)], {"a", "b"}))


def test_each_process_opens_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_bytes(LAYOUTS["regular"])
    genome = Genome([Source.of(path)], {"a", "b"})
    assert genome.fetch("a", 0, 10) == A
    child = os.fork()
    if child == 0:
        good = all(genome.fetch("b", 0, end) == B[:end] for end in range(1, 20))
        os._exit(0 if good else 1)
    same = [genome.fetch("a", start, 10) == A[start:] for start in range(10)]
    _, status = os.waitpid(child, 0)
    assert all(same)
    assert os.waitstatus_to_exitcode(status) == 0

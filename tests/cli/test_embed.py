"""`genoconv embed` as a person types it: the file it writes, what it says, and how it ends."""

import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPLEMENT = str.maketrans("ACGT", "TGCA")
Array = np.ndarray[Any, np.dtype[Any]]


class Finished(Protocol):
    """What the fixture `genoconv` returns."""

    code: int
    out: str
    err: str


Command = Callable[..., Finished]
Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Six records of very different lengths."""
    letters = random.Random(7)
    text = "".join(
        f">record_{index} number {index}\n{''.join(letters.choices('ACGT', k=length))}\n"
        for index, length in enumerate([300, 1, 40, 900, 64, 41])
    )
    path = tmp_path / "genes.fa"
    path.write_text(text)
    return path


def rows_of(path: Path) -> tuple[list[str], Array]:
    with h5py.File(path) as file:
        return list(file["obs/_index"].asstr()[:]), file["X"][:]


def provenance_of(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        found: dict[str, Any] = json.loads(file["uns/provenance"].asstr()[()])
        return found


def test_one_word_is_enough(genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    finished = genoconv("embed", fasta)
    assert finished.code == 0, finished.err
    assert finished.out == ""
    assert "6 records, 1,346 bases" in finished.err
    assert [path.name for path in work.iterdir()] == ["genes.h5"]
    ids, X = rows_of(work / "genes.h5")
    assert ids == [f"record_{index}" for index in range(6)]
    assert X.dtype == np.float32
    assert np.isfinite(X).all()
    assert len(np.unique(X, axis=0)) == 6


def test_only_commands_change_how_the_c_library_keeps_memory(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genoconv.embed import prepare, run
    from genoconv.runs import devices
    from genoconv.runs.job import EmbedSettings

    longest: list[int] = []
    monkeypatch.setattr(devices, "bound_heaps", lambda device, length: longest.append(length))
    run(prepare([fasta], EmbedSettings(device="cpu")), tmp_path / "by_a_program.h5")
    assert longest == []
    assert genoconv("embed", fasta, "-o", tmp_path / "by_the_command.h5", "--device", "cpu").code == 0
    assert longest == [900]


def test_numbers_do_not_depend_on_the_batch(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    for name, budget in (("one", "1"), ("few", "1000"), ("all", "auto")):
        assert genoconv("embed", fasta, "-o", tmp_path / f"{name}.h5", "--batch-bases", budget).code == 0
    _, alone = rows_of(tmp_path / "one.h5")
    for name in ("few", "all"):
        np.testing.assert_allclose(rows_of(tmp_path / f"{name}.h5")[1], alone, atol=1e-5)


def test_same_input_same_data(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("a.h5", "b.h5"):
        assert genoconv("embed", fasta, "-o", tmp_path / name).code == 0
        with h5py.File(tmp_path / name) as file:
            found: dict[str, bytes] = {}
            file.visititems(
                lambda key, item, found=found: (
                    found.update({key: repr(item[()]).encode()})
                    if isinstance(item, h5py.Dataset) and key != "uns/provenance"
                    else None
                )
            )
            contents.append(found)
    assert contents[0] == contents[1]


def test_poolings_layers_and_tokens_agree(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    poolings = ("--pool", "mean", "--pool", "max", "--pool", "last")
    finished = genoconv("embed", fasta, "-o", out, *poolings, "--layer", "-1", "--layer", "1", "--tokens")
    assert finished.code == 0, finished.err
    with h5py.File(out) as file, h5py.File(tmp_path / "out.tokens.h5") as tokens:
        offsets = tokens["offsets"][:]
        assert list(tokens["id"].asstr()[:]) == list(file["obs/_index"].asstr()[:])
        for row in range(6):
            states = tokens["data"][offsets[row] : offsets[row + 1]]
            assert len(states) == file["obs/length"][row]
            np.testing.assert_allclose(file["X"][row], states.mean(0), atol=1e-5)
            np.testing.assert_allclose(file["obsm/max"][row], states.max(0), atol=1e-6)
            np.testing.assert_allclose(file["obsm/last"][row], states[-1], atol=1e-6)
        assert file["layers/layer_1"].shape == file["X"].shape
        assert not np.allclose(file["layers/layer_1"][:], file["X"][:])


def test_a_site_has_the_states_of_both_strands(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.fa"
    lines = fasta.read_text().split("\n")
    turned.write_text("\n".join(x if x.startswith(">") else x.translate(COMPLEMENT)[::-1] for x in lines))
    ask = ("--pool", "site", "--pool", "mean", "--layer", "-1", "--layer", "2", "--tokens")
    for name, source, site in (("sites", fasta, ()), ("second", fasta, ("--site", "2")), ("turned", turned, ())):
        finished = genoconv("embed", source, "-o", tmp_path / f"{name}.h5", *ask, *site)
        assert finished.code == (3 if site else 0), finished.err
        assert genoconv("verify", tmp_path / f"{name}.h5").code == 0
    _, sites = rows_of(tmp_path / "sites.h5")
    ids, second = rows_of(tmp_path / "second.h5")
    assert sites.shape == (6, 256)
    assert ids == [f"record_{index}" for index in (0, 2, 3, 4, 5)]  # record 1 has a single base
    with h5py.File(tmp_path / "sites.tokens.h5") as given, h5py.File(tmp_path / "turned.tokens.h5") as other:
        offsets = given["offsets"][:]
        for row, (start, end) in enumerate(pairwise(offsets)):
            middle = (end - start) // 2
            np.testing.assert_allclose(sites[row, :128], given["data"][start + middle], atol=1e-5)
            np.testing.assert_allclose(sites[row, 128:], other["data"][end - 1 - middle], atol=1e-5)
        np.testing.assert_allclose(second[0, :128], given["data"][1], atol=1e-5)
        np.testing.assert_allclose(second[0, 128:], other["data"][offsets[1] - 2], atol=1e-5)
    with h5py.File(tmp_path / "sites.h5") as file:
        assert file["layers/layer_2"].shape == (6, 256)
        assert file["obsm/mean"].shape == (6, 128)
        assert len(file["var/_index"]) == 256


def test_a_site_without_its_pooling_or_beyond_every_record_is_refused(
    genoconv: Command, fasta: Path, tmp_path: Path
) -> None:
    refused = genoconv("embed", fasta, "-o", tmp_path / "out.h5", "--site", "5")
    assert refused.code == 2
    assert "--pool site" in refused.err
    beyond = genoconv("embed", fasta, "-o", tmp_path / "out.h5", "--pool", "site", "--site", "5000")
    assert beyond.code == 2
    assert "it has no base 5000" in beyond.err


def test_a_file_that_anndata_and_scanpy_read(genoconv: Command, data: Path, tmp_path: Path) -> None:
    import anndata
    import scanpy

    out = tmp_path / "genes.h5"
    finished = genoconv("embed", data / "genes.fa", "-o", out)
    assert finished.code == 0, finished.err
    embedded = anndata.read_h5ad(out)
    assert embedded.n_obs >= 10
    assert {"length", "start", "end", "strand", "n_fraction", "truncated", "sha256", "source"} <= set(embedded.obs)
    assert json.loads(embedded.uns["provenance"])["model"]["name"] == "genoconv-mini"
    scanpy.pp.pca(embedded, n_comps=5)
    assert embedded.obsm["X_pca"].shape == (embedded.n_obs, 5)


def test_case_and_uracil_do_not_matter_and_are_counted(genoconv: Command, tmp_path: Path) -> None:
    (tmp_path / "upper.fa").write_text(">a\nACGTTTNACG\n")
    (tmp_path / "lower.fa").write_text(">a\nacguuu\nryg".replace("ry", "RA") + "\n")
    (tmp_path / "lower.fa").write_text(">a\nacguuuRAcg\n")
    for name in ("upper", "lower"):
        assert genoconv("embed", tmp_path / f"{name}.fa", "-o", tmp_path / f"{name}.h5").code == 0
    np.testing.assert_array_equal(rows_of(tmp_path / "upper.h5")[1], rows_of(tmp_path / "lower.h5")[1])
    assert provenance_of(tmp_path / "lower.h5")["input"]["replaced_letters"] == {"R": 1, "U": 3}


def test_compressed_and_piped_input_give_the_same(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "genes.fa.gz"
    packed.write_bytes(gzip.compress(fasta.read_bytes()))
    assert genoconv("embed", fasta, "-o", tmp_path / "plain.h5").code == 0
    assert genoconv("embed", packed, "-o", tmp_path / "packed.h5").code == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(packed.read_bytes())))
    assert genoconv("embed", "-", "-o", tmp_path / "piped.h5").code == 0
    for name in ("packed", "piped"):
        np.testing.assert_array_equal(rows_of(tmp_path / f"{name}.h5")[1], rows_of(tmp_path / "plain.h5")[1])


def test_bad_records_fail_and_the_rest_is_kept(genoconv: Command, tmp_path: Path) -> None:
    (tmp_path / "mixed.fa").write_text(">good\nACGT\n>empty\n>protein\nMKVLEF\n>also_good\nGGGTT\n")
    finished = genoconv("embed", tmp_path / "mixed.fa", "-o", tmp_path / "out.h5")
    assert finished.code == 3
    assert rows_of(tmp_path / "out.h5")[0] == ["good", "also_good"]
    assert "'empty'" in finished.err
    assert "'protein'" in finished.err
    assert "mixed.fa, line 4" in finished.err
    failed = provenance_of(tmp_path / "out.h5")["failures"]
    assert [failure["id"] for failure in failed] == ["empty", "protein"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.fa"], 2, "missing.fa"),
        (["twice.fa"], 2, "unique"),
        (["proteins.fa"], 2, "no record of the input can be embedded"),
        (["good.fa", "--layer", "9"], 2, "layer"),
        (["good.fa", "--batch-bases", "many"], 2, "--batch-bases"),
        (["good.fa", "--model", "no-such-model"], 2, "no-such-model"),
        (["good.fa", "--device", "tpu"], 2, "--device"),
        (["good.fa", "--device", "cuda:99"], 4, "cuda:99"),
        (["good.fa", "--pool", "median"], 2, "median"),
        (["good.fa", "good.fa"], 2, "--output"),
        (["good.fa", "-o", "no/such/folder/out.h5"], 4, "folder"),
        (["good.fa", "-o", "there.h5"], 4, "--force"),
        (["good.fa", "--strict", "-o", "ok.h5"], 0, "wrote"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_told_and_writes_nothing(
    genoconv: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.fa").write_text(">a\nACGT\n")
    Path("twice.fa").write_text(">a\nACGT\n>a\nGG\n")
    Path("proteins.fa").write_text(">a\nMKVL\n")
    Path("there.h5").write_text("precious")
    before = {path.name for path in tmp_path.iterdir()}
    finished = genoconv("embed", *arguments)
    assert finished.code == code, finished.err
    assert words in finished.err
    assert "Traceback" not in finished.err
    assert Path("there.h5").read_text() == "precious"
    if code:
        assert {path.name for path in tmp_path.iterdir()} == before


def test_force_replaces_and_debug_shows_the_traceback(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    out.write_text("old")
    assert "Traceback" in genoconv("embed", fasta, "-o", out, "--debug").err
    assert genoconv("embed", fasta, "-o", out, "--force", "--quiet").err == ""
    assert len(rows_of(out)[0]) == 6


def test_dry_run_predicts_and_writes_nothing(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    finished = genoconv("embed", fasta, "-o", out, "--dry-run", "--tokens")
    assert finished.code == 0, finished.err
    assert "rows            6" in finished.out
    assert "1,346" in finished.out
    assert not out.exists()


def test_a_dry_run_tells_and_reports_what_would_fail(genoconv: Command, tmp_path: Path) -> None:
    (tmp_path / "mixed.fa").write_text(">good\nACGT\n" + "".join(f">bad{index}\n" for index in range(25)))
    arguments = ("embed", tmp_path / "mixed.fa", "-o", tmp_path / "out.h5", "--dry-run")
    finished = genoconv(*arguments, "--report", tmp_path / "run.json")
    assert finished.code == 3
    assert "and 5 more" in finished.err
    assert "25 records would have no row" in finished.err
    assert "None" not in finished.err
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["exit_code"], told["exit_reason"]) == (3, "a dry run: nothing was computed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed.fa", "run.json"]


def test_half_precision_storage(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    for dtype in ("f4", "f2"):
        assert genoconv("embed", fasta, "-o", tmp_path / f"{dtype}.h5", "--dtype", dtype).code == 0
    full, half = rows_of(tmp_path / "f4.h5")[1], rows_of(tmp_path / "f2.h5")[1]
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, full.astype(np.float16))


def test_a_cut_filter_changes_only_what_lies_beyond_it(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    for name, options in (("whole", []), ("cut", ["--filter-length", "50"])):
        assert genoconv("embed", fasta, "-o", tmp_path / f"{name}.h5", *options).code == 0
    whole, cut = rows_of(tmp_path / "whole.h5")[1], rows_of(tmp_path / "cut.h5")[1]
    short = [1, 2, 5]  # 1, 40 and 41 bases
    np.testing.assert_allclose(cut[short], whole[short], atol=1e-5)
    assert np.abs(cut[0] - whole[0]).max() > 1e-4


@pytest.mark.parametrize("options", [("--filter-length", "50"), ("--frequency-sparsity", "0.75")])
def test_what_is_left_out_of_the_filters_is_told(
    genoconv: Command, fasta: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    finished = genoconv("embed", fasta, "-o", tmp_path / "whole.h5")
    assert "left out" not in finished.err
    assert provenance_of(tmp_path / "whole.h5")["deviation"] is None
    finished = genoconv("embed", fasta, "-o", tmp_path / "cut.h5", *options)
    assert finished.code == 0, finished.err
    found = provenance_of(tmp_path / "cut.h5")["deviation"]
    assert (found["record"], found["bases"]) == ("record_3", 900)
    assert 1e-3 < found["relative_error"] < 1
    assert "left out of the filters moves the states of record_3 (first 900 bases)" in finished.err
    whole, cut = (rows_of(tmp_path / f"{name}.h5")[1][3] for name in ("whole", "cut"))
    cosine = whole @ cut / np.linalg.norm(whole) / np.linalg.norm(cut)
    assert cosine == pytest.approx(found["cosine"], abs=1e-4)


def test_a_sparse_model_sees_neither_padding_nor_batch_mates(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    for name, bases in (("alone", "1"), ("together", "10000")):
        options = ("--frequency-sparsity", "0.9", "--batch-bases", bases)
        assert genoconv("embed", fasta, "-o", tmp_path / f"{name}.h5", *options).code == 0
    np.testing.assert_allclose(rows_of(tmp_path / "alone.h5")[1], rows_of(tmp_path / "together.h5")[1], atol=1e-5)


@pytest.mark.parametrize("share", ["0.5", "0.99", "-1"])
def test_a_sparsity_that_is_not_offered(genoconv: Command, fasta: Path, share: str) -> None:
    finished = genoconv("embed", fasta, f"--frequency-sparsity={share}")
    assert finished.code == 2
    assert "from 0.6 to 0.98" in finished.err


def test_precision_and_memory_are_recorded_and_refused(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    finished = genoconv("embed", fasta, "-o", tmp_path / "a.h5", "--precision", "high", "--max-memory", "1.5GiB")
    assert finished.code == 0, finished.err
    assert "precision high, convolutions by torch" in finished.err
    described = provenance_of(tmp_path / "a.h5")
    assert described["settings"]["precision"] == "high"
    assert described["settings"]["max_memory"] == 3 << 29
    assert genoconv("embed", fasta, "-o", tmp_path / "b.h5", "--max-memory", "a lot").code == 2
    finished = genoconv("embed", fasta, "-o", tmp_path / "b.h5", "--max-memory", "1K")
    assert finished.code == 2
    assert "no record of the input can be embedded" in finished.err


def test_half_precision_is_refused_where_it_would_be_emulated(
    genoconv: Command, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genoconv.model.half.interpreted", lambda: False)
    monkeypatch.setattr("genoconv.model.products._has_bfloat16", lambda: False)
    finished = genoconv("embed", fasta, "--device", "cpu", "--precision", "half")
    assert finished.code == 2
    assert "needs a GPU, or a CPU with products of bfloat16" in finished.err
    assert "--precision high" in finished.err


def test_half_precision_of_a_cpu(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genoconv.model.half.interpreted", lambda: False)
    monkeypatch.setattr("genoconv.model.products._has_bfloat16", lambda: True)
    for precision in ("auto", "half"):
        out = tmp_path / f"{precision}.h5"
        finished = genoconv("embed", fasta, "-o", out, "--device", "cpu", "--precision", precision)
        assert finished.code == 0, finished.err
    assert "precision half (products in bfloat16), convolutions by torch" in finished.err
    (about,) = provenance_of(tmp_path / "half.h5")["compute"]
    assert (about["precision"], about["products"], about["convolution"]) == ("half", "bfloat16", "torch")
    (about,) = provenance_of(tmp_path / "auto.h5")["compute"]
    assert (about["precision"], about["products"], about["convolution"]) == ("high", "float32", "torch")
    high, half = (rows_of(tmp_path / f"{precision}.h5")[1] for precision in ("auto", "half"))
    assert 0 < np.linalg.norm(half - high) <= 3e-3 * np.linalg.norm(high)
    told = genoconv("embed", fasta, "--device", "cpu", "--precision", "half", "--dry-run")
    assert "half (products in bfloat16)" in told.out


def test_half_precision_from_end_to_end(tmp_path: Path) -> None:
    """In a process of its own: without a GPU in Triton's interpreter, which is chosen when Triton is imported."""
    import torch

    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    fasta, model = tmp_path / "a.fa", ROOT / "tests" / "golden" / "tiny-d64"
    fasta.write_text(">a\nACGTTGCA\n>b\nACGTTGCATT\n>c\nTTTGC\n")

    def embed(out: Path, precision: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "genoconv", "embed", str(fasta), "--model", str(model), "-o", str(out)]
        environment = {**os.environ, **interpreted}
        return subprocess.run(
            [*command, "--precision", precision], capture_output=True, text=True, check=False, env=environment
        )

    for precision in ("high", "half"):
        finished = embed(tmp_path / f"{precision}.h5", precision)
        assert finished.returncode == 0, finished.stderr
        assert f"precision {precision}" in finished.stderr
        assert provenance_of(tmp_path / f"{precision}.h5")["compute"][0]["precision"] == precision
    high, half = (rows_of(tmp_path / f"{precision}.h5")[1] for precision in ("high", "half"))
    assert 0 < np.linalg.norm(half - high) <= 3e-3 * np.linalg.norm(high)
    changed = embed(tmp_path / "high.h5", "half")
    assert changed.returncode == 4
    assert 'the setting precision was "high", now it is "half"' in changed.stderr


def test_regions_are_stretches_of_records(genoconv: Command, fasta: Path, tmp_path: Path) -> None:
    sequence = fasta.read_text().split("\n")[1]
    complement = sequence[100:200].translate(str.maketrans("ACGT", "TGCA"))[::-1]
    (tmp_path / "cut.fa").write_text(f">one\n{sequence[10:50]}\n>two\n{complement}\n")
    (tmp_path / "two.bed").write_text("record_0\t100\t200\ttwo\t0\t-\n")
    assert genoconv("embed", tmp_path / "cut.fa", "-o", tmp_path / "cut.h5").code == 0
    regions = ("--region", "record_0:11-50", "--regions", tmp_path / "two.bed")
    finished = genoconv("embed", fasta, "-o", tmp_path / "regions.h5", *regions)
    assert finished.code == 0, finished.err
    np.testing.assert_allclose(rows_of(tmp_path / "regions.h5")[1], rows_of(tmp_path / "cut.h5")[1], atol=1e-5)
    with h5py.File(tmp_path / "regions.h5") as file:
        assert file["obs/start"][:].tolist() == [10, 100]
        assert file["obs/end"][:].tolist() == [50, 200]


def test_memory_that_runs_out_halves_the_batch_and_loses_one_record_at_most(
    genoconv: Command, fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genoconv.model import inference
    from genoconv.runs import compute

    true_states = inference.hidden_states

    def starved(model: Any, ids: Any, **options: Any) -> Any:
        if ids.numel() > 500:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return true_states(model, ids, **options)

    whole, small = tmp_path / "whole.h5", tmp_path / "small.h5"
    assert genoconv("embed", fasta, "-o", whole, "--tokens").code == 0
    monkeypatch.setattr(compute, "hidden_states", starved)
    finished = genoconv("embed", fasta, "-o", small, "--tokens")
    assert finished.code == 3, finished.err
    assert "900 bases" in finished.err
    ids, X = rows_of(small)
    assert ids == ["record_0", "record_1", "record_2", "record_4", "record_5"]
    np.testing.assert_allclose(X, np.delete(rows_of(whole)[1], 3, axis=0), atol=1e-5)
    with h5py.File(tmp_path / "small.tokens.h5") as file:
        assert np.diff(file["offsets"][:]).tolist() == [300, 1, 40, 64, 41]
    assert genoconv("verify", small).code == 0


WAITING = """
import signal, sys, threading, time
import genoconv.runs.compute
from genoconv.cli.app import main

def slow(*arguments):
    print("computing", flush=True)
    time.sleep(60)

def take():
    signal.pthread_kill(threading.get_ident(), int(sys.stdin.readline()))

threading.Thread(target=take, daemon=True).start()
genoconv.runs.compute.compute_batch = slow
main()
"""
"""A run that waits, with another thread that takes a signal when it is told to on stdin."""


@pytest.mark.parametrize("taker", ["any thread", "another thread"])
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGUSR2, 75), (signal.SIGINT, 130)],
)
def test_signals_end_the_run_in_order(
    spawn: Spawn, fasta: Path, tmp_path: Path, number: signal.Signals, code: int, taker: str
) -> None:
    out = tmp_path / "out.h5"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = spawn([sys.executable, "-c", WAITING, "embed", str(fasta), "-o", str(out)], **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "computing\n"
    if taker == "any thread":
        process.send_signal(number)
    _, words = process.communicate(f"{int(number)}\n" if taker == "another thread" else None, timeout=30)
    assert process.returncode == code, words
    assert number.name in words
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))] == []

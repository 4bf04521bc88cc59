import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from genoconv.model.config import HyenaConfig
from genoconv.model.pretrained import save_checkpoint
from genoconv.training.corpus import pack
from genoconv.training.evaluation import evaluate
from genoconv.training.markov import MarkovModel
from genoconv.training.perplexity import perplexity
from genoconv.training.start import new_model

CONFIG = HyenaConfig(d_model=8, n_layer=1, d_inner=16, l_max=66)


def bases(count: int, seed: int) -> bytes:
    return np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", dtype=np.uint8), count).tobytes()


def write_fasta(path: Path, sequence: bytes) -> str:
    path.write_bytes(b">r\n" + sequence + b"\n")
    return str(path)


def test_every_file_is_judged_by_itself_against_one_count(tmp_path: Path) -> None:
    train, first, second = (bases(count, seed) for seed, count in enumerate((3000, 200, 300)))
    paths = [write_fasta(tmp_path / f"{name}.fa", text) for name, text in (("one", first), ("two", second))]
    model = new_model(CONFIG, 0)
    rows = evaluate(model, [write_fasta(tmp_path / "train.fa", train)], paths, contexts=(16, 64), order=4)
    markov = MarkovModel.fit(pack(train)[0], 4, both_strands=True)
    for row, name, text in zip(rows, ("one", "two"), (first, second), strict=True):
        tokens, _ = pack(text)
        assert (row["name"], row["bases"]) == (name, len(text))
        assert row["markov"] == pytest.approx(markov.perplexities(tokens))
        assert row["model"] == {str(c): pytest.approx(perplexity(model, tokens, context=c)) for c in (16, 64)}


def test_the_command_prints_json(tmp_path: Path) -> None:
    save_checkpoint(new_model(CONFIG, 0), tmp_path / "model", buffers=False)
    path = write_fasta(tmp_path / "a.fa", bases(100, 0))
    command = [sys.executable, "-m", "genoconv.training.evaluation", str(tmp_path / "model"), "--device", "cpu"]
    command += ["--order", "2", "--train", path, "--validation", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (row,) = json.loads(done.stdout)
    assert row["name"] == "a"
    assert len(row["markov"]) == 3

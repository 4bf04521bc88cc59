import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genoconv.errors import InputError, Interrupted, UsageError
from genoconv.model.config import HyenaConfig
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.pretrained import load_model
from genoconv.training.checkpoints import CHECKPOINT
from genoconv.training.corpus import open_corpus
from genoconv.training.journal import JOURNAL
from genoconv.training.markov import MarkovModel
from genoconv.training.perplexity import next_base_loss
from genoconv.training.run import Data, Result, train
from genoconv.training.settings import Pace, Settings, Stage
from genoconv.training.start import new_model
from genoconv.training.trainer import Trainer

Spawn = Callable[..., "subprocess.Popen[str]"]

PACE = Pace(log=4, validate=6, checkpoint=5, quiet=True)


def settings(steps: int = 12, **changes: object) -> Settings:
    values: dict[str, object] = {
        "d_model": 16, "n_layer": 2, "d_inner": 32, "l_max": 66,
        "stages": (Stage(16, 0.5), Stage(64, 0.5)), "batch_bases": 256, "steps": steps,
        "learning_rate": 1e-2, "seed": 3,
    }  # fmt: skip
    return Settings(**(values | changes))  # type: ignore[arg-type]


def fresh() -> HyenaDNA:
    return new_model(HyenaConfig(d_model=16, n_layer=2, d_inner=32, l_max=66, filter_shift=0.0), 3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only lose time by sharing their work, and much of it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path / "a.fa"
    path.write_text("".join(f">r{i}\n{''.join(random.choice(list('ACGTN'), 600))}\n" for i in range(5)))
    return path


def run(fasta: Path, out: Path, *, resume: bool = False, chosen: Settings | None = None) -> Result:
    return train(fresh(), Data([str(fasta)], (), 0.2), out, chosen or settings(), pace=PACE, resume=resume)


def curve(out: Path) -> list[tuple[str, int, float]]:
    lines = [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]
    return [
        (line["event"], line["step"], line.get("loss", line.get("perplexity")))
        for line in lines
        if line["event"] != "begin"
    ]


def same_weights(*folders: Path) -> bool:
    """Whether all bits agree."""
    one, two = (load_file(folder / "model.safetensors") for folder in folders)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> None:
    """A signal to this very process, in the middle of a step."""
    advance = Trainer.advance

    def advance_and_signal(self: Trainer) -> None:
        if self.step == step:
            os.kill(os.getpid(), number)
        advance(self)

    monkeypatch.setattr(Trainer, "advance", advance_and_signal)


@pytest.mark.parametrize(
    ("step", "number", "code"),
    [(2, signal.SIGTERM, 75), (4, signal.SIGUSR1, 75), (5, signal.SIGUSR2, 75), (7, signal.SIGINT, 130)],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals, code: int
) -> None:
    whole = run(fasta, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_after(patched, step, number)
        with pytest.raises(Interrupted) as stopped:
            run(fasta, tmp_path / "parts")
    assert stopped.value.exit_code == code
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    resumed = run(fasta, tmp_path / "parts", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    assert resumed.perplexity == whole.perplexity


def test_a_killed_run_goes_on_from_its_last_checkpoint_to_the_same_bits(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(fasta, tmp_path / "whole")
    with monkeypatch.context() as patched:

        def fail(self: Trainer) -> None:
            if self.step == 9:
                raise KeyError("as if killed")
            advance(self)

        advance = Trainer.advance
        patched.setattr(Trainer, "advance", fail)
        with pytest.raises(KeyError):
            run(fasta, tmp_path / "parts")
    run(fasta, tmp_path / "parts", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")


def test_another_seed_gives_another_run(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "one")
    run(fasta, tmp_path / "two", chosen=settings(seed=4))
    assert curve(tmp_path / "one") != curve(tmp_path / "two")


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "run", chosen=settings(steps=6))
    with pytest.raises(UsageError, match="holds a run already"):
        run(fasta, tmp_path / "run", chosen=settings(steps=6))
    with pytest.raises(UsageError, match="steps: 6 then, 12 now"):
        run(fasta, tmp_path / "run", resume=True)


def test_resuming_needs_a_whole_checkpoint(fasta: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        run(fasta, tmp_path / "run", resume=True)
    run(fasta, tmp_path / "run")
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        run(fasta, tmp_path / "run", resume=True)


def test_a_periodic_sequence_is_learnt_beyond_what_its_markov_model_can_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A word of 24 bases from two letters, repeated: three bases of context leave much open, 24 leave nothing.
    path = tmp_path / "periodic.fa"
    path.write_text(">r\n" + "AACACCAACCCACAAACCACCCAC" * 60 + "\n")
    chosen = settings(steps=250, stages=(Stage(64, 1.0),), batch_bases=1024)
    result = train(fresh(), Data([str(path)], (), 0.2), tmp_path / "out", chosen, pace=PACE)
    assert result.baseline > 1.15
    assert result.perplexity < 1 + (result.baseline - 1) / 2


def test_the_result_is_a_model_that_loads_and_a_log_that_adds_up(fasta: Path, tmp_path: Path) -> None:
    result = run(fasta, tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert model.config.filter_shift == 0.0
    assert not torch.equal(model.embedding.weight, fresh().embedding.weight)
    corpus = open_corpus(tmp_path / "run" / "corpus")
    baseline = MarkovModel.fit(corpus.tokens("train"), 3).perplexities(corpus.tokens("validation"))[3]
    assert result.baseline == baseline
    summary = json.loads((tmp_path / "run" / "training.json").read_text())
    assert Settings.from_dict(summary["settings"]) == settings()
    assert summary["result"]["perplexity"] == result.perplexity
    assert result.bases == 12 * 256
    assert math.isfinite(result.perplexity)


def test_a_loss_that_is_no_number_ends_the_run(fasta: Path, tmp_path: Path) -> None:
    model = fresh()
    with torch.no_grad():
        model.head.weight.fill_(math.inf)
    with pytest.raises(Exception, match="no longer a number"):
        train(model, Data([str(fasta)], (), 0.2), tmp_path / "run", settings(), pace=PACE)


# The compiler's own code is full of warnings.
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_run_has_the_same_curve_and_keeps_what_was_compiled(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    # Traced and differentiated by the compiler, but run operation by operation: its C++ would take half a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    run(fasta, tmp_path / "plain")
    run(fasta, tmp_path / "compiled", chosen=settings(compiled=True))
    plain, compiled = curve(tmp_path / "plain"), curve(tmp_path / "compiled")
    assert [place[:2] for place in plain] == [place[:2] for place in compiled]
    assert np.allclose([place[2] for place in plain], [place[2] for place in compiled], rtol=1e-4)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled" / "compiled")


def test_a_step_whose_loss_is_no_number_is_left_out_and_told(
    fasta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes(model: HyenaDNA, windows: torch.Tensor, *, reduction: str) -> torch.Tensor:
        calls.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        return next_base_loss(model, windows, reduction=reduction) * (math.nan if len(calls) == 6 else 1.0)

    calls: list[torch.Tensor] = []
    monkeypatch.setattr("genoconv.training.trainer.next_base_loss", sometimes)
    result = run(fasta, tmp_path / "run")
    changed = [not torch.equal(one, two) for one, two in itertools.pairwise(calls)]
    assert changed == [True] * 5 + [False] + [True] * 5
    assert math.isfinite(result.perplexity)
    lines = [json.loads(line) for line in (tmp_path / "run" / JOURNAL).read_text().splitlines()]
    assert [line.get("skipped") for line in lines if line["event"] == "step"] == [None, 1, None]


COMMAND = [
    "--validation-fraction", "0.2", "--d-model", "8", "--layers", "1", "--l-max", "66", "--context", "32",
    "--batch-bases", "128", "--steps", "4000", "--log-every", "5", "--checkpoint-every", "10", "--device", "cpu",
    "--threads", "1",
]  # fmt: skip


def test_the_command_saves_on_a_signal_and_exits_with_75(spawn: Spawn, fasta: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "genoconv", "train", str(fasta), "--out", str(tmp_path / "run"), *COMMAND]
    process = spawn(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 75, words
    assert "interrupted by SIGTERM" in words
    saved = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert 0 < saved["trainer"]["step"] < 4000


def test_the_command_trains_a_model_that_then_embeds(fasta: Path, tmp_path: Path) -> None:
    out, result = tmp_path / "model", tmp_path / "a.h5"
    command = [sys.executable, "-m", "genoconv"]
    short = [word if word != "4000" else "12" for word in COMMAND]
    trained = subprocess.run(
        [*command, "train", str(fasta), "--out", str(out), *short],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert trained.stdout == ""
    assert "step 5 of 12: loss " in trained.stderr
    assert "bases/s" in trained.stderr
    assert "order-3 Markov model: " in trained.stderr
    embedded = [*command, "embed", str(fasta), "--model", str(out), "--output", str(result), "--device", "cpu"]
    subprocess.run(embedded, capture_output=True, check=True, timeout=120)
    assert result.stat().st_size > 0


def test_the_command_refuses_unusable_input_in_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.fa"
    bad.write_text(">a\n\n>b\nACGT\n")
    command = [sys.executable, "-m", "genoconv", "train", str(bad), "--out", str(tmp_path / "run"), *COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "bad.fa" in done.stderr
    assert "Traceback" not in done.stderr

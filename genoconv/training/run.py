"""The whole of `genoconv train` on one page: FASTA -> packed corpus -> steps, checkpoints -> a model folder."""

import json
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from genoconv import __version__
from genoconv.errors import GenoconvError, Interrupted, UsageError
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.pretrained import save_checkpoint
from genoconv.runs.devices import describe
from genoconv.runs.progress import duration
from genoconv.runs.signals import STOPPING, stop_on_signals
from genoconv.training import checkpoints
from genoconv.training.corpus import Corpus, build_corpus, open_corpus
from genoconv.training.journal import Journal
from genoconv.training.markov import MarkovModel
from genoconv.training.perplexity import perplexity
from genoconv.training.plot import plot_if_possible
from genoconv.training.processes import Processes
from genoconv.training.settings import Pace, Settings
from genoconv.training.trainer import Trainer, make_repeatable

BASELINE_ORDER = 3
"""The Markov model whose perplexity is told beside the model's own: what does not beat it has learnt nothing."""

SUMMARY = "training.json"
_GLANCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Data:
    """Where the sequences of a run come from.

    Attributes:
        train: FASTA files to learn from.
        validation: FASTA files to validate on.
        validation_fraction: Instead of such files: the share of each record, at its end, that is held out.
    """

    train: Sequence[str]
    validation: Sequence[str] = ()
    validation_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run reached.

    Attributes:
        perplexity: Of the model on the whole validation part, at the last context length.
        baseline: Of the order-3 Markov model fitted on the same training part, on the same tokens.
        steps: Steps done.
        bases: Tokens seen.
        seconds: Time spent in steps, over all parts of a resumed run.
    """

    perplexity: float
    baseline: float
    steps: int
    bases: int
    seconds: float


def train(
    model: HyenaDNA,
    data: Data,
    out: Path,
    settings: Settings,
    *,
    pace: Pace | None = None,
    resume: bool = False,
    processes: Processes | None = None,
) -> Result:
    """Train a model and write it.

    Several processes call it alike, each with the model on a device of its own; the first one reads and writes.

    Args:
        model: Its weights at step 0, on the device to train on.
        data: What to learn from and what to validate on.
        out: Folder for the model (config.json, model.safetensors), log.jsonl, training.json, loss.png (if matplotlib is
            there), checkpoint.pt, corpus/; compiled/ with what torch.compile made.
        settings: How to train.
        pace: How often to tell, check and save.
        resume: Go on from the checkpoint in `out`; the packed data there is used again.
        processes: Those that share each batch; None is this one alone.

    Raises:
        UsageError: `out` holds a run and `resume` is false, or the settings differ from that run's.
        InputError: The data cannot be used.
        Interrupted: A signal came, to this process or another; the checkpoint is up to date.
        GenoconvError: The loss is no longer a number.
    """
    pace, processes = pace or Pace(), processes or Processes()
    make_repeatable()
    if settings.compiled:
        # The compiler chooses among kernels by timing them; kept with the run, its choices stay when it goes on.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(out.resolve() / "compiled"))
    with stop_on_signals():
        corpus, saved = _open(data, out, settings, processes, resume=resume)
    trainer = Trainer(model, corpus, settings, processes)
    if saved:
        trainer.restore(saved["trainer"])
    journal = Journal(out, quiet=pace.quiet, step=trainer.step, silent=not processes.first)
    run = _Run(trainer, corpus, out, settings, pace, journal, processes, seconds=saved["seconds"] if saved else 0.0)
    run.begin()
    with _noted_signals() as noted:
        while trainer.step < settings.steps:
            run.advance()
            if stop := int(processes.largest(noted[0] if noted else 0)):
                run.save()
                raise Interrupted(signal.Signals(stop))
        run.save()
    return run.finish()


def _open(
    data: Data, out: Path, settings: Settings, processes: Processes, *, resume: bool
) -> tuple[Corpus, dict[str, Any]]:
    """The packed data, and the checkpoint to go on from ({} at the start)."""
    if processes.first:
        found = _open_first(data, out, settings, resume=resume)
        processes.wait()
        return found
    processes.wait()
    return open_corpus(out / "corpus"), checkpoints.load(out, torch.device("cpu")) if resume else {}


def _open_first(data: Data, out: Path, settings: Settings, *, resume: bool) -> tuple[Corpus, dict[str, Any]]:
    """The same, where the data is packed by this process, and the settings are compared."""
    if not resume:
        if (out / checkpoints.CHECKPOINT).exists():
            raise UsageError(
                "the folder holds a run already", where=str(out), fix="add --resume, or name another folder"
            )
        corpus = build_corpus(
            data.train, out / "corpus", validation=data.validation, validation_fraction=data.validation_fraction
        )
        return corpus, {}
    saved = checkpoints.load(out, torch.device("cpu"))
    differences = Settings.from_dict(json.loads(saved["settings"])).differences(settings)
    if differences:
        raise UsageError(
            f"the run began with other settings: {'; '.join(differences)}",
            where=str(out),
            fix="resume with the settings it began with, or train into a new folder with --from",
        )
    return open_corpus(out / "corpus"), saved


class _Run:
    """One sitting of a run: steps, and what is told and saved between them."""

    def __init__(
        self,
        trainer: Trainer,
        corpus: Corpus,
        out: Path,
        settings: Settings,
        pace: Pace,
        journal: Journal,
        processes: Processes,
        *,
        seconds: float,
    ) -> None:
        self._trainer = trainer
        self._corpus = corpus
        self._out = out
        self._settings = settings
        self._pace = pace
        self._journal = journal
        self._processes = processes
        self._seconds_before = seconds
        self._start = time.monotonic()
        self._first_step = self._saved_step = trainer.step

    def begin(self) -> None:
        """Tell what is about to be trained."""
        trainer, corpus = self._trainer, self._corpus
        weights = sum(parameter.numel() for parameter in trainer.model.parameters())
        where = describe(trainer.model.embedding.weight.device)
        self._journal.write(
            "begin", trainer.step, settings=self._settings.to_dict(), parameters=weights, device=where,
            processes=self._processes.count, train=asdict(corpus.train), validation=asdict(corpus.validation),
        )  # fmt: skip
        self._journal.say(
            f"{weights:,} weights on {where}{self._beside()}; {corpus.train.bases:,} bases to learn from, "
            f"{corpus.validation.bases:,} to validate on; steps {trainer.step:,} to {self._settings.steps:,}"
        )

    def advance(self) -> None:
        """One step, and what is due after it."""
        trainer, pace = self._trainer, self._pace
        trainer.advance()
        last = trainer.step == self._settings.steps
        if trainer.step % pace.log == 0 or last:
            self._tell()
        if pace.validate and trainer.step % pace.validate == 0 and not last and self._processes.first:
            value = self._perplexity(_GLANCE)
            self._journal.write("validation", trainer.step, perplexity=value)
            self._journal.say(f"step {trainer.step:,}: validation perplexity {value:.4f}")
        if trainer.step % pace.checkpoint == 0 and not last:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self._saved_step == self._trainer.step:
            return
        settings = json.dumps(self._settings.to_dict())
        state = {"settings": settings, "seconds": self._seconds(), "trainer": self._trainer.state()}
        if self._processes.first:
            checkpoints.save(self._out, state)
        self._saved_step = self._trainer.step

    def finish(self) -> Result:
        """Write the model, judge it, and tell."""
        result = self._finish_first() if self._processes.first else Result(0.0, 0.0, 0, 0, 0.0)
        perplexity, baseline, steps, bases, seconds = self._processes.told(astuple(result))
        return Result(perplexity, baseline, int(steps), int(bases), seconds)

    def _finish_first(self) -> Result:
        """The same, in the process that does it for all."""
        trainer, settings = self._trainer, self._settings
        seconds = self._seconds()
        save_checkpoint(trainer.model, self._out, metadata={"genoconv": __version__}, buffers=False)
        baseline = MarkovModel.fit(self._corpus.tokens("train"), BASELINE_ORDER)
        result = Result(
            self._perplexity(None),
            baseline.perplexities(self._corpus.tokens("validation"))[BASELINE_ORDER],
            trainer.step,
            self._bases(0, trainer.step),
            round(seconds, 1),
        )
        self._journal.write("end", trainer.step, **asdict(result))
        summary = {
            "genoconv": __version__,
            "torch": torch.__version__,
            "device": describe(trainer.model.embedding.weight.device) + self._beside(),
            "settings": settings.to_dict(),
            "train": asdict(self._corpus.train),
            "validation": asdict(self._corpus.validation),
            "result": asdict(result),
        }
        (self._out / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n")
        self._journal.say(plot_if_possible(self._out))
        self._journal.say(
            f"validation perplexity {result.perplexity:.4f} at a context of {settings.stages[-1].context:,} "
            f"(order-{BASELINE_ORDER} Markov model: {result.baseline:.4f}); {result.bases:,} bases in "
            f"{duration(seconds)}; the model is in {self._out}"
        )
        return result

    def _tell(self) -> None:
        """A line about the steps since the last one."""
        loss, skipped = self._trainer.take_loss()
        step = self._trainer.step
        if not math.isfinite(loss):
            raise GenoconvError(
                f"the loss is no longer a number at step {step:,}",
                fix="resume is of no use; try a lower --learning-rate",
            )
        elapsed = time.monotonic() - self._start
        rate = self._bases(self._first_step, step) / elapsed
        left = self._bases(step, self._settings.steps) / rate
        seen = self._bases(0, step)
        self._journal.write(
            "step", step, loss=loss, perplexity=math.exp(loss), context=self._context(step - 1), bases=seen,
            bases_per_second=round(rate), **({"skipped": skipped} if skipped else {}),
        )  # fmt: skip
        if skipped:
            self._journal.say(f"step {step:,}: {skipped} of the last steps were left out: their loss was not finite")
        self._journal.say(
            f"step {step:,} of {self._settings.steps:,}: loss {loss:.4f}, perplexity {math.exp(loss):.4f}, "
            f"context {self._context(step - 1):,}, {rate:,.0f} bases/s, {duration(left)} left"
        )

    def _perplexity(self, tokens: int | None) -> float:
        """On the first tokens of the validation part (None: on all)."""
        part = self._corpus.tokens("validation")[:tokens]
        model = self._trainer.model.eval()
        # Windows of the validation come in other shapes: each would be compiled anew.
        with torch.compiler.set_stance("force_eager") if self._settings.compiled else nullcontext():
            value = perplexity(model, part, context=self._settings.stages[-1].context)
        model.train()
        return value

    def _beside(self) -> str:
        """Words about the other processes."""
        return f" and {self._processes.count - 1} more" if self._processes.count > 1 else ""

    def _context(self, step: int) -> int:
        """Context length of a step."""
        return self._settings.context_of(step)

    def _bases(self, first: int, last: int) -> int:
        """Tokens that the steps from `first` up to `last` see."""
        return self._settings.bases_until(last) - self._settings.bases_until(first)

    def _seconds(self) -> float:
        """Time spent so far, with earlier sittings."""
        return self._seconds_before + time.monotonic() - self._start


@contextmanager
def _noted_signals() -> Iterator[list[signal.Signals]]:
    """Note the signals that ask for a stop, instead of breaking off in the middle of a step."""
    noted: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(signal.Signals(number))

    known = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    before = {number: signal.signal(number, note) for number in known}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

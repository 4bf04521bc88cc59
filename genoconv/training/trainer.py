"""Training, step by step: batches in, weights changed, losses out; the state can be saved and restored exactly."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from genoconv.model.hyenadna import HyenaDNA
from genoconv.training.corpus import Corpus
from genoconv.training.perplexity import count_targets, next_base_loss
from genoconv.training.processes import Processes
from genoconv.training.recording import Recording
from genoconv.training.sampling import WindowSampler
from genoconv.training.schedule import learning_rate, stage_of
from genoconv.training.settings import Settings

_BETAS = (0.9, 0.95)
_LARGEST_GRADIENT = 1.0
_DECAYED = ("in_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")


class Trainer:
    """A model and its optimiser at some step of a run.

    Attributes:
        model: What is trained.
        step: Steps done.
    """

    def __init__(self, model: HyenaDNA, corpus: Corpus, settings: Settings, processes: Processes | None = None) -> None:
        """Prepare step 0.

        Args:
            model: On the device where it is to be trained; alike in all processes.
            corpus: What it learns from.
            settings: How.
            processes: Those that share each batch; None is this one alone.

        Raises:
            UsageError: There are more processes than windows in a batch.
        """
        self.model = model.train()
        self.step = 0
        self._settings = settings
        self._device = model.embedding.weight.device
        self._tokens = corpus.tokens("train")
        self._sampler: tuple[int, WindowSampler] | None = None
        self._losses: list[Tensor] = []
        self._half = settings.precision == "bfloat16"
        self._processes = processes or Processes()
        for stage in settings.stages:
            self._processes.share(settings.batch_bases // stage.context)
        self._parameters: list[Tensor] = list(model.parameters())
        if settings.compiled:
            for block in model.stack:
                block.compile_around_convolution()
        self._recorded = settings.compiled and self._device.type == "cuda"
        self._recording: tuple[torch.Size, Recording] | None = None
        self._optimiser = torch.optim.AdamW(
            _groups(model, settings.weight_decay),
            lr=settings.learning_rate,
            betas=_BETAS,
            fused=self._device.type == "cuda",
        )
        # It scales nothing: the kernels bring gradients into the range of float16 themselves. What it does, without
        # waiting for a GPU, is to leave out steps whose gradients are not finite.
        self._scaler = torch.amp.GradScaler(self._device.type, init_scale=1.0, growth_interval=1 << 30)

    def advance(self) -> None:
        """Do one step."""
        rate = learning_rate(self.step, self._settings)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        rows = self._batch()
        targets = self._processes.total(count_targets(rows))
        weight = torch.full((), 1 / max(targets, 1), device=self._device)
        loss = self._passes_now(self._on_device(rows), weight)
        self._processes.add_up(parameter.grad for parameter in self._parameters if parameter.grad is not None)
        self._scaler.unscale_(self._optimiser)
        clip_grad_norm_(self._parameters, _LARGEST_GRADIENT)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._losses.append(loss.double())
        self.step += 1

    def _passes_now(self, windows: Tensor, weight: Tensor) -> Tensor:
        """Forward and backward, recorded if that is asked for: the loss of this process's windows."""
        if self._recorded:
            if self._recording is None or self._recording[0] != windows.shape:
                self._recording = None  # its memory is free before the next one takes some
                self._optimiser.zero_grad(set_to_none=True)
                recording = Recording(self._passes, windows, weight, self._parameters)
                self._recording = windows.shape, recording
            return self._recording[1].replay(windows, weight)
        self._optimiser.zero_grad(set_to_none=True)
        return self._passes(windows, weight)

    def _passes(self, windows: Tensor, weight: Tensor) -> Tensor:
        """Forward and backward: the loss, with its gradients in the parameters (times the scaler's factor)."""
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half):
            loss = next_base_loss(self.model, windows, reduction="sum") * weight
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _batch(self) -> NDArray[np.uint8]:
        """This process's windows of this step, (B, context + 1)."""
        stage, number = stage_of(self.step, self._settings)
        if self._sampler is None or self._sampler[0] != stage:
            context = self._settings.stages[stage].context
            sampler = WindowSampler(
                self._tokens,
                context=context,
                batch=self._settings.batch_bases // context,
                seed=self._settings.seed,
                both_strands=self._settings.both_strands,
            )
            self._sampler = stage, sampler
        sampler = self._sampler[1]
        return sampler.batch(number, self._processes.share(sampler.windows))

    def _on_device(self, rows: NDArray[np.uint8]) -> Tensor:
        """Windows as token ids, (B, context + 1) int64."""
        windows = torch.from_numpy(rows)
        if self._device.type == "cuda":
            windows = windows.pin_memory().to(self._device, non_blocking=True)
        return windows.long()

    def take_loss(self) -> tuple[float, int]:
        """The mean loss in nats of the steps since the last call, and how many were left out as not finite.

        This waits for the device, and for all processes. If all were left out, the mean is no number.
        """
        losses = self._losses_of_all()
        self._losses.clear()
        finite = [loss for loss in losses if math.isfinite(loss)]
        return sum(finite) / len(finite) if finite else math.nan, len(losses) - len(finite)

    def _losses_of_all(self) -> list[float]:
        """The losses since the last call of `take_loss`, summed over all processes."""
        losses = torch.stack(self._losses) if self._losses else torch.zeros(0)
        self._processes.add_up([losses])
        return [float(loss) for loss in losses.tolist()]

    def state(self) -> dict[str, Any]:
        """All that `restore` needs: tensors and plain values, alike in all processes (which must all ask for it)."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "losses": self._losses_of_all(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        own = state["losses"] if self._processes.first else [0.0] * len(state["losses"])
        self._losses = [torch.tensor(loss, dtype=torch.float64, device=self._device) for loss in own]


def _groups(model: HyenaDNA, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that decay and those that do not."""
    decayed = [weight for name, weight in model.named_parameters() if name.endswith(_DECAYED)]
    others = [weight for name, weight in model.named_parameters() if not name.endswith(_DECAYED)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def make_repeatable() -> None:
    """Let CUDA choose only algorithms that give the same result every time."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False

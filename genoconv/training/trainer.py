"""Training, step by step: batches in, weights changed, losses out; the state can be saved and restored exactly."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from genoconv.model.filter import ImplicitFilter
from genoconv.model.hyenadna import HyenaDNA
from genoconv.training.corpus import Corpus
from genoconv.training.perplexity import next_base_loss
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

    def __init__(self, model: HyenaDNA, corpus: Corpus, settings: Settings) -> None:
        """Prepare step 0.

        Args:
            model: On the device where it is to be trained.
            corpus: What it learns from.
            settings: How.
        """
        self.model = model.train()
        self.step = 0
        self._settings = settings
        self._device = model.embedding.weight.device
        self._tokens = corpus.tokens("train")
        self._sampler: tuple[int, WindowSampler] | None = None
        self._losses: list[Tensor] = []
        self._half = settings.precision == "bfloat16"
        for module in model.modules():
            if isinstance(module, ImplicitFilter):
                # Made in bfloat16, neighbouring taps could not be told apart.
                module.__dict__["forward"] = torch.autocast(self._device.type, enabled=False)(module.forward)
        self._optimiser = torch.optim.AdamW(
            _groups(model, settings.weight_decay),
            lr=settings.learning_rate,
            betas=_BETAS,
            fused=self._device.type == "cuda",
        )

    def advance(self) -> None:
        """Do one step."""
        rate = learning_rate(self.step, self._settings)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        windows = self._batch()
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._half):
            loss = next_base_loss(self.model, windows)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.model.parameters(), _LARGEST_GRADIENT)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._losses.append(loss.detach())
        self.step += 1

    def _batch(self) -> Tensor:
        """The windows of this step on the device, (B, context + 1) int64."""
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
        rows = torch.from_numpy(self._sampler[1].batch(number))
        if self._device.type == "cuda":
            rows = rows.pin_memory().to(self._device, non_blocking=True)
        return rows.long()

    def take_losses(self) -> list[float]:
        """Losses of the steps since the last call, in nats (waits for the device)."""
        losses = torch.stack(self._losses).tolist() if self._losses else []
        self._losses.clear()
        return [float(loss) for loss in losses]

    def state(self) -> dict[str, Any]:
        """All that `restore` needs: tensors and plain values."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "losses": [float(loss) for loss in self._losses],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._losses = [torch.tensor(loss, device=self._device) for loss in state["losses"]]


def _groups(model: HyenaDNA, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that decay and those that do not."""
    decayed = [weight for name, weight in model.named_parameters() if name.endswith(_DECAYED)]
    others = [weight for name, weight in model.named_parameters() if not name.endswith(_DECAYED)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def make_repeatable() -> None:
    """Let CUDA choose only algorithms that give the same result every time."""
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False

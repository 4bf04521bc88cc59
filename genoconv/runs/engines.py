"""Settings and a device -> an engine: a model that is loaded, how it computes, and how much at once."""

from pathlib import Path

import torch

from genoconv.errors import UsageError
from genoconv.model import half
from genoconv.model.config import HyenaConfig
from genoconv.model.inference import Precision, layer_indices
from genoconv.model.pretrained import load_model
from genoconv.model.spectra import filter_bank
from genoconv.runs.job import EmbedSettings, Engine
from genoconv.runs.memory import batch_budget, memory_limit, recordings_budget, spectra_budget


def make_engine(settings: EmbedSettings, path: Path, device: torch.device, longest: int) -> Engine:
    """Load a model onto a device, and see how much it can compute at once there.

    Args:
        settings: What is asked for.
        path: Folder or file of the model.
        device: Where to compute.
        longest: Bases of the longest record.

    Raises:
        ModelError: The model cannot be loaded.
        UsageError: A layer that the model does not have, or half precision where it is not possible.
    """
    model = load_model(path, device=device)
    layers = layer_indices(model.config, settings.layers)
    engine = Engine(settings, model, device, "high", layers, memory=0, batch_bases=1)
    prepare_for(engine, longest)
    return engine


def prepare_for(engine: Engine, longest: int, precision: str | None = None) -> None:
    """Decide how to compute, and how much at once, for records of up to `longest` bases and the memory free now.

    Args:
        engine: What is prepared.
        longest: Bases of the longest record.
        precision: How, if others have decided; None: by the settings.

    Raises:
        UsageError: Half precision is asked for, and not possible.
    """
    settings, config = engine.settings, engine.model.config
    engine.precision = choose_precision(precision or settings.precision, config, engine.device, longest)
    engine.memory = memory_limit(engine.device, settings.max_memory)
    engine.batch_bases = settings.batch_bases or batch_budget(engine.demand, longest, engine.memory)
    batch, bank = (engine.demand, engine.batch_bases, longest, engine.memory), filter_bank(engine.model)
    bank.graphs.budget = recordings_budget(*batch)
    bank.budget = spectra_budget(*batch) - bank.graphs.budget


def choose_precision(asked: str, config: HyenaConfig, device: torch.device, longest: int) -> Precision:
    """How to compute: `high` or `half`, as asked; `auto` is half on a GPU, where that is possible.

    Raises:
        UsageError: Half precision is asked for, and not possible.
    """
    if asked == "high":
        return "high"
    why = half.obstacle(config, device, longest)
    if asked == "half" and why:
        raise UsageError(f"--precision half {why}", fix="use --precision high, or auto")
    return "high" if why or (asked == "auto" and device.type != "cuda") else "half"

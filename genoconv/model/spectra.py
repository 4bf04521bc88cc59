"""The long filters of a model, kept between sequences: parameters -> taps -> spectra -> convolutions of a layer.

Spectra are kept for a transform length if those of all layers fit into a budget of bytes: then a sequence costs no
filter work at all. For longer sequences taps and spectra are made in each layer, a few channels at a time, so that
memory does not grow with the number of layers; this takes 12% of the time at d_model 256. On a CPU the budget is small,
and batches of many rows, of whose time it is 2%, keep nothing.

Transform lengths are rounded up, four to an octave, so that sequences of like length share spectra.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from genoconv.kernels import sparsity, torch_path
from genoconv.kernels.fftconv import fftconv, prepare, spectrum_bytes
from genoconv.kernels.scripts import without_lock
from genoconv.kernels.spectrum import Spectrum
from genoconv.kernels.torch_path import convolve_blocks, convolve_channels
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter
from genoconv.model.graphs import Recording, Shelf
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.operator import HyenaOperator, count_taps
from genoconv.model.rooms import large_room
from genoconv.model.taps import chunk_taps, fill_taps, make_features, make_taps
from genoconv.model.workers import Workers

CACHE_BYTES = {"cpu": 40 << 20, "cuda": 640 << 20}
"""Of the spectra kept for one model: enough for 8 layers of 256 channels at 2,048 tokens, or 32K."""

MANY_ROWS = 8
"""Rows of a batch from which on a CPU keeps no spectra."""

# Of the taps made at a time where spectra are not kept; with 16 channels instead of 32, making them takes 30% longer.
_TAPS_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
_FEWEST_CHANNELS = 24
# Longest signals for which plans look at the number of rows.
_LONGEST_BY_BATCH = 8192


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of the long filters.

    Attributes:
        taps: Taps that they are cut to; None keeps all of the model's.
        frequencies: Part of all frequencies, the lowest: 1, or up to 0.4 (see `genoconv.kernels.sparsity`).
    """

    taps: int | None = None
    frequencies: float = 1.0

    def count(self, config: HyenaConfig, length: int) -> int:
        """Taps that matter for inputs of `length` tokens; a low-pass looks ahead, to some that dense filters ignore."""
        return count_taps(config.l_max, length + sparsity.looks_ahead(self.frequencies), self.taps)


ALL = Kept()


class FilterBank:
    """What is kept of one model's filters. Notices by itself when the model's parameters have changed.

    Attributes:
        budget: Bytes of spectra that it may keep.
        graphs: Recordings of the model that read these spectra.
        stamp: Of the model whose filters they are.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.graphs = Shelf[Recording]()
        self.stamp: object = None
        self._spectra: OrderedDict[tuple[object, ...], Spectrum] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum(spectrum.nbytes for spectrum in self._spectra.values())

    def check(self, model: HyenaDNA) -> None:
        """Drops everything if any tensor of the model is not what it was."""
        now = stamp(model)
        if now != self.stamp:
            self.stamp = now
            self.clear()

    def clear(self) -> None:
        """Drops everything."""
        self._spectra.clear()
        self.graphs.clear()

    def held(self, config: HyenaConfig, rows: int, length: int, kept: Kept) -> list[Spectrum] | None:
        """The spectra of all layers for float16 signals (rows, d, length), or None if some are not held."""
        batch = batch_class(rows, length)
        keys = [_key(config, layer, length, kept, torch.float16, batch) for layer in range(1, config.n_layer + 1)]
        if not all(key in self._spectra for key in keys):
            return None
        for key in keys:
            self._spectra.move_to_end(key)
        return [self._spectra[key] for key in keys]

    def room_for_features(self, config: HyenaConfig, x: Tensor, kept: Kept) -> Tensor | None:
        """Room for the features that each layer's convolution of a stream x (B, L, d) needs; None if it needs none."""
        rows, length = x.shape[:2]
        if x.numel() == 0 or keeps(config, rows, length, kept, x.device, self.budget, x.dtype):
            return None
        return large_room(x, kept.count(config, length), config.filter_order)

    def convolve(
        self,
        config: HyenaConfig,
        layer: int,
        operator: HyenaOperator,
        v: Tensor,
        gate: Tensor,
        kept: Kept,
        workers: Workers,
        features: Tensor | None = None,
    ) -> Tensor:
        """Filters v (B, d, L) -> gate * (long filter * v + skip v), for the operator of one layer.

        In float16, results that are not finite are the caller's to notice; else they are an error. With fewer
        frequencies, what stands behind a row's end reaches it: v must be 0 there. Features of the long filter, if they
        are there already, are not made again.

        Returns:
            v itself with the results; or others with its strides, where that spares a copy.
        """
        length = v.shape[-1]
        if v.numel() == 0:
            return v
        if keeps(config, v.shape[0], length, kept, v.device, self.budget, v.dtype):
            with torch.no_grad():
                spectrum = self._spectrum(config, layer, operator.long_filter, length, kept, v, workers)
            return _by_spectrum(operator, spectrum, v, gate, workers)
        count = kept.count(config, length)
        if features is None:
            with torch.no_grad():
                features = make_features(operator.long_filter, count, workers)
        widest = count if v.is_cpu else length  # a GPU transforms them all at once
        step = piece(config.d_model, taps_at_a_time(widest, workers.count, v.device), workers.count)
        if v.is_cpu and v.dtype != torch.float16 and kept.frequencies == 1.0:
            work = _torch_by_taps(operator, features, v, gate, workers)
        else:
            work = _by_taps(operator, features, v, gate, kept)

        def with_room(at: slice) -> None:
            if getattr(workers.local, "taps", None) is None:
                workers.local.taps = large_room(features, step, count)
            work(at, workers.local.taps)

        workers.each(with_room, _parts(config.d_model, step))
        return v

    def _spectrum(
        self,
        config: HyenaConfig,
        layer: int,
        long_filter: ImplicitFilter,
        length: int,
        kept: Kept,
        v: Tensor,
        workers: Workers,
    ) -> Spectrum:
        dtype, batch = v.dtype, batch_class(v.shape[0], length)
        key = _key(config, layer, length, kept, dtype, batch)
        if key not in self._spectra:
            rounded = round_length(length)
            count = kept.count(config, rounded)
            taps = make_taps(long_filter, make_features(long_filter, count, workers), slice(None), None)
            spectrum = prepare(taps, rounded, dtype=dtype, batch=batch, backend=_backend(v), keep=kept.frequencies)
            while self._spectra and self.nbytes + spectrum.nbytes > self.budget:
                self.graphs.drop(self._spectra.popitem(last=False)[1])
            self._spectra[key] = spectrum
        self._spectra.move_to_end(key)
        return self._spectra[key]


def _backend(v: Tensor) -> str:
    return "triton" if v.dtype == torch.float16 else "auto"


def _by_spectrum(operator: HyenaOperator, spectrum: Spectrum, v: Tensor, gate: Tensor, workers: Workers) -> Tensor:
    """Convolves v (B, d, L) with spectra that are kept, in place if they can be."""
    out = v if spectrum.in_place else v.new_empty_strided(v.shape, v.stride())
    steps, skip, check = torch_path.step_bytes(v.device, workers.count), operator.skip, v.dtype != torch.float16

    def convolve(at: slice) -> None:
        if spectrum.backend == "torch" and spectrum.band is None:
            _with_spectrum(v, gate, skip, spectrum.data, spectrum.n, spectrum.hop, at.start, at.stop, steps)
        else:
            fftconv(v[:, at], spectrum[at], skip[at], out_gate=gate[:, at], out=out[:, at], check=check)

    # Four parts a worker, so that none waits long for another.
    pieces = 1 if workers.count == 1 else 4 * workers.count
    workers.each(convolve, _parts(v.shape[1], -(-v.shape[1] // pieces)))
    return out


def _by_taps(
    operator: HyenaOperator, features: Tensor, v: Tensor, gate: Tensor, kept: Kept
) -> Callable[[slice, Tensor], None]:
    """What convolves some channels of v (B, d, L) in place, with taps that are made in the room given."""
    backend, check, length = _backend(v), v.dtype != torch.float16, v.shape[-1]
    batch = batch_class(v.shape[0], length)

    def convolve(at: slice, room: Tensor) -> None:
        taps = make_taps(operator.long_filter, features, at, room)
        filters: Tensor | Spectrum = taps
        if kept.frequencies != 1.0:
            filters = prepare(taps, length, dtype=v.dtype, batch=batch, backend=backend, keep=kept.frequencies)
        fftconv(v[:, at], filters, operator.skip[at], out_gate=gate[:, at], out=v[:, at], backend=backend, check=check)

    return convolve


def _torch_by_taps(
    operator: HyenaOperator, features: Tensor, v: Tensor, gate: Tensor, workers: Workers
) -> Callable[[slice, Tensor], None]:
    """As `_by_taps`, by torch on a CPU: in one call without Python's lock."""
    made, count = operator.long_filter, len(features)
    plan = torch_path.plan_transform(count, v.shape[-1])
    deltas, weight, time = made.deltas, made.outer.weight, made.positions.t[:count, 0]
    skip, chunk, steps = operator.skip, chunk_taps(features), torch_path.step_bytes(v.device, workers.count)

    def convolve(at: slice, room: Tensor) -> None:
        _with_taps(
            v, gate, skip, deltas, weight, features, time, made.shift, chunk, room, at.start, at.stop,
            plan.n, plan.hop, plan.parts, steps,
        )  # fmt: skip

    return convolve


@without_lock
def _with_spectrum(
    v: Tensor, gate: Tensor, skip: Tensor, data: Tensor, n: int, hop: int, first: int, last: int, step_bytes: int
) -> None:
    """Convolves channels first to last - 1 of v (B, d, L) in place."""
    u, at = v[:, first:last], gate[:, first:last]
    convolve_blocks(u, data[first:last], n, hop, skip[first:last], None, at, u, step_bytes)


@without_lock
def _with_taps(
    v: Tensor, gate: Tensor, skip: Tensor, deltas: Tensor, weight: Tensor, features: Tensor, time: Tensor, shift: float,
    chunk: int, room: Tensor, first: int, last: int, n: int, hop: int, parts: int, step_bytes: int,
) -> None:  # fmt: skip
    """Convolves channels first to last - 1 of v (B, d, L) in place with taps that are made in `room`."""
    taps, u = room[: last - first], v[:, first:last]
    fill_taps(deltas[first:last], weight[first:last], features, time, shift, chunk, taps)
    convolve_channels(
        u, taps, n, hop, parts, skip[first:last], None, gate[:, first:last], u, step_bytes, v.dtype
    )  # fmt: skip


def _key(
    config: HyenaConfig, layer: int, length: int, kept: Kept, dtype: torch.dtype, batch: int
) -> tuple[object, ...]:
    rounded = round_length(length)
    return layer, kept.count(config, rounded), kept.frequencies, rounded, dtype, batch


# Where the tensors of a model are held: to walk through all modules takes a millisecond, for each batch.
_PLACES: WeakKeyDictionary[HyenaDNA, list[Mapping[str, Tensor | None]]] = WeakKeyDictionary()
_BANKS: WeakKeyDictionary[HyenaDNA, FilterBank] = WeakKeyDictionary()


def stamp(model: HyenaDNA) -> object:
    """What is another after parameters or buffers of the model were changed or replaced (but not whole modules)."""
    if model not in _PLACES:
        _PLACES[model] = [place for module in model.modules() for place in (module._parameters, module._buffers)]
    tensors = [tensor for place in _PLACES[model] for tensor in place.values() if tensor is not None]
    return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]


def filter_bank(model: HyenaDNA) -> FilterBank:
    """The bank of a model, emptied if the model has changed; it lives as long as the model."""
    bank = _BANKS.setdefault(model, FilterBank(CACHE_BYTES[model.embedding.weight.device.type]))
    bank.check(model)
    return bank


def taps_at_a_time(count: int, workers: int, device: torch.device | str = "cpu") -> int:
    """Channels whose `count` taps each worker makes at a time."""
    return max(_FEWEST_CHANNELS, _TAPS_BYTES[torch.device(device).type] // (workers * 4 * count))


def piece(channels: int, most: int, workers: int) -> int:
    """Channels of one piece of work: at most so many, and such that all workers have as many pieces."""
    return -(-channels // (-(-channels // (most * workers)) * workers))


def batch_class(batch: int, length: int) -> int:
    """Rows of the batch, roughly: the plan for short signals depends on them."""
    return 1 << min(6, (batch - 1).bit_length()) if length <= _LONGEST_BY_BATCH else 1


def _parts(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def round_length(length: int) -> int:
    """The next of four lengths an octave, at least 256."""
    step = max(64, 1 << max(0, (length - 1).bit_length() - 3))
    return max(256, -(-length // step) * step)


def spectra_bytes(
    config: HyenaConfig,
    length: int,
    kept: Kept = ALL,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch: int = 1,
) -> int:
    """Bytes of the spectra of all layers for inputs of `length` tokens in `dtype`."""
    rounded = round_length(length)
    each = spectrum_bytes(
        config.d_model,
        kept.count(config, rounded),
        rounded,
        device,
        dtype=dtype,
        batch=batch,
        keep=kept.frequencies,
    )
    return config.n_layer * each


def keeps(
    config: HyenaConfig,
    rows: int,
    length: int,
    kept: Kept = ALL,
    device: torch.device | str = "cpu",
    budget: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> bool:
    """Whether the spectra for batches of some rows of `length` tokens are kept, within the budget or the usual one."""
    kind = torch.device(device).type
    if kind == "cpu" and rows >= MANY_ROWS:
        return False
    needed = spectra_bytes(config, length, kept, device, dtype, batch_class(rows, length))
    return needed <= (CACHE_BYTES[kind] if budget is None else budget)


def features_bytes(config: HyenaConfig, length: int, kept: Kept = ALL) -> int:
    """Bytes of the float32 features of one layer for inputs of `length` tokens."""
    return 4 * config.filter_order * kept.count(config, length)

"""The long filters of a model, kept between sequences: parameters -> taps -> spectra -> convolutions of a layer.

Spectra are kept for a transform length if those of all layers fit into a budget of bytes: then a sequence costs no
filter work at all. For longer sequences taps and spectra are made in each layer, a few channels at a time, so that
memory does not grow with the number of layers; this takes 15% of the time at 160,000 bases and d_model 256.

Transform lengths are rounded up, four to an octave, so that sequences of like length share spectra.
"""

from collections import OrderedDict
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from genoconv.kernels.fftconv import fftconv, prepare, spectrum_bytes
from genoconv.kernels.spectrum import Spectrum
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import ImplicitFilter
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.operator import HyenaOperator, count_taps
from genoconv.model.workers import Workers

CACHE_BYTES = 640 << 20
"""Of the spectra kept for one model: enough for 8 layers of 256 channels at 32K tokens."""

_CHUNK_TAPS = 16384
# Of the taps made at a time where spectra are not kept; with 4 channels instead of 16, making them takes twice as long.
_TAPS_BYTES = 32 << 20
_FEWEST_CHANNELS = 16


class FilterBank:
    """What is kept of one model's filters. Notices by itself when the model's parameters have changed."""

    def __init__(self, budget: int = CACHE_BYTES) -> None:
        self.budget = budget
        self._stamp: object = None
        self._spectra: OrderedDict[tuple[int, int, int], Spectrum] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum(spectrum.nbytes for spectrum in self._spectra.values())

    def check(self, model: HyenaDNA) -> None:
        """Drops everything if any tensor that the filters are made from is not what it was."""
        filters = [block.operator.long_filter for block in model.stack]
        tensors = [tensor for each in filters for tensor in (*each.parameters(), *each.buffers())]
        stamp = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
        if stamp != self._stamp:
            self._stamp = stamp
            self._spectra.clear()

    def convolve(
        self,
        config: HyenaConfig,
        layer: int,
        operator: HyenaOperator,
        v: Tensor,
        gate: Tensor,
        filter_length: int | None,
        workers: Workers,
    ) -> None:
        """Replaces v (B, d, L) by gate * (long filter * v + skip v), for the operator of one layer."""
        length = v.shape[-1]
        if v.numel() == 0:
            return
        if spectra_bytes(config, length, filter_length, v.device) <= self.budget:
            with torch.no_grad():
                spectrum = self._spectrum(config, layer, operator.long_filter, length, filter_length, v.dtype)

            def with_spectrum(at: slice) -> None:
                fftconv(v[:, at], spectrum[at], operator.skip[at], out_gate=gate[:, at], out=v[:, at])

            # Four parts a worker, so that none waits long for another.
            pieces = 1 if workers.count == 1 else 4 * workers.count
            workers.each(with_spectrum, _parts(config.d_model, -(-config.d_model // pieces)))
            return
        count = count_taps(config.l_max, length, filter_length)
        with torch.no_grad():
            features = make_features(operator.long_filter, count)
        step = min(-(-config.d_model // workers.count), taps_at_a_time(count, workers.count))

        def with_taps(at: slice) -> None:
            if getattr(workers.local, "taps", None) is None:
                workers.local.taps = features.new_empty(step, count)
            taps = make_taps(operator.long_filter, features, at, workers.local.taps)
            fftconv(v[:, at], taps, operator.skip[at], out_gate=gate[:, at], out=v[:, at])

        workers.each(with_taps, _parts(config.d_model, step))

    def _spectrum(
        self,
        config: HyenaConfig,
        layer: int,
        long_filter: ImplicitFilter,
        length: int,
        filter_length: int | None,
        dtype: torch.dtype,
    ) -> Spectrum:
        rounded = round_length(length)
        count = count_taps(config.l_max, rounded, filter_length)
        key = (layer, count, rounded)
        if key not in self._spectra:
            taps = make_taps(long_filter, make_features(long_filter, count), slice(None), None)
            spectrum = prepare(taps, rounded, dtype=dtype)
            while self._spectra and self.nbytes + spectrum.nbytes > self.budget:
                self._spectra.popitem(last=False)
            self._spectra[key] = spectrum
        self._spectra.move_to_end(key)
        return self._spectra[key]


_BANKS: WeakKeyDictionary[HyenaDNA, FilterBank] = WeakKeyDictionary()


def filter_bank(model: HyenaDNA) -> FilterBank:
    """The bank of a model, emptied if the model has changed; it lives as long as the model."""
    bank = _BANKS.setdefault(model, FilterBank())
    bank.check(model)
    return bank


def taps_at_a_time(count: int, workers: int) -> int:
    """Channels whose `count` taps each worker makes at a time."""
    return max(_FEWEST_CHANNELS, _TAPS_BYTES // (workers * 4 * count))


def _parts(channels: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, channels)) for start in range(0, channels, step)]


def round_length(length: int) -> int:
    """The next of four lengths an octave, at least 256."""
    step = max(64, 1 << max(0, (length - 1).bit_length() - 3))
    return max(256, -(-length // step) * step)


def spectra_bytes(
    config: HyenaConfig, length: int, filter_length: int | None, device: torch.device | str = "cpu"
) -> int:
    """Bytes of the float32 spectra of all layers for inputs of `length` tokens."""
    rounded = round_length(length)
    count = count_taps(config.l_max, rounded, filter_length)
    return config.n_layer * spectrum_bytes(config.d_model, count, rounded, device)


def features_bytes(config: HyenaConfig, length: int, filter_length: int | None) -> int:
    """Bytes of the float32 features of one layer for inputs of `length` tokens."""
    return 4 * config.filter_order * count_taps(config.l_max, length, filter_length)


def make_features(long_filter: ImplicitFilter, count: int) -> Tensor:
    """`long_filter.features(0, count)`, a few thousand positions at a time: no more memory than the result."""
    features = long_filter.freq.new_empty(count, len(long_filter.freq))
    for first in range(0, count, _CHUNK_TAPS):
        last = min(first + _CHUNK_TAPS, count)
        features[first:last] = long_filter.features(first, last)
    return features


def make_taps(long_filter: ImplicitFilter, features: Tensor, channels: slice, room: Tensor | None) -> Tensor:
    """`long_filter.taps(features, channels)`, in `room` if given; a few thousand positions at a time stay in cache."""
    rates, weight = -long_filter.deltas[channels].abs()[:, None], long_filter.outer.weight[channels]
    taps = features.new_empty(len(rates), len(features)) if room is None else room[: len(rates)]
    for first in range(0, len(features), _CHUNK_TAPS):
        part = taps[:, first : first + _CHUNK_TAPS]
        torch.mul(rates, long_filter.positions.t[first : first + part.shape[1], 0], out=part)
        part.exp_().add_(long_filter.shift)
        part.mul_(weight @ features[first : first + _CHUNK_TAPS].t())
    return taps

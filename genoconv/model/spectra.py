"""The long filters of a model, kept between sequences: parameters -> taps -> spectra -> convolutions of a layer.

What is kept depends on a budget of bytes (for all layers together), not on the input:

    spectra   if those of all layers fit, for a transform length: a sequence then costs no filter work at all;
    features  else, if they fit: the network of sines is run once, taps and spectra are made a few channels at a time;
    nothing   else: the features are made anew in each layer of each sequence (2% of the time at 1,000,000 bases).

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

CACHE_BYTES = 640 << 20
"""Of spectra and features together, per model: enough for the spectra of 8 layers of 256 channels at 32K tokens."""

_CHUNK_TAPS = 16384
TAPS_BYTES = 64 << 20
"""Of the taps made at a time where spectra are not kept: fewer channels at a time take longer (1M bases: 2x)."""


class FilterBank:
    """What is kept of one model's filters. Notices by itself when the model's parameters have changed."""

    def __init__(self, budget: int = CACHE_BYTES) -> None:
        self.budget = budget
        self._stamp: object = None
        self._spectra: OrderedDict[tuple[int, int, int], Spectrum] = OrderedDict()
        self._features: dict[int, Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        features = sum(tensor.numel() * tensor.element_size() for tensor in self._features.values())
        return features + sum(spectrum.nbytes for spectrum in self._spectra.values())

    def check(self, model: HyenaDNA) -> None:
        """Drops everything if any tensor that the filters are made from is not what it was."""
        filters = [block.operator.long_filter for block in model.stack]
        tensors = [tensor for each in filters for tensor in (*each.parameters(), *each.buffers())]
        stamp = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
        if stamp != self._stamp:
            self._stamp = stamp
            self._spectra.clear()
            self._features.clear()

    def convolve(
        self,
        config: HyenaConfig,
        layer: int,
        operator: HyenaOperator,
        v: Tensor,
        gate: Tensor,
        filter_length: int | None,
    ) -> None:
        """Replaces v (B, d, L) by gate * (long filter * v + skip v), for the operator of one layer."""
        length = v.shape[-1]
        if v.numel() == 0:
            return
        plan = keeping(config, length, filter_length, self.budget, device=v.device)
        skip = operator.skip
        if plan == "spectra":
            spectrum = self._spectrum(config, layer, operator.long_filter, length, filter_length, v.dtype)
            fftconv(v, spectrum, skip, out_gate=gate, out=v)
            return
        count = count_taps(config.l_max, length, filter_length)
        features = self._kept_features(layer, operator.long_filter, count, keep=plan == "features")
        step = min(config.d_model, max(1, TAPS_BYTES // (4 * count)))
        room = features.new_empty(step, count)
        for start in range(0, config.d_model, step):
            at = slice(start, start + step)
            taps = make_taps(operator.long_filter, features, at, room)
            fftconv(v[:, at], taps, skip[at], out_gate=gate[:, at], out=v[:, at])

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
            if self.nbytes + spectrum.nbytes > self.budget:
                self._features.clear()
            self._forget_spectra(spectrum.nbytes)
            self._spectra[key] = spectrum
        self._spectra.move_to_end(key)
        return self._spectra[key]

    def _kept_features(self, layer: int, long_filter: ImplicitFilter, count: int, *, keep: bool) -> Tensor:
        kept = self._features.get(layer)
        if kept is not None and len(kept) >= count:
            return kept[:count]
        features = make_features(long_filter, count)
        if keep:
            self._features.pop(layer, None)
            self._forget_spectra(features.numel() * features.element_size())
            self._features[layer] = features
        return features

    def _forget_spectra(self, size: int) -> None:
        """Makes room for so many bytes; the spectra that were not used for longest go first."""
        while self._spectra and self.nbytes + size > self.budget:
            self._spectra.popitem(last=False)


_BANKS: WeakKeyDictionary[HyenaDNA, FilterBank] = WeakKeyDictionary()


def filter_bank(model: HyenaDNA) -> FilterBank:
    """The bank of a model, emptied if the model has changed; it lives as long as the model."""
    bank = _BANKS.setdefault(model, FilterBank())
    bank.check(model)
    return bank


def round_length(length: int) -> int:
    """The next of four lengths an octave, at least 256."""
    step = max(64, 1 << max(0, (length - 1).bit_length() - 3))
    return max(256, -(-length // step) * step)


def keeping(
    config: HyenaConfig,
    length: int,
    filter_length: int | None,
    budget: int = CACHE_BYTES,
    *,
    device: torch.device | str = "cpu",
) -> str:
    """What is kept of the filters for inputs of `length` tokens: "spectra", "features" or "nothing"."""
    if spectra_bytes(config, length, filter_length, device) <= budget:
        return "spectra"
    return "features" if features_bytes(config, length, filter_length) * config.n_layer <= budget else "nothing"


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

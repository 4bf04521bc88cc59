"""The convolution as a layer: signals and gates in, gated convolutions with the layer's own filters out."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from genoconv.kernels.backends import Precision
from genoconv.kernels.fftconv import fftconv, prepare
from genoconv.kernels.spectrum import Spectrum

# Spectra kept at a time: signals of a few shapes take turns.
_KEPT = 4


class LongConvolution(nn.Module):
    """A causal convolution of every channel with its own long filter, a skip term, and gates where wanted.

    Without gradients the filters are transformed once for each length and number of rows, and again when `taps` has
    changed: a step of an optimiser, `load_state_dict`, another device or dtype. A change through `taps.data` or through
    memory that is shared with other libraries goes unnoticed: call `forget` after it.

    Attributes:
        taps: Filters, (H, K), tap 0 first. Under autocast they stay float32.
        skip: Weight of the input itself, (H,), or None.
    """

    skip: nn.Parameter | None

    def __init__(
        self, channels: int, taps: int, *, skip: bool = True, backend: str = "auto", precision: Precision = "auto"
    ) -> None:
        """Draw filters that decay, with an expected energy of about 1 over all taps.

        Args:
            channels: Channels of the signals, H.
            taps: Length of the filters, K.
            skip: Whether there is a skip term; it starts at 1.
            backend: "auto" or one of `genoconv.kernels.fftconv.BACKENDS`.
            precision: As for `genoconv.kernels.fftconv.fftconv`.

        Raises:
            ValueError: channels or taps is below 1.
        """
        if channels < 1 or taps < 1:
            raise ValueError(f"a layer needs at least one channel and one tap, not {channels} and {taps}")
        super().__init__()
        decay = torch.exp(-3.0 * torch.arange(taps) / taps) * (6.0 / taps) ** 0.5
        self.taps = nn.Parameter(torch.randn(channels, taps) * decay)
        self.skip = nn.Parameter(torch.ones(channels)) if skip else None
        self.backend = backend
        self.precision = precision
        self._stamp: object = None
        self._spectra: OrderedDict[tuple[object, ...], Spectrum] = OrderedDict()

    def forward(self, u: Tensor, *, in_gate: Tensor | None = None, out_gate: Tensor | None = None) -> Tensor:
        """out_gate * (taps * x + skip x) with x = u * in_gate.

        Args:
            u: Signals, (B, H, L), any strides.
            in_gate: Multiplies the input, shape of u.
            out_gate: Multiplies the output, shape of u.

        Returns:
            (B, H, L), dtype of u. Differentiable in signals, gates and parameters.

        Raises:
            ValueError: Shapes, dtypes or devices do not fit.
            ConvolutionOverflowError: A value is not finite (Triton backend).
        """
        operands = (u, in_gate, out_gate, self.taps, self.skip)
        if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in operands):
            ways: Any = {"backend": self.backend, "precision": self.precision}
            return fftconv(u, self.taps, self.skip, in_gate=in_gate, out_gate=out_gate, **ways)
        filters = self._spectrum(u) if u.numel() else self.taps
        return fftconv(u, filters, self.skip, in_gate=in_gate, out_gate=out_gate)

    def forget(self) -> None:
        """Drops the spectra."""
        self._spectra.clear()

    def train(self, mode: bool = True) -> "LongConvolution":
        """As in every module; for training the spectra are dropped."""
        if mode:
            self.forget()
        return super().train(mode)

    def extra_repr(self) -> str:
        """What print shows."""
        channels, taps = self.taps.shape
        ways = f"backend={self.backend!r}, precision={self.precision!r}"
        return f"channels={channels}, taps={taps}, skip={self.skip is not None}, {ways}"

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without the spectra."""
        return {**self.__dict__, "_spectra": OrderedDict(), "_stamp": None}

    def _spectrum(self, u: Tensor) -> Spectrum:
        taps = self.taps.detach()
        stamp = (taps.data_ptr(), None if taps.is_inference() else taps._version, taps.dtype, taps.shape)
        if stamp != self._stamp:
            self.forget()
            self._stamp = stamp
        B, _, L = u.shape
        key = (B, L, u.dtype)
        if key not in self._spectra:
            while len(self._spectra) >= _KEPT:
                self._spectra.popitem(last=False)
            self._spectra[key] = prepare(
                taps, L, dtype=u.dtype, batch=B, backend=self.backend, precision=self.precision
            )
        self._spectra.move_to_end(key)
        return self._spectra[key]

"""Recorded passes give the losses and gradients of the same passes run directly."""

import pytest
import torch
from torch import Tensor, nn

from genoconv.training.recording import Recording


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_replays_follow_their_windows_and_the_weights_of_the_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(16, 32), head := nn.Linear(32, 16)).cuda()
    parameters: list[Tensor] = list(model.parameters())

    def passes(windows: Tensor, weight: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten()) * weight
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    batches = [torch.randint(0, 16, (4, 33), device="cuda") for _ in range(3)]
    weights = [torch.full((), value, device="cuda") for value in (1.0, 0.5, 2.0)]
    recording = Recording(passes, batches[0], weights[0], parameters)
    for windows, weight in zip(batches, weights, strict=True):
        found = [recording.replay(windows, weight).clone(), *(p.grad.clone() for p in parameters if p.grad is not None)]
        own = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        expected = [passes(windows, weight), *(p.grad for p in parameters if p.grad is not None)]
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two)
        for parameter, grad in zip(parameters, own, strict=True):
            parameter.grad = grad
        with torch.no_grad():
            head.weight.mul_(1.5)

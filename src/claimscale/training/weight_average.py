"""Weights averaged over about the last epoch: few labels push the average about less than the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from claimscale.training import checkpoints

PREFIX = "average."


class WeightAverage:
    """The exponential average of the weights that a model trains, with a memory of `steps` steps.

    It begins with the weights as they are. Source: Polyak and Juditsky 1992; Izmailov et al. 2018,
    arXiv 1803.05407.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self._weights = checkpoints.trainable_weights(model)
        self._share = 1 / steps
        self._means = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """Take in the weights after a step."""
        for name, weight in self._weights.items():
            self._means[name].lerp_(weight, self._share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the averages for weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        return {f"{PREFIX}{name}": mean for name, mean in self._means.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from `tensors`, which may hold other things as well."""
        for name, mean in self._means.items():
            mean.copy_(tensors[f"{PREFIX}{name}"])

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, weight in self._weights.items():
            kept = weight.clone()
            weight.copy_(self._means[name])
            self._means[name].copy_(kept)

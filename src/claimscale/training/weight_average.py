"""Weight averaging over about the last epoch: with few labels the average varies less than the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from claimscale.training import checkpoints

PREFIX = "average."


class WeightAverage:
    """The exponential average of a model's trainable weights over about `steps` steps.

    It starts with the current weights. Source: Polyak and Juditsky 1992; Izmailov et al. 2018,
    arXiv 1803.05407.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self._weights = checkpoints.trainable_weights(model)
        self._share = 1 / steps
        self._means = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Include the weights after a step."""
        for name, weight in self._weights.items():
            self._means[name].lerp_(weight, self._share)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within the block the model has the averages as its weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, Tensor]:
        """The averages, as a checkpoint stores them."""
        return {f"{PREFIX}{name}": mean for name, mean in self._means.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Resume from the tensors of a checkpoint, which may hold others as well."""
        for name, mean in self._means.items():
            mean.copy_(tensors[f"{PREFIX}{name}"])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._weights.items():
            kept = weight.clone()
            weight.copy_(self._means[name])
            self._means[name].copy_(kept)

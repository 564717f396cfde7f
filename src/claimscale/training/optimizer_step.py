"""One guarded optimizer step: gradients of microbatches, their sum over ranks, clipping, the update.

A step whose loss or gradient is not finite changes no weight. On a CPU the step raises at once. On a GPU the
host must not wait for each loss, so the device itself skips this and every later update until the host reads
the losses some steps later.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from claimscale.errors import BadInput
from claimscale.tokens.batches import Batch
from claimscale.training.device import in_order
from claimscale.training.distributed import SINGLE, ProcessGroup

CLIP_NORM = 1.0
READ_EVERY = 20
"""Steps on a GPU between two readings of losses."""

Losses = Iterable[Callable[[], Tensor]]
"""Each computes the loss of one microbatch; their sum is the loss of a step."""


class Diverged(BadInput):
    """The loss or its gradient is not finite; the weights are those of the step before."""

    @classmethod
    def at(cls, step: int, batch: str, loss: float, norm: float) -> Diverged:
        """The error of a step that was not taken; `batch` is the hash of its sequences."""
        return cls(
            f"training diverged at step {step}, batch {batch}: loss {loss}, gradient norm {norm}; "
            "the weights are those of the step before; lower learning_rate"
        )


def optimizer_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    multiplier: float,
    group: ProcessGroup = SINGLE,
) -> tuple[float, float]:
    """Update with the gradients of all ranks; returns the loss and the gradient norm.

    `multiplier` scales the learning rates. Unless both numbers are finite no weight changes: `finite_loss`
    then raises.
    """
    total, norm = _clipped_gradients(model, losses, group)
    loss_value, norm_value = torch.stack((total, norm.to(total))).tolist()
    if math.isfinite(loss_value) and math.isfinite(norm_value):
        _apply(optimizer, multiplier)
    optimizer.zero_grad(set_to_none=True)
    return loss_value, norm_value


def optimizer_step_async(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    multiplier: float,
    group: ProcessGroup = SINGLE,
) -> Tensor:
    """As `optimizer_step`, without waiting for the device: returns loss and gradient norm, [2] on the device.

    Once a step was not finite, later ones change nothing either. Needs an optimizer with `fused=True`.
    """
    total, norm = _clipped_gradients(model, losses, group)
    reading = torch.stack((total.float(), norm))
    failed = (reading.sum() * 0 != 0).float()  # 0 times a number that is not finite is not a number
    # Fused optimizers skip the update where `found_inf` is 1, as gradient scalers need.
    earlier = getattr(optimizer, "found_inf", None)
    failed = failed if earlier is None else torch.maximum(failed, earlier)
    optimizer.found_inf = failed  # pyright: ignore[reportAttributeAccessIssue]
    _apply(optimizer, multiplier)
    optimizer.zero_grad(set_to_none=True)
    return reading


def read_losses(readings: list[Tensor], first_step: int, batch_name: Callable[[int], str]) -> list[float]:
    """The losses of consecutive asynchronous steps. Raises Diverged for the first that is not finite.

    `batch_name` returns the hash of a step's batch.
    """
    values = torch.stack(readings).tolist() if readings else []
    return [finite_loss(loss, norm, step, batch_name) for step, (loss, norm) in enumerate(values, first_step)]


def finite_loss(loss: float, norm: float, step: int, batch_name: Callable[[int], str]) -> float:
    """The loss of a step. Raises Diverged, with the hash of its batch, if loss or norm is not finite."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise Diverged.at(step, batch_name(step), loss, norm)
    return loss


def accumulate_gradients(model: nn.Module, losses: Losses) -> Tensor:
    """Add the gradients of all losses to those of the weights; returns the sum of the losses, float64.

    Gradients are added in the order of the microbatches, so that the sum has the same bits for any number of
    threads. Microbatches are freed one by one.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    device = weights[0].device
    total = torch.zeros((), dtype=torch.float64, device=device)
    if device.type != "cpu" or torch.get_num_threads() == 1:
        for compute in losses:
            loss = compute()
            loss.backward()
            total = total + loss.detach()
        return total

    def gradients_of(compute: Callable[[], Tensor]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        loss = compute()
        return loss.detach(), torch.autograd.grad(loss, weights, allow_unused=True)

    work = (lambda compute=compute: gradients_of(compute) for compute in losses)
    for loss, gradients in in_order(work, device):
        total = total + loss
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
    return total


def batch_hash(microbatches: Sequence[Batch]) -> str:
    """A name for a batch that reveals no patient: 12 digits of the SHA-256 of its sequences.

    It does not depend on the division into microbatches. Patients are numbered by their place in the data.
    """
    digest = hashlib.sha256()
    for array in ([one.index for one in microbatches], [one.token for one in microbatches]):
        digest.update(np.concatenate(array).astype("<i8").tobytes())
    return digest.hexdigest()[:12]


def _clipped_gradients(model: nn.Module, losses: Losses, group: ProcessGroup) -> tuple[Tensor, Tensor]:
    """The loss of all ranks and the norm of its gradients before clipping."""
    total = accumulate_gradients(model, losses)
    group.all_reduce_gradients(model.parameters())
    group.all_reduce_sum(total)
    return total, nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)


def _apply(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    for parameters in optimizer.param_groups:
        parameters["lr"] = parameters["base_rate"] * multiplier
    optimizer.step()

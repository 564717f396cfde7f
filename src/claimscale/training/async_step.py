"""The guarded update on a GPU, which never makes the host wait: it is read some steps later.

Waiting for each loss would leave the GPU idle while the next step is prepared. So whether loss and gradient
are finite is decided on the device: once they were not, every further update is skipped there, and weights
and moments stay those of the step before until the host reads of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from claimscale.training import gradients, loop
from claimscale.training.distributed import SINGLE, ProcessGroup
from claimscale.training.gradients import Losses

READ_EVERY = 20
"""Steps between two readings."""


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    rate: float,
    ranks: ProcessGroup = SINGLE,
) -> Tensor:
    """One optimizer step on the sum of the losses, unless this or an earlier one was not finite.

    Returns loss and gradient norm, [2] on the device. Needs an optimizer with `fused=True`.
    """
    weights = list(model.parameters())
    total = gradients.accumulate(model, losses).float().to(weights[0].device)
    ranks.all_reduce_gradients(weights)
    ranks.all_reduce_sum(total)
    norm = nn.utils.clip_grad_norm_(weights, loop.CLIP_NORM)
    reading = torch.stack((total, norm))
    failed = (~reading.isfinite().all()).float()
    # Fused optimizers skip their update where this is 1; it is what gradient scalers use.
    earlier = getattr(optimizer, "found_inf", None)
    failed = failed if earlier is None else torch.maximum(failed, earlier)
    optimizer.found_inf = failed  # pyright: ignore[reportAttributeAccessIssue]
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return reading


def read(readings: list[Tensor], first_step: int, name: Callable[[int], str]) -> list[float]:
    """The losses of consecutive steps, read in one go. Raises Diverged for the first that is not finite.

    `name` gives a step's batch its hash.
    """
    values = torch.stack(readings).tolist() if readings else []
    for step, (loss, norm) in enumerate(values, first_step):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise loop.diverged(step, name(step), loss, norm)
    return [loss for loss, _ in values]

"""One step of masked-code pretraining, and the score on codes of patients it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from claimscale.corpus.batches import Batch, Batches, Masked, in_parts, mask_batch
from claimscale.corpus.sequences import LEADING, Sequences, seen_earlier
from claimscale.errors import BadInput
from claimscale.model import sizes
from claimscale.model.encoder import Encoder, Inputs
from claimscale.model.transfer import make_optimizer
from claimscale.study import Pretrain
from claimscale.training import late, loop, memory
from claimscale.training.ranks import ALONE, Ranks
from claimscale.training.schedule import Schedule

WEIGHT_DECAY = 0.1
VALIDATION_SEED = 20220401
VALIDATION_MASK = 0.3
"""Fixed, so that every size, seed and way of masking is asked about the same masked codes."""
OPTIMIZER_BYTES = 12
"""Per parameter: a gradient and two moments."""

State = dict[str, Tensor]


class PretrainingRun:
    """Model, optimizer and batches of one pretraining; a step depends on its number and the weights only.

    `share` makes it a run of its own with that share of the steps.
    """

    def __init__(
        self,
        train: Sequences,
        types: np.ndarray,
        shape: sizes.Shape,
        settings: Pretrain,
        seed: int,
        device: torch.device,
        share: float = 1.0,
        ranks: Ranks = ALONE,
    ) -> None:
        with_codes = np.flatnonzero(train.lengths > LEADING)
        if not len(with_codes):
            raise BadInput("pretrain: no training patient has a code before the landmark")
        self.settings, self.seed, self.device, self.ranks = settings, seed, device, ranks
        self.batches = Batches(
            train,
            settings.batch_tokens,
            seed,
            with_codes,
            loop.part_positions(device),
            ranks.rank,
            ranks.count,
        )
        lengths = train.lengths[with_codes].astype(np.float64)
        self.attended_length = float((lengths**2).sum() / lengths.sum())
        steps = settings.epochs * self.batches.steps_per_epoch
        self.schedule = Schedule.of(max(1, round(share * steps)))
        torch.manual_seed(seed)
        self.model = Encoder(shape, types).to(device)
        loop.compile_blocks(self.model, device)
        self.optimizer = make_optimizer(self.model, shape.layers, settings.learning_rate, WEIGHT_DECAY)
        self.resident = memory.ResidentCorpus.if_it_fits(train, device)
        self._updating = False
        if device.type == "cuda" and len(self.batches.share(0)):
            held = OPTIMIZER_BYTES * sizes.parameters(shape)
            self.batches.part_positions = memory.measured_part(self._probe, held, device)

    @property
    def steps(self) -> int:
        return self.schedule.steps

    def flops(self, tokens: float, masked: float) -> float:
        """Floating-point operations of training on so many tokens, of which so many were masked."""
        return sizes.train_flops(self.model.shape, tokens, masked, self.attended_length)

    def step(self, step: int) -> tuple[float | Tensor, int, int]:
        """Train one step; returns the mean loss, tokens and masked codes, of all ranks.

        On a GPU the first is not the loss but what `late.read` takes. If memory runs out before the update,
        the step is done again in parts of half the size.
        """
        parts = self._parts(step)
        tokens = sum(len(batch.token) for batch, _ in parts)
        masked = sum(len(mask.position) for _, mask in parts)
        tokens, masked = (int(number) for number in self.ranks.total(tokens, masked))
        while True:
            try:
                return self._update(parts, step, masked), tokens, masked
            except torch.OutOfMemoryError:
                # Other ranks wait for this one's gradients meanwhile, and need not know.
                if self._updating or self.batches.part_positions <= memory.SMALLEST_PART:
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.batches.part_positions //= 2
            parts = self._parts(step)

    def state(self) -> State:
        """Weights and moments, copied."""
        tensors = {f"model.{name}": weight for name, weight in self.model.named_parameters()}
        for name, weight in self.model.named_parameters():
            tensors |= {f"{key}.{name}": value for key, value in self.optimizer.state[weight].items()}
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def restore(self, state: State) -> None:
        for name, weight in self.model.named_parameters():
            weight.copy_(state[f"model.{name}"])
            for key, value in self.optimizer.state[weight].items():
                value.copy_(state[f"{key}.{name}"])

    def _update(self, parts: list[tuple[Batch, Masked]], step: int, masked: int) -> float | Tensor:
        losses, rate = self._losses(parts, masked), self.schedule.rate(step)
        if self.device.type == "cuda":
            return late.update(self.model, self.optimizer, losses, rate, self.ranks)
        batches = [batch for batch, _ in parts]
        return loop.update(self.model, self.optimizer, losses, rate, step, batches, self.ranks)

    def batch_name(self, step: int) -> str:
        """The hash by which a step's batch is named, of this rank's share of it."""
        return loop.batch_hash(self.batches.parts(step))

    def _parts(self, step: int) -> list[tuple[Batch, Masked]]:
        share, unit = self.settings.mask, self.settings.mask_unit
        return [
            (batch, mask_batch(batch, share, self.seed, step, unit)) for batch in self.batches.parts(step)
        ]

    def _losses(self, parts: list[tuple[Batch, Masked]], masked: int) -> Iterator[Callable[[], Tensor]]:
        self._updating = False
        for batch, mask in parts:
            yield lambda batch=batch, mask=mask: self._loss(batch, mask) / max(masked, 1)
        self._updating = True  # from here on a step cannot simply be done again

    def _loss(self, batch: Batch, mask: Masked) -> Tensor:
        inputs, position, target = self._inputs(batch, mask)
        with loop.mixed_precision(self.device):
            hidden = self.model(inputs, position)
            return self.model.masked_loss(hidden, target)

    def _inputs(self, batch: Batch, mask: Masked) -> tuple[Inputs, Tensor, Tensor]:
        if self.resident is not None:
            return self.resident.masked(batch, mask)
        return masked_inputs(batch, mask, self.device)

    def _probe(self, positions: int) -> int:
        """Forward and backward of one part, whose gradients are thrown away."""
        self.batches.part_positions = positions
        batch, mask = self._parts(0)[-1]  # parts ascend in length, and long sequences take most memory
        try:
            self._loss(batch, mask).backward()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return len(batch.token)


def masked_inputs(batch: Batch, mask: Masked, device: torch.device) -> tuple[Inputs, Tensor, Tensor]:
    """A masked batch on the device, the positions hidden [M] and their codes [M]."""
    inputs = loop.on_device(batch, mask.token, device)
    return inputs, loop.tensor(mask.position, device), loop.tensor(mask.target, device)


@torch.no_grad()
def validate(
    model: Encoder, sequences: Sequences, device: torch.device, ranks: Ranks = ALONE
) -> dict[str, float | None]:
    """Mean loss in nats per masked code, overall and apart for first-ever and repeated codes.

    A code is repeated if its sequence holds it earlier. Null where no code was masked. Which codes are masked
    does not depend on how the model was trained.
    """
    repeated = seen_earlier(sequences)
    with_codes = np.flatnonzero(sequences.lengths > LEADING)[ranks.rank :: ranks.count]
    losses, is_repeat = [np.zeros(0, np.float32)], [np.zeros(0, np.bool_)]
    model.eval()
    for batch in in_parts(sequences, with_codes, loop.part_positions(device)):
        masked = mask_batch(batch, VALIDATION_MASK, VALIDATION_SEED, 0)
        inputs, position, targets = masked_inputs(batch, masked, device)
        with loop.mixed_precision(device):
            hidden = model(inputs, position)
            for rows, target in zip(hidden.split(1024), targets.split(1024), strict=True):
                logits = model.masked_logits(rows).float()
                losses.append(F.cross_entropy(logits, target, reduction="none").cpu().numpy())
        is_repeat.append(repeated[batch.source[masked.position]])
    model.train()
    loss, repeat = np.concatenate(losses).astype(np.float64), np.concatenate(is_repeat)
    first, again, firsts, repeats = ranks.total(
        float(loss[~repeat].sum()), float(loss[repeat].sum()), int((~repeat).sum()), int(repeat.sum())
    )
    return {
        "validation_loss": _mean(first + again, firsts + repeats),
        "validation_loss_first": _mean(first, firsts),
        "validation_loss_repeated": _mean(again, repeats),
    }


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None

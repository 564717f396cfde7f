"""One step of pretraining: naming masked codes and foretelling incident ones, of patients at random dates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from claimscale.config.training import Pretrain
from claimscale.errors import BadInput
from claimscale.model import shapes
from claimscale.model.attention import QueryPositions
from claimscale.model.completep import make_optimizer
from claimscale.model.encoder import Encoder, IncidentTargets, Inputs
from claimscale.tokens.batches import Batch, Batches, Masked, mask_batch
from claimscale.tokens.incident_codes import IncidentCodes
from claimscale.tokens.pretraining_inputs import EpochSamples, PretrainingSample
from claimscale.tokens.special_tokens import LEADING
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import async_step, loop, memory
from claimscale.training.distributed import SINGLE, ProcessGroup
from claimscale.training.lr_schedule import Schedule

WEIGHT_DECAY = 0.1
OPTIMIZER_BYTES = 12
"""Per parameter: a gradient and two moments."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Epoch:
    """What the steps of one epoch draw on; `resident` is the view on the device, where it fits."""

    view: PretrainingSample
    resident: memory.ResidentCorpus | None


@dataclass(frozen=True)
class Step:
    """A rank's share of a step, in parts; `tokens`, `masked` and `incident` codes of all ranks."""

    epoch: Epoch
    parts: list[tuple[Batch, Masked]]
    tokens: int
    masked: int
    incident: int


class PretrainingRun:
    """Model, optimizer and batches of one pretraining; a step depends on its number and the weights only.

    `share` makes it a run of its own with that share of the steps.
    """

    def __init__(
        self,
        train: EpochSamples,
        token_metadata: TokenMetadata,
        shape: shapes.Shape,
        settings: Pretrain,
        seed: int,
        device: torch.device,
        share: float = 1.0,
        ranks: ProcessGroup = SINGLE,
    ) -> None:
        first = train(0)
        with_codes = np.flatnonzero(first.sequences.lengths > LEADING)
        if not len(with_codes):
            raise BadInput("pretrain: no training patient has a code before the landmark")
        self.settings, self.seed, self.device, self.ranks = settings, seed, device, ranks
        self.batches = Batches(
            lambda epoch: train(epoch).sequences,
            settings.batch_tokens,
            seed,
            with_codes,
            loop.microbatch_tokens(device, settings.batch_tokens),
            ranks.rank,
            ranks.count,
        )
        self._count_work(first, with_codes)
        self.schedule = Schedule.of(max(1, round(share * settings.epochs * self.batches.steps_per_epoch)))
        torch.manual_seed(seed)
        self.model = Encoder(shape, token_metadata).to(device)
        if first.incident is not None:  # rare codes would take a whole training to be called rare
            bias = first.incident.log_odds(shape.vocabulary).astype(np.float32)
            self.model.incident_head.bias.data.copy_(torch.from_numpy(bias))
        loop.compile_blocks(self.model, device)
        self.optimizer = make_optimizer(self.model, shape.layers, settings.learning_rate, WEIGHT_DECAY)
        self._epoch = lru_cache(maxsize=1)(lambda number: self._prepared(train(number)))
        self._updating = False
        if device.type == "cuda" and len(self.batches.shard(0)):
            held = OPTIMIZER_BYTES * shapes.parameters(shape)
            self.batches.microbatch_tokens = memory.measured_part(self._probe, held, device)

    @property
    def steps(self) -> int:
        return self.schedule.steps

    def flops(self, tokens: float, masked: float) -> float:
        """Floating-point operations of training on so many tokens, of which so many were masked."""
        foretold = tokens * self._foretold_share
        return shapes.train_flops(self.model.shape, tokens, masked, self.attended_length, foretold)

    def step(self, step: int) -> tuple[float | Tensor, int, int]:
        """Train one step; returns the mean loss, tokens and masked codes, of all ranks.

        On a GPU the first is not the loss but what `late.read` takes. If memory runs out before the update,
        the step is done again in parts of half the size.
        """
        work = self._work(step)
        while True:
            try:
                return self._update(work, step), work.tokens, work.masked
            except torch.OutOfMemoryError:
                # Other ranks wait for this one's gradients meanwhile, and need not know.
                if self._updating or self.batches.microbatch_tokens <= memory.SMALLEST_PART:
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.batches.microbatch_tokens //= 2
            work = Step(work.epoch, self._parts(step), work.tokens, work.masked, work.incident)

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

    def batch_name(self, step: int) -> str:
        """The hash by which a step's batch is named, of this rank's share of it."""
        return loop.batch_hash(self.batches.microbatches(step))

    def _count_work(self, first: PretrainingSample, with_codes: np.ndarray) -> None:
        lengths = first.sequences.lengths[with_codes].astype(np.float64)
        self.attended_length = float((lengths**2).sum() / lengths.sum())
        has_full_horizon = 0 if first.incident is None else first.incident.has_full_horizon[with_codes].sum()
        self._foretold_share = float(has_full_horizon / lengths.sum())

    def _prepared(self, view: PretrainingSample) -> Epoch:
        return Epoch(view, memory.ResidentCorpus.if_it_fits(view.sequences, self.device))

    def _work(self, step: int) -> Step:
        epoch, parts = self._epoch(step // self.batches.steps_per_epoch), self._parts(step)
        tokens = sum(len(batch.token) for batch, _ in parts)
        masked = sum(len(mask.position) for _, mask in parts)
        incident, codes = 0, epoch.view.incident
        if codes is not None:
            incident = sum(int(codes.counts(batch.index).sum()) for batch, _ in parts)
        return Step(epoch, parts, *(int(number) for number in self.ranks.sum(tokens, masked, incident)))

    def _parts(self, step: int) -> list[tuple[Batch, Masked]]:
        share, unit = self.settings.mask_probability, self.settings.mask_unit
        return [
            (batch, mask_batch(batch, share, self.seed, step, unit))
            for batch in self.batches.microbatches(step)
        ]

    def _update(self, work: Step, step: int) -> float | Tensor:
        losses, rate = self._losses(work), self.schedule.rate(step)
        if self.device.type == "cuda":
            return async_step.update(self.model, self.optimizer, losses, rate, self.ranks)
        batches = [batch for batch, _ in work.parts]
        return loop.update(self.model, self.optimizer, losses, rate, step, batches, self.ranks)

    def _losses(self, work: Step) -> Iterator[Callable[[], Tensor]]:
        self._updating = False
        for batch, mask in work.parts:
            yield lambda batch=batch, mask=mask: self._loss(work, batch, mask)
        self._updating = True  # from here on a step cannot simply be done again

    def _loss(self, work: Step, batch: Batch, mask: Masked) -> Tensor:
        """This part's share of the mean losses: nats per masked code, and per incident code."""
        inputs, position, target = self._inputs(work.epoch, batch, mask)
        codes = work.epoch.view.incident
        firsts = loop.firsts(batch) if codes is not None else mask.position[:0]
        read = QueryPositions.of(np.concatenate((mask.position, firsts)), batch.lengths, self.device)
        with loop.mixed_precision(self.device):
            hidden = self.model(inputs, read)
            loss = self.model.masked_loss(hidden[: len(position)], target) / max(work.masked, 1)
            if codes is None:
                return loss
            outcomes = outcomes_of(codes, batch.index, self.device)
            # What is foretold from sums needs all codes, as there will be when it is asked for.
            inputs = replace(inputs, token=inputs.token.index_copy(0, position, target.to(inputs.token)))
            foretold = self.model.incident_loss(hidden[len(position) :], inputs, outcomes)
            return loss + self.settings.incident_weight * foretold / max(work.incident, 1)

    def _inputs(self, epoch: Epoch, batch: Batch, mask: Masked) -> tuple[Inputs, Tensor, Tensor]:
        if epoch.resident is not None:
            return epoch.resident.masked(batch, mask)
        return masked_inputs(batch, mask, self.device)

    def _probe(self, positions: int) -> int:
        """Forward and backward of one part, whose gradients are thrown away."""
        self.batches.microbatch_tokens = positions
        work = self._work(0)
        batch, mask = work.parts[-1]  # parts ascend in length, and long sequences take most memory
        try:
            self._loss(work, batch, mask).backward()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return len(batch.token)


def masked_inputs(batch: Batch, mask: Masked, device: torch.device) -> tuple[Inputs, Tensor, Tensor]:
    """A masked batch on the device, the positions hidden [M] and their codes [M]."""
    inputs = loop.on_device(batch, mask.token, device)
    return inputs, loop.tensor(mask.position, device), loop.tensor(mask.target, device)


def outcomes_of(codes: IncidentCodes, index: np.ndarray, device: torch.device) -> IncidentTargets:
    """What the patients `index` have to foretell."""
    new, known = (np.stack(lists.pairs(index)) for lists in (codes.new, codes.known))
    return IncidentTargets(
        *(loop.tensor(array, device) for array in (new, known, codes.has_full_horizon[index]))
    )

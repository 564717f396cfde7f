"""One pretraining: model, optimizer and batches, and the loss of a step.

The loss is the cross-entropy of masked codes plus the weighted cross-entropy of incident codes, of patients
at random dates. A step depends on its number and the weights only.
"""

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
from claimscale.model.encoder import Encoder, EncoderInputs, IncidentTargets
from claimscale.model.shapes import Shape
from claimscale.tokens.batches import Batch, Batches, Masked, mask_batch
from claimscale.tokens.incident_codes import IncidentCodes
from claimscale.tokens.pretraining_inputs import EpochSamples, PretrainingSample
from claimscale.tokens.special_tokens import LEADING
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import device as devices, memory
from claimscale.training.distributed import SINGLE, ProcessGroup
from claimscale.training.lr_schedule import LrSchedule
from claimscale.training.optimizer_step import batch_hash, finite_loss, optimizer_step, optimizer_step_async
from claimscale.training.transfer import EncoderStart

WEIGHT_DECAY = 0.1
OPTIMIZER_BYTES = 12
"""Per parameter: a gradient and two moments, float32."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class PretrainingSetup:
    """Everything the weights of a pretraining depend on, and where it runs."""

    train: EpochSamples
    token_metadata: TokenMetadata
    shape: Shape
    settings: Pretrain
    seed: int
    device: torch.device
    group: ProcessGroup = SINGLE
    start: EncoderStart | None = None


@dataclass(frozen=True)
class Epoch:
    """The sample of one epoch; `resident` holds its token arrays on the device, where they fit."""

    sample: PretrainingSample
    resident: memory.ResidentCorpus | None


@dataclass(frozen=True)
class Step:
    """A rank's microbatches of a step, with the `tokens`, `masked` and `incident` codes of all ranks."""

    epoch: Epoch
    microbatches: list[tuple[Batch, Masked]]
    tokens: int
    masked: int
    incident: int


class PretrainingRun:
    """Model, optimizer and batches of one pretraining, of `fraction` of its steps."""

    def __init__(self, setup: PretrainingSetup, fraction: float = 1.0) -> None:
        first, settings, device = setup.train(0), setup.settings, setup.device
        with_codes = np.flatnonzero(first.sequences.lengths > LEADING)
        if not len(with_codes):
            raise BadInput("pretrain: no training patient has a code before the landmark")
        self.setup = setup
        self.batches = Batches(
            lambda epoch: setup.train(epoch).sequences,
            settings.batch_tokens,
            setup.seed,
            with_codes,
            devices.microbatch_tokens(device, settings.batch_tokens),
            setup.group.rank,
            setup.group.count,
        )
        self._measure_sequences(first, with_codes)
        self.schedule = LrSchedule.of(
            max(1, round(fraction * settings.epochs * self.batches.steps_per_epoch))
        )
        torch.manual_seed(setup.seed)
        self.model = Encoder(setup.shape, setup.token_metadata).to(device)
        if first.incident is not None:  # learning that rare codes are rare would take a whole training
            self.model.start_at(first.incident.log_odds(setup.shape.vocabulary))
        if setup.start is not None:
            setup.start.load(self.model)
        devices.compile_blocks(self.model, device)
        self.optimizer = make_optimizer(self.model, setup.shape.layers, settings.learning_rate, WEIGHT_DECAY)
        self._epoch = lru_cache(maxsize=1)(self._prepare_epoch)
        self._updating = False
        if device.type == "cuda" and len(self.batches.shard(0)):
            held = OPTIMIZER_BYTES * shapes.parameters(setup.shape)
            self.batches.microbatch_tokens = memory.measured_microbatch(self._probe, held, device)

    @property
    def steps(self) -> int:
        return self.schedule.steps

    def flops(self, tokens: float, masked: float) -> float:
        """Floating-point operations of training on so many tokens, of which so many were masked."""
        dated = tokens * self._dated_per_token
        passes = tokens / self.batches.microbatch_tokens
        return shapes.pretraining_flops(self.setup.shape, tokens, masked, dated, self._mean_length, passes)

    def step(self, step: int) -> tuple[float | Tensor, int, int]:
        """Train one step; returns the mean loss, the tokens and the masked codes of all ranks.

        On a GPU the loss is a reading for `read_losses`. If memory runs out before the update, the step is
        repeated with microbatches of half the size.
        """
        work = self._work(step)
        while True:
            try:
                return self._update(work, step), work.tokens, work.masked
            except torch.OutOfMemoryError:
                # Other ranks wait for this one's gradients and need no notice.
                if self._updating or self.batches.microbatch_tokens <= memory.SMALLEST_MICROBATCH:
                    raise
            self.optimizer.zero_grad(set_to_none=True)
            if self.setup.device.type == "cuda":
                torch.cuda.empty_cache()
            self.batches.microbatch_tokens //= 2
            work = replace(work, microbatches=self._microbatches(step))

    def state(self) -> State:
        """Copies of weights and moments."""
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
        """The hash of this rank's sequences of a step."""
        return batch_hash(self.batches.microbatches(step))

    def _measure_sequences(self, first: PretrainingSample, with_codes: np.ndarray) -> None:
        lengths = first.sequences.lengths[with_codes].astype(np.float64)
        self._mean_length = float((lengths**2).sum() / lengths.sum())
        dated = 0 if first.incident is None else first.incident.has_full_horizon[with_codes].sum()
        self._dated_per_token = float(dated / lengths.sum())

    def _prepare_epoch(self, number: int) -> Epoch:
        sample = self.setup.train(number)
        return Epoch(sample, memory.ResidentCorpus.if_it_fits(sample.sequences, self.setup.device))

    def _work(self, step: int) -> Step:
        epoch = self._epoch(step // self.batches.steps_per_epoch)
        microbatches = self._microbatches(step)
        tokens = sum(len(batch.token) for batch, _ in microbatches)
        masked = sum(len(mask.position) for _, mask in microbatches)
        incident, codes = 0, epoch.sample.incident
        if codes is not None:
            incident = sum(int(codes.counts(batch.index).sum()) for batch, _ in microbatches)
        totals = self.setup.group.sum(tokens, masked, incident)
        return Step(epoch, microbatches, *(int(number) for number in totals))

    def _microbatches(self, step: int) -> list[tuple[Batch, Masked]]:
        settings, seed = self.setup.settings, self.setup.seed
        return [
            (batch, mask_batch(batch, settings.mask_probability, seed, step, settings.mask_unit))
            for batch in self.batches.microbatches(step)
        ]

    def _update(self, work: Step, step: int) -> float | Tensor:
        arguments = (
            self.model, self.optimizer, self._losses(work), self.schedule.multiplier(step), self.setup.group
        )  # fmt: skip
        if self.setup.device.type == "cuda":
            return optimizer_step_async(*arguments)
        return finite_loss(*optimizer_step(*arguments), step, self.batch_name)

    def _losses(self, work: Step) -> Iterator[Callable[[], Tensor]]:
        self._updating = False
        for batch, mask in work.microbatches:
            yield lambda batch=batch, mask=mask: self._loss(work, batch, mask)
        self._updating = True  # the step can no longer be repeated

    def _loss(self, work: Step, batch: Batch, mask: Masked) -> Tensor:
        """The microbatch's share of the mean losses: nats per masked code, and per incident code."""
        device = self.setup.device
        inputs, position, target = self._inputs(work.epoch, batch, mask)
        codes = work.epoch.sample.incident
        cls = devices.cls_positions(batch) if codes is not None else mask.position[:0]
        queries = QueryPositions.of(np.concatenate((mask.position, cls)), batch.lengths, device)
        with devices.mixed_precision(device):
            hidden, context = self.model.attend(self.model.embed(inputs), inputs, queries)
            loss = self.model.masked_loss(hidden[: len(position)], target) / max(work.masked, 1)
            if codes is None:
                return loss
            targets = incident_targets(codes, batch.index, device)
            # Sum pooling sees the codes without masks, as it does in fine-tuning.
            inputs = replace(inputs, token=inputs.token.index_copy(0, position, target.to(inputs.token)))
            incident = self.model.incident_loss(hidden[len(position) :], context, inputs, targets)
            return loss + self.setup.settings.incident_weight * incident / max(work.incident, 1)

    def _inputs(self, epoch: Epoch, batch: Batch, mask: Masked) -> tuple[EncoderInputs, Tensor, Tensor]:
        if epoch.resident is not None:
            return epoch.resident.masked(batch, mask)
        return masked_inputs(batch, mask, self.setup.device)

    def _probe(self, positions: int) -> int:
        """Forward and backward of one microbatch of about `positions`; returns its size."""
        self.batches.microbatch_tokens = positions
        work = self._work(0)
        batch, mask = work.microbatches[-1]  # the longest sequences, which take most memory
        try:
            self._loss(work, batch, mask).backward()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return len(batch.token)


def masked_inputs(batch: Batch, mask: Masked, device: torch.device) -> tuple[EncoderInputs, Tensor, Tensor]:
    """A masked batch on the device, the masked positions [M] and their codes [M]."""
    inputs = devices.encoder_inputs(batch, mask.token, device)
    return inputs, devices.to_device(mask.position, device), devices.to_device(mask.target, device)


def incident_targets(codes: IncidentCodes, index: np.ndarray, device: torch.device) -> IncidentTargets:
    """The incident codes of the patients `index`."""
    new, known = (np.stack(lists.pairs(index)) for lists in (codes.new, codes.known))
    arrays = new, known, codes.has_full_horizon[index]
    return IncidentTargets(*(devices.to_device(array, device) for array in arrays))

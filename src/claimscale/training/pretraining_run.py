"""One pretraining: model, optimizer and batches, and the loss of a step.

The loss is the cross-entropy of masked codes plus the weighted cross-entropy of incident codes, of patients
at random dates. A step depends on its number and the weights only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from claimscale.config.training import Pretrain
from claimscale.errors import BadInput
from claimscale.model import kernels, shapes
from claimscale.model.attention import QueryPositions
from claimscale.model.completep import make_optimizer
from claimscale.model.encoder import Encoder, EncoderInputs, IncidentTargets
from claimscale.model.pretraining_loss import pretraining_loss
from claimscale.model.shapes import PAIRS_PER_CODE, Shape
from claimscale.tokens.batches import Batch, Batches, Masked, mask_batch
from claimscale.tokens.code_pairs import CodePairs, code_pairs
from claimscale.tokens.incident_codes import IncidentCodes
from claimscale.tokens.pretraining_inputs import DatedSamples, EpochSamples, PretrainingSample
from claimscale.tokens.special_tokens import LEADING
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import device as devices, memory
from claimscale.training.compiled import CompiledLoss
from claimscale.training.distributed import SINGLE, ProcessGroup
from claimscale.training.lr_schedule import LrSchedule
from claimscale.training.optimizer_step import batch_hash, finite_loss, optimizer_step, optimizer_step_async
from claimscale.training.packed import PackedMicrobatch
from claimscale.training.prefetch import Prefetch
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

    @cached_property
    def code_pairs(self) -> CodePairs:
        """The pairs of codes of the first epochs, on which every cooldown agrees."""
        return code_pairs(self.train, self.shape.vocabulary, PAIRS_PER_CODE)


@dataclass(frozen=True)
class Step:
    """A rank's microbatches of a step, with the `tokens`, `masked` and `incident` codes of all ranks.

    `codes` are the incident codes of the epoch, if they are predicted. For a GPU the microbatches are
    `packed` as well, at most `microbatch_tokens` each.
    """

    codes: IncidentCodes | None
    microbatches: list[tuple[Batch, Masked]]
    packed: list[PackedMicrobatch]
    microbatch_tokens: int
    tokens: int
    masked: int
    incident: int


class PretrainingRun:
    """Model, optimizer and batches of one pretraining, of `fraction` of its steps."""

    def __init__(self, setup: PretrainingSetup, fraction: float = 1.0) -> None:
        settings, device = setup.settings, setup.device
        memory.use_expandable_segments(device)
        self._on_gpu = kernels.on_gpu(device)
        self._samples = _ahead(setup) if self._on_gpu else setup.train
        first = self._samples(0)
        with_codes = np.flatnonzero(first.sequences.lengths > LEADING)
        if not len(with_codes):
            raise BadInput("pretrain: no training patient has a code before the landmark")
        self.setup = setup
        self.batches = Batches(
            lambda epoch: self._samples(epoch).sequences,
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
            self.model.start_at(first.incident.log_odds(setup.shape.vocabulary), setup.code_pairs)
        if setup.start is not None:
            setup.start.load(self.model)
        self.optimizer = make_optimizer(self.model, setup.shape.layers, settings.learning_rate, WEIGHT_DECAY)
        self._updating = False
        self._gpu_loss: Callable[..., Tensor] = pretraining_loss
        self._prepared = Prefetch(self._prepare, settings.epochs * self.batches.steps_per_epoch)
        if device.type == "cuda" and len(self.batches.shard(0)):
            held = OPTIMIZER_BYTES * shapes.parameters(setup.shape)
            self.batches.microbatch_tokens = memory.measured_microbatch(self._probe, held, device)
        self.compiled: CompiledLoss | None = None
        if self._on_gpu:  # after the probe, whose sizes would be compiled too
            self.compiled = CompiledLoss(pretraining_loss, f"{shapes.parameters(setup.shape):,}")
            self._gpu_loss = self.compiled

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
            work = self._work(step)

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

    def _work(self, step: int) -> Step:
        own = self._prepared(step) if self._on_gpu else self._prepare(step)
        if own.microbatch_tokens != self.batches.microbatch_tokens:  # prepared before memory ran out
            own = self._prepare(step)
        totals = self.setup.group.sum(own.tokens, own.masked, own.incident)
        tokens, masked, incident = (int(number) for number in totals)
        return replace(own, tokens=tokens, masked=masked, incident=incident)

    def _prepare(self, step: int) -> Step:
        """The step with the counts of this rank."""
        settings, device, size = self.setup.settings, self.setup.device, self.batches.microbatch_tokens
        codes = self._samples(step // self.batches.steps_per_epoch).incident
        microbatches = [
            (batch, mask_batch(batch, settings.mask_probability, self.setup.seed, step, settings.mask_unit))
            for batch in self.batches.microbatches(step)
        ]
        packed = [PackedMicrobatch.of(*one, codes, device) for one in microbatches] if self._on_gpu else []
        tokens = sum(len(batch.token) for batch, _ in microbatches)
        masked = sum(len(mask.position) for _, mask in microbatches)
        indices = [] if codes is None else [codes.counts(batch.index) for batch, _ in microbatches]
        incident = int(sum(counts.sum() for counts in indices))
        return Step(codes, microbatches, packed, size, tokens, masked, incident)

    def _update(self, work: Step, step: int) -> float | Tensor:
        arguments = (
            self.model, self.optimizer, self._losses(work), self.schedule.multiplier(step), self.setup.group
        )  # fmt: skip
        if self._on_gpu:
            return optimizer_step_async(*arguments)
        return finite_loss(*optimizer_step(*arguments), step, self.batch_name)

    def _losses(self, work: Step) -> Iterator[Callable[[], Tensor]]:
        self._updating = False
        if self._on_gpu:
            weights = self._weights(work)
            yield from (lambda packed=packed: self._packed_loss(packed, weights) for packed in work.packed)
        else:
            for batch, mask in work.microbatches:
                yield lambda batch=batch, mask=mask: self._loss(work, batch, mask)
        self._updating = True  # the step can no longer be repeated

    def _loss(self, work: Step, batch: Batch, mask: Masked) -> Tensor:
        """The microbatch's share of the mean losses: nats per masked code, and per incident code."""
        device, codes = self.setup.device, work.codes
        inputs, position, target = masked_inputs(batch, mask, device)
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

    def _packed_loss(self, packed: PackedMicrobatch, weights: Tensor) -> Tensor:
        """As `_loss`, on a GPU."""
        with devices.mixed_precision(self.setup.device):
            return self._gpu_loss(self.model, packed.to(self.setup.device, weights))

    def _weights(self, work: Step) -> Tensor:
        """The weights of a masked and of an incident code in the loss of a step, float32 [2]."""
        incident = self.setup.settings.incident_weight / max(work.incident, 1)
        weights = np.array([1 / max(work.masked, 1), incident], np.float32)
        return devices.to_device(weights, self.setup.device)

    def _probe(self, positions: int) -> int:
        """Forward and backward of one microbatch of about `positions`; returns its size."""
        self.batches.microbatch_tokens = positions
        work = self._work(0)
        try:  # the longest sequences, which take most memory
            self._packed_loss(work.packed[-1], self._weights(work)).backward()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return len(work.microbatches[-1][0].token)


def _ahead(setup: PretrainingSetup) -> EpochSamples:
    """The samples of the epochs, the next one prepared ahead by all threads that this process may use."""
    train = setup.train
    if isinstance(train, DatedSamples):
        train = train.parallel(max(1, torch.get_num_threads()))
    return Prefetch(train, setup.settings.epochs)


def masked_inputs(batch: Batch, mask: Masked, device: torch.device) -> tuple[EncoderInputs, Tensor, Tensor]:
    """A masked batch on the device, the masked positions [M] and their codes [M]."""
    inputs = devices.encoder_inputs(batch, mask.token, device)
    return inputs, devices.to_device(mask.position, device), devices.to_device(mask.target, device)


def incident_targets(codes: IncidentCodes, index: np.ndarray, device: torch.device) -> IncidentTargets:
    """The incident codes of the patients `index`."""
    new, known = (np.stack(lists.pairs(index)) for lists in (codes.new, codes.known))
    arrays = new, known, codes.has_full_horizon[index]
    return IncidentTargets(*(devices.to_device(array, device) for array in arrays))

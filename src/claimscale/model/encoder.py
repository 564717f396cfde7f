"""The encoder: from the tokens of patients to one state per position.

The positions of a batch are flat, [T], one sequence after the other without padding. Only attention and
pooling depend on the bounds of sequences.
Shape suffixes: T positions, B sequences, M query positions, d width, E embedding width, V vocabulary,
F features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.constants import DAYS_PER_YEAR
from claimscale.model import completep
from claimscale.model.attention import BatchLayout, QueryPositions
from claimscale.model.block import Block, RmsNorm
from claimscale.model.cross_entropy import summed_cross_entropy
from claimscale.model.shapes import COUNT_FEATURES, TIME_FEATURES, TYPE_COUNT, Shape
from claimscale.tokens.special_tokens import FIRST_CODE
from claimscale.tokens.token_metadata import TokenMetadata

ROTARY_DAYS = (14.0, 40 * DAYS_PER_YEAR)
"""Shortest and longest wavelength of the rotary angles."""
AGE_DAYS = (DAYS_PER_YEAR, 200 * DAYS_PER_YEAR)
RECENCY_DAYS = (60.0, 20 * DAYS_PER_YEAR)
"""Shortest and longest wavelengths of the features of age, and of days before the sequence's [CLS]."""
LONGEST_AGO = -2 * DAYS_PER_YEAR
"""Of the newest code of a patient: pretraining sees few who have been silent for longer."""


@dataclass(frozen=True)
class EncoderInputs:
    """A batch's tensors on one device: `token`, `age_days` and `days` int32 [T], `count`, and the layout.

    `days` are days after the sequence's first position, [CLS], which is the newest: at most 0.
    `count` uint8 [T, windows] are the numbers of occurrences of the code in windows before [CLS].
    """

    token: Tensor
    age_days: Tensor
    days: Tensor
    count: Tensor
    layout: BatchLayout


@dataclass(frozen=True)
class IncidentTargets:
    """Incident codes of B sequences, as (row, token) pairs, int64 [2, N].

    `new` are the codes that are incident after the sequence's date, `known` those not at risk.
    `has_full_horizon` bool [B]: whether the horizon is observed; other sequences have no loss.
    """

    new: Tensor
    known: Tensor
    has_full_horizon: Tensor


class Encoder(nn.Module):
    """Pre-norm transformer with rotary attention on days, and two heads tied to the code embeddings.

    One head predicts masked codes, the other incident codes. With hierarchical embeddings a code's embedding
    is the sum of its own and those of its groups, so that rare codes share what is learnt of common ones.
    """

    types: Tensor
    groups: Tensor
    embedding_scale: Tensor
    age_rates: Tensor
    recency_rates: Tensor
    rotary_rates: Tensor

    def __init__(self, shape: Shape, token_metadata: TokenMetadata) -> None:
        super().__init__()
        self.shape = shape
        self.token = nn.Embedding(shape.vocabulary, shape.embedding)
        self.group = nn.Embedding(shape.groups, shape.embedding)
        self.token_type = nn.Embedding(TYPE_COUNT, shape.width)
        self.time = nn.Linear(TIME_FEATURES + COUNT_FEATURES, shape.width, bias=False)
        for table in (self.token, self.group, self.token_type, self.time):
            completep.initialise_input(table.weight)
        if shape.factorised:
            self.up_projection = completep.HiddenLinear(shape.embedding, shape.width)
            self.down_projection = completep.HiddenLinear(shape.width, shape.embedding)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.final_norm = RmsNorm(shape.width)
        self.masked_head, self.incident_head = CodeHead(shape), CodeHead(shape)
        self.sum_pooling = SumPooling(shape)
        self.recurrence = nn.Linear(TIME_FEATURES + COUNT_FEATURES, TYPE_COUNT, bias=False)
        self.own_recurrence = completep.HiddenLinear(shape.embedding, TIME_FEATURES + COUNT_FEATURES)
        self.activity = completep.HiddenLinear(shape.width, 1)
        for linear in (self.recurrence, self.own_recurrence, self.activity):
            nn.init.zeros_(linear.weight)
        self._register(token_metadata)
        # Each rate has a sine and a cosine; age and recency have half of the features each.
        self.register_buffer("age_rates", _rates(AGE_DAYS, TIME_FEATURES // 4), persistent=False)
        self.register_buffer("recency_rates", _rates(RECENCY_DAYS, TIME_FEATURES // 4), persistent=False)
        self.register_buffer("rotary_rates", _rates(ROTARY_DAYS, shape.head_width // 2), persistent=False)

    def _register(self, token_metadata: TokenMetadata) -> None:
        groups = torch.as_tensor(token_metadata.groups, dtype=torch.long)
        count = (groups >= 0).sum(1, keepdim=True)
        buffers = {
            "types": torch.as_tensor(token_metadata.types, dtype=torch.long),
            "groups": groups.where(groups >= 0, self.shape.groups),
            "embedding_scale": (1 + count).rsqrt(),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, inputs: EncoderInputs, positions: QueryPositions | None = None) -> Tensor:
        """Final states [M, d] at the query positions, or [T, d] at all positions."""
        return self.attend(self.embed(inputs), inputs, positions)

    def attend(self, x_Td: Tensor, inputs: EncoderInputs, positions: QueryPositions | None = None) -> Tensor:
        """`forward` from embedded positions."""
        # Only differences matter; days relative to the sequence keep the angles small and exact.
        angle = inputs.days[:, None] * self.rotary_rates
        rotation = angle.cos(), angle.sin()
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            x_Td = block(x_Td, rotation, inputs.layout, positions if index == last else None)
        return self.final_norm(x_Td)

    def masked_logits(self, hidden_Md: Tensor) -> Tensor:
        """Logits [M, V] of the masked code at each position."""
        return self._logits(hidden_Md, self.masked_head)

    def masked_loss(self, hidden_Md: Tensor, target_M: Tensor) -> Tensor:
        """Summed cross-entropy of the masked codes `target_M` at states [M, d]."""
        head = self.masked_head
        return summed_cross_entropy(
            self._head_states(hidden_Md, head), self.code_embeddings(), head.bias, target_M
        )

    def incident_logits(self, hidden_Bd: Tensor, summed_Bd: Tensor, inputs: EncoderInputs) -> Tensor:
        """Logits [B, V] of each code to be incident, from states at [CLS] and the sum pooling.

        A code of the sequence may recur. Its logit has a recurrence term, linear in the features of time and
        count: weights shared by all codes of a type, plus weights linear in the code's embedding. All codes
        share a term, the activity: after a death or a move no code follows.
        """
        states_BE = self._head_states(hidden_Bd, self.incident_head) + self.sum_pooling.code_states(summed_Bd)
        embeddings_VE, token_T = self.code_embeddings(), inputs.token.long()
        logits_BV = F.linear(states_BE, embeddings_VE, self.incident_head.bias).float()
        logits_BV = logits_BV + self.activity(hidden_Bd).float()
        weights_TF = F.embedding(self.types[token_T], self.recurrence.weight)
        weights_TF = weights_TF + self.own_recurrence(F.embedding(token_T, embeddings_VE))
        recurrence_T = (weights_TF * self._features(inputs)).sum(1)
        lengths_B = inputs.layout.bounds.long().diff()
        row_T = torch.arange(len(lengths_B), device=token_T.device)
        row_T = row_T.repeat_interleave(lengths_B, output_size=len(token_T))
        return logits_BV.index_put((row_T, token_T), recurrence_T.float(), accumulate=True)

    def incident_loss(self, hidden_Bd: Tensor, inputs: EncoderInputs, targets: IncidentTargets) -> Tensor:
        """Summed binary cross-entropy over the codes that each sequence with a full horizon is at risk of."""
        summed_Bd = self.sum_pooling(self.embed(inputs), inputs.layout)
        logits_BV = self.incident_logits(hidden_Bd, summed_Bd, inputs)
        new_BV = torch.zeros_like(logits_BV)
        at_risk_BV = targets.has_full_horizon[:, None].to(logits_BV).repeat(1, logits_BV.shape[1])
        new_BV[targets.new[0], targets.new[1]] = 1
        at_risk_BV[targets.known[0], targets.known[1]] = 0
        at_risk_BV[:, :FIRST_CODE] = 0
        return F.binary_cross_entropy_with_logits(logits_BV, new_BV, at_risk_BV, reduction="sum")

    def code_embeddings(self) -> Tensor:
        """Embeddings of all tokens, [V, E]: sums of a token's own and its groups', at the variance of one."""
        if not self.shape.groups:
            return self.token.weight
        # A last row of zeros stands for the missing groups of tokens with fewer than others.
        groups_GE = F.pad(self.group.weight, (0, 0, 0, 1))
        return (
            self.token.weight + F.embedding_bag(self.groups, groups_GE, mode="sum")
        ) * self.embedding_scale

    def _logits(self, hidden_Md: Tensor, head: CodeHead) -> Tensor:
        return F.linear(self._head_states(hidden_Md, head), self.code_embeddings(), head.bias)

    def _head_states(self, hidden_Md: Tensor, head: CodeHead) -> Tensor:
        hidden_ME = head(hidden_Md)
        if self.shape.factorised:
            hidden_ME = self.down_projection(hidden_ME)
        return hidden_ME * completep.output_multiplier(self.shape.embedding)

    def _features(self, inputs: EncoderInputs) -> Tensor:
        """Features of age, recency and count of each position, [T, F], each of about unit size."""
        age = inputs.age_days[:, None] * self.age_rates
        recency = newest_code_days(inputs)[:, None] * self.recency_rates
        count_TW = inputs.count.float()
        log_count = torch.cat((count_TW[:, -1:].log2(), (1 + count_TW[:, :-1]).log2()), 1)
        features = (age.sin(), age.cos(), recency.sin(), recency.cos(), log_count, log_count.clamp_max(1))
        return torch.cat(features, 1)

    def embed(self, inputs: EncoderInputs) -> Tensor:
        """Inputs of the first layer, [T, d]: code, type, time and count of each position."""
        time_Td = self.time(self._features(inputs) / math.sqrt(TIME_FEATURES / 2))
        return (self._token_states(inputs.token) + time_Td) * completep.input_multiplier()

    def _token_states(self, token_T: Tensor) -> Tensor:
        """States of codes and their types, [T, d], projected by position or by token, whichever is fewer."""
        embeddings_VE = self.code_embeddings()
        if len(token_T) < self.shape.vocabulary:
            x_TE = F.embedding(token_T, embeddings_VE)
            x_Td = self.up_projection(x_TE) if self.shape.factorised else x_TE
            return x_Td + F.embedding(self.types[token_T], self.token_type.weight)
        vector_Vd = self.up_projection(embeddings_VE) if self.shape.factorised else embeddings_VE
        return F.embedding(token_T, vector_Vd + F.embedding(self.types, self.token_type.weight))


class CodeHead(nn.Module):
    """The transform of states before the product with code embeddings, and a bias for each of V codes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.transform = completep.HiddenLinear(shape.width, shape.width)
        self.norm = RmsNorm(shape.width)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))

    def forward(self, hidden_Md: Tensor) -> Tensor:
        return self.norm(F.gelu(self.transform(hidden_Md), approximate="tanh"))


class SumPooling(nn.Module):
    """A transform of each position, summed over the sequence.

    Attention takes averages: of a hundred codes, a decisive one has a weight of a hundredth until a head has
    learnt to find it, and each of thousands of outcomes has other decisive codes. A sum keeps its full size.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = RmsNorm(shape.width)
        self.up = completep.HiddenLinear(shape.width, shape.width)
        self.down = completep.HiddenLinear(shape.width, shape.embedding)
        nn.init.zeros_(self.down.weight)
        self.multiplier = completep.output_multiplier(shape.embedding)

    def forward(self, x_Td: Tensor, layout: BatchLayout) -> Tensor:
        """Sums [B, d] from embedded positions [T, d]."""
        states_Td = F.gelu(self.up(self.norm(x_Td)), approximate="tanh")
        return torch.segment_reduce(states_Td.float(), "sum", offsets=layout.bounds.long())

    def code_states(self, summed_Bd: Tensor) -> Tensor:
        """Sums as [B, E], for the product with code embeddings."""
        return self.down(summed_Bd) * self.multiplier


def newest_code_days(inputs: EncoderInputs) -> Tensor:
    """Days of each position after [CLS], [T]; at [CLS] itself those of the newest code.

    Who has not been seen for long may have left: [CLS] must know it at once.
    """
    bounds, days_T = inputs.layout.bounds.long(), inputs.days.float()
    cls = bounds[:-1]
    codes_T = days_T.index_fill(0, torch.cat((cls, cls + 1)), LONGEST_AGO)
    newest_B = torch.segment_reduce(codes_T, "max", offsets=bounds).clamp_min(LONGEST_AGO)
    return days_T.index_copy(0, cls, newest_B)


def _rates(wavelengths: tuple[float, float], count: int) -> Tensor:
    """Radians per day of `count` wavelengths, evenly spaced on a log scale."""
    shortest, longest = wavelengths
    return 2 * math.pi / torch.logspace(math.log10(shortest), math.log10(longest), count)

"""The encoder: claims of one patient in, one vector per position out.

Positions of a batch lie flat, [T], one sequence after the other without padding. Only attention looks at
where sequences end, so everything else runs over all positions at once.
Shape suffixes: T positions, B sequences, M positions read, d width, E embedding width, V vocabulary.
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
from claimscale.model.shapes import COUNT_FEATURES, HEAD_WIDTH, TIME_FEATURES, TYPE_COUNT, Shape
from claimscale.tokens.special_tokens import FIRST_CODE
from claimscale.tokens.token_metadata import TokenMetadata

ROTARY_DAYS = (14.0, 40 * DAYS_PER_YEAR)
"""Shortest and longest wavelength of the rotary angles."""
AGE_DAYS = (DAYS_PER_YEAR, 200 * DAYS_PER_YEAR)
RECENCY_DAYS = (60.0, 20 * DAYS_PER_YEAR)
"""Shortest and longest wavelengths of the features of age, and of days before the sequence's [CLS]."""


@dataclass(frozen=True)
class Inputs:
    """A batch's tensors on one device: `token`, `age_days`, `days` and `count` int32 [T] and the layout.

    `days` are days after the sequence's first position, [CLS], which is the newest: never above zero.
    `count` is how often the code occurred.
    """

    token: Tensor
    age_days: Tensor
    days: Tensor
    count: Tensor
    layout: BatchLayout


@dataclass(frozen=True)
class IncidentTargets:
    """What B sequences have to foretell, as (row, token) pairs, int64 [2, N] each.

    `new` are codes that were incident after the sequence's date, `known` those that could not be. `has_full_horizon`
    bool [B]: whether the horizon was seen; nothing is asked of others.
    """

    new: Tensor
    known: Tensor
    has_full_horizon: Tensor


class Encoder(nn.Module):
    """Pre-norm transformer with rotary attention on days, and two heads on one table of code vectors.

    One names the codes that were masked, the other foretells which codes are incident next. A code's vector
    is its own and those of its groups added up, so that rare codes learn from common ones.
    """

    types: Tensor
    groups: Tensor
    vector_scale: Tensor
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
        self.masked_head, self.incident_head = Head(shape), Head(shape)
        self.sum_pooling = SumPooling(shape)
        self.recurrence = nn.Linear(TIME_FEATURES + COUNT_FEATURES, TYPE_COUNT, bias=False)
        self.own_recurrence = completep.HiddenLinear(shape.embedding, TIME_FEATURES + COUNT_FEATURES)
        for rule in (self.recurrence, self.own_recurrence):
            nn.init.zeros_(rule.weight)
        self._register(token_metadata)
        # A sine and a cosine of each rate; age and recency have half of the features each.
        self.register_buffer("age_rates", _rates(AGE_DAYS, TIME_FEATURES // 4), persistent=False)
        self.register_buffer("recency_rates", _rates(RECENCY_DAYS, TIME_FEATURES // 4), persistent=False)
        self.register_buffer("rotary_rates", _rates(ROTARY_DAYS, HEAD_WIDTH // 2), persistent=False)

    def _register(self, token_metadata: TokenMetadata) -> None:
        groups = torch.as_tensor(token_metadata.groups, dtype=torch.long)
        count = (groups >= 0).sum(1, keepdim=True)
        buffers = {
            "types": torch.as_tensor(token_metadata.types, dtype=torch.long),
            "groups": groups.where(groups >= 0, self.shape.groups),
            "vector_scale": (1 + count).rsqrt(),
        }
        for name, values in buffers.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, inputs: Inputs, read: QueryPositions | None = None) -> Tensor:
        """Final hidden states [M, d] at the positions read (default: all).

        The last layer asks for these only.
        """
        return self.attend(self.embed(inputs), inputs, read)

    def attend(self, x_Td: Tensor, inputs: Inputs, read: QueryPositions | None = None) -> Tensor:
        """`forward` from embedded positions."""
        # Attention sees differences only; counting from the sequence keeps the angles small and exact.
        angle = inputs.days[:, None] * self.rotary_rates
        rotation = angle.cos(), angle.sin()
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            x_Td = block(x_Td, rotation, inputs.layout, read if index == last else None)
        return self.final_norm(x_Td)

    def masked_logits(self, hidden_Md: Tensor) -> Tensor:
        """Logits [M, V] over the vocabulary of the code that stands at each position."""
        return self._logits(hidden_Md, self.masked_head)

    def masked_loss(self, hidden_Md: Tensor, target_M: Tensor) -> Tensor:
        """Summed cross-entropy of the true tokens `target_M` at hidden states [M, d]."""
        head = self.masked_head
        return summed_cross_entropy(self._narrowed(hidden_Md, head), self.code_vectors(), head.bias, target_M)

    def incident_logits(self, hidden_Bd: Tensor, summed_Bd: Tensor, inputs: Inputs) -> Tensor:
        """Logits [B, V] of each code to be incident next, from states at [CLS] and summed sum_pooling.

        A code of the sequence itself may return: how likely that is follows from how long ago and how often
        it occurred, by a rule that all codes of its type share, and what its vector changes of that rule.
        """
        states_BE = self._narrowed(hidden_Bd, self.incident_head) + self.sum_pooling.outcomes(summed_Bd)
        vectors_VE, token_T = self.code_vectors(), inputs.token.long()
        logits_BV = F.linear(states_BE, vectors_VE, self.incident_head.bias).float()
        rule_TF = F.embedding(self.types[token_T], self.recurrence.weight)
        rule_TF = rule_TF + self.own_recurrence(F.embedding(token_T, vectors_VE))
        return_T = (rule_TF * self._features(inputs)).sum(1)
        lengths_B = inputs.layout.bounds.long().diff()
        row_T = torch.arange(len(lengths_B), device=token_T.device)
        row_T = row_T.repeat_interleave(lengths_B, output_size=len(token_T))
        return logits_BV.index_put((row_T, token_T), return_T.float(), accumulate=True)

    def incident_loss(self, hidden_Bd: Tensor, inputs: Inputs, outcomes: IncidentTargets) -> Tensor:
        """Summed binary cross-entropy over the codes that each has_full_horizon sequence is at risk of."""
        summed_Bd = self.sum_pooling(self.embed(inputs), inputs.layout)
        logits_BV = self.incident_logits(hidden_Bd, summed_Bd, inputs)
        new_BV = torch.zeros_like(logits_BV)
        at_risk_BV = outcomes.has_full_horizon[:, None].to(logits_BV).repeat(1, logits_BV.shape[1])
        new_BV[outcomes.new[0], outcomes.new[1]] = 1
        at_risk_BV[outcomes.known[0], outcomes.known[1]] = 0
        at_risk_BV[:, :FIRST_CODE] = 0
        return F.binary_cross_entropy_with_logits(logits_BV, new_BV, at_risk_BV, reduction="sum")

    def code_vectors(self) -> Tensor:
        """The vector of every token, [V, E]: its own and its groups', scaled to the variance of one."""
        if not self.shape.groups:
            return self.token.weight
        # One row more, of zeros, is the group of tokens that have fewer than others.
        groups_GE = F.pad(self.group.weight, (0, 0, 0, 1))
        return (self.token.weight + F.embedding_bag(self.groups, groups_GE, mode="sum")) * self.vector_scale

    def _logits(self, hidden_Md: Tensor, head: Head) -> Tensor:
        return F.linear(self._narrowed(hidden_Md, head), self.code_vectors(), head.bias)

    def _narrowed(self, hidden_Md: Tensor, head: Head) -> Tensor:
        hidden_ME = head(hidden_Md)
        if self.shape.factorised:
            hidden_ME = self.down_projection(hidden_ME)
        return hidden_ME * completep.output_multiplier(self.shape.embedding)

    def _features(self, inputs: Inputs) -> Tensor:
        """Of each position, its age, how long ago it was and how often, [T, features], each about one."""
        age = inputs.age_days[:, None] * self.age_rates
        recency = inputs.days[:, None] * self.recency_rates
        often = inputs.count[:, None].float().log2()
        repeated = often.clamp_max(1)
        return torch.cat((age.sin(), age.cos(), recency.sin(), recency.cos(), often, repeated), 1)

    def embed(self, inputs: Inputs) -> Tensor:
        """What enters the first layer, [T, d]: code, type, time and count of each position."""
        time_Td = self.time(self._features(inputs) / math.sqrt(TIME_FEATURES / 2))
        return (self._looked_up(inputs.token) + time_Td) * completep.input_multiplier()

    def _looked_up(self, token_T: Tensor) -> Tensor:
        """Vectors of codes and of their types, [T, d]: by position or from a table, whichever is smaller."""
        vector_VE = self.code_vectors()
        if len(token_T) < self.shape.vocabulary:
            x_TE = F.embedding(token_T, vector_VE)
            x_Td = self.up_projection(x_TE) if self.shape.factorised else x_TE
            return x_Td + F.embedding(self.types[token_T], self.token_type.weight)
        vector_Vd = self.up_projection(vector_VE) if self.shape.factorised else vector_VE
        return F.embedding(token_T, vector_Vd + F.embedding(self.types, self.token_type.weight))


class Head(nn.Module):
    """What is made of a hidden state before it meets the code vectors, and a bias for each of V codes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.transform = completep.HiddenLinear(shape.width, shape.width)
        self.norm = RmsNorm(shape.width)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))

    def forward(self, hidden_Md: Tensor) -> Tensor:
        return self.norm(F.gelu(self.transform(hidden_Md), approximate="tanh"))


class SumPooling(nn.Module):
    """What each position says about the codes to come, by itself, added up over the sequence.

    Attention takes averages: among a hundred codes, the one that decides weighs a hundredth until a head has
    learnt to look for it, and for each of thousands of outcomes that is another one. A sum keeps it whole.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = RmsNorm(shape.width)
        self.up = completep.HiddenLinear(shape.width, shape.width)
        self.down = completep.HiddenLinear(shape.width, shape.embedding)
        nn.init.zeros_(self.down.weight)
        self.multiplier = completep.output_multiplier(shape.embedding)

    def forward(self, x_Td: Tensor, layout: BatchLayout) -> Tensor:
        """Summed, [B, d], from embedded positions [T, d]."""
        each_Td = F.gelu(self.up(self.norm(x_Td)), approximate="tanh")
        return torch.segment_reduce(each_Td.float(), "sum", offsets=layout.bounds.long())

    def outcomes(self, summed_Bd: Tensor) -> Tensor:
        """What the sums say about codes, [B, E], to be multiplied with their vectors."""
        return self.down(summed_Bd) * self.multiplier


def _rates(wavelengths: tuple[float, float], count: int) -> Tensor:
    """Radians per day of `count` wavelengths spread evenly on a log scale."""
    shortest, longest = wavelengths
    return 2 * math.pi / torch.logspace(math.log10(shortest), math.log10(longest), count)

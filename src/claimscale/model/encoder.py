"""The encoder: from the tokens of patients to one state per position.

The positions of a batch are flat, [T], one sequence after the other without padding. Only attention and
pooling depend on the bounds of sequences.
Shape suffixes: T positions, B sequences, M query positions, d width, E embedding width, V vocabulary,
F features.
"""

from __future__ import annotations

import contextlib
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.constants import DAYS_PER_YEAR
from claimscale.model import completep, kernels
from claimscale.model.attention import BatchLayout, QueryPositions
from claimscale.model.block import Block, RmsNorm
from claimscale.model.cross_entropy import incident_cross_entropy, summed_cross_entropy
from claimscale.model.inputs import CodesAndFeatures, EncoderInputs, IncidentTargets, States
from claimscale.model.pair_hazards import PairHazards
from claimscale.model.record_sums import AdditiveHazards, RecordSums, SumPooling
from claimscale.model.shapes import COUNT_FEATURES, TIME_FEATURES, TYPE_COUNT, Shape
from claimscale.tokens.code_pairs import CodePairs
from claimscale.tokens.token_metadata import TokenMetadata

ROTARY_DAYS = (14.0, 40 * DAYS_PER_YEAR)
"""Shortest and longest wavelength of the rotary angles."""
AGE_DAYS = (DAYS_PER_YEAR, 200 * DAYS_PER_YEAR)
RECENCY_DAYS = (60.0, 20 * DAYS_PER_YEAR)
"""Shortest and longest wavelengths of the features of age, and of days before the sequence's [CLS]."""
LONGEST_AGO = -2 * DAYS_PER_YEAR
"""Of the newest code of a patient: pretraining sees few who have been silent for longer."""


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
        self.sum_pooling, self.hazards = SumPooling(shape), AdditiveHazards(shape)
        self.pair_hazards = PairHazards(shape)
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
        return self.attend(self.embed(inputs), inputs, positions).final

    def attend(self, x_Td: Tensor, inputs: EncoderInputs, positions: QueryPositions | None = None) -> States:
        """Final states as `forward`, and those before the last layer, from embedded positions."""
        # Only differences matter; days relative to the sequence keep the angles small and exact.
        angle = inputs.days[:, None] * self.rotary_rates
        rotation = angle.cos(), angle.sin()
        *earlier, last = self.blocks
        for block in earlier:
            x_Td = block(x_Td, rotation, inputs.layout, None)
        return States(self.final_norm(last(x_Td, rotation, inputs.layout, positions)), x_Td)

    def record_sums(self, x_Td: Tensor, context_Td: Tensor, layout: BatchLayout) -> RecordSums:
        """Sums over each sequence, from embedded positions and their states before the last layer."""
        return RecordSums(self.sum_pooling(x_Td, layout), self.hazards(x_Td, context_Td, layout))

    def masked_logits(self, hidden_Md: Tensor) -> Tensor:
        """Logits [M, V] of the masked code at each position."""
        return self._logits(hidden_Md, self.masked_head)

    def masked_loss(self, hidden_Md: Tensor, target_M: Tensor, embeddings_VE: Tensor | None = None) -> Tensor:
        """Summed cross-entropy of the masked codes `target_M` at states [M, d]."""
        head = self.masked_head
        embeddings_VE = self.code_embeddings() if embeddings_VE is None else embeddings_VE
        return summed_cross_entropy(self._head_states(hidden_Md, head), embeddings_VE, head.bias, target_M)

    def incident_logits(
        self,
        hidden_Bd: Tensor,
        sums: RecordSums,
        inputs: EncoderInputs,
        codes_K: Tensor | None = None,
        known: CodesAndFeatures | None = None,
        recorded_BV: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, V] of each code to be incident, from states at [CLS] and the sums over the record.

        Only [B, K] where `codes_K` names the codes, which saves most of the work.

        The states and the summed states give log odds, to whose odds the summed hazards and those of pairs
        are added. A code of the sequence may recur. Its logit has a recurrence term, linear in the features
        of time and count: weights shared by all codes of a type, plus weights linear in the code's embedding.
        All codes share a term, the activity: after a death or a move no code follows. `known` is what has
        been computed of the same inputs, and `recorded_BV` replaces the recorded codes of the pairs.
        """
        states_BE = self._head_states(hidden_Bd, self.incident_head)
        states_BE = states_BE + self.sum_pooling.code_states(sums.states)
        embeddings_VE = self.code_embeddings() if known is None else known.embeddings
        features_TF = self.features(inputs) if known is None else known.features
        if recorded_BV is None:
            recorded_BV = self.recorded_codes(inputs, features_TF)
        bias_V = self.incident_head.bias
        codes = slice(None) if codes_K is None else codes_K
        # Risks of few codes are read, those of all are trained.
        precision = contextlib.nullcontext() if codes_K is None else kernels.full_precision(bias_V.device)
        with precision:
            embeddings_KE = embeddings_VE[codes]
            states_BE = states_BE if codes_K is None else states_BE.float()
            logits_BK = F.linear(states_BE, embeddings_KE, bias_V[codes]).float()
            hazards_BK = self.hazards.code_logits(sums.log_hazards, embeddings_KE, codes)
            hazards_BK = torch.logaddexp(hazards_BK, self.pair_hazards.log_hazards(recorded_BV, codes))
            logits_BK = torch.logaddexp(logits_BK, hazards_BK) + self.activity(hidden_Bd).float()
        return self._recurring(logits_BK, CodesAndFeatures(embeddings_VE, features_TF), inputs, codes_K)

    def recorded_codes(self, inputs: EncoderInputs, features_TF: Tensor) -> Tensor:
        """The weights of each sequence's codes in the hazards of pairs, float32 [B, V + 1]."""
        token_T = inputs.token.long()
        weight_T = self.pair_hazards.weights(self.types[token_T], features_TF)
        return self.pair_hazards.recorded(token_T, weight_T, inputs.layout)

    def _recurring(
        self, logits_BK: Tensor, known: CodesAndFeatures, inputs: EncoderInputs, codes_K: Tensor | None
    ) -> Tensor:
        """The logits with the recurrence terms of the codes of each sequence."""
        token_T, embeddings_VE = inputs.token.long(), known.embeddings
        if kernels.on_gpu(token_T.device):  # it has more positions than codes
            weights_VF = F.embedding(self.types, self.recurrence.weight) + self.own_recurrence(embeddings_VE)
            weights_TF = F.embedding(token_T, weights_VF)
        else:
            weights_TF = F.embedding(self.types[token_T], self.recurrence.weight)
            weights_TF = weights_TF + self.own_recurrence(F.embedding(token_T, embeddings_VE))
        recurrence_T = (weights_TF * known.features).sum(1).float()
        row_T = inputs.layout.rows(len(token_T))
        if codes_K is None:
            return logits_BK.index_put((row_T, token_T), recurrence_T, accumulate=True)
        # A last column takes what belongs to other codes.
        column_V = token_T.new_full((len(embeddings_VE),), len(codes_K))
        column_V = column_V.index_copy(0, codes_K, torch.arange(len(codes_K), device=token_T.device))
        padded = F.pad(logits_BK, (0, 1)).index_put((row_T, column_V[token_T]), recurrence_T, accumulate=True)
        return padded[:, :-1]

    def incident_loss(
        self, hidden_Bd: Tensor, context_Td: Tensor, inputs: EncoderInputs, targets: IncidentTargets
    ) -> Tensor:
        """Summed binary cross-entropy over the codes that each sequence with a full horizon is at risk of.

        `context_Td` are the states before the last layer.
        """
        sums = self.record_sums(self.embed(inputs), context_Td, inputs.layout)
        return incident_cross_entropy(self.incident_logits(hidden_Bd, sums, inputs), targets)

    @torch.no_grad()
    def start_at(self, log_odds_V: np.ndarray, pairs: CodePairs | None = None) -> None:
        """Start from these log odds of incident codes, half by the states, half by the hazards, and pairs."""
        half_V = torch.from_numpy(log_odds_V - math.log(2))
        self.incident_head.bias.copy_(half_V)
        self.hazards.bias.copy_(half_V)
        if pairs is not None:
            self.pair_hazards.start_at(pairs)

    def code_embeddings(self) -> Tensor:
        """Embeddings of all tokens, [V, E]: sums of a token's own and its groups', at the variance of one."""
        if not self.shape.groups:
            return self.token.weight
        # A last row of zeros stands for the missing groups of tokens with fewer than others.
        groups_GE = F.pad(self.group.weight, (0, 0, 0, 1))
        if kernels.on_gpu(groups_GE.device):  # compiled, its gradient needs no sorting
            summed_VE = F.embedding(self.groups, groups_GE).sum(1)
        else:
            summed_VE = F.embedding_bag(self.groups, groups_GE, mode="sum")
        return (self.token.weight + summed_VE) * self.embedding_scale

    def _logits(self, hidden_Md: Tensor, head: CodeHead) -> Tensor:
        return F.linear(self._head_states(hidden_Md, head), self.code_embeddings(), head.bias)

    def _head_states(self, hidden_Md: Tensor, head: CodeHead) -> Tensor:
        hidden_ME = head(hidden_Md)
        if self.shape.factorised:
            hidden_ME = self.down_projection(hidden_ME)
        return hidden_ME * completep.output_multiplier(self.shape.embedding)

    def features(self, inputs: EncoderInputs) -> Tensor:
        """Features of age, recency and count of each position, [T, F], each of about unit size."""
        age = inputs.age_days[:, None] * self.age_rates
        recency = newest_code_days(inputs)[:, None] * self.recency_rates
        count_TW = inputs.count.float()
        log_count = torch.cat((count_TW[:, -1:].log2(), (1 + count_TW[:, :-1]).log2()), 1)
        features = (age.sin(), age.cos(), recency.sin(), recency.cos(), log_count, log_count.clamp_max(1))
        return torch.cat(features, 1)

    def embed(self, inputs: EncoderInputs) -> Tensor:
        """Inputs of the first layer, [T, d]: code, type, time and count of each position."""
        time_Td = self.time_states(self.features(inputs))
        return (self.token_states(inputs.token) + time_Td) * completep.input_multiplier()

    def time_states(self, features_TF: Tensor) -> Tensor:
        """States of time and count, [T, d]."""
        return self.time(features_TF / math.sqrt(TIME_FEATURES / 2))

    def token_states(self, token_T: Tensor) -> Tensor:
        """States of codes and their types, [T, d], projected by position or by token, whichever is fewer."""
        embeddings_VE = self.code_embeddings()
        if len(token_T) < self.shape.vocabulary:
            x_TE = F.embedding(token_T, embeddings_VE)
            x_Td = self.up_projection(x_TE) if self.shape.factorised else x_TE
            return x_Td + F.embedding(self.types[token_T], self.token_type.weight)
        return F.embedding(token_T, self.token_table(embeddings_VE))

    def token_table(self, embeddings_VE: Tensor) -> Tensor:
        """States of all codes and their types, [V, d]."""
        vector_Vd = self.up_projection(embeddings_VE) if self.shape.factorised else embeddings_VE
        return vector_Vd + F.embedding(self.types, self.token_type.weight)


class CodeHead(nn.Module):
    """The transform of states before the product with code embeddings, and a bias for each of V codes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.transform = completep.HiddenLinear(shape.width, shape.width)
        self.norm = RmsNorm(shape.width)
        self.bias = nn.Parameter(torch.zeros(shape.vocabulary))

    def forward(self, hidden_Md: Tensor) -> Tensor:
        return self.norm(F.gelu(self.transform(hidden_Md), approximate="tanh"))


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

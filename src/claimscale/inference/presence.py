"""A classifier's logit as a function of which codes are present, and of age and sex.

Every code of a sequence has a presence from 0 to 1, its weight wherever positions meet: in attention, in the
mean of the states, in the sums over the record, in the hazards of pairs and in the recurrence terms. With
presence 1 the logit is that of the model. With presence 0 the code is not there: nothing stands in its place,
and the logit is that of the model without it. Age, sex and the days since the newest code are vectors in the
embeddings of the two leading positions.
Shape suffixes: S points, T positions, N = S T, K codes of the outcome, d width, h heads, F features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from claimscale.constants import DAYS_PER_YEAR, SEXES
from claimscale.inference.reference import Reference
from claimscale.model import completep, kernels
from claimscale.model.attention import BatchLayout
from claimscale.model.block import Block
from claimscale.model.classifier import EncoderClassifier, PooledStates, any_incident
from claimscale.model.encoder import LONGEST_AGO, Encoder, EncoderInputs, newest_code_days
from claimscale.model.record_sums import LARGEST_LOG, RecordSums
from claimscale.model.shapes import TIME_FEATURES
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import CLS, FIRST_SEX, LEADING
from claimscale.training.device import to_device

PERSON: tuple[Literal["age", "sex", "recency"], ...] = ("age", "sex", "recency")
"""What is known of a patient beside the codes; recency is the time since the newest code."""


class Point(NamedTuple):
    """Presence of each position [1, T], 1 for the leading ones, and the vectors of PERSON [1, 3, d]."""

    presence: Tensor
    person: Tensor


@dataclass(frozen=True)
class PresenceModel:
    """One patient's logit by an encoder classifier, in float32, as a function of a Point."""

    model: EncoderClassifier
    inputs: EncoderInputs
    observed: Point
    baseline: Point
    embedded_Td: Tensor
    """Inputs of the first layer without the vectors of PERSON."""
    pairs_T: Tensor
    """What the code of each position weighs in the hazards of pairs."""
    recurrence_TK: Tensor | None
    """What each position adds to the logits of the outcome's codes; None without a zero-shot logit."""

    @classmethod
    @torch.no_grad()
    def of(
        cls, model: EncoderClassifier, sequence: Sequences, reference: Reference, device: torch.device
    ) -> PresenceModel:
        """The model for the one sequence; `reference` gives the baseline's age and sex."""
        encoder = model.encoder
        inputs = _inputs(sequence, device)
        person = _person(encoder, inputs)
        embedded_Td = encoder.embed(inputs).clone()
        embedded_Td[0] -= person[0] + person[2]
        embedded_Td[1] -= person[0] + person[1]
        present = torch.ones(1, len(sequence.token), device=device)
        absent = torch.zeros_like(present)
        absent[:, :LEADING] = 1
        empty = _baseline_person(encoder, inputs, reference)
        return cls(
            model,
            inputs,
            Point(present, person[None]),
            Point(absent, empty[None]),
            embedded_Td,
            encoder.pair_hazards.weights(encoder.types[inputs.token.long()], encoder.features(inputs)),
            _recurrence(model, inputs) if model.has_zero_shot else None,
        )

    def logits(self, presence_ST: Tensor, person_S3d: Tensor) -> Tensor:
        """Logits [S] at the points."""
        encoder, points = self.model.encoder, len(presence_ST)
        age_Sd, sex_Sd, recency_Sd = person_S3d.unbind(1)
        leading_S2d = torch.stack((age_Sd + recency_Sd, age_Sd + sex_Sd), 1)
        x_STd = self.embedded_Td + F.pad(leading_S2d, (0, 0, 0, len(self.embedded_Td) - LEADING))
        x_Nd = x_STd.flatten(0, 1)
        angle = (self.inputs.days[:, None] * encoder.rotary_rates).repeat(points, 1)
        rotation = angle.cos(), angle.sin()
        hidden_Nd = context_Nd = x_Nd
        for block in encoder.blocks:
            assert isinstance(block, Block)
            context_Nd = hidden_Nd
            hidden_Nd = _block(block, hidden_Nd, rotation, presence_ST)
        hidden_STd = encoder.final_norm(hidden_Nd).unflatten(0, (points, -1))
        states = PooledStates(
            hidden_STd[:, 0],
            torch.einsum("st,std->sd", presence_ST, hidden_STd) / presence_ST.sum(1, keepdim=True),
            _record_sums(encoder, x_Nd, context_Nd, presence_ST),
        )
        logit_S = self.model.head_logit(states) + self.model.bias
        if self.recurrence_TK is None:
            return logit_S
        return logit_S + self.model.zero_shot_scale * self._zero_shot(states, presence_ST)

    def _zero_shot(self, states: PooledStates, presence_ST: Tensor) -> Tensor:
        """`EncoderClassifier.zero_shot_logit`, [S]."""
        points, outcome_K = len(presence_ST), self.model.outcome_tokens
        # In sequences without codes the encoder adds no recurrence terms to the outcome's codes.
        token = torch.full((points * LEADING,), CLS, dtype=torch.int32, device=presence_ST.device)
        count = self.inputs.count[:1].expand(len(token), -1)
        layout = BatchLayout.of(np.full(points, LEADING), presence_ST.device)
        none = EncoderInputs(token, torch.zeros_like(token), torch.zeros_like(token), count, layout)
        encoder, recorded_SV = self.model.encoder, self._recorded(presence_ST)
        logits_SK = encoder.incident_logits(states.cls, states.sums, none, outcome_K, recorded_BV=recorded_SV)
        assert self.recurrence_TK is not None
        return any_incident(logits_SK + presence_ST @ self.recurrence_TK)

    def _recorded(self, presence_ST: Tensor) -> Tensor:
        """`Encoder.recorded_codes` with each code in proportion to its presence, [S, V + 1]."""
        codes = len(self.model.encoder.pair_hazards.earlier)
        empty_SV = presence_ST.new_zeros(len(presence_ST), codes + 1)
        return empty_SV.index_add(1, self.inputs.token.long(), presence_ST * self.pairs_T)


def _inputs(sequence: Sequences, device: torch.device) -> EncoderInputs:
    assert len(sequence) == 1, "one patient"
    token, age_days, count = (
        to_device(x, device) for x in (sequence.token, sequence.age_days, sequence.count)
    )
    layout = BatchLayout.of(sequence.lengths, device)
    return EncoderInputs(token, age_days, age_days - age_days[0], count, layout)


def _time_vectors(encoder: Encoder, features_NF: Tensor, columns: slice) -> Tensor:
    """What the feature columns add to embedded positions, [N, d]."""
    scale = completep.input_multiplier() / math.sqrt(TIME_FEATURES / 2)
    return features_NF[:, columns] @ encoder.time.weight[:, columns].T * scale


AGE, RECENCY = slice(0, TIME_FEATURES // 2), slice(TIME_FEATURES // 2, TIME_FEATURES)
"""Columns of `Encoder.features`."""


def _person(encoder: Encoder, inputs: EncoderInputs) -> Tensor:
    """The vectors of PERSON in the patient's embeddings, [3, d]."""
    features_TF = encoder.features(inputs)[:LEADING]
    age_d = _time_vectors(encoder, features_TF, AGE)[0]
    recency_d = _time_vectors(encoder, features_TF, RECENCY)[0]
    sex_d = encoder.token_states(inputs.token)[1] * completep.input_multiplier()
    return torch.stack((age_d, sex_d, recency_d))


def _baseline_person(encoder: Encoder, inputs: EncoderInputs, reference: Reference) -> Tensor:
    """The vectors of PERSON of the baseline, [3, d]: mean age, average sex, no code.

    Without a mean age, the patient's own; without shares of the sexes, all have the same.
    """
    own_years = int(inputs.age_days[0]) / DAYS_PER_YEAR
    age_days = round(reference.mean.get("age_years", own_years) * DAYS_PER_YEAR)
    sexes = torch.arange(FIRST_SEX, FIRST_SEX + len(SEXES), device=inputs.token.device, dtype=torch.int32)
    token = torch.cat((torch.full_like(sexes[:1], CLS), sexes[:1]))
    empty = replace(
        inputs,
        token=token,
        age_days=torch.full_like(token, age_days),
        days=torch.zeros_like(token),
        count=inputs.count[:LEADING],
        layout=BatchLayout.of(np.array([LEADING]), inputs.token.device),
    )
    assert float(newest_code_days(empty)[0]) == LONGEST_AGO
    person = _person(encoder, empty)
    shares = torch.tensor([reference.sex.get(sex, 0.0) for sex in SEXES], device=inputs.token.device)
    shares = shares if float(shares.sum()) else torch.ones_like(shares)
    person[1] = (shares / shares.sum()) @ encoder.token_states(sexes) * completep.input_multiplier()
    return person


def _recurrence(model: EncoderClassifier, inputs: EncoderInputs) -> Tensor:
    """The recurrence terms of the outcome's codes by position, [T, K]: zero where the code is another."""
    encoder, token_T = model.encoder, inputs.token.long()
    weights_TF = F.embedding(encoder.types[token_T], encoder.recurrence.weight)
    weights_TF = weights_TF + encoder.own_recurrence(F.embedding(token_T, encoder.code_embeddings()))
    terms_T = (weights_TF * encoder.features(inputs)).sum(1).float()
    return terms_T[:, None] * (token_T[:, None] == model.outcome_tokens).float()


def _block(block: Block, x_Nd: Tensor, rotation: tuple[Tensor, Tensor], presence_ST: Tensor) -> Tensor:
    """`Block.forward` with attention to each position in proportion to its presence; N is S x T."""
    projected = block.queries_keys_values(block.attention_norm(x_Nd)).unflatten(1, (3, *block.heads))
    turned = kernels.rotate_queries_keys(projected, *rotation).unflatten(0, tuple(presence_ST.shape))
    query, key, value = (x.transpose(1, 2) for x in turned.unbind(2))
    # Queries and keys have root mean square 1, so that no product overflows.
    scores_ShTT = query @ key.transpose(2, 3) / math.sqrt(block.heads[1])
    weights_ShTT = scores_ShTT.exp() * presence_ST[:, None, None]
    weights_ShTT = weights_ShTT / weights_ShTT.sum(3, keepdim=True)
    attended_Nd = (weights_ShTT @ value).transpose(1, 2).flatten(0, 1).flatten(1)
    x_Nd = torch.add(x_Nd, block.attention_out(attended_Nd), alpha=block.residual)
    activated = kernels.geglu(block.up(block.feed_forward_norm(x_Nd)))
    return torch.add(x_Nd, block.down(activated), alpha=block.residual)


def _record_sums(encoder: Encoder, x_Nd: Tensor, context_Nd: Tensor, presence_ST: Tensor) -> RecordSums:
    """`Encoder.record_sums` with each position in proportion to its presence."""
    pooling, hazards = encoder.sum_pooling, encoder.hazards
    states_Nd = F.gelu(pooling.up(pooling.norm(x_Nd)), approximate="tanh")
    log_NR = hazards.causes(hazards.norm(x_Nd + context_Nd))
    hazards_NR = log_NR.float().clamp(-LARGEST_LOG, LARGEST_LOG).exp()
    shape = tuple(presence_ST.shape)
    return RecordSums(
        torch.einsum("st,std->sd", presence_ST, states_Nd.unflatten(0, shape)),
        torch.einsum("st,str->sr", presence_ST, hazards_NR.unflatten(0, shape)).log(),
    )

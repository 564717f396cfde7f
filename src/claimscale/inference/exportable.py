"""The encoder classifier in plain PyTorch on padded sequences, for export; the same weights, the same logits.

`model.encoder` lays sequences flat, and its operations on a CPU are compiled: neither can be exported.
Shape suffixes: B sequences, L positions, d width, E embedding width, F features, K outcome codes, R causes,
h heads, w head width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claimscale.model import completep
from claimscale.model.block import Block, RmsNorm
from claimscale.model.classifier import LEAST_HAZARD, SUM_SCALE, EncoderClassifier
from claimscale.model.encoder import LONGEST_AGO, CodeHead
from claimscale.model.kernels import NORM_EPSILON
from claimscale.model.pair_hazards import LEAST_HAZARD as LEAST_PAIR_HAZARD
from claimscale.model.record_sums import LARGEST_LOG
from claimscale.model.shapes import TIME_FEATURES
from claimscale.tokens.special_tokens import LEADING

MASKED = -1e30
"""Attention logit of padding."""


class ExportableClassifier(nn.Module):
    """Logits [B] of a classifier.

    From `token`, `age_days`, `days` and `mask` [B, L], and `count` [B, L, windows]; see `onnx_export`.
    """

    embeddings: Tensor

    def __init__(self, classifier: EncoderClassifier) -> None:
        super().__init__()
        self.classifier, self.encoder = classifier, classifier.encoder
        self.register_buffer("embeddings", self.encoder.code_embeddings().detach().clone())

    def forward(self, token: Tensor, age_days: Tensor, days: Tensor, count: Tensor, mask: Tensor) -> Tensor:
        classifier, encoder = self.classifier, self.encoder
        real_BL1 = mask.unsqueeze(2).float()
        features_BLF = self._features(age_days, days, count, mask)
        x_BLd = self._embedded(token, features_BLF)
        angle = days.float().unsqueeze(2) * encoder.rotary_rates
        rotation = angle.cos(), angle.sin()
        bias_BhLL = torch.where(mask, 0.0, MASKED)[:, None, None, :]
        context_BLd = state_BLd = x_BLd
        for block in encoder.blocks:
            assert isinstance(block, Block)
            context_BLd = state_BLd
            state_BLd = _layer(block, state_BLd, rotation, bias_BhLL)
        hidden_BLd = _norm(encoder.final_norm, state_BLd)
        cls_Bd = hidden_BLd[:, 0]
        mean_Bd = (hidden_BLd * real_BL1).sum(1) / real_BL1.sum(1)
        pooling = encoder.sum_pooling
        sums_BLd = F.gelu(pooling.up(_norm(pooling.norm, x_BLd)), approximate="tanh")
        sums_Bd = (sums_BLd * real_BL1).sum(1)
        states_B3d = torch.cat((cls_Bd, mean_Bd, sums_Bd * SUM_SCALE), 1)
        multiplier = completep.output_multiplier(encoder.shape.width)
        logit_B = (states_B3d * classifier.weight).sum(1) * multiplier + classifier.bias
        if not classifier.has_zero_shot:
            return logit_B
        hazards = encoder.hazards
        log_BLR = hazards.causes(_norm(hazards.norm, x_BLd + context_BLd))
        causes_BR = (log_BLR.clamp(-LARGEST_LOG, LARGEST_LOG).exp() * real_BL1).sum(1)
        pairs_BK = self._pair_hazards(token, features_BLF, real_BL1)
        logits_BK = self._incident_logits(cls_Bd, sums_Bd, causes_BR, pairs_BK)
        logits_BK = logits_BK + self._recurrence(token, features_BLF * real_BL1)
        return logit_B + classifier.zero_shot_scale * _any_incident(logits_BK)

    def _features(self, age_days: Tensor, days: Tensor, count: Tensor, mask: Tensor) -> Tensor:
        """As `Encoder._features`, [B, L, F]."""
        age = age_days.float().unsqueeze(2) * self.encoder.age_rates
        place = torch.ones_like(days).cumsum(1)
        is_code = mask & (place > LEADING)
        days_BL = days.float()
        newest_B = torch.where(is_code, days_BL, LONGEST_AGO).amax(1).clamp_min(LONGEST_AGO)
        days_BL = torch.where(place == 1, newest_B.unsqueeze(1), days_BL)
        recency = days_BL.unsqueeze(2) * self.encoder.recency_rates
        # Padding has a count of 0, whose logarithm is infinite.
        count_BLW = torch.where(mask.unsqueeze(2), count, 1).float()
        log_count = torch.cat((count_BLW[..., -1:].log2(), (1 + count_BLW[..., :-1]).log2()), 2)
        parts = (age.sin(), age.cos(), recency.sin(), recency.cos(), log_count, log_count.clamp_max(1))
        return torch.cat(parts, 2)

    def _embedded(self, token: Tensor, features_BLF: Tensor) -> Tensor:
        """As `Encoder.embed`, [B, L, d]."""
        encoder = self.encoder
        x_BLd = F.embedding(token, self.embeddings)
        if encoder.shape.factorised:
            x_BLd = encoder.up_projection(x_BLd)
        x_BLd = x_BLd + F.embedding(encoder.types[token], encoder.token_type.weight)
        time_BLd = encoder.time(features_BLF / math.sqrt(TIME_FEATURES / 2))
        return (x_BLd + time_BLd) * completep.input_multiplier()

    def _pair_hazards(self, token: Tensor, features_BLF: Tensor, real_BL1: Tensor) -> Tensor:
        """As `PairHazards.log_hazards` of the outcome's codes, [B, K]."""
        pairs, outcome_K = self.encoder.pair_hazards, self.classifier.outcome_tokens
        weight_BL = pairs.weights(self.encoder.types[token], features_BLF) * real_BL1.squeeze(2)
        hazards_B = []
        for earlier_P, rates_P in zip(pairs.earlier[outcome_K], pairs.rates(outcome_K), strict=True):
            is_earlier_BLP = (token.unsqueeze(2) == earlier_P).float()
            hazards_B.append(((is_earlier_BLP @ rates_P) * weight_BL).sum(1))
        return (torch.stack(hazards_B, 1) + LEAST_PAIR_HAZARD).log()

    def _incident_logits(
        self, cls_Bd: Tensor, sums_Bd: Tensor, causes_BR: Tensor, pairs_BK: Tensor
    ) -> Tensor:
        """As `Encoder.incident_logits` of the outcome's codes, without recurrence: [B, K]."""
        encoder, codes = self.encoder, self.classifier.outcome_tokens
        embeddings_KE, hazards = self.embeddings[codes], encoder.hazards
        states_BE = self._head_states(cls_Bd, encoder.incident_head) + encoder.sum_pooling.code_states(
            sums_Bd
        )
        logits_BK = F.linear(states_BE, embeddings_KE, encoder.incident_head.bias[codes])
        effects_KR = hazards.effects(embeddings_KE * completep.input_multiplier())
        effects_KR = effects_KR.clamp(-LARGEST_LOG, LARGEST_LOG).exp()
        hazards_BK = F.linear(causes_BR, effects_KR).log() + (hazards.bias[codes] - hazards.offset)
        return _log_add(logits_BK, _log_add(hazards_BK, pairs_BK)) + encoder.activity(cls_Bd)

    def _head_states(self, hidden_Bd: Tensor, head: CodeHead) -> Tensor:
        encoder = self.encoder
        states = _norm(head.norm, F.gelu(head.transform(hidden_Bd), approximate="tanh"))
        if encoder.shape.factorised:
            states = encoder.down_projection(states)
        return states * completep.output_multiplier(encoder.shape.embedding)

    def _recurrence(self, token: Tensor, features_BLF: Tensor) -> Tensor:
        """The recurrence terms of the outcome's codes, [B, K]; features of padding are 0."""
        encoder = self.encoder
        weights_BLF = F.embedding(encoder.types[token], encoder.recurrence.weight)
        weights_BLF = weights_BLF + encoder.own_recurrence(F.embedding(token, self.embeddings))
        terms_BL = (weights_BLF * features_BLF).sum(2)
        is_code_BLK = (token.unsqueeze(2) == self.classifier.outcome_tokens).float()
        return (terms_BL.unsqueeze(2) * is_code_BLK).sum(1)


def _norm(norm: RmsNorm, x: Tensor) -> Tensor:
    return _scaled(x) * norm.gain


def _scaled(x: Tensor) -> Tensor:
    """The vectors at root mean square 1."""
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + NORM_EPSILON)


def _layer(block: Block, x_BLd: Tensor, rotation: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
    projected = block.queries_keys_values(_norm(block.attention_norm, x_BLd)).unflatten(2, (3, *block.heads))
    query, key, value = (part.transpose(1, 2) for part in projected.unbind(2))
    query, key = _rotated(query, rotation), _rotated(key, rotation)
    scores = query @ key.transpose(2, 3) / math.sqrt(block.heads[1]) + bias
    attended_BLd = (scores.softmax(3) @ value).transpose(1, 2).flatten(2)
    x_BLd = x_BLd + block.attention_out(attended_BLd) * block.residual
    gate, up = block.up(_norm(block.feed_forward_norm, x_BLd)).chunk(2, 2)
    return x_BLd + block.down(F.gelu(gate, approximate="tanh") * up) * block.residual


def _rotated(x_BhLw: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    first, second = _scaled(x_BhLw).chunk(2, 3)
    cosine, sine = (part.unsqueeze(1) for part in rotation)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), 3)


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b)). ONNX has no log1p or expm1: double precision keeps what they would."""
    larger, smaller = torch.maximum(a, b).double(), torch.minimum(a, b).double()
    return (larger + torch.log(1 + torch.exp(smaller - larger))).float()


def _any_incident(logits_BK: Tensor) -> Tensor:
    """As `classifier.any_incident`, [B]."""
    x_BK = logits_BK.double()
    hazard_B = (x_BK.relu() + torch.log(1 + torch.exp(-x_BK.abs()))).sum(1).clamp_min(LEAST_HAZARD)
    return (hazard_B + torch.log(1 - torch.exp(-hazard_B))).float()

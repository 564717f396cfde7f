"""Pretraining that starts from an encoder of another vocabulary: rows move to the tokens of their codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from claimscale.codes.systems import ancestors
from claimscale.errors import BadInput
from claimscale.model.encoder import Encoder
from claimscale.model.pair_hazards import PairHazards
from claimscale.tokens.code_pairs import ABSENT
from claimscale.tokens.token_metadata import NO_GROUP, TokenMetadata
from claimscale.tokens.vocabulary import Vocabulary

NO_ROW = -1
EMBEDDINGS, GROUPS = "token.weight", "group.weight"
BIASES = ("masked_head.bias", "incident_head.bias", "hazards.bias")
"""One number per token: how common its code is."""
PAIR_RATES = "pair_hazards.change"
PAIR_TENSORS = ("earlier", "log_rates", "change")


@dataclass(frozen=True)
class Alignment:
    """The rows of another encoder that tokens and groups here start from, NO_ROW for none.

    Attributes:
        same: int64 [V], the token of the same code and type.
        nearest: int64 [V], that token, or else that of the longest ancestor.
        groups: int64 [G], the group that a token of both encoders has at the same level.
    """

    same: np.ndarray
    nearest: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, here: tuple[Vocabulary, TokenMetadata], there: tuple[Vocabulary, TokenMetadata]) -> Alignment:
        (vocabulary, metadata), (other, other_metadata) = here, there
        token_of = {key: token for token, key in enumerate(zip(other.codes, other.types, strict=True))}
        same, nearest = np.full((2, vocabulary.size), NO_ROW)
        for token, (code, kind) in enumerate(zip(vocabulary.codes, vocabulary.types, strict=True)):
            found = [token_of.get((name, kind), NO_ROW) for name in (code, *ancestors(code))]
            same[token] = found[0]
            nearest[token] = next((row for row in found if row != NO_ROW), NO_ROW)
        groups = np.full(metadata.group_count, NO_ROW)
        both = np.flatnonzero(same != NO_ROW)
        if metadata.groups.shape[1]:
            own, theirs = metadata.groups[both], other_metadata.groups[same[both]]
            known = (own != NO_GROUP) & (theirs != NO_GROUP)
            groups[own[known]] = theirs[known]
        return cls(same, nearest, groups)


@dataclass(frozen=True)
class EncoderStart:
    """The tensors of another encoder's `state_dict()`; `digest` is the fingerprint of what they come from."""

    weights: Mapping[str, Tensor]
    alignment: Alignment
    digest: str

    @torch.no_grad()
    def load(self, encoder: Encoder) -> None:
        """Copy the weights; tokens and groups without a row keep their initial values.

        A token that starts from an ancestor keeps its own bias, because its code is rarer. Raises BadInput
        unless all dimensions but those of the vocabulary are the same.
        """
        for name, weight in encoder.named_parameters():
            if name == PAIR_RATES:
                continue
            found, rows = self.weights.get(name), self._rows(name)
            fixed = slice(0 if rows is None else 1, None)  # dimensions that no vocabulary has
            if found is None or found.shape[fixed] != weight.shape[fixed]:
                raise BadInput(f"pretrain.start: {name} of the package has other dimensions than the encoder")
            if rows is None:
                weight.copy_(found)
            else:
                known = torch.as_tensor(rows != NO_ROW)
                weight[known] = found[torch.as_tensor(rows)[known]].to(weight)
        self._load_pairs(encoder.pair_hazards)

    def _load_pairs(self, pairs: PairHazards) -> None:
        """The pairs of every code that both vocabularies have, if both have the earlier code.

        They replace the pairs counted here, and begin at the rates that the package has learnt.
        """
        try:
            earlier, rates, change = (self.weights[f"pair_hazards.{name}"] for name in PAIR_TENSORS)
        except KeyError as missing:
            raise BadInput(f"pretrain.start: the package has no {missing.args[0]}") from None
        own = torch.as_tensor(self.alignment.same)
        known = torch.nonzero(own != NO_ROW).squeeze(1)
        none = len(pairs.earlier)
        token_here = torch.full((len(earlier) + 1,), none).index_copy(0, own[known], known)
        moved = token_here[earlier[own[known]]]
        rates = (rates + change)[own[known]].masked_fill(moved == none, ABSENT)
        pairs.earlier[known], pairs.log_rates[known] = moved, rates.to(pairs.log_rates)

    def _rows(self, name: str) -> np.ndarray | None:
        """The rows of a parameter that has one per token or group."""
        if name == EMBEDDINGS:
            return self.alignment.nearest
        if name == GROUPS:
            return self.alignment.groups
        return self.alignment.same if name in BIASES else None

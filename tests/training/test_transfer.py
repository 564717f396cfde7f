"""Weights move to another vocabulary by code: the same codes give the same outputs, whatever their tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from claimscale.codes.systems import TYPES
from claimscale.errors import BadInput
from claimscale.model.encoder import Encoder
from claimscale.model.shapes import PAIRS_PER_CODE, Shape
from claimscale.tokens.code_pairs import CodePairs
from claimscale.tokens.special_tokens import SPECIAL_CODES
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.tokens.vocabulary import Vocabulary
from claimscale.training.transfer import NO_ROW, Alignment, EncoderStart

DIAGNOSIS = TYPES.index("diagnosis")
CODES = [f"ICD10//{letter}{number:02d}" for letter in "EIN" for number in range(8)]


def vocabulary_of(codes: list[str], kind: int = DIAGNOSIS) -> Vocabulary:
    names = [*SPECIAL_CODES, *codes]
    types = np.array([0] * len(SPECIAL_CODES) + [kind] * len(codes), np.int8)
    count = np.ones(len(names), np.int64)
    return Vocabulary(names, types, count, count, np.zeros(len(names), bool))


def encoder_of(vocabulary: Vocabulary, metadata: TokenMetadata, seed: int) -> Encoder:
    torch.manual_seed(seed)
    encoder = Encoder(Shape(vocabulary.size, 64, 2, 96, 64, metadata.group_count), metadata)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.copy_(torch.randn_like(weight) * 0.1)
    return encoder


@pytest.mark.parametrize("hierarchical", [False, True])
def test_the_same_codes_in_another_order_give_the_same_logits(hierarchical: bool) -> None:
    there = vocabulary_of(CODES)
    order = np.random.default_rng(0).permutation(len(CODES))
    here = vocabulary_of([CODES[place] for place in order])
    metadata = TokenMetadata.of if hierarchical else lambda vocabulary: TokenMetadata.plain(vocabulary.types)
    pairs = [(each, metadata(each)) for each in (here, there)]
    mine, theirs = (encoder_of(*pair, seed=seed) for seed, pair in enumerate(pairs))
    EncoderStart(theirs.state_dict(), Alignment.of(*pairs), "").load(mine)
    states = torch.randn(5, 64)
    token = np.array([there.codes.index(code) for code in here.codes])
    expected, found = (encoder.masked_logits(states) for encoder in (theirs, mine))
    torch.testing.assert_close(found, expected[:, torch.as_tensor(token)])
    assert not torch.equal(found, expected), "the tokens differ"


def test_a_finer_code_starts_from_its_ancestor_and_a_new_one_from_chance() -> None:
    there = vocabulary_of(["ICD10//E11", "ICD10//I10"])
    here = vocabulary_of(["ICD10//E116", "ICD10//Z99", "ICD10//I10"])
    plain = [(each, TokenMetadata.plain(each.types)) for each in (here, there)]
    alignment = Alignment.of(*plain)
    first = len(SPECIAL_CODES)
    assert alignment.nearest[first:].tolist() == [first, NO_ROW, first + 1]
    assert alignment.same[first:].tolist() == [NO_ROW, NO_ROW, first + 1]
    mine, theirs = (encoder_of(*pair, seed=seed) for seed, pair in enumerate(plain))
    before = {name: weight.clone() for name, weight in mine.named_parameters()}
    EncoderStart(theirs.state_dict(), alignment, "").load(mine)
    after = dict(mine.named_parameters())
    assert torch.equal(after["token.weight"][first], theirs.token.weight[first])
    assert torch.equal(after["token.weight"][first + 1], before["token.weight"][first + 1])
    assert torch.equal(after["incident_head.bias"][first], before["incident_head.bias"][first])
    assert torch.equal(after["incident_head.bias"][first + 2], theirs.incident_head.bias[first + 1])
    assert torch.equal(after["time.weight"], theirs.time.weight)


def test_a_suspected_diagnosis_is_another_token() -> None:
    there, here = vocabulary_of(CODES), vocabulary_of(CODES, TYPES.index("suspected"))
    plain = [(each, TokenMetadata.plain(each.types)) for each in (here, there)]
    assert (Alignment.of(*plain).nearest[len(SPECIAL_CODES) :] == NO_ROW).all()


def test_pairs_move_to_the_tokens_of_their_codes() -> None:
    there = vocabulary_of(["ICD10//E11", "ICD10//I10", "ICD10//N18"])
    here = vocabulary_of(["ICD10//N18", "ICD10//Z99", "ICD10//E11"])
    plain = [(each, TokenMetadata.plain(each.types)) for each in (here, there)]
    mine, theirs = (encoder_of(*pair, seed=seed) for seed, pair in enumerate(plain))
    e11, i10, n18 = (there.codes.index(f"ICD10//{code}") for code in ("E11", "I10", "N18"))
    known = CodePairs.none(there.size, PAIRS_PER_CODE)
    known.earlier[n18, :2], known.log_rates[n18, :2] = (i10, e11), (-1.0, -2.0)
    theirs.pair_hazards.start_at(known)
    own = CodePairs.none(here.size, PAIRS_PER_CODE)
    own.earlier[here.codes.index("ICD10//Z99"), 0] = here.codes.index("ICD10//E11")
    own.log_rates[here.codes.index("ICD10//Z99"), 0] = -3.0
    mine.pair_hazards.start_at(own)
    EncoderStart(theirs.state_dict(), Alignment.of(*plain), "").load(mine)
    rates, earlier = mine.pair_hazards.log_rates, mine.pair_hazards.earlier
    later = here.codes.index("ICD10//N18")
    assert earlier[later, :2].tolist() == [here.size, here.codes.index("ICD10//E11")]
    assert torch.isinf(rates[later, 0]), "the package's earlier code is not in the vocabulary"
    assert rates[later, 1] == -2.0 + theirs.pair_hazards.change[n18, 1]
    assert rates[here.codes.index("ICD10//Z99"), 0] == -3.0, "what only this study knows is kept"


def test_other_dimensions_are_refused() -> None:
    vocabulary = vocabulary_of(CODES)
    plain = TokenMetadata.plain(vocabulary.types)
    mine = encoder_of(vocabulary, plain, 0)
    pair = (vocabulary, plain)
    weights = dict(mine.state_dict()) | {"blocks.0.down.weight": torch.zeros(64, 95)}
    with pytest.raises(BadInput, match=r"blocks\.0\.down\.weight .* other dimensions"):
        EncoderStart(weights, Alignment.of(pair, pair), "").load(mine)
    weights.pop("time.weight")
    with pytest.raises(BadInput, match=r"time\.weight"):
        EncoderStart(weights, Alignment.of(pair, pair), "").load(mine)

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from claimscale.errors import BadInput
from claimscale.model import shapes
from claimscale.model.encoder import Encoder
from claimscale.tokens.token_metadata import TokenMetadata

LADDERS = {
    300: (90_000, 110_000, 200_000, 350_000, 600_000),
    700: (80_000, 110_000, 200_000, 350_000, 600_000),
    1_500: (2_200_000, 4_700_000, 11_000_000, 32_000_000, 101_000_000),
    10_000: (2_200_000, 4_700_000, 11_000_000, 32_000_000, 101_000_000),
    20_000: (2_200_000, 4_700_000, 11_000_000, 32_000_000, 101_000_000),
}


@pytest.mark.parametrize(
    "shape",
    [
        shapes.Shape(300, 64, 1, 72, 64),
        shapes.Shape(500, 128, 2, 224, 128),
        shapes.Shape(900, 128, 3, 96, 24),
    ],
)
def test_formula_counts_the_real_encoder(shape: shapes.Shape):
    encoder = Encoder(shape, TokenMetadata.plain(np.zeros(shape.vocabulary, np.int8)))
    assert sum(weight.numel() for weight in encoder.parameters()) == shapes.parameters(shape)
    assert sum(weight.numel() for weight in encoder.blocks.parameters()) == shapes.non_embedding_parameters(
        shape
    )


@given(st.integers(300, 20_000), st.floats(5.5, 9.0))
def test_any_target_is_met_within_two_percent(vocabulary: int, magnitude: float):
    target = round(10**magnitude)
    shape = shapes.solve(target, vocabulary, 0)
    assert abs(shapes.parameters(shape) - target) <= 0.02 * target
    assert shape.vocabulary == vocabulary and shape.width % 64 == 0
    assert shape.feed_forward % 8 == 0 and 0 < shape.embedding <= shape.width and shape.layers >= 1


@pytest.mark.parametrize("vocabulary", LADDERS)
def test_larger_targets_are_never_narrower_or_shallower(vocabulary: int):
    ladder = [shapes.solve(target, vocabulary, 0) for target in LADDERS[vocabulary]]
    for small, large in itertools.pairwise(ladder):
        assert small.width <= large.width and small.layers <= large.layers
        assert shapes.non_embedding_parameters(small) < shapes.non_embedding_parameters(large)


@pytest.mark.parametrize("vocabulary", [10_000, 20_000])
def test_embedding_is_factorised_only_where_it_would_take_most(vocabulary: int):
    for target in LADDERS[vocabulary]:
        shape = shapes.solve(target, vocabulary, 0)
        assert shape.embedding * vocabulary <= 0.6 * target
        assert not shape.factorised or shape.width * vocabulary > 0.5 * target


@pytest.mark.parametrize(("target", "vocabulary"), [(100_000, 20_000), (60_000, 259), (45_000, 600)])
def test_an_impossible_target_names_the_nearest_that_is_possible(target: int, vocabulary: int):
    with pytest.raises(BadInput, match=r"; the nearest possible size has ([0-9,]+)$") as caught:
        shapes.solve(target, vocabulary, 0)
    nearest = int(str(caught.value).rsplit(" ", 1)[1].replace(",", ""))
    assert shapes.parameters(shapes.solve(nearest, vocabulary, 0)) == pytest.approx(nearest, rel=0.02)
    gap = abs(nearest - target)
    for nearer in np.linspace(max(target - 0.97 * gap, 1), target + 0.97 * gap, 40):
        with pytest.raises(BadInput):
            shapes.solve(round(nearer), vocabulary, 0)


@pytest.mark.parametrize("groups", [0, 400])
def test_groups_count_towards_the_target(groups: int) -> None:
    shape = shapes.solve(200_000, 700, groups)
    assert shape.groups == groups
    assert abs(shapes.parameters(shape) - 200_000) <= 0.02 * 200_000
    encoder = Encoder(shape, TokenMetadata.plain(np.zeros(700, np.int8)))
    assert sum(weight.numel() for weight in encoder.parameters()) == shapes.parameters(shape)


def test_flops_grow_with_tokens_masked_and_length() -> None:
    shape = shapes.solve(400_000, 500, 0)
    base = shapes.pretraining_flops(shape, 1000, 300)
    assert shapes.pretraining_flops(shape, 2000, 600) == 2 * base
    assert shapes.pretraining_flops(shape, 1000, 400) > base
    assert shapes.pretraining_flops(shape, 1000, 300, mean_length=50) > base
    assert shapes.pretraining_flops(shape, 1000, 300, incident=20) > base
    # With all positions masked there are at least six operations per parameter of the layers.
    assert (
        shapes.pretraining_flops(shape, 1000, 1000)
        >= 6 * 1000 * shapes.non_embedding_parameters(shape) * 0.99
    )


def test_attention_flops_grow_with_the_square_of_length() -> None:
    shape = shapes.Shape(100, 64, 2, 64, 64)
    one, two = (shapes.classifier_flops(shape, np.full(8 // n, 100 * n)) for n in (1, 2))
    assert two - one == 2 * 2 * 64 * 2 * (4 * 200**2 - 8 * 100**2)

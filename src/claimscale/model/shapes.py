"""Which shape has how many parameters, and which shape to build for a target.

For a vocabulary V in G groups, width d, layers L, feed-forward f and embedding width E an encoder has

    N = (V + G)·E + 2V + 3d² + dE + 94d + 82E + 656 + L(4d² + 3df + 2d) + 2Ed·[E < d]

parameters: vectors of tokens and groups (also the output of both heads), the heads' biases and transforms
(2d²), what positions contribute to incident codes (d² + dE), the 94d of features of age and time (80d), of
counts (2d), types (8d) and four norms (4d), a rule of recurrence for each type and what vectors change of
it (82E), the layers, and the two projections of a factorised embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from claimscale.errors import BadInput

HEAD_WIDTH = 64
TIME_FEATURES = 80
COUNT_FEATURES = 2
TYPE_COUNT = 8
HEADS = 2
"""One for masked codes, one for incident codes."""
TOLERANCE = 0.02
IDEAL_ASPECT = 8 / 3
"""Feed-forward over width: GeGLU's three matrices then hold as much as a plain layer's two at 4d."""
SMALLEST_ASPECT = 0.75
WIDEST = 64 * HEAD_WIDTH
STEP, STEPS = 1.04, 120
"""How far apart sizes are tried beside an impossible one, to a hundredth and a hundredfold of it. A shape
reaches 2 % to both sides, so that no possible size is passed over."""
EMBEDDING_SHARES = (0.6, 0.45, 0.3, 0.15)
"""Share of the target the token embedding may take; a later one is tried where the first leaves no room."""


@dataclass(frozen=True)
class Shape:
    """An encoder's dimensions. `width` is a multiple of 64; `embedding` is at most `width`."""

    vocabulary: int
    width: int
    layers: int
    feed_forward: int
    embedding: int
    groups: int = 0

    @property
    def heads(self) -> int:
        return self.width // HEAD_WIDTH

    @property
    def factorised(self) -> bool:
        return self.embedding < self.width


def parameters(shape: Shape) -> int:
    """Trained numbers of the encoder with its two heads."""
    projections = 2 * shape.embedding * shape.width if shape.factorised else 0
    vectors = (shape.vocabulary + shape.groups) * shape.embedding
    heads = HEADS * (shape.width**2 + shape.width + shape.vocabulary)
    inputs = (TIME_FEATURES + COUNT_FEATURES + TYPE_COUNT + 1) * shape.width
    recurrence = (TIME_FEATURES + COUNT_FEATURES) * (TYPE_COUNT + shape.embedding)
    sum_pooling = shape.width * (shape.width + shape.embedding + 1)
    return vectors + heads + inputs + projections + recurrence + sum_pooling + non_embedding_parameters(shape)


def non_embedding_parameters(shape: Shape) -> int:
    """Trained numbers of the layers alone, without embeddings and head."""
    d, f = shape.width, shape.feed_forward
    return shape.layers * (4 * d * d + 3 * d * f + 2 * d)


def train_flops(
    shape: Shape, tokens: float, masked_tokens: float, attended_length: float = 0.0, foretold: float = 0.0
) -> float:
    """Floating-point operations of pretraining: forward once, backward twice, two per multiply-add.

    Tokens are counted without padding. Of the last layer only keys and values are made of all; its queries
    and what follows them, and the head, run at masked positions only, and at the [CLS] of sequences whose
    incident codes are `foretold`.
    `attended_length` adds the attention scores: how many tokens a token looks at, which is the mean length of
    sequences weighted by their tokens.
    """
    d, f = shape.width, shape.feed_forward
    projection = shape.embedding * d if shape.factorised else 0
    keys_values, queries_on = 2 * d * d, 2 * d * d + 2 * attended_length * d + 3 * d * f
    per_token = (TIME_FEATURES + COUNT_FEATURES) * d + projection
    per_token += keys_values * shape.layers + queries_on * (shape.layers - 1)
    if foretold:
        per_token += d * d + projection + (TIME_FEATURES + COUNT_FEATURES) * shape.embedding
    per_masked = queries_on + d * d + projection + shape.vocabulary * shape.embedding
    return 6.0 * (per_token * tokens + per_masked * (masked_tokens + foretold))


def solve(target: int, vocabulary: int, groups: int = 0) -> Shape:
    """The shape whose parameters are within 2 % of the target, for so many tokens in so many groups.

    Along a ladder on which width and depth only grow, the rung is taken whose feed-forward comes closest to
    8/3 of the width. A larger target therefore never gets a narrower or shallower encoder.

    Raises BadInput, with the nearest target that has one, if no shape comes within 2 %.
    """
    if shape := _closest(target, vocabulary, groups):
        return shape
    near = _nearest(target, vocabulary, groups)
    raise BadInput(
        f"sizes: {target:,} parameters are impossible for a vocabulary of {vocabulary:,} codes"
        + (f"; the nearest size that is possible has {parameters(near):,}" if near else "")
    )


def _nearest(target: int, vocabulary: int, groups: int) -> Shape | None:
    """The shape nearest to a target that has none, on either side of it."""
    found = []
    for step in (STEP, 1 / STEP):
        impossible = possible = target
        for power in range(1, STEPS):
            possible = round(target * step**power)
            if _closest(possible, vocabulary, groups):
                break
            impossible = possible
        while abs(possible - impossible) > 1:
            middle = (possible + impossible) // 2
            if _closest(middle, vocabulary, groups):
                possible = middle
            else:
                impossible = middle
        found.append(_closest(possible, vocabulary, groups))
    shapes = [shape for shape in found if shape]
    return min(shapes, key=lambda shape: abs(parameters(shape) - target), default=None)


def _closest(target: int, vocabulary: int, groups: int) -> Shape | None:
    for share in EMBEDDING_SHARES:
        embedding = max(8, int(share * target / (vocabulary + groups)) // 8 * 8)
        fitting = [
            shape
            for width, layers in _ladder()
            if (shape := _fill(target, Shape(vocabulary, width, layers, 0, min(embedding, width), groups)))
        ]
        if fitting:
            return min(
                fitting, key=lambda shape: abs(math.log(shape.feed_forward / shape.width / IDEAL_ASPECT))
            )
    return None


def _ladder() -> Iterator[tuple[int, int]]:
    """(width, layers), both never falling."""
    layers = 1
    for width in range(HEAD_WIDTH, WIDEST + 1, HEAD_WIDTH):
        # Width 64 stays shallow: doubling the width buys more than a third layer, and runs faster.
        deepest = 2 if width == HEAD_WIDTH else round(3 + width / 80)
        for depth in range(layers, deepest + 1):
            yield width, depth
        layers = deepest


def _fill(target: int, shape: Shape) -> Shape | None:
    """The shape with the feed-forward that meets the target, if one does."""
    room = (target - parameters(shape)) / (3 * shape.width * shape.layers)
    if room < SMALLEST_ASPECT * shape.width:
        return None
    for multiple in (32, 16, 8):  # rounder numbers run faster on a GPU
        filled = replace(shape, feed_forward=max(1, round(room / multiple)) * multiple)
        if abs(parameters(filled) - target) <= TOLERANCE * target:
            return filled
    return None

"""Dimensions of an encoder: parameters, floating-point operations, and the shape for a target size.

For a vocabulary V in G code groups, width d, layers L, feed-forward f and embedding width E an encoder has

    N = (V + G)·E + (3 + P)V + 5d² + 3dE + 102d + 88E + 1408 + L(4d² + 3df + 2d) + 2Ed·[E < d]

parameters: embeddings of tokens and groups (tied to both heads), biases and transforms of the heads (2d²),
sum pooling (d² + dE), additive hazards of 2d causes (2d² + 2dE), features of age and time (80d), counts (8d),
types (8d), activity (d) and five norms (5d), the recurrence weights by type and by embedding (88E), the rates
of P pairs of each code and their weights by type, the layers, and the projections of a factorised embedding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from claimscale.errors import BadInput
from claimscale.tokens.sequences import WINDOWS_DAYS

WIDTH_STEP = 64
FEWEST_HEADS = 4
HEAD_WIDTHS = (64, 32, 16)
"""The widest that leaves FEWEST_HEADS is used. A single head sees one kind of event, such as those of the
same day; four of width 16 lower both losses at the same cost (docs/measured/recipe-inputs.md)."""
TIME_FEATURES = 80
COUNT_FEATURES = 2 * len(WINDOWS_DAYS)
TYPE_COUNT = 8
CAUSES_PER_WIDTH = 2
PAIRS_PER_CODE = 8
"""Earlier codes of which the hazard of an incident code is a sum, at most (`tokens.code_pairs`)."""
HEADS = 2
"""One for masked codes, one for incident codes."""
TOLERANCE = 0.02
IDEAL_ASPECT = 8 / 3
"""Feed-forward over width: the three matrices of GeGLU then have as many weights as two at 4d."""
SMALLEST_ASPECT = 0.75
WIDEST = 64 * WIDTH_STEP
STEP, STEPS = 1.04, 120
"""Ratio and number of the targets tried around an impossible one. A shape reaches 2 % to both sides, so that
no possible target is missed."""
EMBEDDING_SHARES = (0.6, 0.45, 0.3, 0.15, 0.08)
"""Share of the parameters in the token embedding; a later one is tried where the first fits no layers."""
TRAINING_PASSES = 3
"""Operations of forward and backward in forward passes: the backward pass costs two."""


@dataclass(frozen=True)
class Shape:
    """Dimensions of an encoder. `width` is a multiple of 64; `embedding` is at most `width`."""

    vocabulary: int
    width: int
    layers: int
    feed_forward: int
    embedding: int
    groups: int = 0

    @property
    def head_width(self) -> int:
        return next(width for width in HEAD_WIDTHS if width * FEWEST_HEADS <= self.width)

    @property
    def heads(self) -> int:
        return self.width // self.head_width

    @property
    def causes(self) -> int:
        """Causes of the additive hazards."""
        return CAUSES_PER_WIDTH * self.width

    @property
    def factorised(self) -> bool:
        return self.embedding < self.width


def parameters(shape: Shape) -> int:
    """Trainable parameters of the encoder with both heads."""
    projections = 2 * shape.embedding * shape.width if shape.factorised else 0
    embeddings = (shape.vocabulary + shape.groups) * shape.embedding
    heads = HEADS * (shape.width**2 + shape.width + shape.vocabulary)
    inputs = (TIME_FEATURES + COUNT_FEATURES + TYPE_COUNT + 2) * shape.width
    recurrence = (TIME_FEATURES + COUNT_FEATURES) * (TYPE_COUNT + shape.embedding)
    sum_pooling = shape.width * (shape.width + shape.embedding + 1)
    hazards = shape.causes * (shape.width + shape.embedding) + shape.width + shape.vocabulary
    pairs = shape.vocabulary * PAIRS_PER_CODE + TYPE_COUNT * (TIME_FEATURES + COUNT_FEATURES)
    sums = sum_pooling + hazards + pairs
    return embeddings + heads + inputs + projections + recurrence + sums + non_embedding_parameters(shape)


def non_embedding_parameters(shape: Shape) -> int:
    """Trainable parameters of the layers, without embeddings and heads."""
    d, f = shape.width, shape.feed_forward
    return shape.layers * (4 * d * d + 3 * d * f + 2 * d)


@dataclass(frozen=True)
class ForwardPass:
    """What one forward pass computes: numbers of positions and sequences, without padding.

    `mean_length` is how many positions a position attends to: the mean length weighted by length. The last
    layer runs at `queries` positions (None: all). Masked codes are predicted at `masked` positions, `codes`
    incident ones of each of `incident` sequences, in so many `passes`. `embedded` counts how often positions
    are embedded; `pools` says whether they are summed.
    """

    tokens: float
    mean_length: float = 0.0
    queries: float | None = None
    masked: float = 0.0
    incident: float = 0.0
    codes: int = 0
    passes: float = 0.0
    embedded: int = 1
    pools: bool = False


def forward_flops(shape: Shape, work: ForwardPass) -> float:
    """Floating-point operations of a forward pass: two per multiply-add of every matrix product.

    Elementwise operations are not counted. Embeddings are projected once per position, although the encoder
    projects the whole table where that is smaller.
    """
    d, embedding, features = shape.width, shape.embedding, TIME_FEATURES + COUNT_FEATURES
    projection = embedding * d if shape.factorised else 0
    per_key = 2 * d * d
    per_query = 2 * d * d + 2 * work.mean_length * d + 3 * d * shape.feed_forward
    queries = work.tokens if work.queries is None else work.queries
    total = work.tokens * work.embedded * (features * d + projection)
    total += work.tokens * (shape.layers * per_key + (shape.layers - 1) * per_query) + queries * per_query
    total += work.masked * (d * d + projection + shape.vocabulary * embedding)
    per_code = embedding + shape.causes + PAIRS_PER_CODE
    total += work.incident * (d * d + projection + d * embedding + work.codes * per_code)
    total += work.passes * work.codes * embedding * shape.causes
    if work.pools:
        total += work.tokens * d * (d + shape.causes)
    if work.incident:
        total += work.tokens * features * embedding
    return 2.0 * total


def pretraining_flops(
    shape: Shape,
    tokens: float,
    masked: float,
    incident: float = 0.0,
    mean_length: float = 0.0,
    passes: float = 0.0,
) -> float:
    """Operations of pretraining on so many tokens, with `masked` codes and `incident` dated sequences.

    `passes` are the microbatches: each transforms the embeddings of all codes once.

    The last layer runs at masked positions and at the [CLS] of dated sequences only. Dated sequences are
    embedded a second time, without masks.
    """
    queries, dated = masked + incident, incident > 0
    work = ForwardPass(
        tokens, mean_length, queries, masked, incident, shape.vocabulary, passes * dated, 1 + dated, dated
    )
    return TRAINING_PASSES * forward_flops(shape, work)


def classifier_flops(shape: Shape, lengths: np.ndarray, zero_shot: bool = False) -> float:
    """Operations of one forward pass of a classifier, or of embedding, on sequences of these lengths [n].

    `zero_shot` says whether incident codes are predicted as well.
    """
    tokens = float(lengths.sum())
    mean_length = float(np.square(lengths, dtype=np.float64).sum()) / max(tokens, 1.0)
    work = ForwardPass(tokens, mean_length, incident=len(lengths) if zero_shot else 0, pools=True)
    return forward_flops(shape, work)


def solve(target: int, vocabulary: int, groups: int) -> Shape:
    """The shape whose parameters are within 2 % of the target, for a vocabulary and its code groups.

    Candidates have widths and depths that only grow; the one whose feed-forward is closest to 8/3 of the
    width is chosen. A larger target therefore never has a narrower or shallower encoder. `groups` is 0
    without hierarchical embeddings.

    Raises BadInput, with the nearest possible target, if no shape is within 2 %.
    """
    if shape := _closest(target, vocabulary, groups):
        return shape
    near = _nearest(target, vocabulary, groups)
    raise BadInput(
        f"sizes: {target:,} parameters are impossible for a vocabulary of {vocabulary:,} codes"
        + (f"; the nearest possible size has {parameters(near):,}" if near else "")
    )


def _nearest(target: int, vocabulary: int, groups: int) -> Shape | None:
    """The possible shape nearest to an impossible target."""
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
        # Without feed-forward layers parameters only grow along the ladder: larger shapes need not be tried.
        bare = (
            Shape(vocabulary, width, layers, 0, min(embedding, width), groups) for width, layers in _ladder()
        )
        smaller = itertools.takewhile(lambda shape: parameters(shape) < target, bare)
        fitting = [filled for shape in smaller if (filled := _fill(target, shape))]
        if fitting:
            return min(
                fitting, key=lambda shape: abs(math.log(shape.feed_forward / shape.width / IDEAL_ASPECT))
            )
    return None


def _ladder() -> Iterator[tuple[int, int]]:
    """Pairs of width and layers, neither ever falling."""
    layers = 1
    for width in range(WIDTH_STEP, WIDEST + 1, WIDTH_STEP):
        # Width 64 stays shallow: twice the width lowers the loss more than a third layer, and runs faster.
        deepest = 2 if width == WIDTH_STEP else round(3 + width / 80)
        for depth in range(layers, deepest + 1):
            yield width, depth
        layers = deepest


def _fill(target: int, shape: Shape) -> Shape | None:
    """The shape with the feed-forward that meets the target, if there is one."""
    room = (target - parameters(shape)) / (3 * shape.width * shape.layers)
    if room < SMALLEST_ASPECT * shape.width:
        return None
    for multiple in (32, 16, 8):  # rounder numbers run faster on a GPU
        filled = replace(shape, feed_forward=max(1, round(room / multiple)) * multiple)
        if abs(parameters(filled) - target) <= TOLERANCE * target:
            return filled
    return None

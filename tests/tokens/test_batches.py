import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from claimscale.tokens.batches import Batch, Batches, MaskUnit, assigned_to_ranks, mask_batch, microbatches
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import FIRST_CODE, MASK


def _sequences(count: int = 200, longest: int = 90, seed: int = 0) -> Sequences:
    random = np.random.default_rng(seed)
    lengths = random.integers(3, longest, count)
    offsets = np.r_[0, np.cumsum(lengths)]
    token = random.integers(FIRST_CODE, 50, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    return Sequences(token, random.integers(0, 30_000, offsets[-1]).astype(np.int32), offsets)


def _assert_faithful(batch: Batch, sequences: Sequences) -> None:
    """Whole sequences one after the other, shortest first, and nothing between them."""
    offsets = sequences.offsets.tolist()
    spans = [np.arange(offsets[index], offsets[index + 1]) for index in batch.index.tolist()]
    assert batch.lengths.tolist() == sorted(len(span) for span in spans)
    source = np.concatenate(spans)
    np.testing.assert_array_equal(batch.source, source)
    np.testing.assert_array_equal(batch.token, sequences.token[source])
    np.testing.assert_array_equal(batch.age_days, sequences.age_days[source])
    newest = np.repeat([sequences.age_days[span[0]] for span in spans], batch.lengths)
    np.testing.assert_array_equal(batch.days, batch.age_days - newest)


def test_every_epoch_holds_every_sequence_once_in_a_new_order() -> None:
    sequences = _sequences()
    batches = Batches(sequences, 1000, seed=3, microbatch_tokens=400)
    epochs = []
    for epoch in range(2):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        chosen_steps = [list(batches.microbatches(step)) for step in steps]
        for part in itertools.chain.from_iterable(chosen_steps):
            _assert_faithful(part, sequences)
            assert len(part.token) <= 400
        tokens = [sum(len(part.token) for part in parts) for parts in chosen_steps]
        assert all(800 < count < 1200 for count in tokens)
        epochs.append([index for parts in chosen_steps for part in parts for index in part.index.tolist()])
        assert sorted(epochs[-1]) == list(range(len(sequences)))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("microbatch_tokens", [64, 150, 700, 5000])
def test_parts_are_few_and_about_equal(microbatch_tokens: int) -> None:
    sequences = _sequences()
    parts = list(microbatches(sequences, np.arange(len(sequences)), microbatch_tokens))
    lengths = [len(part.token) for part in parts]
    total, longest = int(sequences.lengths.sum()), int(sequences.lengths.max())
    assert sum(lengths) == total
    assert max(lengths) <= max(microbatch_tokens, longest)
    if longest < microbatch_tokens / 4:
        assert len(parts) <= total / (microbatch_tokens - longest) + 1
        assert max(lengths) - min(lengths) <= 2 * longest


def test_any_step_can_be_rebuilt_alone() -> None:
    sequences = _sequences()
    batches = Batches(sequences, 1000, seed=3)
    walked = [batches.microbatches(step) for step in range(2 * batches.steps_per_epoch)]
    for step in (0, 5, len(walked) - 1):
        for ours, theirs in zip(
            Batches(sequences, 1000, seed=3).microbatches(step), walked[step], strict=True
        ):
            np.testing.assert_array_equal(ours.token, theirs.token)
            np.testing.assert_array_equal(ours.index, theirs.index)
            first, second = (mask_batch(batch, 0.3, 3, step) for batch in (ours, theirs))
            np.testing.assert_array_equal(first.position, second.position)
    other = Batches(sequences, 1000, seed=4).microbatches(0)[0].index
    assert not np.array_equal(np.sort(other), np.sort(walked[0][0].index))


@given(st.integers(1, 40), st.integers(4, 200), st.integers(64, 5000))
def test_no_step_is_empty(count: int, longest: int, batch_tokens: int) -> None:
    batches = Batches(_sequences(count, longest), batch_tokens, seed=0)
    assert all(batches.microbatches(step) for step in range(batches.steps_per_epoch))


def test_only_the_chosen_sequences_are_used() -> None:
    sequences, chosen = _sequences(), np.array([3, 8, 100])
    batches = Batches(sequences, 64, 0, index=chosen)
    chosen_steps = [
        i
        for step in range(batches.steps_per_epoch)
        for part in batches.microbatches(step)
        for i in part.index
    ]
    assert sorted(chosen_steps) == chosen.tolist()
    assert batches.tokens_per_epoch == sequences.lengths[chosen].sum()


@pytest.mark.parametrize("unit", ["token", "code"])
@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.3, 0.45, 0.9])
def test_masking_hides_about_this_share_of_the_codes_and_codes_only(fraction: float, unit: MaskUnit) -> None:
    (batch,) = microbatches(_sequences(2000), np.arange(2000), 1 << 20)
    masked = mask_batch(batch, fraction, 1, 2, unit)
    assert (batch.token[masked.position] >= FIRST_CODE).all()
    np.testing.assert_array_equal(masked.target, batch.token[masked.position])
    hidden = np.flatnonzero(masked.token != batch.token)
    np.testing.assert_array_equal(hidden, masked.position)
    assert (masked.token[hidden] == MASK).all()
    codes = (batch.token >= FIRST_CODE).sum()
    assert len(masked.position) / codes == pytest.approx(fraction, abs=0.01)
    assert not np.array_equal(masked.position, mask_batch(batch, fraction, 1, 3, unit).position)
    assert not np.array_equal(masked.position, mask_batch(batch, fraction, 2, 2, unit).position)


def test_masking_by_code_hides_every_occurrence_or_none() -> None:
    sequences = _sequences(300)
    (batch,) = microbatches(sequences, np.arange(300), 1 << 20)
    masked = mask_batch(batch, 0.3, 1, 2, "code")
    hidden = masked.token != batch.token
    partly, shares = 0, []
    for end, length in zip(np.cumsum(batch.lengths), batch.lengths, strict=True):
        span = slice(end - length + 2, end)
        chosen = set(batch.token[span][hidden[span]].tolist())
        assert not chosen & set(batch.token[span][~hidden[span]].tolist())
        partly += 0 < hidden[span].sum() < span.stop - span.start
        if span.stop - span.start > 40:
            shares.append(hidden[span].mean())
    assert partly > 200, "most sequences show some codes and hide others"
    assert max(shares) < 0.45 and min(shares) > 0.15, "each sequence is near the share"
    by_position = mask_batch(batch, 0.3, 1, 2)
    shown = batch.token[by_position.token == batch.token]
    assert set(shown.tolist()) & set(by_position.target.tolist()), "by position, a copy may be left to see"


@pytest.mark.parametrize("unit", ["token", "code"])
def test_the_expected_share_of_a_sequence_is_exact(unit: MaskUnit) -> None:
    token = np.array([1, 3, 7, 7, 7, 7, 8, 9], np.int32)
    sequences = Sequences(token, np.zeros(8, np.int32), np.array([0, 8]))
    (batch,) = microbatches(sequences, np.array([0]), 64)
    counts = np.zeros(10)
    for step in range(6000):
        np.add.at(counts, mask_batch(batch, 0.3, 0, step, unit).target, 1)
    assert counts.sum() / 6000 == pytest.approx(0.3 * 6, abs=0.06)
    assert (counts[[7, 8, 9]] > 0).all()
    if unit == "token":
        assert counts[[7, 8, 9]] / 6000 == pytest.approx([1.2, 0.3, 0.3], abs=0.05)


def test_one_code_alone_is_hidden_in_its_share_of_the_steps() -> None:
    sequences = Sequences(np.array([1, 3, 9], np.int32), np.zeros(3, np.int32), np.array([0, 3]))
    (batch,) = microbatches(sequences, np.array([0]), 64)
    for unit in ("token", "code"):
        hidden = [len(mask_batch(batch, 0.3, 0, step, unit).position) for step in range(4000)]
        assert np.mean(hidden) == pytest.approx(0.3, abs=0.03)


def _hidden_places(
    sequences: Sequences, unit: MaskUnit, microbatch_tokens: int, ranks: int
) -> list[set[int]]:
    """Per step the places in the corpus that are hidden, over all ranks; and all that is there."""
    steps: list[set[int]] = []
    for rank in range(ranks):
        batches = Batches(sequences, 700, 5, microbatch_tokens=microbatch_tokens, rank=rank, ranks=ranks)
        steps = steps or [set() for _ in range(2 * batches.steps_per_epoch)]
        for step, places in enumerate(steps):
            for batch in batches.microbatches(step):
                found = set(batch.source[mask_batch(batch, 0.3, 5, step, unit).position].tolist())
                assert not found & places, "no sequence is given to two ranks"
                places |= found
    return steps


@pytest.mark.parametrize("unit", ["token", "code"])
def test_ranks_and_parts_change_neither_the_order_nor_what_is_masked(unit: MaskUnit) -> None:
    sequences = _sequences(count=60)
    expected = _hidden_places(sequences, unit, 4096, ranks=1)
    assert all(expected)
    for microbatch_tokens, ranks in ((64, 1), (4096, 2), (256, 4), (256, 64)):
        assert _hidden_places(sequences, unit, microbatch_tokens, ranks) == expected


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_each_step_evenly(ranks: int) -> None:
    sequences = _sequences(count=400)
    shares = [Batches(sequences, 4000, 3, rank=rank, ranks=ranks) for rank in range(ranks)]
    whole = Batches(sequences, 4000, 3)
    for step in range(whole.steps_per_epoch):
        members = [share.shard(step) for share in shares]
        assert sorted(np.concatenate(members)) == sorted(whole.shard(step))
        tokens = [int(sequences.lengths[chosen].sum()) for chosen in members]
        assert max(tokens) - min(tokens) <= int(sequences.lengths.max())


@given(st.lists(st.integers(1, 512), max_size=50), st.integers(1, 8))
def test_ranks_get_even_numbers_and_lengths(lengths: list[int], ranks: int) -> None:
    given_to = assigned_to_ranks(np.array(lengths, np.int64), ranks)
    counts = np.bincount(given_to, minlength=ranks)
    tokens = np.bincount(given_to, weights=lengths, minlength=ranks) if lengths else np.zeros(ranks)
    assert counts.sum() == len(lengths) and counts.max() - counts.min() <= 1
    assert tokens.max() - tokens.min() <= max(lengths, default=0)

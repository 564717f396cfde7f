import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from claimscale.corpus.batches import Batch, Batches, in_parts, mask_batch
from claimscale.corpus.sequences import FIRST_CODE, MASK, Sequences


def _sequences(count: int = 200, longest: int = 90, seed: int = 0) -> Sequences:
    random = np.random.default_rng(seed)
    lengths = random.integers(3, longest, count)
    offsets = np.r_[0, np.cumsum(lengths)]
    token = random.integers(FIRST_CODE, 50, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    return Sequences(token, random.integers(0, 30_000, offsets[-1]).astype(np.int32), offsets)


def _assert_faithful(batch: Batch, sequences: Sequences) -> None:
    """Whole sequences one after the other, shortest first, and nothing between them."""
    spans = [np.arange(sequences.offsets[index], sequences.offsets[index + 1]) for index in batch.index]
    assert batch.lengths.tolist() == sorted(len(span) for span in spans)
    source = np.concatenate(spans)
    np.testing.assert_array_equal(batch.source, source)
    np.testing.assert_array_equal(batch.token, sequences.token[source])
    np.testing.assert_array_equal(batch.age_days, sequences.age_days[source])
    newest = np.repeat([sequences.age_days[span[0]] for span in spans], batch.lengths)
    np.testing.assert_array_equal(batch.days, batch.age_days - newest)


def test_every_epoch_holds_every_sequence_once_in_a_new_order():
    sequences = _sequences()
    batches = Batches(sequences, 1000, seed=3, part_positions=400)
    epochs = []
    for epoch in range(2):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        drawn = [list(batches.parts(step)) for step in steps]
        for part in itertools.chain.from_iterable(drawn):
            _assert_faithful(part, sequences)
            assert len(part.token) <= 400
        tokens = [sum(len(part.token) for part in parts) for parts in drawn]
        assert all(800 < count < 1200 for count in tokens)
        epochs.append([index for parts in drawn for part in parts for index in part.index.tolist()])
        assert sorted(epochs[-1]) == list(range(len(sequences)))
    assert epochs[0] != epochs[1]


def test_any_step_can_be_rebuilt_alone():
    sequences = _sequences()
    batches = Batches(sequences, 1000, seed=3)
    walked = [batches.parts(step) for step in range(2 * batches.steps_per_epoch)]
    for step in (0, 5, len(walked) - 1):
        for ours, theirs in zip(Batches(sequences, 1000, seed=3).parts(step), walked[step], strict=True):
            np.testing.assert_array_equal(ours.token, theirs.token)
            np.testing.assert_array_equal(ours.index, theirs.index)
            first, second = (mask_batch(batch, 0.3, 3, step) for batch in (ours, theirs))
            np.testing.assert_array_equal(first.position, second.position)
    other = Batches(sequences, 1000, seed=4).parts(0)[0].index
    assert not np.array_equal(np.sort(other), np.sort(walked[0][0].index))


@given(st.integers(1, 40), st.integers(4, 200), st.integers(64, 5000))
def test_no_step_is_empty(count: int, longest: int, batch_tokens: int):
    batches = Batches(_sequences(count, longest), batch_tokens, seed=0)
    assert all(batches.parts(step) for step in range(batches.steps_per_epoch))


def test_only_the_chosen_sequences_are_drawn():
    sequences, chosen = _sequences(), np.array([3, 8, 100])
    batches = Batches(sequences, 64, 0, index=chosen)
    drawn = [i for step in range(batches.steps_per_epoch) for part in batches.parts(step) for i in part.index]
    assert sorted(drawn) == chosen.tolist()
    assert batches.tokens_per_epoch == sequences.lengths[chosen].sum()


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.9])
def test_masking_hides_codes_only(fraction: float):
    (batch,) = in_parts(_sequences(2000), np.arange(2000), 1 << 20)
    masked = mask_batch(batch, fraction, 1, 2)
    assert (batch.token[masked.position] >= FIRST_CODE).all()
    np.testing.assert_array_equal(masked.target, batch.token[masked.position])
    hidden = np.flatnonzero(masked.token != batch.token)
    np.testing.assert_array_equal(hidden, masked.position)
    assert (masked.token[hidden] == MASK).all()
    codes = (batch.token >= FIRST_CODE).sum()
    assert len(masked.position) / codes == pytest.approx(fraction, abs=0.01)
    assert not np.array_equal(masked.position, mask_batch(batch, fraction, 1, 3).position)


def test_at_least_one_code_is_masked():
    sequences = Sequences(np.array([1, 3, 9], np.int32), np.zeros(3, np.int32), np.array([0, 3]))
    (batch,) = in_parts(sequences, np.array([0]), 64)
    for step in range(20):
        assert mask_batch(batch, 1e-9, 0, step).target.tolist() == [9]

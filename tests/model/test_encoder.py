import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from claimscale.model import kernels, shapes
from claimscale.model.attention import BatchLayout, QueryPositions
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import (
    LONGEST_AGO,
    Encoder,
    EncoderInputs,
    IncidentTargets,
    newest_code_days,
)
from claimscale.model.record_sums import RecordSums
from claimscale.model.shapes import PAIRS_PER_CODE
from claimscale.tokens.batches import Batch, microbatches
from claimscale.tokens.code_pairs import CodePairs
from claimscale.tokens.sequences import WINDOWS_DAYS, Sequences
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training.device import encoder_inputs

VOCABULARY = 40
SHAPE = shapes.Shape(VOCABULARY, 64, 2, 96, 64)


def _sequences(lengths: list[int], seed: int = 0) -> Sequences:
    random = np.random.default_rng(seed)
    offsets = np.r_[0, np.cumsum(lengths)]
    token = random.integers(6, VOCABULARY, offsets[-1]).astype(np.int32)
    token[offsets[:-1]], token[offsets[:-1] + 1] = 1, 3
    # Few distinct days, so that many codes share one.
    age = (20_000 + 30 * random.integers(0, 8, offsets[-1])).astype(np.int32)
    age[offsets[:-1]] = age[offsets[:-1] + 1] = 20_300
    return Sequences(token, age, offsets)


def _encoder(shape: shapes.Shape = SHAPE) -> Encoder:
    torch.manual_seed(1)
    return Encoder(shape, TokenMetadata.plain(np.arange(shape.vocabulary) % 8))


def _inputs(batch: Batch) -> EncoderInputs:
    return encoder_inputs(batch, batch.token, torch.device("cpu"))


def _states(encoder: Encoder, batch: Batch, read: np.ndarray | None = None) -> torch.Tensor:
    places = None if read is None else QueryPositions.of(read, batch.lengths, torch.device("cpu"))
    return encoder(_inputs(batch), places).detach()


def _random_sums(sequences: int) -> RecordSums:
    return RecordSums(torch.randn(sequences, SHAPE.width), torch.randn(sequences, SHAPE.causes))


def _whole(sequences: Sequences) -> Batch:
    (batch,) = microbatches(sequences, np.arange(len(sequences)), 1 << 20)
    return batch


def _by_source(states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """States in the order of the flat sequences."""
    return states[torch.from_numpy(np.argsort(batch.source))]


@pytest.mark.parametrize("shape", [SHAPE, shapes.Shape(VOCABULARY, 128, 1, 64, 16)])
def test_shapes_of_states_and_logits(shape: shapes.Shape):
    encoder, batch = _encoder(shape), _whole(_sequences([9, 30, 12]))
    states = _states(encoder, batch)
    assert states.shape == (len(batch.token), shape.width)
    assert encoder.masked_logits(states[:5]).shape == (5, VOCABULARY)


def test_order_of_codes_of_one_day_does_not_matter():
    sequences, encoder = _sequences([50, 21]), _encoder()
    random = np.random.default_rng(5)
    order = np.arange(len(sequences.token))
    for start, stop in zip(sequences.offsets[:-1] + 2, sequences.offsets[1:], strict=True):
        for day in np.unique(sequences.age_days[start:stop]):
            same = start + np.flatnonzero(sequences.age_days[start:stop] == day)
            order[same] = random.permutation(same)
    assert (order != np.arange(len(order))).any()
    permuted = Sequences(sequences.token[order], sequences.age_days[order], sequences.offsets)
    before, after = (
        encoder.masked_logits(_by_source(_states(encoder, batch), batch))
        for batch in (_whole(sequences), _whole(permuted))
    )
    torch.testing.assert_close(after, before[torch.from_numpy(order)], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("embedding", [64, 16])
def test_codes_are_token_states_alike_by_position_and_from_a_table(embedding: int):
    encoder = _encoder(shapes.Shape(VOCABULARY, 64, 1, 64, embedding))
    token = torch.arange(VOCABULARY).repeat(2)
    assert len(token) > VOCABULARY
    whole, few = encoder.token_states(token), encoder.token_states(token[5:20])
    torch.testing.assert_close(whole[5:20], few, atol=1e-5, rtol=1e-5)


def test_days_between_codes_matter():
    sequences, encoder = _sequences([20]), _encoder()
    age = sequences.age_days.copy()
    age[10:] += 400
    moved = Sequences(sequences.token, age, sequences.offsets)
    difference = _states(encoder, _whole(sequences))[0] - _states(encoder, _whole(moved))[0]
    assert difference.abs().max() > 1e-3


def test_neighbours_do_not_reach_a_sequence():
    encoder = _encoder()
    together = _sequences([9, 10, 10, 37])
    batch = _whole(together)
    states = _by_source(_states(encoder, batch), batch)
    for n, (start, stop) in enumerate(itertools.pairwise(together.offsets)):
        (alone,) = microbatches(together, np.array([n]), 1)
        torch.testing.assert_close(states[start:stop], _states(encoder, alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("read", [[3, 0, 17, 50], [63], [40, 40, 41, 2, 63], list(range(64))[::-1]])
def test_query_positions_have_the_states_and_gradients_of_all(read: list[int]):
    """Also where sequences of one length are read at different numbers of positions, or not at all."""
    batch, weights = _whole(_sequences([12, 12, 40])), torch.randn(len(read), SHAPE.width)
    found = []
    for places in (QueryPositions.of(np.array(read), batch.lengths, torch.device("cpu")), None):
        encoder = _encoder()
        states = encoder(_inputs(batch), places)
        states = states if places is not None else states[read]
        (states * weights).sum().backward()
        gradients = {name: w.grad for name, w in encoder.named_parameters() if w.grad is not None}
        found.append((states.detach(), gradients))
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-4)


def test_half_precision_without_fused_kernels_stays_close(monkeypatch: pytest.MonkeyPatch):
    """What a GPU runs, on a CPU."""
    encoder, batch = _encoder(), _whole(_sequences([12, 40, 33]))
    exact = _states(encoder, batch)
    monkeypatch.setattr(kernels, "is_fused", lambda x: False)
    torch.testing.assert_close(_states(encoder, batch), exact, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = _states(encoder, batch)
        loss = encoder.masked_loss(rounded, torch.full((len(rounded),), 7))
    assert (rounded - exact).abs().mean() < 0.03
    assert rounded.dtype == torch.float32 and loss.isfinite()


def test_the_classifier_starts_at_zero_and_learns():
    classifier, batch = EncoderClassifier(_encoder()), _whole(_sequences([12, 20]))
    logit = classifier(_inputs(batch))
    assert logit.tolist() == [0.0, 0.0]
    logit.sum().backward()
    assert classifier.weight.grad is not None and classifier.weight.grad.abs().sum() > 0


def test_a_code_embedding_is_the_sum_with_its_groups() -> None:
    groups = np.full((VOCABULARY, 2), -1, np.int32)
    groups[10], groups[11], groups[12] = (0, 1), (0, -1), (2, -1)
    torch.manual_seed(1)
    encoder = Encoder(replace(SHAPE, groups=3), TokenMetadata(np.zeros(VOCABULARY), groups))
    own, shared = encoder.token.weight, encoder.group.weight
    found = encoder.code_embeddings()
    assert torch.allclose(found[10], (own[10] + shared[0] + shared[1]) / 3**0.5)
    assert torch.allclose(found[11], (own[11] + shared[0]) / 2**0.5)
    assert torch.equal(found[20], own[20])
    assert 0.8 < (found.std() / own.std()).item() < 1.2, "no code starts louder than another"
    found[10].sum().backward()
    gradient = encoder.group.weight.grad
    assert gradient is not None and gradient[:2].all() and not gradient[2].any()
    assert sum(weight.numel() for weight in encoder.parameters()) == shapes.parameters(encoder.shape)


def test_the_incident_loss_covers_codes_at_risk_only() -> None:
    encoder, hidden = _encoder(), torch.randn(3, SHAPE.width)
    inputs = _inputs(_whole(_sequences([5, 7, 9])))
    new = torch.tensor([[0, 0, 1], [10, 11, 12]])
    known = torch.tensor([[0, 1, 1], [20, 21, 22]])
    context = torch.randn(21, SHAPE.width)
    sums = encoder.record_sums(encoder.embed(inputs), context, inputs.layout)
    logits = encoder.incident_logits(hidden, sums, inputs).detach().double()
    expected = 0.0
    for row, at_risk in ((0, {20}), (1, {21, 22})):
        for code in set(range(6, VOCABULARY)) - at_risk:
            happened = (row, code) in {(0, 10), (0, 11), (1, 12)}
            expected -= torch.nn.functional.logsigmoid(logits[row, code] * (1 if happened else -1)).item()
    outcomes = IncidentTargets(new, known, torch.tensor([True, True, False]))
    assert encoder.incident_loss(hidden, context, inputs, outcomes).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("rule", ["recurrence", "own_recurrence"])
def test_recurrence_changes_codes_of_the_sequence_only(rule: str) -> None:
    encoder, batch = _encoder(), _whole(_sequences([5, 7]))
    inputs, hidden, sums = _inputs(batch), torch.randn(2, SHAPE.width), _random_sums(2)
    before = encoder.incident_logits(hidden, sums, inputs)
    torch.nn.init.ones_(encoder.get_submodule(rule).weight)
    changed = (encoder.incident_logits(hidden, sums, inputs) != before).numpy()
    for row, start, stop in ((0, 0, 5), (1, 5, 12)):
        assert set(np.flatnonzero(changed[row])) == set(batch.token[start:stop].tolist())


def test_sum_pooling_sums_over_one_sequence() -> None:
    encoder, hidden = _encoder(), torch.randn(2, SHAPE.width)
    batch = _whole(_sequences([5, 7]))
    inputs = _inputs(batch)
    states = encoder.embed(inputs)
    each = encoder.sum_pooling(states, BatchLayout.of(np.ones(12, np.int64), torch.device("cpu")))
    both = encoder.sum_pooling(states, inputs.layout)
    torch.testing.assert_close(both, torch.stack((each[:5].sum(0), each[5:].sum(0))))
    sums = _random_sums(2)._replace(states=both)
    before = encoder.incident_logits(hidden, sums, inputs)
    torch.nn.init.normal_(encoder.sum_pooling.down.weight)
    assert (encoder.incident_logits(hidden, sums, inputs) != before).any(1).all()


def test_hazards_of_a_record_add_over_its_positions() -> None:
    encoder, inputs = _encoder(), _inputs(_whole(_sequences([5, 7])))
    states, context = encoder.embed(inputs), torch.randn(12, SHAPE.width)
    alone = BatchLayout.of(np.ones(12, np.int64), torch.device("cpu"))
    embeddings = encoder.code_embeddings()

    def hazards(layout: BatchLayout) -> torch.Tensor:
        log_hazards = encoder.hazards(states, context, layout)
        return encoder.hazards.code_logits(log_hazards, embeddings, slice(None)).exp()

    each, both = hazards(alone), hazards(inputs.layout)
    torch.testing.assert_close(both, torch.stack((each[:5].sum(0), each[5:].sum(0))))
    assert (each > 0).all(), "no code lowers the hazard of another"


def test_hazards_add_to_the_odds_of_the_states() -> None:
    encoder, inputs = _encoder(), _inputs(_whole(_sequences([5, 7])))
    hidden, sums = torch.randn(2, SHAPE.width), _random_sums(2)

    def odds() -> torch.Tensor:
        return encoder.incident_logits(hidden, sums, inputs).exp()

    both = odds()
    bias, hazard_bias = encoder.incident_head.bias.data, encoder.hazards.bias.data
    hazard_bias -= 60
    states_alone = odds()
    hazard_bias += 60
    bias -= 60
    torch.testing.assert_close(states_alone + odds(), both, rtol=1e-4, atol=1e-6)


def test_it_starts_at_the_log_odds_of_each_code() -> None:
    """On average over records: what they contain is not yet known to matter."""
    log_odds = np.linspace(-9, -2, VOCABULARY)
    batch = _whole(_sequences([66] * 200))
    inputs, found = _inputs(batch), []
    for seed in range(5):
        torch.manual_seed(seed)
        encoder = Encoder(SHAPE, TokenMetadata.plain(np.arange(VOCABULARY) % 8))
        encoder.start_at(log_odds)
        with torch.no_grad():
            final, context = encoder.attend(encoder.embed(inputs), inputs)
            sums = encoder.record_sums(encoder.embed(inputs), context, inputs.layout)
            found.append(encoder.incident_logits(final[inputs.layout.bounds[:-1].long()], sums, inputs))
    offset = torch.stack(found).mean((0, 1)).numpy() - log_odds
    assert abs(offset.mean()) < 0.2 and np.abs(offset).max() < 1


def test_logits_of_some_codes_are_those_of_all() -> None:
    encoder, inputs = _encoder(), _inputs(_whole(_sequences([5, 7, 30])))
    for linear in (encoder.recurrence, encoder.own_recurrence, encoder.activity, encoder.sum_pooling.down):
        torch.nn.init.normal_(linear.weight)
    hidden, sums = torch.randn(3, SHAPE.width), _random_sums(3)
    codes = torch.unique(inputs.token.long())[[2, -1, 3]]
    some = encoder.incident_logits(hidden, sums, inputs, codes)
    torch.testing.assert_close(some, encoder.incident_logits(hidden, sums, inputs)[:, codes])


def test_counts_change_the_states() -> None:
    encoder, sequences = _encoder(), _sequences([9])
    for window in range(len(WINDOWS_DAYS)):
        count = sequences.count.copy()
        count[8, window] += 4
        often = Sequences(sequences.token, sequences.age_days, sequences.offsets, count)
        assert not torch.allclose(_states(encoder, _whole(sequences)), _states(encoder, _whole(often)))


def test_cls_knows_the_days_since_the_newest_code() -> None:
    sequences = _sequences([9, 2, 5, 6])
    age = sequences.age_days.copy()
    age[16:] -= 5000  # the newest code of the last sequence lies years back
    age[16:18] += 5000
    batch = _whole(Sequences(sequences.token, age, sequences.offsets))
    days, starts = newest_code_days(_inputs(batch)), np.cumsum(batch.lengths) - batch.lengths
    for start, length in zip(starts.tolist(), batch.lengths.tolist(), strict=True):
        codes = batch.days[start + 2 : start + length]
        assert days[start] == max([*codes.tolist(), LONGEST_AGO])
        assert days[start + 1 : start + length].tolist() == batch.days[start + 1 : start + length].tolist()
    assert (days[torch.from_numpy(starts)] == LONGEST_AGO).sum() == 2


def test_activity_is_shared_by_all_codes() -> None:
    encoder, batch = _encoder(), _whole(_sequences([9, 30, 12]))
    inputs = _inputs(batch)
    hidden, sums = torch.randn(3, 64), _random_sums(3)
    before = encoder.incident_logits(hidden, sums, inputs)
    torch.nn.init.normal_(encoder.activity.weight)
    rise = encoder.incident_logits(hidden, sums, inputs) - before
    assert torch.allclose(rise, rise[:, :1].expand_as(rise), atol=1e-4) and (rise[:, 0].abs() > 1e-3).all()


def _pairs(later: int, earlier: int, rate: float) -> CodePairs:
    pairs = CodePairs.none(VOCABULARY, PAIRS_PER_CODE)
    pairs.earlier[later, 0], pairs.log_rates[later, 0] = earlier, math.log(rate)
    return pairs


def test_a_pair_adds_its_rate_to_the_odds_of_the_later_code_alone() -> None:
    encoder, inputs = _encoder(), _inputs(_whole(_sequences([5, 7])))
    hidden, sums, first = torch.randn(2, SHAPE.width), _random_sums(2), inputs.layout.bounds[:-1].long()
    earlier = int(inputs.token[first[0] + 3])
    elsewhere = (inputs.token[first[1] :] == earlier).any()
    later = next(code for code in range(6, VOCABULARY) if code not in inputs.token)
    activity = encoder.activity(hidden).exp()[:, 0]
    before = encoder.incident_logits(hidden, sums, inputs).exp()
    encoder.pair_hazards.start_at(_pairs(later, earlier, 0.25))
    added = encoder.incident_logits(hidden, sums, inputs).exp() - before
    times = (inputs.token[first[0] : first[1]] == earlier).sum()
    torch.testing.assert_close(added[0, later], 0.25 * times * activity[0], rtol=1e-3, atol=1e-6)
    added[0, later] = 0
    assert elsewhere or added.abs().max() < 1e-4
    few = encoder.incident_logits(hidden, sums, inputs, torch.tensor([later, 7]))
    torch.testing.assert_close(few, encoder.incident_logits(hidden, sums, inputs)[:, [later, 7]])


def test_training_changes_the_rate_of_a_pair_and_its_weight_in_time() -> None:
    encoder, inputs = _encoder(), _inputs(_whole(_sequences([5, 7])))
    token = int(inputs.token[3])
    encoder.pair_hazards.start_at(_pairs(9, token, 0.25))
    logits = encoder.incident_logits(torch.randn(2, SHAPE.width), _random_sums(2), inputs)
    logits[:, 9].sum().backward()
    change, time = encoder.pair_hazards.change.grad, encoder.pair_hazards.time.grad
    assert change is not None and time is not None
    assert change[9, 0] > 0 and change.count_nonzero() == 1
    assert time[encoder.types[token]].abs().sum() > 0

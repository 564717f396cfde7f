"""The code of a GPU on a CPU: the same losses, gradients, batches and weights as the code of a CPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from claimscale.config.training import Pretrain
from claimscale.model import attention, kernels, shapes
from claimscale.model.attention import BatchLayout, QueryPositions
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.cross_entropy import incident_cross_entropy
from claimscale.model.encoder import Encoder, IncidentTargets
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.training import compiled, device as devices, finetune_trainer, validation
from claimscale.training.optimizer_step import accumulate_gradients, read_losses
from claimscale.training.packed import PackedMicrobatch
from claimscale.training.pretraining_run import PretrainingRun, PretrainingSetup

CPU = torch.device("cpu")
VOCABULARY, GROUPS = 46, 5
SHAPE = shapes.Shape(VOCABULARY, 64, 2, 96, 16, GROUPS)
GROUP = np.arange(VOCABULARY)[:, None] % np.array([GROUPS, 3])
METADATA = TokenMetadata(
    (np.arange(VOCABULARY) % 8).astype(np.int8), np.where(GROUP == 2, -1, GROUP).astype(np.int32)
)
SINGLE_BOUND = 1e-6
"""Relative difference of a loss in float32."""
HALF_BOUND = 0.03
"""Relative difference of all gradients in bfloat16, whose numbers have a precision of 0.4 %."""


@pytest.fixture
def gpu_branch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A context in which a CPU runs what a GPU would run, in float32 or bfloat16, as one graph if wanted."""

    @contextmanager
    def branch(half: bool = False, as_graph: bool = False) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "on_gpu", lambda device: True)
            patch.setattr(attention, "variable_length", _variable_length)
            patch.setattr(compiled, "BACKEND", "eager")
            if not as_graph:
                patch.setattr(compiled.CompiledLoss, "__call__", lambda self, *given: self._function(*given))
            for module in (devices, finetune_trainer, validation):
                patch.setattr(
                    module,
                    "mixed_precision",
                    lambda device: torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
                )
            yield

    return branch


def _variable_length(
    queries_keys_values: tuple[torch.Tensor, ...], query_bounds: torch.Tensor, layout: BatchLayout
) -> torch.Tensor:
    """Attention by one masked matrix, which compiles without numbers of the data."""
    (query, key, value), bounds = queries_keys_values, layout.bounds
    query_row, key_row = (
        torch.searchsorted(ends, torch.arange(len(x), dtype=torch.int32), right=True)
        for ends, x in ((query_bounds, query), (bounds, key))
    )
    heads_first = (x.transpose(0, 1) for x in (query, key, value))
    same = query_row[:, None] == key_row
    return F.scaled_dot_product_attention(*heads_first, attn_mask=same).transpose(0, 1)


@pytest.fixture
def make(samples_of) -> Callable[..., PretrainingRun]:
    def run(incident: bool = True, shape: shapes.Shape = SHAPE, **settings: Any) -> PretrainingRun:
        chosen = Pretrain(**{"batch_tokens": 700, "epochs": 3, **settings})
        made = PretrainingRun(PretrainingSetup(samples_of(90, 0, incident), METADATA, shape, chosen, 1, CPU))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():  # matrices that start at zero would have gradients of zero
            for weight in made.model.parameters():
                weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
        return made

    return run


def _loss_and_gradients(run: PretrainingRun) -> tuple[float, dict[str, torch.Tensor]]:
    loss = float(accumulate_gradients(run.model, run._losses(run._work(0))))
    return loss, {name: w.grad for name, w in run.model.named_parameters() if w.grad is not None}


def _difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert found.keys() == expected.keys()
    one, other = (torch.cat([part[name].flatten() for name in expected]) for part in (found, expected))
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("incident", [False, True], ids=["masked", "incident"])
def test_losses_and_gradients_are_those_of_a_cpu(make, gpu_branch, incident: bool) -> None:
    expected, gradients = _loss_and_gradients(make(incident))
    with gpu_branch():
        loss, found = _loss_and_gradients(make(incident))
    assert loss == pytest.approx(expected, rel=SINGLE_BOUND)
    assert _difference(found, gradients) < 1e-5
    for name, gradient in gradients.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name
    with gpu_branch(half=True):
        loss, found = _loss_and_gradients(make(incident))
    assert loss == pytest.approx(expected, rel=HALF_BOUND)
    assert SINGLE_BOUND < _difference(found, gradients) < HALF_BOUND


def test_a_training_and_its_validation_are_those_of_a_cpu(make, gpu_branch, validation_of) -> None:
    usual, patients = make(), validation_of(40, 1, True)
    steps = range(usual.batches.steps_per_epoch + 1)  # over the end of an epoch
    expected = validation.validate(usual.model, patients, CPU)
    losses = [usual.step(step)[0] for step in steps]
    with gpu_branch():
        run = make()
        found = validation.validate(run.model, patients, CPU)
        readings = [run.step(step)[0] for step in steps]
    assert found == pytest.approx(expected, rel=1e-5)
    assert read_losses(readings, 0, run.batch_name) == pytest.approx(losses, rel=1e-4)


def test_the_classifier_on_a_gpu_is_that_of_a_cpu(gpu_branch, corpus) -> None:
    torch.manual_seed(3)
    classifier = EncoderClassifier(Encoder(SHAPE, METADATA), np.array([7, 9]))
    torch.nn.init.normal_(classifier.weight)
    sequences = corpus(120, 0)[0]
    expected = finetune_trainer.logits(classifier, sequences, CPU)
    with gpu_branch():
        found = finetune_trainer.logits(classifier, sequences, CPU)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with gpu_branch(half=True):
        rounded = finetune_trainer.logits(classifier, sequences, CPU)
    assert (rounded - expected).abs().mean() < 0.05 * expected.std()
    assert len(rounded.unique()) == len(expected.unique()), "logits are not rounded to bfloat16"


def test_incident_losses_without_dense_targets_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    targets = IncidentTargets(
        torch.tensor([[0, 0, 3], [7, 9, 40]]),
        torch.tensor([[0, 1, 1, 2, 3], [8, 7, 9, 8, 6]]),
        torch.tensor([True, True, False, True]),  # the third has a known code and no full horizon
    )
    found = []
    for on_gpu in (False, True):
        monkeypatch.setattr(kernels, "on_gpu", lambda device, on_gpu=on_gpu: on_gpu)
        logits = torch.linspace(-9, 4, 4 * VOCABULARY).view(4, VOCABULARY).requires_grad_()
        loss = incident_cross_entropy(logits, targets)
        loss.backward()
        assert logits.grad is not None
        found.append((loss.item(), logits.grad))
    assert found[1][0] == pytest.approx(found[0][0], rel=SINGLE_BOUND)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("read", [[3, 0, 17, 50], [63], [40, 40, 41, 2, 63]])
def test_query_positions_have_the_states_of_all(gpu_branch, corpus, read: list[int]) -> None:
    encoder, sequences = Encoder(SHAPE, METADATA), corpus(12, 0)[0]
    with gpu_branch(), torch.no_grad():
        (batch,) = devices.microbatches(sequences, np.arange(12), 1 << 20)
        inputs = devices.encoder_inputs(batch, batch.token, CPU)
        positions = QueryPositions.of(np.array(read), batch.lengths, CPU)
        torch.testing.assert_close(encoder(inputs, positions), encoder(inputs)[read], atol=1e-5, rtol=1e-5)


def test_every_size_is_compiled_once(make, gpu_branch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where torch would compile the code of a function only once in a process."""
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    for width in (64, 128):
        with gpu_branch(as_graph=True):
            run = make(shape=shapes.Shape(VOCABULARY, width, 1, 96, 16, GROUPS))
            for step in range(3):
                run.step(step)
        assert run.compiled is not None and run.compiled.entry() == {"graphs": 1, "uncompiled": 0}


def test_a_size_that_does_not_compile_says_so(make, gpu_branch, monkeypatch) -> None:
    expected, _ = _loss_and_gradients(make())
    logged: list[str] = []
    with gpu_branch(as_graph=True):
        run = make()
        monkeypatch.setattr(compiled.log, "warning", lambda text, *parts: logged.append(text % parts))
        monkeypatch.setattr(compiled, "BACKEND", "no such backend")
        loss, _ = _loss_and_gradients(run)
    assert loss == pytest.approx(expected, rel=SINGLE_BOUND)
    assert run.compiled is not None and run.compiled.entry()["uncompiled"] == 1
    assert run.compiled.note is not None and logged == [run.compiled.note.text]


def test_memory_that_runs_out_halves_the_microbatches_of_prepared_steps(make, gpu_branch) -> None:
    with gpu_branch():
        run, seen = make(), []
        whole = run._gpu_loss

        def scarce(model: Encoder, inputs: Any) -> torch.Tensor:
            if len(inputs.is_masked) > 400:
                raise torch.OutOfMemoryError("no room")
            seen.append(len(inputs.is_masked))
            return whole(model, inputs)

        run._gpu_loss = scarce
        run.batches.microbatch_tokens = 800
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("claimscale.training.memory.SMALLEST_MICROBATCH", 64)
            tokens = [run.step(step)[1] for step in range(3)]
    assert run.batches.microbatch_tokens == 400 and sum(seen) >= sum(tokens)


def test_packed_arrays_are_aligned_and_complete(make) -> None:
    run = make()
    ((batch, masked), *_), codes = run._work(0).microbatches, run._work(0).codes
    packed = PackedMicrobatch.of(batch, masked, codes, CPU)
    found = packed.to(CPU, torch.ones(2))
    assert all(start % 256 == 0 for start, _, _ in packed.places.values())
    assert (found.target[found.target >= 0].numpy() == masked.target).all()
    assert (found.queries.query[found.cls].numpy() == devices.cls_positions(batch)).all()
    bounds = found.queries.bounds
    assert bounds is not None
    for (start, stop), (first, last) in zip(
        pairwise(bounds.tolist()), pairwise(found.inputs.layout.bounds.tolist()), strict=True
    ):
        queries = found.queries.query[start:stop]
        assert ((first <= queries) & (queries < last)).all() and len(queries) >= 1

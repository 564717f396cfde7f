"""Prediction of incident codes: it is learnt, validated, and the zero-shot start of a fine-tuning."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import log_loss, roc_auc_score

from claimscale.config.training import Finetune, Pretrain
from claimscale.model import shapes
from claimscale.tokens.pretraining_inputs import PretrainingSample
from claimscale.training import finetune_trainer
from claimscale.training.cost import CostMeter
from claimscale.training.finetune_trainer import FinetuneTrainer, LabelledSequences
from claimscale.training.initialization import Initialization
from claimscale.training.pretraining import pretrain
from claimscale.training.validation import Validation

CPU = torch.device("cpu")
CODES_PER_TOPIC = 10
FIRST_TOPIC = np.arange(6, 6 + CODES_PER_TOPIC)


@pytest.fixture
def samples(corpus, next_codes):
    sequences, topic = corpus(600, 10)
    return cache(lambda epoch: PretrainingSample(sequences, next_codes(sequences, topic, epoch)))


@pytest.fixture
def pretrained(tmp_path: Path, corpus, next_codes, samples, job_of) -> tuple[Path, dict]:
    sequences, topic = corpus(200, 11)
    validation = Validation(PretrainingSample(sequences, next_codes(sequences, topic, 99)))
    settings = Pretrain(epochs=6, batch_tokens=800, incident_weight=1.0)
    result = pretrain(job_of(tmp_path / "pretrained", samples, validation, settings), lambda _: None)
    return tmp_path / "pretrained" / "model.safetensors", result


def test_the_zero_shot_prediction_ranks_patients(pretrained, tune, tmp_path: Path, corpus) -> None:
    start, result = pretrained
    # Knowing the topic, three of about six codes come; knowing nothing, three of about thirty-three.
    known, nothing = 2 * np.log(2), np.log(11) + 10 * np.log(11 / 10)
    assert result["validation_loss_incident"] < 0.5 * known + 0.5 * nothing
    (test, topic), (few, _), (tuning, _) = corpus(400, 2), corpus(30, 0), corpus(30, 1)
    random = np.random.default_rng(0)
    _, probability = tune(
        tmp_path,
        (few, random.random(30) < 0.3),
        (tuning, random.random(30) < 0.3),
        {"test": test},
        weights=start,
        outcome_tokens=FIRST_TOPIC,
        epochs=1,
        learning_rates=[1e-9],
    )
    assert roc_auc_score(topic == 0, probability["test"]) > 0.9, "the labels are random"


def test_a_harmful_training_is_not_kept(pretrained, tune, tmp_path: Path, corpus) -> None:
    start, _ = pretrained
    (few, topic), (tuning, tuning_topic) = corpus(40, 0), corpus(80, 1)
    found, _ = tune(
        tmp_path,
        (few, topic == 1),
        (tuning, tuning_topic == 0),
        {},
        weights=start,
        outcome_tokens=FIRST_TOPIC,
        epochs=3,
        learning_rates=[2e-2],
    )
    assert found["best_epoch"] == 0, "the training patients were labelled for another topic"


@pytest.mark.parametrize(("rise", "kept"), [(-0.5, True), (0.5, True), (1.5, False)])
def test_zero_shot_is_kept_if_training_is_a_standard_error_worse(
    pretrained, corpus, shape, token_metadata, rise: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rise` of the tuning loss in standard errors."""
    (train, topic), (tuning, tuning_topic) = corpus(60, 0), corpus(20, 1)
    labelled = LabelledSequences(train, topic == 0), LabelledSequences(tuning, tuning_topic == 0)
    start = Initialization(shape, token_metadata, pretrained[0], 1, CPU, FIRST_TOPIC)
    trainer = FinetuneTrainer(*labelled, start, Finetune(), CostMeter(CPU))
    noise = torch.linspace(-1, 1, 20, dtype=torch.float64)
    after = noise + rise * float(noise.std()) / math.sqrt(20)
    models = {"start": start.model(Finetune()), "trained": start.model(Finetune())}
    losses = {id(models["start"]): torch.zeros_like(noise), id(models["trained"]): after}
    monkeypatch.setattr(trainer, "_tuning_losses", lambda model: losses[id(model)])
    chosen = trainer._better_of(models["start"], models["trained"])
    assert chosen is models["trained" if kept else "start"] and trainer.kept_zero_shot != kept
    assert trainer.zero_shot_tuning_loss == 0


@pytest.mark.parametrize("rates", [[1e30], [1e30, 1e31]])
def test_zero_shot_is_kept_if_every_learning_rate_diverges(
    pretrained, tune, tmp_path: Path, corpus, rates: list[float]
) -> None:
    (few, topic), (tuning, tuning_topic), (test, _) = corpus(40, 0), corpus(80, 1), corpus(30, 2)
    found, probability = tune(
        tmp_path,
        (few, topic == 0),
        (tuning, tuning_topic == 0),
        {"tuning": tuning, "test": test},
        weights=pretrained[0],
        outcome_tokens=FIRST_TOPIC,
        learning_rates=rates,
    )
    assert [trial["diverged"] for trial in found["trials"]] == [True] * len(rates)
    assert found["best_epoch"] == 0 and found["tuning_loss"] == found["zero_shot_tuning_loss"]
    assert found["zero_shot_tuning_loss"] == pytest.approx(
        log_loss(tuning_topic == 0, probability["tuning"]), abs=1e-6
    )
    saved = load_file(tmp_path / "model.safetensors")
    assert all(
        torch.equal(saved[f"encoder.{name}"], weight) for name, weight in load_file(pretrained[0]).items()
    )


def test_every_pass_over_patients_is_counted_once(
    pretrained, tune, tmp_path: Path, corpus, shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zero-shot predictions of the training patients, for the bias, are among them."""
    (few, topic), (tuning, tuning_topic) = corpus(40, 0), corpus(20, 1)
    passed: list[float] = []
    predicted = finetune_trainer.logits

    def counted(model, sequences, device):
        passed.append(shapes.classifier_flops(shape, sequences.lengths, True))
        return predicted(model, sequences, device)

    def counted_tune(folder: Path, progress) -> dict:
        return tune(
            folder,
            (few, topic == 0),
            (tuning, tuning_topic == 0),
            {},
            weights=pretrained[0],
            outcome_tokens=FIRST_TOPIC,
            progress=progress,
            epochs=2,
            learning_rates=[1e-3],
            checkpoint_minutes=1e-6,
        )[0]

    monkeypatch.setattr(finetune_trainer, "logits", counted)
    whole = counted_tune(tmp_path / "whole", lambda share: None)
    trained = 2 * 3 * shapes.classifier_flops(shape, few.lengths, True)
    assert whole["cost"]["tokens"] == 2 * len(few.token)
    assert passed[0] == shapes.classifier_flops(shape, few.lengths, True)
    assert whole["cost"]["flops"] == pytest.approx(trained + sum(passed), rel=1e-9)

    def stop(share: float) -> None:
        if share > 0.4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        counted_tune(tmp_path / "stopped", stop)
    again = counted_tune(tmp_path / "stopped", lambda share: None)
    assert again["cost"]["flops"] == whole["cost"]["flops"] and again["tuning_loss"] == whole["tuning_loss"]


def test_a_kept_zero_shot_model_has_no_adapters(
    pretrained, tune, tmp_path: Path, corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune_trainer, "is_worse", lambda before, after: True)
    start, _ = pretrained
    (few, topic), (tuning, tuning_topic) = corpus(40, 0), corpus(20, 1)
    found, _ = tune(
        tmp_path,
        (few, topic == 0),
        (tuning, tuning_topic == 0),
        {},
        weights=start,
        outcome_tokens=FIRST_TOPIC,
        epochs=1,
        method="lora",
    )
    assert found["best_epoch"] == 0 and found["tuning_loss"] == found["zero_shot_tuning_loss"]
    saved, before = load_file(tmp_path / "model.safetensors"), load_file(start)
    assert saved.keys() == {"weight", "bias", "zero_shot_scale"} | {f"encoder.{name}" for name in before}
    assert all(torch.equal(saved[f"encoder.{name}"], weight) for name, weight in before.items())


def test_a_step_depends_on_its_number_only(samples, run_of) -> None:
    def run() -> Any:
        return run_of(samples, Pretrain(batch_tokens=800, incident_weight=2.0))

    straight, jumping = run(), run()
    per_epoch = straight.batches.steps_per_epoch
    for step in range(per_epoch + 2):
        work = straight._work(step)
    jumped = jumping._work(per_epoch + 1)
    assert work.tokens == jumped.tokens and work.incident == jumped.incident > 0
    assert all(
        np.array_equal(one.token, other.token)
        for (_, one), (_, other) in zip(work.microbatches, jumped.microbatches, strict=True)
    )


def test_the_loss_is_linear_in_the_incident_weight(samples, run_of) -> None:
    def losses(weight: float) -> float:
        settings = Pretrain(batch_tokens=800, incident_weight=weight)
        run = run_of(samples, settings)
        return float(run.step(0)[0])

    assert losses(3) - losses(1) == pytest.approx(2 * (losses(2) - losses(1)), rel=1e-3)
    assert losses(2) > losses(1)


def test_incident_prediction_sees_masked_codes(samples, run_of, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(samples, Pretrain(batch_tokens=800, mask_probability=0.5))
    batches, seen, loss = run.batches.microbatches(0), [], run.model.incident_loss

    def has_full_horizon(hidden, context, inputs, outcomes):
        seen.append(inputs.token.numpy())
        return loss(hidden, context, inputs, outcomes)

    monkeypatch.setattr(run.model, "incident_loss", has_full_horizon)
    run.step(0)
    assert any((mask.token != batch.token).any() for batch, mask in run._prepare(0).microbatches)
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([batch.token for batch in batches]))


def test_incident_biases_start_at_the_log_odds(samples, run_of, shape) -> None:
    run = run_of(samples, Pretrain(batch_tokens=800))
    view = samples(0)
    expected = view.incident.log_odds(shape.vocabulary)
    for head in (run.model.incident_head, run.model.hazards):
        np.testing.assert_allclose(head.bias.detach().exp().numpy(), np.exp(expected) / 2, rtol=1e-5)
    assert shapes.parameters(shape) == sum(weight.numel() for weight in run.model.parameters())

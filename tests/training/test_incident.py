"""Foretelling incident codes: it is learnt, scored, and what a question of few labels begins with."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import log_loss, roc_auc_score

from claimscale.config.training import Finetune, Pretrain
from claimscale.model import shapes
from claimscale.tokens.pretraining_inputs import PretrainingSample
from claimscale.training import finetune_trainer as fit
from claimscale.training.cost import CostMeter, forward_flops
from claimscale.training.finetune import finetune
from claimscale.training.pretrain import pretrain
from claimscale.training.pretraining_job import Job
from claimscale.training.pretraining_run import PretrainingRun
from claimscale.training.validation import Validation

CPU = torch.device("cpu")
CODES_PER_TOPIC = 10


@pytest.fixture
def views(corpus, next_codes):
    sequences, topic = corpus(600, 10)
    return lambda epoch: PretrainingSample(sequences, next_codes(sequences, topic, epoch))


@pytest.fixture
def pretrained(tmp_path: Path, corpus, next_codes, views, shape, token_metadata) -> tuple[Path, dict]:
    sequences, topic = corpus(200, 11)
    validation = Validation(sequences, PretrainingSample(sequences, next_codes(sequences, topic, 99)))
    folder = tmp_path / "pretrained"
    folder.mkdir()
    job = Job(views, validation, token_metadata, shape, 1, folder, CPU)
    result = pretrain(job, Pretrain(epochs=6, batch_tokens=800, incident_weight=1.0), lambda share: None)
    return folder / "model.safetensors", result


def test_what_comes_next_is_learnt_and_answers_a_question_without_labels(
    pretrained, tmp_path: Path, corpus, shape, token_metadata
) -> None:
    start, result = pretrained
    # Knowing the topic, three of about six codes come; knowing nothing, three of about thirty-three.
    known, nothing = 2 * np.log(2), np.log(11) + 10 * np.log(11 / 10)
    assert result["validation_loss_incident"] < 0.5 * known + 0.5 * nothing
    (test, topic), (few, _), (tuning, _) = corpus(400, 2), corpus(30, 0), corpus(30, 1)
    random = np.random.default_rng(0)
    _, probability = finetune(
        train=few, train_outcome=random.random(30) < 0.3, tuning=tuning,
        tuning_outcome=random.random(30) < 0.3, predict={"test": test},
        token_metadata=token_metadata, shape=shape,
        settings=Finetune(epochs=1, learning_rates=[1e-9]), seed=1, start=start, folder=tmp_path, device=CPU,
        progress=lambda share: None, outcome=np.arange(6, 6 + CODES_PER_TOPIC),
    )  # fmt: skip
    assert roc_auc_score(topic == 0, probability["test"]) > 0.9, "labels of mere chance"


def test_training_that_makes_matters_worse_is_not_kept(
    pretrained, tmp_path: Path, corpus, shape, token_metadata
) -> None:
    start, _ = pretrained
    (few, topic), (tuning, tuning_topic) = corpus(40, 0), corpus(80, 1)
    found, _ = finetune(
        train=few, train_outcome=topic == 1, tuning=tuning, tuning_outcome=tuning_topic == 0, predict={},
        token_metadata=token_metadata,
        shape=shape, settings=Finetune(epochs=3, learning_rates=[2e-2]), seed=1,
        start=start, folder=tmp_path, device=CPU, progress=lambda share: None, outcome=np.arange(6, 16),
    )  # fmt: skip
    assert found["best_epoch"] == 0, "the training patients were labelled for another topic"


@pytest.mark.parametrize(("rise", "kept"), [(-0.5, True), (0.5, True), (1.5, False)])
def test_the_start_is_kept_only_where_training_was_worse_by_a_standard_error(
    pretrained, corpus, shape, token_metadata, rise: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rise` of the tuning loss in standard errors."""
    (train, topic), (tuning, tuning_topic) = corpus(60, 0), corpus(20, 1)
    labelled = fit.Labelled(train, topic == 0), fit.Labelled(tuning, tuning_topic == 0)
    start = fit.Initialization(shape, token_metadata, pretrained[0], 1, CPU, np.arange(6, 16))
    fitting = fit.FinetuneTrainer(*labelled, start, Finetune())
    noise = torch.linspace(-1, 1, 20, dtype=torch.float64)
    after = noise + rise * float(noise.std()) / math.sqrt(20)
    models = {"start": start.model(Finetune()), "trained": start.model(Finetune())}
    losses = {id(models["start"]): torch.zeros_like(noise), id(models["trained"]): after}
    monkeypatch.setattr(fitting, "_tuning_losses", lambda model: losses[id(model)])
    chosen = fitting._better_of(models["start"], models["trained"], CostMeter(CPU))
    assert chosen is models["trained" if kept else "start"] and fitting.kept_zero_shot != kept
    assert fitting.zero_shot_tuning_loss == 0


@pytest.mark.parametrize("rates", [[1e30], [1e30, 1e31]])
def test_where_every_learning_rate_diverges_the_start_is_kept(
    pretrained, tmp_path: Path, corpus, shape, token_metadata, rates: list[float]
) -> None:
    (few, topic), (tuning, tuning_topic), (test, _) = corpus(40, 0), corpus(80, 1), corpus(30, 2)
    found, probability = finetune(
        train=few, train_outcome=topic == 0, tuning=tuning, tuning_outcome=tuning_topic == 0,
        predict={"tuning": tuning, "test": test}, token_metadata=token_metadata, shape=shape,
        settings=Finetune(learning_rates=rates), seed=1, start=pretrained[0], folder=tmp_path, device=CPU,
        progress=lambda share: None, outcome=np.arange(6, 16),
    )  # fmt: skip
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
    pretrained, tmp_path: Path, corpus, shape, token_metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the start foretells of training patients, by which its bias is chosen."""
    (few, topic), (tuning, tuning_topic) = corpus(40, 0), corpus(20, 1)
    passed: list[float] = []
    predicted = fit.logits

    def counted(model, sequences, device):
        passed.append(forward_flops(shape, sequences.lengths))
        return predicted(model, sequences, device)

    def tune(folder: Path, progress) -> dict:
        folder.mkdir(exist_ok=True)
        return finetune(
            train=few, train_outcome=topic == 0, tuning=tuning, tuning_outcome=tuning_topic == 0, predict={},
            token_metadata=token_metadata, shape=shape,
            settings=Finetune(epochs=2, learning_rates=[1e-3], checkpoint_minutes=1e-6), seed=1,
            start=pretrained[0], folder=folder, device=CPU, progress=progress, outcome=np.arange(6, 16),
        )[0]  # fmt: skip

    monkeypatch.setattr(fit, "logits", counted)
    whole = tune(tmp_path / "whole", lambda share: None)
    trained = 2 * 3 * forward_flops(shape, few.lengths)
    assert whole["cost"]["tokens"] == 2 * len(few.token)
    assert passed[0] == forward_flops(shape, few.lengths)
    assert whole["cost"]["flops"] == pytest.approx(trained + sum(passed), rel=1e-9)

    def stop(share: float) -> None:
        if share > 0.4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        tune(tmp_path / "stopped", stop)
    again = tune(tmp_path / "stopped", lambda share: None)
    assert again["cost"]["flops"] == whole["cost"]["flops"] and again["tuning_loss"] == whole["tuning_loss"]


def test_a_kept_start_is_saved_without_adapters(
    pretrained, tmp_path: Path, corpus, shape, token_metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "is_worse", lambda before, after: True)
    start, _ = pretrained
    (few, topic), (tuning, tuning_topic) = corpus(40, 0), corpus(20, 1)
    found, _ = finetune(
        train=few, train_outcome=topic == 0, tuning=tuning, tuning_outcome=tuning_topic == 0, predict={},
        token_metadata=token_metadata,
        shape=shape, settings=Finetune(epochs=1, method="lora", initialization=["pretrained"]),
        seed=1, start=start, folder=tmp_path, device=CPU, progress=lambda share: None,
        outcome=np.arange(6, 16),
    )  # fmt: skip
    assert found["best_epoch"] == 0 and found["tuning_loss"] == found["zero_shot_tuning_loss"]
    saved, before = load_file(tmp_path / "model.safetensors"), load_file(start)
    assert saved.keys() == {"weight", "bias", "zero_shot_scale"} | {f"encoder.{name}" for name in before}
    assert all(torch.equal(saved[f"encoder.{name}"], weight) for name, weight in before.items())


def test_steps_are_a_function_of_their_number_whatever_epoch_came_before(
    views, shape, token_metadata
) -> None:
    def run() -> PretrainingRun:
        return PretrainingRun(
            views, token_metadata, shape, Pretrain(batch_tokens=800, incident_weight=2.0), 1, CPU
        )

    straight, jumping = run(), run()
    per_epoch = straight.batches.steps_per_epoch
    for step in range(per_epoch + 2):
        work = straight._work(step)
    jumped = jumping._work(per_epoch + 1)
    assert work.tokens == jumped.tokens and work.incident == jumped.incident > 0
    assert all(
        np.array_equal(one.token, other.token)
        for (_, one), (_, other) in zip(work.parts, jumped.parts, strict=True)
    )


def test_the_weight_of_foretelling_is_what_it_says(views, shape, token_metadata) -> None:
    def losses(weight: float) -> float:
        settings = Pretrain(batch_tokens=800, incident_weight=weight)
        run = PretrainingRun(views, token_metadata, shape, settings, 1, CPU)
        return float(run.step(0)[0])

    assert losses(3) - losses(1) == pytest.approx(2 * (losses(2) - losses(1)), rel=1e-3)
    assert losses(2) > losses(1)


def test_what_is_foretold_knows_the_codes_that_are_masked(
    views, shape, token_metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = PretrainingRun(
        views, token_metadata, shape, Pretrain(batch_tokens=800, mask_probability=0.5), 1, CPU
    )
    batches, seen, loss = run.batches.microbatches(0), [], run.model.incident_loss

    def has_full_horizon(hidden, inputs, outcomes):
        seen.append(inputs.token.numpy())
        return loss(hidden, inputs, outcomes)

    monkeypatch.setattr(run.model, "incident_loss", has_full_horizon)
    run.step(0)
    assert any((mask.token != batch.token).any() for batch, mask in run._parts(0))
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([batch.token for batch in batches]))


def test_rare_codes_begin_as_rare(views, shape, token_metadata) -> None:
    run = PretrainingRun(views, token_metadata, shape, Pretrain(batch_tokens=800), 1, CPU)
    view = views(0)
    expected = view.incident.log_odds(shape.vocabulary)
    np.testing.assert_allclose(run.model.incident_head.bias.detach(), expected, rtol=1e-5)
    assert shapes.parameters(shape) == sum(weight.numel() for weight in run.model.parameters())

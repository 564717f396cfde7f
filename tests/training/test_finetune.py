"""Fine-tuning: it learns, chooses the best epoch and rate, and refuses what cannot be learnt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import log_loss, roc_auc_score

from claimscale.config.training import Finetune, Pretrain
from claimscale.errors import BadInput
from claimscale.model import shapes
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.tokens.pretraining_inputs import PretrainingSample, static
from claimscale.tokens.sequences import Sequences
from claimscale.training import finetune_trainer
from claimscale.training.finetune_trainer import logits
from claimscale.training.optimizer_step import Diverged
from claimscale.training.pretraining import pretrain
from claimscale.training.validation import Validation

CPU = torch.device("cpu")
Corpus = tuple[Sequences, np.ndarray]


@pytest.fixture
def fit(tune: Any, corpus: Any) -> Any:
    """Fine-tune for the question whether a patient's topic is the first one."""

    def run(
        folder: Path, train: Corpus, tuning: Corpus, predict: dict[str, Sequences], **options: Any
    ) -> Any:
        labelled = ((sequences, topic == 0) for sequences, topic in (train, tuning))
        return tune(folder, *labelled, predict, **options)

    return run


def test_it_learns_a_task_with_calibrated_probabilities(tmp_path, fit, corpus, shape):
    test, topic = corpus(300, 2)
    result, probability = fit(tmp_path, corpus(400, 0), corpus(150, 1), {"held_out": test})
    assert probability["held_out"].shape == (300,)
    assert ((probability["held_out"] > 0) & (probability["held_out"] < 1)).all()
    assert roc_auc_score(topic == 0, probability["held_out"]) > 0.95
    assert probability["held_out"].mean() == pytest.approx(np.mean(topic == 0), abs=0.08)
    assert log_loss(topic == 0, probability["held_out"]) == pytest.approx(result["tuning_loss"], abs=0.15)
    assert (tmp_path / "model.safetensors").exists()
    cost = result["cost"]
    assert cost["tokens"] % len(corpus(400, 0)[0].token) == 0  # whole epochs
    most = Finetune().epochs * len(Finetune().learning_rates)
    assert cost["tokens"] <= most * len(corpus(400, 0)[0].token)
    assert cost["flops"] > 6 * cost["tokens"] * shapes.non_embedding_parameters(shape)
    assert 0 < cost["mfu"] < 1 and cost["wall_hours"] > 0 and cost["peak_memory"] > 1e6
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0


def test_predictions_depend_on_the_seed_only(tmp_path, fit, corpus):
    train, tuning, test = corpus(100, 0), corpus(50, 1), corpus(80, 2)[0]
    some = Sequences(test.token[: test.offsets[20]], test.age_days[: test.offsets[20]], test.offsets[:21])
    _, one = fit(tmp_path / "a", train, tuning, {"x": test})
    _, two = fit(tmp_path / "b", train, tuning, {"y": some, "x": test})
    _, three = fit(tmp_path / "c", train, tuning, {"x": test}, seed=2)
    np.testing.assert_array_equal(one["x"], two["x"])
    np.testing.assert_allclose(two["y"], one["x"][:20], atol=1e-5)
    assert not np.array_equal(one["x"], three["x"])


def test_pretraining_helps_with_few_labels(tmp_path, fit, corpus, job_of):
    samples, validation = static(corpus(1500, 10)[0]), Validation(PretrainingSample(corpus(50, 11)[0]))
    job = job_of(tmp_path / "pretrained", samples, validation, Pretrain(epochs=8, batch_tokens=800))
    pretrain(job, lambda _: None)
    start = tmp_path / "pretrained" / "model.safetensors"
    test, topic = corpus(400, 2)
    loss = {}
    for name, weights in (("pretrained", start), ("scratch", None)):
        _, probability = fit(tmp_path / name, corpus(30, 0), corpus(30, 1), {"t": test}, weights=weights)
        loss[name] = log_loss(topic == 0, probability["t"])
    assert loss["pretrained"] < loss["scratch"]


def _pretrained(folder: Path, corpus, job_of) -> Path:
    samples, validation = static(corpus(600, 10)[0]), Validation(PretrainingSample(corpus(20, 11)[0]))
    pretrain(job_of(folder, samples, validation, Pretrain(epochs=4, batch_tokens=800)), lambda _: None)
    return folder / "model.safetensors"


@pytest.mark.parametrize(("method", "rate", "least"), [("lora", 4e-3, 0.95), ("linear_probe", 3e-2, 0.9)])
def test_adapters_and_probes_leave_the_encoder_frozen(
    tmp_path, fit, corpus, job_of, shape, token_metadata, method: str, rate: float, least: float
):
    start = _pretrained(tmp_path / "pretrained", corpus, job_of)
    test, topic = corpus(300, 2)
    _, probability = fit(
        tmp_path / "tuned", corpus(400, 0), corpus(150, 1), {"t": test}, weights=start,
        method=method, learning_rates=[rate],
    )  # fmt: skip
    assert roc_auc_score(topic == 0, probability["t"]) > least
    before, after = load_file(start), load_file(tmp_path / "tuned" / "model.safetensors")
    assert after.keys() == {"weight", "bias"} | {f"encoder.{name}" for name in before}
    moved = {name for name in before if not torch.equal(before[name], after[f"encoder.{name}"])}
    assert all(name.startswith("blocks.") for name in moved) and bool(moved) == (method == "lora")
    fresh = EncoderClassifier(Encoder(shape, token_metadata))
    fresh.load_state_dict(after)
    again = torch.sigmoid(logits(fresh, test, CPU)).numpy()
    np.testing.assert_allclose(again, probability["t"], atol=1e-6)


def test_the_learning_rate_with_the_lowest_tuning_loss_is_chosen(tmp_path, fit, corpus):
    data = corpus(150, 0), corpus(80, 1), {"t": corpus(40, 2)[0]}
    rates = [1e-6, 2e-3, 3e-4]
    alone = {
        rate: fit(tmp_path / str(rate), *data, learning_rates=[rate], epochs=3)
        for rate in rates
    }  # fmt: skip
    result, probability = fit(tmp_path / "all", *data, learning_rates=rates, epochs=3)
    losses = {rate: found["tuning_loss"] for rate, (found, _) in alone.items()}
    best = min(rates, key=lambda rate: losses[rate])
    assert best != 1e-6 and result["learning_rate"] == best and result["tuning_loss"] == losses[best]
    assert {trial["learning_rate"]: trial["tuning_loss"] for trial in result["trials"]} == losses
    np.testing.assert_array_equal(probability["t"], alone[best][1]["t"])
    spent = sum(found["cost"]["tokens"] for found, _ in alone.values())
    assert result["cost"]["tokens"] == spent


def test_a_diverging_learning_rate_stops_no_other(tmp_path, fit, corpus):
    data = corpus(100, 0), corpus(50, 1), {"t": corpus(40, 2)[0]}
    alone, probability = fit(tmp_path / "a", *data, learning_rates=[1e-3])
    for name, rates in (("b", [1e30, 1e-3]), ("c", [1e-3, 1e30])):
        result, found = fit(tmp_path / name, *data, learning_rates=rates)
        assert [trial["diverged"] for trial in result["trials"]] == [rate == 1e30 for rate in rates]
        assert result["learning_rate"] == 1e-3 and result["tuning_loss"] == alone["tuning_loss"]
        np.testing.assert_array_equal(found["t"], probability["t"])


@pytest.mark.parametrize("rates", [[1e30], [1e30, 1e31]])
def test_divergence_at_every_learning_rate_is_an_error(tmp_path, fit, corpus, rates):
    with pytest.raises(BadInput, match=r"diverged at step \d+, batch [0-9a-f]{12}: .*; lower learning_rate"):
        fit(tmp_path, corpus(100, 0), corpus(50, 1), {}, learning_rates=rates)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("rates", [[1e-3], [1e-3, 1e30]])
def test_epochs_before_a_divergence_count(tmp_path, fit, corpus, shape, token_metadata, monkeypatch, rates):
    data = corpus(100, 0), corpus(50, 1), {"t": corpus(40, 2)[0]}
    alone, _ = fit(tmp_path / "alone", *data, learning_rates=[1e-3], epochs=3, weight_averaging=False)
    steps = len((tmp_path / "alone" / "metrics.jsonl").read_text().splitlines())
    step, last = finetune_trainer.FinetuneTrainer._step, steps - 2

    def diverge(self, position, metrics) -> None:
        if position == last:
            raise Diverged.at(position, "0" * 12, float("nan"), 1.0)
        step(self, position, metrics)

    monkeypatch.setattr(finetune_trainer.FinetuneTrainer, "_step", diverge)
    found, probability = fit(tmp_path / "b", *data, learning_rates=rates, epochs=3, weight_averaging=False)
    assert [trial["diverged"] for trial in found["trials"]] == [True] * len(rates)
    assert (
        found["best_epoch"] == found["trials"][0]["best_epoch"] in (1, 2) and found["learning_rate"] == 1e-3
    )
    assert found["tuning_loss"] > alone["tuning_loss"], "the best epoch would be the third"
    tuned = EncoderClassifier(Encoder(shape, token_metadata))
    tuned.load_state_dict(load_file(tmp_path / "b" / "model.safetensors"))
    kept = torch.sigmoid(logits(tuned, data[1][0], CPU)).numpy()
    assert log_loss(data[1][1] == 0, kept) == pytest.approx(found["tuning_loss"], abs=1e-6)
    assert np.isfinite(probability["t"]).all()


def test_progress_only_rises_and_ends_at_one(tmp_path, fit, corpus):
    shares: list[float] = []
    patients = corpus(40, 0)
    fit(tmp_path, patients, patients, {}, progress=shares.append, epochs=2)
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_an_empty_tuning_split_is_refused(tmp_path, fit, corpus):
    nobody = Sequences(np.zeros(0, np.int32), np.zeros(0, np.int32), np.array([0])), np.zeros(0, np.int64)
    with pytest.raises(BadInput, match="no tuning patient"):
        fit(tmp_path, corpus(20, 0), nobody, {})


def test_equal_outcomes_are_refused(tmp_path, fit, corpus):
    train = corpus(20, 0)
    with pytest.raises(BadInput, match="same outcome"):
        fit(tmp_path, (train[0], train[1] * 0), corpus(20, 1), {})


def test_averaged_weights_lag_behind_the_last_ones(tmp_path, fit, corpus):
    kept = {}
    for average in (True, False):
        folder = tmp_path / str(average)
        fit(
            folder, corpus(400, 0), corpus(150, 1), {},
            epochs=1, learning_rates=[1e-3], weight_averaging=average,
        )  # fmt: skip
        kept[average] = load_file(folder / "model.safetensors")["weight"]
    # The head starts at zero.
    assert 0 < kept[True].norm() < 0.9 * kept[False].norm()

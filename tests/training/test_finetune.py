import json
from pathlib import Path

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
from claimscale.tokens.pretraining_inputs import static
from claimscale.tokens.sequences import Sequences
from claimscale.training import loop
from claimscale.training.finetune import finetune
from claimscale.training.finetune_trainer import logits
from claimscale.training.pretrain import pretrain
from claimscale.training.pretraining_job import Job
from claimscale.training.validation import Validation

CPU = torch.device("cpu")


def _finetune(folder: Path, patients, tuning, predict, shape, token_metadata, seed=1, start=None, **settings):
    folder.mkdir(exist_ok=True)
    return finetune(
        train=patients[0], train_outcome=patients[1] == 0, tuning=tuning[0], tuning_outcome=tuning[1] == 0,
        predict=predict, token_metadata=token_metadata,
        shape=shape, settings=Finetune(initialization=["pretrained"], **settings),
        seed=seed, start=start, folder=folder, device=CPU, progress=lambda share: None,
    )  # fmt: skip


def test_it_learns_a_learnable_question_with_calibrated_probabilities(
    tmp_path, corpus, shape, token_metadata
):
    test, topic = corpus(300, 2)
    result, probability = _finetune(
        tmp_path, corpus(400, 0), corpus(150, 1), {"held_out": test}, shape, token_metadata
    )
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


def test_same_seed_same_probabilities_whatever_else_is_predicted(tmp_path, corpus, shape, token_metadata):
    train, tuning, test = corpus(100, 0), corpus(50, 1), corpus(80, 2)[0]
    some = Sequences(test.token[: test.offsets[20]], test.age_days[: test.offsets[20]], test.offsets[:21])
    _, one = _finetune(tmp_path / "a", train, tuning, {"x": test}, shape, token_metadata)
    _, two = _finetune(tmp_path / "b", train, tuning, {"y": some, "x": test}, shape, token_metadata)
    _, three = _finetune(tmp_path / "c", train, tuning, {"x": test}, shape, token_metadata, seed=2)
    np.testing.assert_array_equal(one["x"], two["x"])
    np.testing.assert_allclose(two["y"], one["x"][:20], atol=1e-5)
    assert not np.array_equal(one["x"], three["x"])


def test_pretraining_helps_where_labels_are_few(tmp_path, corpus, shape, token_metadata):
    (tmp_path / "pretrained").mkdir()
    job = Job(
        static(corpus(1500, 10)[0]),
        Validation(corpus(50, 11)[0]),
        token_metadata,
        shape,
        1,
        tmp_path / "pretrained",
        CPU,
    )
    pretrain(job, Pretrain(epochs=8, batch_tokens=800), lambda share: None)
    start = tmp_path / "pretrained" / "model.safetensors"
    test, topic = corpus(400, 2)
    loss = {}
    for name, weights in (("pretrained", start), ("scratch", None)):
        _, probability = _finetune(
            tmp_path / name, corpus(30, 0), corpus(30, 1), {"t": test}, shape, token_metadata, start=weights
        )
        loss[name] = log_loss(topic == 0, probability["t"])
    assert loss["pretrained"] < loss["scratch"]


def _pretrained(folder: Path, corpus, shape, token_metadata) -> Path:
    folder.mkdir()
    job = Job(
        static(corpus(600, 10)[0]), Validation(corpus(20, 11)[0]), token_metadata, shape, 1, folder, CPU
    )
    pretrain(job, Pretrain(epochs=4, batch_tokens=800), lambda share: None)
    return folder / "model.safetensors"


@pytest.mark.parametrize(("train", "rate", "least"), [("lora", 4e-3, 0.95), ("linear_probe", 3e-2, 0.9)])
def test_adapters_and_probes_learn_on_an_encoder_that_stays(
    tmp_path, corpus, shape, token_metadata, train: str, rate: float, least: float
):
    start = _pretrained(tmp_path / "pretrained", corpus, shape, token_metadata)
    test, topic = corpus(300, 2)
    _, probability = _finetune(
        tmp_path / "tuned", corpus(400, 0), corpus(150, 1), {"t": test}, shape, token_metadata, start=start,
        method=train, learning_rates=[rate],
    )  # fmt: skip
    assert roc_auc_score(topic == 0, probability["t"]) > least
    before, after = load_file(start), load_file(tmp_path / "tuned" / "model.safetensors")
    assert after.keys() == {"weight", "bias"} | {f"encoder.{name}" for name in before}
    moved = {name for name in before if not torch.equal(before[name], after[f"encoder.{name}"])}
    assert all(name.startswith("blocks.") for name in moved) and bool(moved) == (train == "lora")
    fresh = EncoderClassifier(Encoder(shape, token_metadata))
    fresh.load_state_dict(after)
    again = torch.sigmoid(logits(fresh, test, CPU)).numpy()
    np.testing.assert_allclose(again, probability["t"], atol=1e-6)


def test_the_learning_rate_with_the_lowest_tuning_loss_is_chosen(tmp_path, corpus, shape, token_metadata):
    data = corpus(150, 0), corpus(80, 1), {"t": corpus(40, 2)[0]}, shape, token_metadata
    rates = [1e-6, 2e-3, 3e-4]
    alone = {
        rate: _finetune(tmp_path / str(rate), *data, learning_rates=[rate], epochs=3)
        for rate in rates
    }  # fmt: skip
    result, probability = _finetune(tmp_path / "all", *data, learning_rates=rates, epochs=3)
    losses = {rate: found["tuning_loss"] for rate, (found, _) in alone.items()}
    best = min(rates, key=lambda rate: losses[rate])
    assert best != 1e-6 and result["learning_rate"] == best and result["tuning_loss"] == losses[best]
    assert {trial["learning_rate"]: trial["tuning_loss"] for trial in result["trials"]} == losses
    np.testing.assert_array_equal(probability["t"], alone[best][1]["t"])
    spent = sum(found["cost"]["tokens"] for found, _ in alone.values())
    assert result["cost"]["tokens"] == spent


def test_a_learning_rate_that_diverges_loses_and_stops_nothing(tmp_path, corpus, shape, token_metadata):
    data = corpus(100, 0), corpus(50, 1), {"t": corpus(40, 2)[0]}, shape, token_metadata
    alone, probability = _finetune(tmp_path / "a", *data, learning_rates=[1e-3])
    for name, rates in (("b", [1e30, 1e-3]), ("c", [1e-3, 1e30])):
        result, found = _finetune(tmp_path / name, *data, learning_rates=rates)
        assert [trial["diverged"] for trial in result["trials"]] == [rate == 1e30 for rate in rates]
        assert result["learning_rate"] == 1e-3 and result["tuning_loss"] == alone["tuning_loss"]
        np.testing.assert_array_equal(found["t"], probability["t"])


@pytest.mark.parametrize("rates", [[1e30], [1e30, 1e31]])
def test_where_every_learning_rate_diverges_it_is_said(tmp_path, corpus, shape, token_metadata, rates):
    with pytest.raises(BadInput, match=r"diverged at step \d+, batch [0-9a-f]{12}: .*; lower learning_rate"):
        _finetune(tmp_path, corpus(100, 0), corpus(50, 1), {}, shape, token_metadata, learning_rates=rates)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("rates", [[1e-3], [1e-3, 1e30]])
def test_epochs_before_a_divergence_count(tmp_path, corpus, shape, token_metadata, monkeypatch, rates):
    data = corpus(100, 0), corpus(50, 1), {"t": corpus(40, 2)[0]}, shape, token_metadata
    alone, _ = _finetune(tmp_path / "alone", *data, learning_rates=[1e-3], epochs=3, weight_averaging=False)
    steps = len((tmp_path / "alone" / "metrics.jsonl").read_text().splitlines())
    update, last = loop.update, steps - 2

    def diverge(model, optimizer, losses, rate, step, parts):
        if step == last:
            raise loop.diverged(step, "0" * 12, float("nan"), 1.0)
        return update(model, optimizer, losses, rate, step, parts)

    monkeypatch.setattr(loop, "update", diverge)
    found, probability = _finetune(
        tmp_path / "b", *data, learning_rates=rates, epochs=3, weight_averaging=False
    )
    assert [trial["diverged"] for trial in found["trials"]] == [True] * len(rates)
    assert found["best_epoch"] == found["trials"][0]["epoch"] in (1, 2) and found["learning_rate"] == 1e-3
    assert found["tuning_loss"] > alone["tuning_loss"], "the third epoch was the best, and never came"
    tuned = EncoderClassifier(Encoder(shape, token_metadata))
    tuned.load_state_dict(load_file(tmp_path / "b" / "model.safetensors"))
    kept = torch.sigmoid(logits(tuned, data[1][0], CPU)).numpy()
    assert log_loss(data[1][1] == 0, kept) == pytest.approx(found["tuning_loss"], abs=1e-6)
    assert np.isfinite(probability["t"]).all()


def test_progress_only_rises_and_ends_at_one(tmp_path, corpus, shape, token_metadata):
    shares: list[float] = []
    (sequences, topic), nothing = corpus(40, 0), {}
    finetune(
        train=sequences, train_outcome=topic == 0, tuning=sequences, tuning_outcome=topic == 0,
        predict=nothing, token_metadata=token_metadata,
        shape=shape, settings=Finetune(epochs=2), seed=0, start=None,
        folder=tmp_path, device=CPU, progress=shares.append,
    )  # fmt: skip
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_tuning_on_nobody_is_refused(tmp_path, corpus, shape, token_metadata):
    nobody = Sequences(np.zeros(0, np.int32), np.zeros(0, np.int32), np.array([0])), np.zeros(0, np.int64)
    with pytest.raises(BadInput, match="no tuning patient"):
        _finetune(tmp_path, corpus(20, 0), nobody, {}, shape, token_metadata)


def test_one_outcome_for_all_is_refused(tmp_path, corpus, shape, token_metadata):
    train = corpus(20, 0)
    with pytest.raises(BadInput, match="same outcome"):
        _finetune(tmp_path, (train[0], train[1] * 0), corpus(20, 1), {}, shape, token_metadata)


def test_averaged_weights_are_kept_which_lag_behind_the_last(tmp_path, corpus, shape, token_metadata):
    kept = {}
    for average in (True, False):
        folder = tmp_path / str(average)
        _finetune(
            folder, corpus(400, 0), corpus(150, 1), {}, shape, token_metadata,
            epochs=1, learning_rates=[1e-3], weight_averaging=average,
        )  # fmt: skip
        kept[average] = load_file(folder / "model.safetensors")["weight"]
    # The readout begins at zero.
    assert 0 < kept[True].norm() < 0.9 * kept[False].norm()

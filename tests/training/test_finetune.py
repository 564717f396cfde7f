import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from claimscale.corpus.sequences import Sequences
from claimscale.errors import BadInput
from claimscale.study import Finetune, Pretrain
from claimscale.training.finetune import finetune
from claimscale.training.pretrain import pretrain

CPU = torch.device("cpu")


def _finetune(folder: Path, train, tuning, predict: dict[str, Sequences], shape, types, seed=1, start=None):
    folder.mkdir(exist_ok=True)
    return finetune(
        train=train[0], train_outcome=train[1] == 0, tuning=tuning[0], tuning_outcome=tuning[1] == 0,
        predict=predict, types=types, shape=shape, settings=Finetune(), seed=seed, start=start, folder=folder,
        device=CPU, progress=lambda share: None,
    )  # fmt: skip


def test_it_learns_a_learnable_question_with_calibrated_probabilities(tmp_path, corpus, shape, types):
    test, topic = corpus(300, 2)
    result, probability = _finetune(
        tmp_path, corpus(400, 0), corpus(150, 1), {"held_out": test}, shape, types
    )
    assert probability["held_out"].shape == (300,)
    assert ((probability["held_out"] > 0) & (probability["held_out"] < 1)).all()
    assert roc_auc_score(topic == 0, probability["held_out"]) > 0.95
    assert probability["held_out"].mean() == pytest.approx(np.mean(topic == 0), abs=0.08)
    assert log_loss(topic == 0, probability["held_out"]) == pytest.approx(result["tuning_loss"], abs=0.15)
    assert (tmp_path / "model.safetensors").exists()
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0


def test_same_seed_same_probabilities_whatever_else_is_predicted(tmp_path, corpus, shape, types):
    train, tuning, test = corpus(100, 0), corpus(50, 1), corpus(80, 2)[0]
    some = Sequences(test.token[: test.offsets[20]], test.age_days[: test.offsets[20]], test.offsets[:21])
    _, one = _finetune(tmp_path / "a", train, tuning, {"x": test}, shape, types)
    _, two = _finetune(tmp_path / "b", train, tuning, {"y": some, "x": test}, shape, types)
    _, three = _finetune(tmp_path / "c", train, tuning, {"x": test}, shape, types, seed=2)
    np.testing.assert_array_equal(one["x"], two["x"])
    np.testing.assert_allclose(two["y"], one["x"][:20], atol=1e-5)
    assert not np.array_equal(one["x"], three["x"])


def test_pretraining_helps_where_labels_are_few(tmp_path, corpus, shape, types):
    (tmp_path / "pretrained").mkdir()
    pretrain(
        train=corpus(1500, 10)[0], validation=corpus(50, 11)[0], types=types, shape=shape,
        settings=Pretrain(epochs=8, batch_tokens=800), seed=1, folder=tmp_path / "pretrained", device=CPU,
        progress=lambda share: None,
    )  # fmt: skip
    start = tmp_path / "pretrained" / "model.safetensors"
    test, topic = corpus(400, 2)
    loss = {}
    for name, weights in (("pretrained", start), ("scratch", None)):
        _, probability = _finetune(
            tmp_path / name, corpus(30, 0), corpus(30, 1), {"t": test}, shape, types, start=weights
        )
        loss[name] = log_loss(topic == 0, probability["t"])
    assert loss["pretrained"] < loss["scratch"]


def test_progress_only_rises_and_ends_at_one(tmp_path, corpus, shape, types):
    shares: list[float] = []
    (sequences, topic), nothing = corpus(40, 0), {}
    finetune(
        train=sequences, train_outcome=topic == 0, tuning=sequences, tuning_outcome=topic == 0,
        predict=nothing, types=types, shape=shape, settings=Finetune(epochs=2), seed=0, start=None,
        folder=tmp_path, device=CPU, progress=shares.append,
    )  # fmt: skip
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_tuning_on_nobody_is_refused(tmp_path, corpus, shape, types):
    nobody = Sequences(np.zeros(0, np.int32), np.zeros(0, np.int32), np.array([0])), np.zeros(0, np.int64)
    with pytest.raises(BadInput, match="no tuning patient"):
        _finetune(tmp_path, corpus(20, 0), nobody, {}, shape, types)


def test_one_outcome_for_all_is_refused(tmp_path, corpus, shape, types):
    train = corpus(20, 0)
    with pytest.raises(BadInput, match="same outcome"):
        _finetune(tmp_path, (train[0], train[1] * 0), corpus(20, 1), {}, shape, types)

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from claimscale.config.training import Pretrain
from claimscale.errors import BadInput
from claimscale.model import shapes
from claimscale.model.encoder import Encoder
from claimscale.tokens.pretraining_inputs import PretrainingSample, static
from claimscale.tokens.sequences import Sequences
from claimscale.training.pretraining import pretrain
from claimscale.training.validation import Validation, validate

CPU = torch.device("cpu")


@pytest.fixture
def pretrained(job_of):
    def run(folder: Path, train: Sequences, validation: Sequences, **settings) -> dict:
        return pretrain(
            job_of(folder, static(train), Validation(PretrainingSample(validation)), Pretrain(**settings)),
            lambda _: None,
        )

    return run


def _metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_pretraining_learns_the_topic_and_records_its_work(
    pretrained, tmp_path, corpus, shape, token_metadata
):
    train, validation = corpus(800, 0)[0], corpus(200, 1)[0]
    result = pretrained(tmp_path, train, validation, epochs=6, batch_tokens=800, cooldown_fractions=[1.0])
    # Knowing the topic leaves ten codes nine times in ten; knowing nothing leaves forty.
    known, nothing = 0.9 * math.log(10 / 0.925) + 0.1 * math.log(10 / 0.025), math.log(40)
    assert known - 0.1 < result["validation_loss"] < 0.6 * known + 0.4 * nothing
    assert result["parameters"] == shapes.parameters(shape)
    assert result["tokens"] == 6 * len(train.token)
    assert result["train_flops"] > 0 and result["tokens_per_second"] > 0
    cost = result["cost"]
    assert cost["tokens"] == result["tokens"] and cost["flops"] > result["train_flops"]
    assert 0 < cost["mfu"] < 1 and cost["wall_hours"] > 0 and cost["peak_memory"] > 1e6
    lines = _metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert lines[-1]["tokens"] == result["tokens"] and lines[-1]["loss"] < lines[0]["loss"]
    weights = load_file(tmp_path / "model.safetensors")
    counted = {"pair_hazards.earlier", "pair_hazards.log_rates"}  # by counts, before training
    assert sum(w.numel() for name, w in weights.items() if name not in counted) == result["parameters"]
    model = Encoder(shape, token_metadata)
    model.load_state_dict(weights)
    assert (
        validate(model, Validation(PretrainingSample(validation)), CPU)["validation_loss"]
        == result["validation_loss"]
    )


def test_new_and_recurrent_codes_have_their_own_losses(corpus, shape, token_metadata):
    (sequences, _), model = corpus(100, 0), Encoder(shape, token_metadata)
    scores = validate(model, Validation(PretrainingSample(sequences)), CPU)
    low, high = sorted((scores["validation_loss_new"], scores["validation_loss_recurrent"]))
    assert low <= scores["validation_loss"] <= high
    once = Sequences(np.array([1, 3, 6, 7, 8], np.int32), np.zeros(5, np.int32), np.array([0, 5]))
    scores = validate(model, Validation(PretrainingSample(once)), CPU)
    assert scores["validation_loss_recurrent"] is None
    assert scores["validation_loss_new"] == scores["validation_loss"]


def test_training_patients_are_scored_as_tuning_patients(corpus, shape, token_metadata):
    (sequences, _), (known, _), model = corpus(60, 0), corpus(50, 1), Encoder(shape, token_metadata)
    scores = validate(model, Validation(PretrainingSample(sequences), training_sample=known), CPU)
    assert (
        scores["train_loss"] == validate(model, Validation(PretrainingSample(known)), CPU)["validation_loss"]
    )
    assert (
        scores["validation_loss"]
        == validate(model, Validation(PretrainingSample(sequences)), CPU)["validation_loss"]
    )


def test_patients_without_codes_are_left_out(pretrained, tmp_path, corpus):
    empty = Sequences(np.array([1, 3], np.int32), np.zeros(2, np.int32), np.array([0, 2]))
    with pytest.raises(BadInput, match="no training patient has a code"):
        pretrained(tmp_path / "none", empty, empty)
    full = corpus(40, 0)[0]
    mixed = Sequences(
        np.r_[empty.token, full.token], np.r_[empty.age_days, full.age_days], np.r_[0, 2 + full.offsets]
    )
    result = pretrained(tmp_path / "some", mixed, empty, epochs=1, batch_tokens=64)
    assert result["tokens"] == len(full.token)
    assert result["validation_loss"] is None

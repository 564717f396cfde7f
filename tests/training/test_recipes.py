"""Training of published recipes: a search for the rate, resumption with the same bits, fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from claimscale.config.training import Finetune
from claimscale.model.recipes import RECIPES
from claimscale.model.recipes.history import CodeTypes, Histories, RecipeSequences
from claimscale.tokens.sequences import Sequences
from claimscale.training.optimizer_step import Diverged
from claimscale.training.recipe_finetuning import Labelled, RecipeFinetuning
from claimscale.training.recipe_pretraining import RATES, RecipeJob, pretrain_recipe

CODES = CodeTypes(np.zeros(46, np.int8))
BUDGET = 30_000, 600
CPU = torch.device("cpu")


class Stopped(Exception):
    pass


@pytest.fixture
def sequences_of(
    corpus: Callable[[int, int], tuple[Sequences, np.ndarray]],
) -> Callable[..., RecipeSequences]:
    def made(patients: int, seed: int, recipe: str = "behrt") -> RecipeSequences:
        return RECIPES[recipe].read(Histories.of(corpus(patients, seed)[0]), CODES, 64)

    return made


def job(folder: Path, recipe: str = "behrt") -> RecipeJob:
    folder.mkdir(exist_ok=True)
    return RecipeJob(RECIPES[recipe], CODES, 30_000, 7, CPU, folder, checkpoint_minutes=1e-9)


@pytest.mark.parametrize(("recipe", "stop"), [("behrt", 0.2), ("everyquery", 0.9)])
def test_a_stopped_pretraining_ends_with_the_same_bits(
    sequences_of, tmp_path: Path, recipe: str, stop: float
) -> None:
    data = sequences_of(60, 0, recipe), sequences_of(30, 1, recipe)
    expected = pretrain_recipe(job(tmp_path / "whole", recipe), *data, BUDGET, lambda share: None)

    def until(share: float) -> None:
        if share >= stop:
            raise Stopped

    with pytest.raises(Stopped):
        pretrain_recipe(job(tmp_path / "stopped", recipe), *data, BUDGET, until)
    found = pretrain_recipe(job(tmp_path / "stopped", recipe), *data, BUDGET, lambda share: None)
    weights, others = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    measured = ("seconds", "tokens_per_second", "cost")
    assert {k: v for k, v in found.items() if k not in measured} == {
        k: v for k, v in expected.items() if k not in measured
    }


def test_the_search_chooses_the_rate_with_the_lowest_loss(sequences_of, tmp_path: Path) -> None:
    found = pretrain_recipe(
        job(tmp_path), sequences_of(60, 0), sequences_of(30, 1), BUDGET, lambda share: None
    )
    losses = found["lr_search"]
    assert list(losses) == [str(rate) for rate in RATES]
    assert losses[str(found["learning_rate"])] == min(losses.values())
    assert found["validation_loss"] < min(losses.values()), "four times the steps lower the loss"
    assert found["tokens"] == pytest.approx(BUDGET[0], rel=0.2)
    assert found["train_flops"] > 6 * found["tokens"] * 1000, "of every token more than a thousand weights"


def test_a_recipe_that_diverges_says_so(sequences_of, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("claimscale.training.recipe_pretraining.RATES", (1e30, 1e31, 1e32))
    with pytest.raises(Diverged, match="recipes: behrt: training diverged at every learning rate"):
        pretrain_recipe(job(tmp_path), sequences_of(60, 0), sequences_of(30, 1), BUDGET, lambda share: None)


def test_fine_tuning_learns_an_outcome_and_predicts_in_order(sequences_of, corpus, tmp_path: Path) -> None:
    """The outcome is whether the record has codes of the first two topics."""
    made = job(tmp_path, "cehr_bert")
    pretrain_recipe(made, *(sequences_of(60, n, "cehr_bert") for n in (0, 1)), BUDGET, lambda share: None)

    def labelled(patients: int, seed: int) -> Labelled:
        sequences = sequences_of(patients, seed, "cehr_bert")
        token, offsets = sequences.channels["token"], sequences.offsets
        codes = [token[first:stop] for first, stop in pairwise(offsets)]
        return Labelled(sequences, np.array([np.median(c[(c >= 6) & (c < 46)]) < 26 for c in codes]))

    settings = Finetune(epochs=8, batch_tokens=1000, learning_rates=[1e-3])
    run = RecipeFinetuning(
        made, tmp_path / "model.safetensors", np.zeros(0, np.int32), labelled(300, 2),
        labelled(100, 3), settings,
    )  # fmt: skip
    result, probabilities = run.run(lambda share: None)
    test = labelled(200, 4)
    risks = probabilities(test.sequences)
    assert risks[test.outcome].mean() > 0.8 > 0.2 > risks[~test.outcome].mean()
    assert len(result["trials"]) == 2, "at least two rates are tried"
    np.testing.assert_array_equal(probabilities(test.sequences), risks)

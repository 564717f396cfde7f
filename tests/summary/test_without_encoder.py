"""A study of baselines alone: the best one is named, no size is compared, and nothing is advised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claimscale.config.study import Study
from claimscale.report import page


def test_baselines_alone_give_a_summary_and_a_page(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    run = fake_run(tmp_path, sizes=("100k", "400k"), labelled=("all",), patients=400, oracle=False)
    run.cells = [cell for cell in run.cells if cell.arm == "lightgbm"]
    run.pretraining = []
    finetune = run.study.finetune.model_copy(update={"initialization": []})
    run.study = run.study.model_copy(update={"finetune": finetune, "baselines": ["lightgbm"]})
    summary = run.summary()
    for task, answer in zip(summary.tasks, summary.answers, strict=True):
        (result,) = [one for one in task.results if one.split == "held_out"]
        assert (answer.verdict, answer.recommendation) == ("inconclusive", None)
        assert task.saturation.reason == "no_encoder" and task.saturation.comparisons == ()
        assert answer.text.text.startswith("No encoder was fine-tuned, so no sizes are compared. ")
        assert f"is LightGBM: {result.auprc.estimate:.3f} (95 % interval" in answer.text.text
    assert "No encoder was fine-tuned" in page.html(summary, run.study)


def test_nothing_to_train_is_refused() -> None:
    settings = {
        "name": "x",
        "source": {"kind": "simulated"},
        "cohort": {"landmark": "2020-10-01"},
        "sizes": ["80k"],
        "tasks": ["ckd"],
        "baselines": [],
        "finetune": {"initialization": []},
    }
    with pytest.raises(ValueError, match="baselines: nothing is trained"):
        Study.model_validate(settings, strict=False)

"""A baseline is advised only if its interval lies above chance level: the prevalence, or an AUROC of 0.5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claimscale.summary.entries import EstimateEntry
from claimscale.summary.verdict_text import answer


@pytest.mark.parametrize("metric", ["auprc", "auroc"])
def test_advice_that_is_not_above_chance_is_not_given(
    metric: str, fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = fake_run(
        tmp_path,
        sizes=("100k", "400k"),
        labelled=("all",),
        patients=400,
        oracle=False,
        baselines=("logistic",),
        noise=lambda task, arm, size, labelled: 0.2 if arm == "logistic" else 1.4,
    )
    for task in run.summary().tasks:
        task = task.model_copy(update={"saturation": task.saturation.model_copy(update={"metric": metric})})
        assert answer(task).recommendation == "logistic"
        chance = task.prevalence if metric == "auprc" else 0.5
        for low, advised in ((chance - 0.001, False), (chance + 0.001, True)):
            reached = EstimateEntry(estimate=chance + 0.03, low=low, high=chance + 0.2)
            results = [
                one.model_copy(update={metric: reached}) if one.arm == "logistic" else one
                for one in task.results
            ]
            found = answer(task.model_copy(update={"results": tuple(results)}))
            assert (found.recommendation == "logistic") == advised
            if not advised:
                start = (
                    "Inconclusive: no model is shown to exceed chance level. The best, logistic regression, "
                )
                assert found.verdict == "inconclusive" and found.text.text.startswith(start)
                assert found.text.text.endswith(f"chance level is {chance:.3f}.")

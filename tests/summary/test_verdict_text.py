"""Answers and limitations state what the numbers show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic

from claimscale.findings import Finding
from claimscale.summary.limitations import learning_rates
from claimscale.summary.pretraining_schema import SizeEntry
from claimscale.summary.result_schema import CrossoverEntry
from claimscale.summary.verdict_text import answer as answer_of, crossover_text

SMALL = {"sizes": ("100k", "400k"), "labelled": ("all",), "splits": ("held_out",), "oracle": False}


def texts(findings: list[Any]) -> list[str]:
    """Findings, as such or as JSON holds them, in English."""
    return [Finding.model_validate(one).text for one in findings]


def settled(task: str, arm: str, size: str | None, labelled: int) -> float:
    """ckd needs the larger size, pregabalin does not; LightGBM is poor."""
    if arm == "lightgbm":
        return 2.0
    return 1.5 if task == "ckd" and size == "100k" else 0.02


def test_verdicts_in_words(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    ckd, pregabalin = fake_run(tmp_path, noise=settled, **SMALL).summarise()["answers"]
    assert (ckd["verdict"], ckd["recommendation"]) == ("not_saturated", "400k")
    assert "Use 400k, the largest model" in ckd["text"]["text"]
    assert (pregabalin["verdict"], pregabalin["recommendation"]) == ("saturated", "100k")
    assert "The 100k model is sufficient" in pregabalin["text"]["text"]
    assert "saves 2 minutes of pretraining" in pregabalin["text"]["text"]


@pytest.mark.parametrize(
    ("noise", "words"), [(0.0, "exceeds that of every encoder"), (1.15, "no encoder is")]
)
def test_lightgbm_is_recommended_where_nothing_beats_it(
    fake_run: Callable[..., Any], tmp_path: Path, noise: float, words: str
) -> None:
    run = fake_run(
        tmp_path, noise=lambda task, arm, size, labelled: noise if arm == "lightgbm" else 1.4, **SMALL
    )
    summary = run.summarise()
    for answer in summary["answers"]:
        if answer["recommendation"] == "lightgbm":
            assert words in answer["text"]["text"]
            limited = f"{answer['task']}: No encoder outperforms LightGBM."
            assert any(text.startswith(limited) for text in texts(summary["limitations"]))
    assert any(answer["recommendation"] == "lightgbm" for answer in summary["answers"])


def test_the_best_baseline_is_the_rival_and_embeddings_are_none(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    noise = {"lightgbm": 1.2, "logistic": 0.2, "outcome_history": 1.3, "lightgbm_counts_and_embeddings": 0.0}
    run = fake_run(
        tmp_path, noise=lambda task, arm, size, labelled: noise.get(arm, 1.4), baselines=tuple(noise), **SMALL
    )
    summary = run.summarise()
    for answer in summary["answers"]:
        assert answer["recommendation"] == "logistic"
        assert answer["text"]["text"].startswith("Use logistic regression: its AUPRC")
        limited = f"{answer['task']}: No encoder outperforms logistic regression."
        assert limited in " ".join(texts(summary["limitations"]))


@pytest.mark.parametrize(("averaged", "better"), [(0.0, True), (0.9, False), (3.0, False)])
def test_ensemble_together_are_named_where_they_are_better_than_each(
    fake_run: Callable[..., Any], tmp_path: Path, averaged: float, better: bool
) -> None:
    noise = {"lightgbm": 0.9, "ensemble": averaged}
    run = fake_run(
        tmp_path,
        noise=lambda task, arm, size, labelled: noise.get(arm, 1.4),
        baselines=tuple(noise),
        seeds=(1, 2, 3),
        **SMALL,
    )
    for answer in run.summarise()["answers"]:
        assert answer["recommendation"] == "lightgbm", "a mean is no model of its own"
        assert (answer["ensemble_text"] is not None) == better
        if better:
            text = answer["ensemble_text"]["text"]
            assert text.startswith("The average of 400k and LightGBM outperforms each model alone: ")
            assert text.endswith(" above LightGBM.")


def test_a_mean_that_an_encoder_beats_is_not_named(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    noise = {"lightgbm": 1.4, "ensemble": 0.9}
    run = fake_run(
        tmp_path,
        noise=lambda task, arm, size, labelled: noise.get(arm, 0.1),
        baselines=tuple(noise),
        seeds=(1, 2, 3),
        **SMALL,
    )
    assert [answer["ensemble_text"] for answer in run.summarise()["answers"]] == [None, None]


def test_few_positives_are_said(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    summary = fake_run(tmp_path, patients=120, **SMALL).summarise()
    assert all(answer["verdict"] == "inconclusive" for answer in summary["answers"])
    for task in summary["tasks"]:
        limited = f"{task['name']}: Only {task['positives']} test"
        assert any(limited in text for text in texts(summary["limitations"]))
        (found,) = (a["size_text"] for a in summary["answers"] if a["task"] == task["name"])
        assert "too few" in found["text"]


def test_every_run_warns_of_what_it_cannot_exclude(demo: Any) -> None:
    _, summary = demo
    found = texts(summary["limitations"])
    assert any("simulated" in text for text in found)
    assert any("insufficient training" in text for text in found)
    undecided = {answer["task"] for answer in summary["answers"] if answer["verdict"] == "inconclusive"}
    assert undecided == {text.split(":")[0] for text in found if "No verdict on size" in text}


@pytest.mark.parametrize(("why", "words"), synthetic.REASONS.items())
def test_every_reason_has_its_words(demo: Any, why: tuple[str, int | None], words: str) -> None:
    _, summary = demo
    task = synthetic.undecided(summary["tasks"][0], *why)
    found = answer_of(synthetic.task(task)).text
    assert words in found.text and found.text.startswith("Inconclusive: ")
    assert found.render("ja").startswith("判定保留：")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"outcome": "at", "n_labelled": 2345.6, "low": 1234.0, "high": 5000.0},
            "overtakes LightGBM at about 2,300 labelled patients (95 % interval 1,200 to 5,000)",
        ),
        (
            {"outcome": "at", "n_labelled": 2345.6, "low": 0.0, "high": None},
            "(95 % interval fewer than 300 to more than 10,000)",
        ),
        (
            {"outcome": "from_the_smallest", "low": 0.0, "high": 0.0},
            "from 300 labelled patients, the smallest subset tested.",
        ),
        ({"outcome": "from_the_smallest", "low": 0.0}, "The 95 % interval reaches to more than 10,000."),
        ({"outcome": "from_the_smallest", "low": 0.0, "high": 700.0}, "The 95 % interval reaches to 700."),
        ({"outcome": "never_in_range", "prob_superior": 0.02}, "with up to 10,000 labelled patients."),
        ({"outcome": "never_in_range", "low": 4000.0}, "The 95 % interval starts at 4,000."),
        ({"outcome": "never_in_range", "low": 0.0}, "The 95 % interval starts at fewer than 300."),
    ],
)
def test_the_crossover_in_words(found: dict[str, Any], said: str) -> None:
    whole = {
        "size": "11M",
        "comparator": "lightgbm",
        "metric": "auprc",
        "tested_n_labelled": [300, 10_000],
        "n_labelled": None,
        "low": None,
        "high": None,
        "prob_superior": 0.5,
    }
    assert said in crossover_text(CrossoverEntry.model_validate(whole | found)).text


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ((2.0, 1.5, 1.9), None),
        ((1.4, 1.5, 1.9), "400k: the lowest learning rate of the sweep, 0.001, gave"),
        ((2.0, 1.5, 1.4), "400k: the highest learning rate of the sweep, 0.016, gave"),
        ((2.0, 1.5, None), None),
        ((None, None, None), "400k: training diverged at every learning rate"),
    ],
)
def test_a_best_learning_rate_at_an_edge_is_warned_of(
    fake_run: Callable[..., Any], tmp_path: Path, losses: tuple[float | None, ...], words: str | None
) -> None:
    run = fake_run(tmp_path, noise=settled, **SMALL)
    tried = zip((0.001, 0.004, 0.016), losses, strict=True)
    run.lr_sweeps = {"400k": [{"learning_rate": rate, "validation_loss": loss} for rate, loss in tried]}
    summary = run.summarise()
    found = [text for text in texts(summary["limitations"]) if text.startswith("400k: ")]
    assert (len(found) == 1 and words in found[0]) if words else not found
    assert summary["sizes"][0]["lr_sweep"] is None
    assert [one["validation_loss"] for one in summary["sizes"][1]["lr_sweep"]] == list(losses)


def test_another_rate_that_did_better_is_named() -> None:
    tried = [
        {"learning_rate": rate, "validation_loss": loss}
        for rate, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 3.0))
    ]
    size = {"name": "11M", "parameters": 11_000_000}
    (better,) = learning_rates([SizeEntry.model_validate({**size, "lr_sweep": tried})], used=3)
    assert better.text == "11M: in short runs, learning rate 2 gave a lower loss than 3, which was used."
    assert not learning_rates([SizeEntry.model_validate(size)], used=3)


@pytest.mark.parametrize(
    ("there", "shown"),
    [
        ({"verdict": "saturated", "smallest_sufficient": "400k"}, None),
        ({"verdict": "saturated", "smallest_sufficient": "800k"}, "saturated at 800k, not saturated at 400k"),
        ({"verdict": "not_saturated", "smallest_sufficient": None}, "not saturated, not saturated at 400k"),
        (None, None),
    ],
)
def test_another_verdict_by_hospital_is_warned_of(
    demo: Any, there: dict[str, Any] | None, shown: str | None
) -> None:
    _, summary = demo
    tasks = [dict(task) for task in summary["tasks"]]
    tasks[0]["saturation"] = tasks[0]["saturation"] | {
        "verdict": "saturated",
        "smallest_sufficient": "400k",
        "cluster_bootstrap": there and there | {"hospitals": 6},
    }
    found = synthetic.typed(summary | {"tasks": tasks}).limitations
    said = [one for one in found if "hospitals resampled" in one.text]
    assert len(said) == (shown is not None)
    for limitation in said:
        assert shown and shown in limitation.text and "病院単位" in limitation.render("ja")


def test_a_plateau_without_convergence_is_under_trained(demo: Any) -> None:
    _, summary = demo
    task = dict(summary["tasks"][0])
    task["saturation"] = task["saturation"] | {
        "verdict": "saturated",
        "smallest_sufficient": task["saturation"]["comparisons"][0]["smaller"],
        "convergence_status": "under_trained",
    }
    task["recommendation"] = {"verdict": "under_trained", "size": None, "against_baseline": None}
    answer = answer_of(synthetic.task(task))
    assert (answer.verdict, answer.recommendation) == ("under_trained", None)
    assert answer.text.code == "answer.under_trained"
    task["saturation"]["convergence_status"] = "unknown"
    assert answer_of(synthetic.task(task)).text.text.endswith("pretraining was not measured.")
    task["saturation"]["convergence_status"] = "converged"
    assert "onverge" not in answer_of(synthetic.task(task)).text.text
    guards = {
        "status": "under_trained",
        "failed": ["tokens", "learning_rate", "overfitting"],
        "loss_drop_last_doubling": 0.013,
        "learning_rates": {"100k": True, "400k": False},
        "generalization_gap": 0.08,
        "not_measured": [],
    }
    text = " ".join(one.text for one in synthetic.typed(summary | {"convergence": guards}).limitations)
    assert "the largest size by 1.3 %" in text and "8 % lower" in text


@pytest.mark.parametrize(
    ("verdict", "words"), [("saturated", "100k is sufficient"), ("not_saturated", "use 400k")]
)
def test_a_verdict_on_the_trained_models_names_its_scope(demo: Any, verdict: str, words: str) -> None:
    _, summary = demo
    task = synthetic.undecided(dict(summary["tasks"][0]), "underpowered", None)
    trained = {
        "verdict": verdict,
        "smallest_sufficient": "100k" if verdict == "saturated" else None,
        "larger": "400k",
        "smaller": "100k",
        "gain": {"difference": 0.01, "low": 0.005, "high": 0.015},
    }
    task["saturation"] = task["saturation"] | {"trained_models": trained}
    size = "100k" if verdict == "saturated" else "400k"
    task["recommendation"] = {
        "verdict": verdict, "scope": "trained_models", "size": size, "against_baseline": None
    }  # fmt: skip
    answer = answer_of(synthetic.task(task))
    assert (answer.verdict, answer.scope, answer.recommendation) == (verdict, "trained_models", size)
    text = answer.text.text
    assert words in text and "models trained again would agree is open: Inconclusive" in text
    assert "0.005" in text and "学習し直して" in answer.text.render("ja")


def test_outcome_history_without_codes_is_a_limitation(demo: Any) -> None:
    _, summary = demo
    first, second = summary["tasks"]
    history = [result | {"arm": "outcome_history"} for result in second["results"]]
    found = []
    for results in (second["results"], history):
        tasks = [first, second | {"has_outcome_codes": False, "results": results}]
        limited = synthetic.typed(summary | {"tasks": tasks}).limitations
        found.append([one.text for one in limited if "outcome-history" in one.text])
    assert found[0] == [] and [text.split(":")[0] for text in found[1]] == [second["name"]]

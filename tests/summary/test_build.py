"""The summary keeps its contract and says what is true of models whose worth is known."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.errors import BadInput
from claimscale.evaluation.forecast import ForecastRecord
from claimscale.findings import Finding, finding

KEYS = [
    "name", "version", "schema_version", "partial", "privacy", "dataset", "sizes", "tasks",
    "task_families", "phenome", "task_size_interaction", "convergence", "failed_runs", "unseen_failure_rate",
    "forecast", "loss_fit",
    "training_losses", "checks", "notes", "learning_rate", "finetune_seeds", "provenance", "answers",
    "family_answers", "limitations",
]  # fmt: skip


def task_of(summary: dict[str, Any], name: str) -> dict[str, Any]:
    return next(task for task in summary["tasks"] if task["name"] == name)


def result_of(task: dict[str, Any], arm: str, size: str | None, split: str = "held_out") -> dict[str, Any]:
    return next(
        row for row in task["results"]
        if (row["arm"], row["size"], row["split"], row["labelled_patients"]) == (arm, size, split, "all")
    )  # fmt: skip


def numbers(content: Any) -> list[float]:
    if isinstance(content, dict):
        return [number for value in content.values() for number in numbers(value)]
    if isinstance(content, list):
        return [number for value in content for number in numbers(value)]
    return [content] if isinstance(content, float) else []


def test_keys_and_file(demo: Any) -> None:
    run, summary = demo
    assert list(summary) == KEYS
    assert json.loads((run.folder / "summary.json").read_text("utf-8")) == summary
    assert all(math.isfinite(number) for number in numbers(summary))
    assert [size["name"] for size in summary["sizes"]] == run.study.sizes
    assert [answer["task"] for answer in summary["answers"]] == ["ckd", "pregabalin"]
    assert summary["sizes"][0]["lr_sweep"] is None


def test_every_model_has_estimates_within_their_intervals(demo: Any) -> None:
    _, summary = demo
    for task in summary["tasks"]:
        assert len(task["results"]) == 2 * 3 * (5 * 2 + 1)
        for result in task["results"]:
            for metric in ("auprc", "auroc", "log_loss", "calibration"):
                found = result[metric]
                assert found["low"] < found["estimate"] < found["high"], metric
            assert result["n_seeds"] == 2
            assert (result["parameters"] is None) == (result["arm"] == "lightgbm")


@pytest.mark.parametrize(("patients", "shown"), [(40, False), (400, True)])
def test_a_handful_of_cases_elsewhere_ranks_no_model(
    fake_run: Callable[..., Any], tmp_path: Path, patients: int, shown: bool
) -> None:
    """On held-out hospitals with two positives an AUROC of 0.995 is luck."""
    summary = fake_run(tmp_path, patients=patients, sizes=("100k", "400k"), labelled=(300,)).summarise()
    elsewhere = [one for task in summary["tasks"] for one in task["results"] if one["split"] == "hospital"]
    assert elsewhere and all((one["positives"] >= 10) == shown for one in elsewhere)
    for one in elsewhere:
        assert (one["auroc"]["estimate"] is not None) == (one["auprc"]["estimate"] is not None) == shown


def test_estimates_follow_the_truth(demo: Any) -> None:
    """Less noise ranks higher; nothing beats the true risks by more than chance."""
    _, summary = demo
    ckd = task_of(summary, "ckd")
    smallest, largest = (result_of(ckd, "pretrained", size)["auprc"] for size in ("100k", "1.6M"))
    assert smallest["estimate"] < largest["estimate"] < ckd["oracle"]["auprc"]["high"]
    assert ckd["positives"] / ckd["n_test"] == pytest.approx(ckd["prevalence"], rel=1e-5)
    assert ckd["splits"]["train"]["patients"] == ckd["n_train"] == 4100
    assert ckd["splits"]["hospital"]["patients"] == 4000


def test_pretraining_gains_with_few_labels(demo: Any) -> None:
    _, summary = demo
    gains = task_of(summary, "ckd")["pretraining_gain"]
    few = next(gain for gain in gains if gain["size"] is None and gain["n_labelled"] == 300)
    assert few["low"] > 0
    many = next(gain for gain in gains if gain["size"] is None and gain["n_labelled"] == 4100)
    assert many["low"] < 0 < many["high"]


def test_comparisons_carry_the_gain_in_auroc(demo: Any) -> None:
    """DeLong's interval lies around the difference of the AUROCs that stand in the results."""
    _, summary = demo
    for task in summary["tasks"]:
        for pair in task["saturation"]["comparisons"]:
            larger, smaller = (
                result_of(task, "pretrained", pair[size])["auroc"]["estimate"]
                for size in ("larger", "smaller")
            )
            assert pair["auroc"]["difference"] == pytest.approx(larger - smaller, abs=1e-5)
            assert pair["auroc"]["low"] < pair["auroc"]["difference"] < pair["auroc"]["high"]
        mean = [gain for gain in task["pretraining_gain"] if gain["n_labelled"] == 300]
        by_size = [gain["auroc"]["difference"] for gain in mean if gain["size"] is not None]
        assert mean[-1]["size"] is None
        assert mean[-1]["auroc"]["difference"] == pytest.approx(sum(by_size) / len(by_size), abs=1e-5)
        assert mean[-1]["auroc"]["low"] > 0


def test_the_verdict_by_hospital_stands_beside_the_other(fake_run: Any, tmp_path: Any) -> None:
    run = fake_run(tmp_path, labelled=("all",), sizes=("100k", "1.6M"), splits=("held_out",), oracle=False)
    (tmp_path / "cohort").mkdir()
    people = {
        "subject_id": range(4000),
        "hospital_id": [f"H{subject % 20}" for subject in range(4000)],
        "sex": ["F"] * 4000,
        "birth_day": pa.array([0] * 4000, pa.date32()),
    }
    pq.write_table(pa.table(people), tmp_path / "cohort" / "patients.parquet")
    for task in run.summarise()["tasks"]:
        found = task["saturation"]["cluster_bootstrap"]
        assert found["hospitals"] == 20
        assert found["verdict"] in ("saturated", "not_saturated", "inconclusive")
        (pair,) = task["saturation"]["comparisons"]
        assert pair["cluster_bootstrap"]["low"] < pair["difference"] < pair["cluster_bootstrap"]["high"]
        assert pair["cluster_bootstrap"]["upper_at_alpha"] > pair["difference"]


def test_without_hospitals_there_is_no_verdict_by_them(demo: Any) -> None:
    _, summary = demo
    for task in summary["tasks"]:
        assert task["saturation"]["cluster_bootstrap"] is None
        assert all(pair["cluster_bootstrap"] is None for pair in task["saturation"]["comparisons"])


def test_verdict_rests_on_all_pairs_and_saves_the_right_hours(demo: Any) -> None:
    _, summary = demo
    hours = {size["name"]: size["hours"] for size in summary["sizes"]}
    for task in summary["tasks"]:
        saturation = task["saturation"]
        assert len(saturation["comparisons"]) == 10
        largest = result_of(task, "pretrained", "1.6M")["auprc"]["estimate"]
        assert saturation["margin"] == pytest.approx(0.02 * largest, rel=1e-4)
        if saturation["verdict"] == "saturated":
            saved = hours["1.6M"] - hours[saturation["smallest_sufficient"]]
            assert saturation["hours_saved"] == pytest.approx(saved, rel=1e-4)
        else:
            assert saturation["hours_saved"] == 0
    assert task_of(summary, "ckd")["saturation"]["smallest_sufficient"] not in ("100k", "200k")


def test_hours_reference_size_a_size_left_out_are_estimated(fake_run: Any, tmp_path: Any) -> None:
    """A task that was stopped saves what the largest size would have cost; the other does as ever."""
    run = fake_run(
        tmp_path,
        labelled=("all",),
        splits=("held_out",),
        oracle=False,
        baselines=(),
        noise=lambda task, arm, size, labelled: 0.05,
    )
    whole = run.summarise()
    run.cells = [cell for cell in run.cells if cell.size != "1.6M"]
    run.pretraining = [one for one in run.pretraining if one["size"] != "1.6M"]
    run.forecasts = [
        ForecastRecord(
            "pregabalin", "800k", "1.6M", gain=0.0, low=0.0, high=0.0, upper_bound=0.0, margin=0.0, stop=True,
            weights={}, made_before_training=True,
        )
    ]  # fmt: skip
    summary = run.summarise()
    full = task_of(whole, "pregabalin")["saturation"]
    stopped, other = (task_of(summary, name)["saturation"] for name in ("pregabalin", "ckd"))
    assert (full["verdict"], stopped["verdict"]) == ("saturated", "saturated")
    assert not full["hours_saved_estimated"] and not other["hours_saved_estimated"]
    assert (stopped["hours_saved_estimated"], stopped["reference_size"]) == (True, "1.6M")
    assert other["reference_size"] == "800k"
    assert other["hours_saved"] < stopped["hours_saved"] < 2 * full["hours_saved"]
    assert stopped["flops_saved"] > other["flops_saved"] > 0
    (found,) = [answer["text"] for answer in summary["answers"] if answer["task"] == "pregabalin"]
    assert "of pretraining compared with 1.6M, which was not trained (estimated). " in found["text"]
    assert "the largest trained model, 800k," in found["text"]
    assert "学習しなかった 1.6M" in Finding.model_validate(found).render("ja")


def test_results_table_holds_every_metric(demo: Any) -> None:
    run, summary = demo
    table = pq.read_table(run.folder / "results.parquet")
    assert table.num_rows == 6 * sum(len(task["results"]) for task in summary["tasks"])
    rows = table.to_pylist()
    row = next(
        row for row in rows
        if (row["task"], row["arm"], row["size"], row["split"], row["n_labelled"], row["metric"])
        == ("ckd", "scratch", "400k", "hospital", 4100, "auroc")
    )  # fmt: skip
    expected = result_of(task_of(summary, "ckd"), "scratch", "400k", "hospital")["auroc"]
    assert {name: row[name] for name in ("estimate", "low", "high")} == expected
    assert row["parameters"] == 401_020
    assert all(row["low"] is None for row in rows if row["metric"] == "expected_calibration_error")


def test_two_seeds_and_two_tasks_give_a_reason_and_no_p(demo: Any) -> None:
    """A claim about kinds of task needs three outcomes of each kind and three seeds."""
    _, summary = demo
    found = summary["task_size_interaction"]
    assert found["reason"] == "few_outcomes"
    assert {value for key, value in found.items() if key != "reason"} == {None}
    codes = [one["code"] for one in summary["limitations"]]
    assert codes.count("limitation.interaction_not_tested") == 1


def test_same_inputs_same_summary(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    run = fake_run(tmp_path, sizes=("100k", "400k"), labelled=("all",), patients=300)
    assert run.summarise() == run.summarise()


def test_one_seed_one_class_and_no_pretraining_are_survived(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    """What cannot be known is null; the verdict is never 'saturated'."""
    run = fake_run(
        tmp_path, seeds=(42,), sizes=("100k", "400k"), labelled=("all",), patients=4, splits=("held_out",),
        oracle=False, pretrain={"seeds": [42]},
    )  # fmt: skip
    run.pretraining = []
    summary = run.summarise()
    assert all(task["saturation"]["verdict"] == "inconclusive" for task in summary["tasks"])
    assert summary["sizes"][0]["hours"] is None
    assert all(task["oracle"] is None for task in summary["tasks"])
    assert any(one["code"] == "limitation.one_seed" for one in summary["limitations"])


def test_what_cells_say_of_themselves_is_a_warning(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    run = fake_run(tmp_path, sizes=("100k", "400k"), labelled=("all",), patients=100, oracle=False)
    without = run.summarise()["limitations"]
    damage = finding("training.tensors_missing")
    run.notes = [finding("training.checkpoint_restarted", damage=[damage])]
    assert run.summarise()["limitations"] == [*without, *(note.model_dump() for note in run.notes)]


def test_a_task_without_predictions_is_refused(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    run = fake_run(tmp_path, sizes=("100k", "400k"), labelled=("all",), patients=100, oracle=False)
    cells = run.cells
    run.cells = [cell for cell in cells if cell.task == "ckd"]
    with pytest.raises(BadInput, match="pregabalin has no predictions"):
        run.summarise()
    run.cells = [cell for cell in cells if cell.task == "ckd" or cell.arm == "lightgbm"]
    with pytest.raises(BadInput, match="no encoder was fine-tuned for pregabalin"):
        run.summarise()


def test_break_even_is_where_the_curves_were_made_to_cross(fake_run, tmp_path: Path) -> None:
    """LightGBM's noise does not fall with labels, the encoders' does: they meet at 1,000 patients.

    The larger encoder is as good with a third of the labels.
    """
    even = {"100k": 1000, "200k": 500}

    def noise(task: str, arm: str, size: str | None, labelled: int) -> float:
        return 0.8 if size is None else 0.8 + 0.25 * math.log(even[size] / labelled)

    summary = fake_run(tmp_path, noise=noise, sizes=tuple(even), patients=8000).summarise()
    for task in summary["tasks"]:
        assert [found["size"] for found in task["crossover"]] == list(even), "one for every size"
        for found in task["crossover"]:
            assert (found["outcome"], found["tested_n_labelled"]) == ("at", [300, 1000, 4100])
            assert 0.6 < found["n_labelled"] / even[found["size"]] < 1.7
            assert found["low"] is None or found["low"] < found["n_labelled"]


def test_the_law_of_the_loss_is_drawn_through_the_ends(fake_run, tmp_path: Path) -> None:
    """The curve over size meets the losses measured, in its band; without branches none is over tokens."""
    run = fake_run(tmp_path, labelled=("all",), patients=300, oracle=False)
    fit = run.summarise()["loss_fit"]
    assert len(fit["points"]) == 5 * 2 and fit["over_tokens"] == []
    curve = fit["over_size"]
    assert (curve["parameters"][0], curve["parameters"][-1]) == pytest.approx((100_412, 1_602_004), rel=1e-5)
    bands = zip(curve["low"], curve["loss"], curve["high"], strict=True)
    assert all(low <= loss <= high for low, loss, high in bands)
    first = [end["loss"] for end in fit["points"] if end["size"] == "100k"]
    assert curve["loss"][0] == pytest.approx(sum(first) / 2, abs=0.03)
    for trained in run.pretraining:
        trained["cooldowns"] = [
            {"share": share, "tokens": int(share * 4e6), "steps": 1,
             "validation_loss": trained["validation_loss"] + 0.2 * (share**-0.5 - 1)}
            for share in (0.125, 0.25, 0.5)
        ]  # fmt: skip
    fit = run.summarise()["loss_fit"]
    assert [one["size"] for one in fit["over_tokens"]] == run.study.sizes
    for one in fit["over_tokens"]:
        assert (one["tokens"][0], one["tokens"][-1]) == pytest.approx((5e5, 4e6))
        assert one["loss"] == sorted(one["loss"], reverse=True)
    run.pretraining = run.pretraining[:4]  # two sizes: no law
    fit = run.summarise()["loss_fit"]
    assert fit["over_size"] is None and len(fit["points"]) == 2 * 2 * 4


def test_an_unfinished_study_is_decided_on_the_pretrained_arm(
    fake_run: Callable[..., Any], tmp_path: Path
) -> None:
    """While it runs: encoders from scratch need no pretraining, and may be done first."""
    run = fake_run(tmp_path, patients=300, sizes=("100k", "400k"), oracle=False)
    run.cells = [
        cell
        for cell in run.cells
        if cell.arm == "scratch" or (cell.arm == "pretrained" and cell.n_labelled == 300)
    ]
    for task in run.summarise()["tasks"]:
        assert [(pair["smaller"], pair["larger"]) for pair in task["saturation"]["comparisons"]] == [
            ("100k", "400k")
        ]
        measured = task["saturation"]["comparisons"][0]["difference"]
        found = {
            (one["arm"], one["size"], one["labelled_patients"]): one["auprc"]["estimate"]
            for one in task["results"] if one["split"] == "held_out"
        }  # fmt: skip
        gain = found["pretrained", "400k", 300] - found["pretrained", "100k", 300]
        assert measured == pytest.approx(gain, abs=1e-5)

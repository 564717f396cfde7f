"""Where few held-out patients have the outcome, or lack it, nothing shown rests on them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic

from claimscale.privacy.suppression import PROFILES
from claimscale.report import export, page
from claimscale.report.i18n import Texts

NUMBER = re.compile(r"\d\.\d{3,}")


def with_few(cases: bool) -> dict[str, Any]:
    """Three tasks; in the first only four held-out patients have the outcome, or are without it."""
    found = synthetic.summary(tasks=3, seed=1)
    task = found["tasks"][0]
    index_dates = task["splits"]["held_out"]["index_dates"]
    positives = 4 if cases else index_dates - 4
    task["splits"]["held_out"]["positives"] = task["positives"] = positives
    for row in task["results"]:
        if row["split"] == "held_out":
            row["positives"] = positives
    for detail in task["per_model"]:
        for name in ("curve", "net_benefit", "risk_distribution", "subgroups"):
            detail.pop(name, None)
    return found


def figures(node: Any) -> list[float]:
    if isinstance(node, dict | list):
        return [
            found for inner in (node.values() if isinstance(node, dict) else node) for found in figures(inner)
        ]
    return [node] if isinstance(node, float) else []


@pytest.mark.parametrize("profile", [name for name, rule in PROFILES.items() if rule])
@pytest.mark.parametrize("cases", [True, False])
def test_nothing_rests_on_suppressed_results(profile: str, cases: bool) -> None:
    shown = synthetic.shown(with_few(cases), profile)
    task, other = shown["tasks"][:2]
    assert task["results"] == task["per_model"] == task["pretraining_gain"] == task["crossover"] == []
    saturation = task["saturation"]
    assert saturation["verdict"] == "inconclusive" and saturation["reason"] == "suppressed"
    known = {"relative_margin"}
    assert figures({key: value for key, value in saturation.items() if key not in known}) == []
    assert saturation["comparisons"] == [] and saturation["cluster_bootstrap"] is None
    assert task["name"] not in {entry["task"] for entry in shown["forecast"]["tasks"]}
    assert task["name"] not in {*shown["forecast"]["curve_fits"], *shown["forecast"]["pareto"]}
    assert set(shown["task_size_interaction"].values()) == {None}
    assert other["saturation"]["comparisons"] and other["pretraining_gain"] and other["results"]
    assert other["name"] in {entry["task"] for entry in shown["forecast"]["tasks"]}


def test_page_tables_and_answer_do_without_them(fake_run: Callable[..., Any], tmp_path: Path) -> None:
    """Page, tables and answer say why nothing is shown, and hold no figure of the task."""
    run = fake_run(tmp_path, patients=400, splits=("held_out", "hospital"), privacy={"profile": "cms"})
    leave_few_positives(run)
    run.dataset = {name: entry for name, entry in run.dataset.items() if name != "description"}
    built = run.summary()
    summary = built.model_dump(mode="json")
    task, answer = summary["tasks"][0], summary["answers"][0]
    assert task["saturation"]["reason"] == "suppressed"
    assert answer["recommendation"] is answer["ensemble_text"] is None and answer["verdict"] == "inconclusive"
    assert answer["text"] == answer["size_text"] and answer["text"]["text"].startswith("Not shown: too few")
    assert not NUMBER.search(answer["text"]["text"])
    found = [one["text"] for one in summary["limitations"]]
    assert any(text.startswith("ckd: Results on held-out") for text in found)
    assert not any("No verdict on size" in text for text in found if "ckd" in text)
    for language in ("en", "ja"):
        section = re.findall(
            r'<section class="task".*?</section>', page.html(built, run.study, language), re.S
        )
        assert "<table" not in section[0] and not NUMBER.search(section[0])
    for name, rows in export.tables(built, Texts("en")).items():
        if name not in ("answers", "sizes", "cohort"):
            assert not any("ckd" in row for row in rows), name
    export.write(built, tmp_path)


def leave_few_positives(run: Any) -> None:
    """Of the first task all but six of the held-out patients with the outcome are without it."""
    for file in {cell.predictions for cell in run.cells if cell.task == "ckd"} | {run.oracle["ckd"]}:
        table = pq.read_table(file)
        labels = table["boolean_value"].to_numpy(zero_copy_only=False).copy()
        labels[labels.nonzero()[0][6:]] = False
        place = table.column_names.index("boolean_value")
        pq.write_table(table.set_column(place, "boolean_value", pa.array(labels)), file)

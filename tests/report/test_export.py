"""Figures and tables beside the report: complete, readable alone, and the summary's numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import synthetic

from claimscale.report import export, figures
from claimscale.report.i18n import Texts
from claimscale.summary.pretraining_entries import training_losses
from claimscale.summary.provenance import provenance


def test_every_figure_and_table_is_written_anew(tmp_path: Path) -> None:
    summary = synthetic.shown(synthetic.summary(tasks=1), "ndb")
    stale = tmp_path / "figures" / "old.svg"
    stale.parent.mkdir()
    stale.write_text("old")
    export.write(synthetic.typed(summary), tmp_path)
    svg = sorted((tmp_path / "figures").glob("*.svg"))
    assert len(svg) == len(figures.charts(synthetic.typed(summary))) and not stale.exists()
    assert {"pretraining", "pretraining-tokens"} <= {file.stem.split("-", 1)[1] for file in svg}
    for file in svg:
        text = file.read_text("utf-8")
        assert text.startswith("<svg") and "var(" not in text, "no colour is left to a page"
        assert file.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with (tmp_path / "tables" / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    results = summary["tasks"][0]["results"]
    assert len(rows) == len(results)
    for row, result in zip(rows, results, strict=True):
        assert row["arm"] == result["arm"] and row["auprc_low"] == str(result["auprc"]["low"])
        assert row["n_test"] == str(result["n_test"])
    names = {file.stem for file in (tmp_path / "tables").iterdir()}
    assert names == {
        "results",
        "answers",
        "comparisons",
        "pretraining_gain",
        "crossover",
        "subgroups",
        "sizes",
        "cohort",
        "families",
        "outcomes",
        "outcomes_lightgbm",
    }


def test_no_cell_of_a_table_is_a_formula() -> None:
    summary = synthetic.shown(synthetic.summary(tasks=1, names=["=HYPERLINK(1)"]))
    for rows in export.tables(synthetic.typed(summary), Texts("en")).values():
        assert "\n=" not in "\n" + export.as_csv(rows) and ",=" not in export.as_csv(rows)


def test_figures_with_hidden_counts_say_so(tmp_path: Path) -> None:
    summary = synthetic.shown(synthetic.summary(tasks=1), "ndb")
    histograms = summary["dataset"]["description"]["histograms"]
    export.write(synthetic.typed(summary), tmp_path, "ja")
    for name, counts in (("hospitals", "patients_per_hospital"), ("observation", "observation_years")):
        found = histograms[counts]
        known = [isinstance(count, int) for count in (found if isinstance(found, list) else found["counts"])]
        files = list((tmp_path / "figures").glob(f"*-cohort-{name}.svg"))
        assert len(files) == bool(known), "without counts there is no figure"
        for file in files:
            assert ("一部の件数は秘匿" in file.read_text("utf-8")) == (not all(known))
    (file,) = (tmp_path / "figures").glob("*-pretraining.svg")
    assert "秘匿" not in file.read_text("utf-8")


def test_figures_speak_the_language_of_the_report() -> None:
    chart = figures.charts(synthetic.typed(synthetic.shown(synthetic.summary(tasks=1))))["pretraining"]
    svg = figures.plain_svg(chart, Texts("ja"), export.light_colours())
    assert "モデルサイズ（パラメータ数）" in svg and "Model size" not in svg


def test_training_losses_are_thinned_and_of_the_first_seed(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(f'{{"tokens": {10 * step}, "loss": {1 / step}}}\n' for step in range(1, 401)))
    other = tmp_path / "none.jsonl"
    runs = [{"size": "1M", "seed": 123, "metrics": other}, {"size": "1M", "seed": 42, "metrics": file}]
    (found,) = training_losses(runs)
    assert (found.seed, len(found.tokens), found.tokens[-1]) == (42, 40, 4000)
    assert list(found.loss) == sorted(found.loss, key=float, reverse=True)


def test_provenance_names_versions_and_no_place(tmp_path: Path) -> None:
    found = provenance(tmp_path)
    assert found.versions["torch"] and found.manifests == {}
    assert str(tmp_path) not in str(found)

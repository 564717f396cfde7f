"""Scores of new patients: those of the study, whatever the format, and what they are marked with."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaged_study import PackagedStudy

from claimscale import cli
from claimscale.config.training import Tokens
from claimscale.inference.patients import lookup_of, shards
from claimscale.inference.predict import PREDICTION
from claimscale.simulator.population import Population, simulate

LANDMARK = 18535
"""The index day of the landmark: 2020-09-30."""
CELL = "finetune-analgesics-80k-pretrained-nall-s1"


def scores(package: Path, source: Path, out: Path, *options: str) -> pd.DataFrame:
    assert cli.call(["predict", str(package), str(source), str(out), *options]) == 0
    return pd.read_parquet(out)


@pytest.fixture(scope="module")
def of_study(packaged_study: PackagedStudy, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The study's own patients, scored from its events."""
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    return scores(
        packaged_study.packages["encoder"], packaged_study.run / "events", out, "--on", "2020-10-01"
    )


def test_the_patients_of_the_study_get_its_predictions_bit_for_bit(
    packaged_study: PackagedStudy, of_study: pd.DataFrame
) -> None:
    predictions = pd.read_parquet(packaged_study.run / "cells" / CELL / "predictions.parquet")
    test = predictions[predictions.split == "held_out"]
    both = test.merge(of_study, on=["subject_id", "prediction_time"], how="left", suffixes=("", "_again"))
    assert len(test) > 50
    assert (both.predicted_boolean_probability == both.predicted_boolean_probability_again).all()
    assert both.excluded.isna().all(), "the question is about every patient of the study"


def test_patients_whom_the_question_is_not_about_are_scored_and_marked(
    packaged_study: PackagedStudy, of_study: pd.DataFrame
) -> None:
    labelled = packaged_study.workspace.samples("analgesics")
    landmark = of_study.prediction_time == np.datetime64("2020-09-30")
    known = {
        subject for sample in labelled.values() for subject in sample.subjects[sample.index_days == LANDMARK]
    }
    assert set(of_study[landmark & of_study.excluded.isna()].subject_id) == known
    assert of_study.predicted_boolean_probability.between(0, 1).all()


def test_each_format_gives_the_same_score(packaged_study: PackagedStudy, tmp_path: Path) -> None:
    found = {}
    for form, kind in (("meds", "meds"), ("tables", "tables"), ("omop", "omop")):
        simulate(tmp_path / form, Population(60, 2, 5, 70), form, workers=1)
        source = tmp_path / f"{form}.yaml"
        source.write_text(f"source: {{kind: {kind}, path: {tmp_path / form}}}\n")
        out = tmp_path / f"{form}.parquet"
        table = scores(packaged_study.packages["ensemble"], source, out, "--on", "2020-10-01")
        ids = table.get("source_id", table.subject_id).astype(int)
        found[form] = table.set_index(ids).predicted_boolean_probability.sort_index()
    for form in ("tables", "omop"):
        assert found[form].index.equals(found["meds"].index)
        assert np.allclose(found[form], found["meds"], atol=1e-6)


def test_visits_and_files_of_dates_give_a_score_per_date(
    packaged_study: PackagedStudy, of_study: pd.DataFrame, tmp_path: Path
) -> None:
    events, package = packaged_study.run / "events", packaged_study.packages["lightgbm"]
    wanted = of_study[["subject_id", "prediction_time"]].head(20)
    pq.write_table(pa.Table.from_pandas(wanted, preserve_index=False), tmp_path / "dates.parquet")
    some = scores(package, events, tmp_path / "some.parquet", "--dates", str(tmp_path / "dates.parquet"))
    assert len(some.merge(wanted)) == len(wanted) == len(some)
    on = scores(package, events, tmp_path / "on.parquet", "--on", "2020-10-01")
    both = some.merge(on, on=["subject_id", "prediction_time"])
    assert (both.predicted_boolean_probability_x == both.predicted_boolean_probability_y).all()


def test_scores_long_after_the_claims_say_so(
    packaged_study: PackagedStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, events = packaged_study.packages["logistic"], str(packaged_study.run / "events")
    for on, is_said in (("2020-10-01", False), ("2030-01-01", True)):
        arguments = ["predict", str(package), events, str(tmp_path / f"{on}.parquet"), "--on", on]
        assert cli.call(arguments) == 0
        assert (f"scores on {on} know nothing of the" in capsys.readouterr().out) == is_said


def test_a_file_that_would_be_misread_or_lost_is_not_written(
    packaged_study: PackagedStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, events = packaged_study.packages["logistic"], str(packaged_study.run / "events")
    (tmp_path / "scores.parquet").write_text("last month's")
    (tmp_path / "tables").mkdir()
    for source, name, message in (
        (events, "scores.csv", "name it scores.parquet"),
        (events, "scores.parquet", "is there already"),
        (str(tmp_path / "tables"), "new.parquet", "a YAML file with a source section"),
    ):
        arguments = ["predict", str(package), source, str(tmp_path / name), "--on", "2020-10-01"]
        assert cli.call(arguments) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "scores.parquet").read_text() == "last month's"
    assert not (tmp_path / "scores.csv").exists()


def test_embeddings_have_the_width_of_the_encoder(packaged_study: PackagedStudy, tmp_path: Path) -> None:
    out, package = tmp_path / "vectors.parquet", packaged_study.packages["pretrained"]
    arguments = ["embed", str(package), str(packaged_study.run / "events"), str(out), "--on", "2020-10-01"]
    assert cli.call(arguments) == 0
    vectors = np.stack(pq.read_table(out)["embedding"].to_pylist())
    assert vectors.shape[1] == 3 * 64 and np.isfinite(vectors).all()
    assert len(np.unique(vectors.round(4), axis=0)) > 0.9 * len(vectors), "patients differ"


def test_a_code_that_must_not_be_seen_has_no_token_of_an_ancestor(
    packaged_study: PackagedStudy, tmp_path: Path
) -> None:
    package = packaged_study.open("encoder")
    known = next(code for code in package.vocabulary.codes if code.startswith("ICD10//") and len(code) == 11)
    rows = [(1, "MEDS_BIRTH", "1940-01-01"), (1, known + "99", "2020-01-05"), (1, known, "2020-01-06")]
    table = pa.table({
        "subject_id": pa.array([row[0] for row in rows], pa.int64()),
        "time": pa.array([dt.datetime.fromisoformat(row[2]) for row in rows], pa.timestamp("us")),
        "code": [row[1] for row in rows],
        "available_at": pa.array([dt.datetime.fromisoformat(row[2]) for row in rows], pa.timestamp("us")),
        "suspected": [False] * len(rows),
    })  # fmt: skip
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "0.parquet")

    def tokens(hidden: dict[str, list[str]]) -> list[int]:
        from claimscale.config.execution import EngineSettings
        from claimscale.engine import Engine

        config = package.config.model_copy(update={"hidden_codes": hidden, "tokens": Tokens()})
        with Engine(EngineSettings()) as engine:
            lookup = lookup_of(tmp_path, engine, config, package.vocabulary)
            (shard,) = shards(tmp_path, package.vocabulary, lookup)
            return shard.store.token.tolist()

    token = package.vocabulary.codes.index(known)
    assert tokens({}) == [token, token], "the longer code is read as its ancestor"
    assert tokens({"ICD10": [known.removeprefix("ICD10//") + "9"]}) == [token]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on", "2020-13-01"], "--on 2020-13-01: is not a date"),
        ([], "give one of --on DATE, --visits and --dates FILE"),
        (["--on", "2020-10-01", "--visits"], "give one of"),
        (["--dates", "nowhere.parquet"], "nowhere.parquet: cannot be read"),
        (["--on", "1950-01-01"], "known events on the dates given"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    packaged_study: PackagedStudy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    out = tmp_path / "scores.parquet"
    package, events = str(packaged_study.packages["logistic"]), str(packaged_study.run / "events")
    assert cli.call(["predict", package, events, str(out), *arguments]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert message in line and list(tmp_path.iterdir()) == []


def test_the_columns_are_those_that_the_page_describes(of_study: pd.DataFrame) -> None:
    assert list(of_study.columns) == [name for name, _ in PREDICTION]
    page = (Path(__file__).parents[2] / "docs" / "packages.md").read_text("utf-8")
    assert all(f"`{name}`" in page for name in of_study.columns)

"""Packages as scikit-learn estimators, and studies from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from packaged_study import PackagedStudy
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

import claimscale
from claimscale import ClaimsClassifier, ClaimsEmbedder, Run, Study
from claimscale.errors import BadInput
from claimscale.inference import estimators

CELL = "finetune-analgesics-80k-pretrained-nall-s1"


@pytest.fixture(scope="module")
def claims(packaged_study: PackagedStudy) -> pa.Table:
    return pq.read_table(packaged_study.run / "events" / "data")


@pytest.fixture(scope="module")
def rows(packaged_study: PackagedStudy) -> pd.DataFrame:
    """Test patients with their risks and outcomes, in no order."""
    predictions = Run.open(packaged_study.run).predictions(CELL).to_pandas()
    return predictions[predictions.split == "held_out"].sample(frac=1, random_state=0)


def test_risks_are_those_of_the_study_in_the_order_of_the_rows(
    packaged_study: PackagedStudy, claims: pa.Table, rows: pd.DataFrame
) -> None:
    X = rows[["subject_id", "prediction_time"]]
    for events in (claims, claims.to_pandas(), pl.from_arrow(claims), packaged_study.run / "events"):
        model = ClaimsClassifier.from_pretrained(packaged_study.packages["encoder"], events)
        found = model.predict_proba(X)
        assert np.array_equal(found[:, 1], rows.predicted_boolean_probability)
        assert np.allclose(found.sum(axis=1), 1)


def test_rows_keep_their_order_over_several_shards(
    packaged_study: PackagedStudy, claims: pa.Table, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = claims["subject_id"].to_numpy() % 2 == 1
    model = ClaimsClassifier.from_pretrained(packaged_study.packages["encoder"], claims)
    package = packaged_study.open("encoder")
    parts = [claims.filter(pa.array(own)) for own in (odd, ~odd)]
    shards = [shard for part in parts for shard in estimators._read_shards(package, part)]
    monkeypatch.setattr(estimators, "_shards", lambda package, claims: shards)
    found = model.predict_proba(rows[["subject_id", "prediction_time"]])[:, 1]
    assert len(shards) > 1 and np.array_equal(found, rows.predicted_boolean_probability)


def test_claims_alone_are_scored_at_the_last_event(packaged_study: PackagedStudy, claims: pa.Table) -> None:
    model = ClaimsClassifier.from_pretrained(packaged_study.packages["lightgbm"])
    assert model.predict_proba(claims).shape == (len(claims["subject_id"].unique()), 2)


def test_estimators_work_in_the_tools_of_scikit_learn(
    packaged_study: PackagedStudy, claims: pa.Table, rows: pd.DataFrame
) -> None:
    rows = rows.head(200)
    X, y = rows[["subject_id", "prediction_time"]], rows.boolean_value.to_numpy()
    own = pa.array(np.isin(claims["subject_id"].to_numpy(), rows.subject_id))
    claims = claims.filter(own)
    model = ClaimsClassifier.from_pretrained(packaged_study.packages["encoder"], claims)
    assert cross_val_predict(model, X, y, cv=2, method="predict_proba").shape == (len(X), 2)
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X, y)
    assert np.isfinite(calibrated.predict_proba(X)).all()
    embedder = ClaimsEmbedder.from_pretrained(packaged_study.packages["pretrained"], claims)
    pipeline = make_pipeline(embedder, LogisticRegression(C=0.01, max_iter=3000)).fit(X, y)
    assert pipeline.predict_proba(X)[y, 1].mean() > pipeline.predict_proba(X)[~y, 1].mean()
    assert clone(model).get_params()["calibrated"] is False


def test_bad_input_names_the_cause(
    packaged_study: PackagedStudy, claims: pa.Table, rows: pd.DataFrame
) -> None:
    package, X = packaged_study.packages["encoder"], rows[["subject_id", "prediction_time"]]
    with pytest.raises(BadInput, match="no claims were given"):
        ClaimsClassifier.from_pretrained(package).predict_proba(X)
    with pytest.raises(BadInput, match="needs the columns subject_id and prediction_time"):
        ClaimsClassifier.from_pretrained(package, claims).predict_proba(X[["subject_id"]])
    with pytest.raises(BadInput, match="1 of 2 rows have no usable events"):
        stranger = pd.concat([X.head(1), X.head(1).assign(subject_id=10**9)])
        ClaimsClassifier.from_pretrained(package, claims).predict_proba(stranger)
    with pytest.raises(BadInput, match="1 classes"):
        ClaimsClassifier.from_pretrained(package, claims).fit(X, np.zeros(len(X)))


def test_a_study_and_its_run_are_objects(packaged_study: PackagedStudy, tmp_path: Path) -> None:
    study = Study.load(packaged_study.file, runs_dir=str(packaged_study.folder / "runs"), pretrain__epochs=2)
    run = study.run()  # nothing is left to do
    assert run.folder == packaged_study.run and CELL in run.cells
    assert run.results.num_rows and run.summary.tasks[0].name == "analgesics"
    with pytest.raises(BadInput, match="has no such cell"):
        run.predictions("nothing")
    with pytest.raises(BadInput, match="is not a run directory"):
        Run.open(tmp_path)


def test_importing_claimscale_imports_nothing_heavy() -> None:
    code = "import claimscale, sys; print([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
    assert all(hasattr(claimscale, name) for name in claimscale.__all__)

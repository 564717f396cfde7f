"""Predictions of different cells meet on identical patients or not at all."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from claimscale.errors import BadInput
from claimscale.evaluation.bootstrap import Resamples
from claimscale.evaluation.predictions import CellResult, known_values, load_predictions
from claimscale.evaluation.scoring import Model, score_models, score_ranking

COLUMNS = ("subject_id", "prediction_time", "split", "boolean_value", "predicted_boolean_probability")


def table(patients: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """Predictions for `patients` held-out patients and half as many of the tuning split."""
    generator = np.random.default_rng(seed)
    subject = np.arange(patients + patients // 2)
    return {
        "subject_id": subject,
        "prediction_time": np.datetime64("2020-01-01", "us") + (subject % 50).astype("timedelta64[D]"),
        "split": np.where(subject < patients, "held_out", "tuning"),
        "boolean_value": subject % 3 == 0,
        "predicted_boolean_probability": generator.random(len(subject)),
    }


def write(file: Path, columns: dict[str, np.ndarray]) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def cell(file: Path, seed: int = 1, task: str = "ckd", size: str = "1M") -> CellResult:
    return CellResult(task, "pretrained", size, 100, "all", seed, file, seconds=2.0 * seed)


def test_row_order_does_not_matter_and_tuning_is_left_out(tmp_path: Path) -> None:
    first, second = table(seed=1), table(seed=2)
    shuffled = np.random.default_rng(0).permutation(len(second["subject_id"]))
    files = [
        write(tmp_path / "a.parquet", first),
        write(tmp_path / "b.parquet", {name: values[shuffled] for name, values in second.items()}),
    ]
    loaded = load_predictions([cell(files[0], 1), cell(files[1], 2)])
    assert list(loaded) == [("ckd", "held_out")]
    rows = loaded["ckd", "held_out"]
    assert rows.risks.shape == (2, 60)
    assert np.array_equal(rows.risks[0], first["predicted_boolean_probability"][:60])
    assert np.array_equal(rows.risks[1], second["predicted_boolean_probability"][:60])


@pytest.mark.parametrize("column", ["subject_id", "prediction_time", "boolean_value"])
def test_other_patients_or_outcomes_are_refused(tmp_path: Path, column: str) -> None:
    changed = table()
    changed[column] = changed[column].copy()
    changed[column][5] = ~changed[column][5] if column == "boolean_value" else changed[column][-1]
    files = [write(tmp_path / "a.parquet", table()), write(tmp_path / "b.parquet", changed)]
    with pytest.raises(BadInput, match=r"b\.parquet: ckd, held_out split: patients or outcomes differ"):
        load_predictions([cell(file, seed) for seed, file in enumerate(files)])


def test_a_cell_without_the_split_is_refused(tmp_path: Path) -> None:
    tuning_only = {name: values[60:] for name, values in table().items()}
    files = [write(tmp_path / "a.parquet", table()), write(tmp_path / "b.parquet", tuning_only)]
    with pytest.raises(BadInput, match=r"b\.parquet: has no predictions for the held_out split"):
        load_predictions([cell(file, seed) for seed, file in enumerate(files)])


@pytest.mark.parametrize("risk", [np.nan, -0.1, 1.5])
def test_risks_outside_zero_to_one_are_refused(tmp_path: Path, risk: float) -> None:
    broken = table()
    broken["predicted_boolean_probability"][3] = risk
    with pytest.raises(BadInput, match="not between 0 and 1"):
        load_predictions([cell(write(tmp_path / "a.parquet", broken))])


def test_unreadable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    missing_column = {name: values for name, values in table().items() if name != "split"}
    (tmp_path / "text.parquet").write_text("no parquet")
    for file in (
        tmp_path / "absent.parquet",
        tmp_path / "text.parquet",
        write(tmp_path / "column.parquet", missing_column),
    ):
        with pytest.raises(BadInput, match=file.name) as raised:
            load_predictions([cell(file)])
        assert "\n" not in str(raised.value)


def test_true_risks_find_their_patients(tmp_path: Path) -> None:
    rows = load_predictions([cell(write(tmp_path / "a.parquet", table()))])["ckd", "held_out"]
    risks = table(patients=80, seed=9)
    risks["risk"] = risks["subject_id"] / 1000
    shuffled = np.random.default_rng(0).permutation(len(risks["subject_id"]))
    for kept in (shuffled, shuffled[::2]):  # of some patients the risks were not computed
        file = write(tmp_path / "oracle.parquet", {name: values[kept] for name, values in risks.items()})
        known, found = known_values(rows, file, "held_out", "risk")
        has = np.isin(rows.subject, np.asarray(risks["subject_id"])[kept])
        assert has.any() and (known == np.flatnonzero(has)).all()
        assert found == pytest.approx(rows.subject[known] / 1000)
    with pytest.raises(BadInput, match="has no risk for the patients of the temporal split"):
        known_values(rows, file, "temporal", "risk")
    with pytest.raises(BadInput, match="column hazard is missing"):
        known_values(rows, file, "held_out", "hazard")


def test_scoring_groups_seeds_and_pairs_tasks(tmp_path: Path) -> None:
    """Two tasks with the same predictions on the same patients get the same replicates."""
    files = [write(tmp_path / f"{seed}.parquet", table(seed=seed)) for seed in (1, 2)]
    cells = [cell(files[seed - 1], seed, task) for task in ("ckd", "pregabalin") for seed in (2, 1)]
    scored = score_models(load_predictions(cells), "held_out", replicates=50, seed=7)
    model = Model("pretrained", "1M", "all")
    ckd, pregabalin = scored["ckd"][model], scored["pregabalin"][model]
    assert ckd.by_metric["auprc"].seeds == (1, 2)
    assert ckd.seconds == 3.0
    for metric, scores in ckd.by_metric.items():
        assert scores.replicates.shape == (2, 50)
        assert np.array_equal(scores.replicates, pregabalin.by_metric[metric].replicates), metric
        assert scores.replicates.mean() == pytest.approx(scores.values.mean(), abs=0.1), metric
    assert score_models(load_predictions(cells), "temporal", replicates=50, seed=7) == {}


def test_a_patient_has_one_weight_in_all_tasks(tmp_path: Path) -> None:
    """A task on the later half of the patients is resampled with the weights they have among all."""
    every, later = table(seed=1), {name: values[30:] for name, values in table(seed=2).items()}
    cells = [
        cell(write(tmp_path / "a.parquet", every), task="ckd"),
        cell(write(tmp_path / "b.parquet", later), task="pregabalin"),
    ]
    scored = score_models(load_predictions(cells), "held_out", replicates=20, seed=7)
    found = scored["pregabalin"][Model("pretrained", "1M", "all")].by_metric["auprc"].replicates[0]
    resamples = Resamples(60, 20, 7)
    weights = np.concatenate([resamples.weights(place) for place in resamples.places()], axis=1)[30:]
    labels, risks = later["boolean_value"][:30], later["predicted_boolean_probability"][:30]
    for replicate in range(20):
        expected = average_precision_score(labels, risks, sample_weight=weights[:, replicate])
        assert found[replicate] == pytest.approx(expected, abs=1e-12)


def test_a_perfect_ranking_scores_one() -> None:
    labels = np.arange(50) >= 40
    found = score_ranking(labels, np.arange(50.0), replicates=20, seed=1)
    assert found["auprc"].values == [1.0] and (found["auprc"].replicates == 1).all()
    assert found["auroc"].values == [1.0] and (found["auroc"].replicates == 1).all()

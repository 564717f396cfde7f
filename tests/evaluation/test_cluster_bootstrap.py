"""Verdicts with whole hospitals resampled: of sizes whose quality varies between hospitals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.config.comparison import Compare
from claimscale.evaluation.bootstrap import Ranking, Resamples, replicate_rankings
from claimscale.evaluation.cluster_bootstrap import (
    MIN_HOSPITALS,
    ClusterVerdict,
    ComparedTask,
    PatientHospitals,
    cluster_verdicts,
    read_hospitals,
)
from claimscale.evaluation.intervals import Scores, interval
from claimscale.evaluation.predictions import CellResult, SplitPredictions
from claimscale.evaluation.scoring import Model
from claimscale.evaluation.size_decision import SizeCurve, decide

SIZES = ("1M", "10M")
MODELS = {size: Model("pretrained", size, "all") for size in SIZES}
COMPARE = Compare(relative_margin=0.05, bootstrap_replicates=300)


def study(
    hospitals: int, apart: float, seed: int, patients: int = 6000
) -> tuple[SplitPredictions, PatientHospitals, SizeCurve]:
    """Two sizes, truly as good over endless hospitals; in one hospital either is better by `apart`."""
    generator = np.random.default_rng(seed)
    hospital = generator.integers(hospitals, size=patients)
    labels = generator.random(patients) < 0.2
    common = generator.normal(size=patients)
    risks = []
    for _ in SIZES:
        separation = 1.5 + apart * generator.normal(size=hospitals)[hospital]
        risks += [0.95 * common + 0.3 * generator.normal(size=patients) + separation * labels for _ in "ab"]
    cells = tuple(
        CellResult("ckd", "pretrained", size, 1, "all", run, Path("none"), 1.0)
        for size in SIZES
        for run in (1, 2)
    )
    # Subjects are not in the order of rows' places among all patients of the cohort.
    subject = 3 * np.arange(patients)
    rows = SplitPredictions(cells, subject, np.zeros(patients, "datetime64[us]"), labels, np.array(risks))
    everyone = PatientHospitals(np.arange(3 * patients), np.repeat(hospital, 3))
    return rows, everyone, curve_of(rows)


def curve_of(rows: SplitPredictions) -> SizeCurve:
    places = np.arange(len(rows.labels))
    rankings = [Ranking.of(rows.labels, own, places) for own in rows.risks]
    auprc, _ = replicate_rankings(Resamples(len(places), COMPARE.bootstrap_replicates, 0), rankings)
    once, _ = replicate_rankings(Resamples(len(places), 1, 0, np.zeros(len(places), np.int64)), rankings)
    positives = int(rows.labels.sum())
    return SizeCurve(
        {
            size: Scores((1, 2), once[2 * n : 2 * n + 2, 0], auprc[2 * n : 2 * n + 2], positives)
            for n, size in enumerate(SIZES)
        },
        0.2,
        positives,
    )


def resampled(
    rows: SplitPredictions, hospitals: PatientHospitals | None, curve: SizeCurve
) -> dict[str, ClusterVerdict]:
    return cluster_verdicts({"ckd": ComparedTask(curve, rows, MODELS)}, hospitals, COMPARE, 0)


def test_equal_hospitals_leave_the_verdict_unchanged() -> None:
    errors, called = [], []
    for seed in range(5):
        rows, hospitals, curve = study(40, 0.0, seed)
        ours, (theirs,) = decide({"ckd": curve}, 0.05)["ckd"], resampled(rows, hospitals, curve).values()
        called += [ours.verdict, theirs.verdict.verdict]
        assert theirs.hospitals == 40
        assert theirs.verdict.comparisons[0].gain.estimate == pytest.approx(ours.comparisons[0].gain.estimate)
        errors.append([one.comparisons[0].gain.bootstrap_variance ** 0.5 for one in (ours, theirs.verdict)])
    assert called.count("saturated") >= 8
    patients, whole = np.mean(errors, axis=0)
    assert whole == pytest.approx(patients, rel=0.2)


def test_ten_differing_hospitals_do_not_show_saturation() -> None:
    """Sizes equal on average, but which one is better varies: ten hospitals cannot show it."""
    verdicts = []
    for seed in range(8):
        rows, hospitals, curve = study(10, 0.3, seed)
        verdicts.append(resampled(rows, hospitals, curve)["ckd"].verdict.verdict)
    assert "saturated" not in verdicts


def test_intervals_cover_what_other_hospitals_show() -> None:
    """The truth is no gain. Patients alone know nothing of other hospitals, and are far too sure."""
    covered: dict[str, list[bool]] = {"patients": [], "hospitals": []}
    for seed in range(120):
        rows, hospitals, curve = study(15, 0.3, seed, patients=1500)
        found = {
            "patients": decide({"ckd": curve}, 0.05)["ckd"],
            "hospitals": resampled(rows, hospitals, curve)["ckd"].verdict,
        }
        for name, verdict in found.items():
            low, high = verdict.comparisons[0].gain.two_sided()
            covered[name].append(low <= 0 <= high)
    assert np.mean(covered["hospitals"]) >= 0.88
    assert np.mean(covered["patients"]) < 0.8


def test_few_hospitals_or_unknown_ones_give_no_verdict() -> None:
    rows, hospitals, curve = study(MIN_HOSPITALS - 1, 0.0, 1)
    assert resampled(rows, hospitals, curve) == {}
    assert resampled(rows, None, curve) == {}
    stranger = PatientHospitals(hospitals.subject[:50], hospitals.hospital[:50])
    assert resampled(rows, stranger, curve) == {}
    nowhere = PatientHospitals(hospitals.subject, np.full(len(hospitals.subject), -1))
    assert resampled(rows, nowhere, curve) == {}


def test_patients_without_hospital_are_single_clusters() -> None:
    rows, hospitals, curve = study(10, 0.0, 2)
    some = np.where(hospitals.subject % 2 == 0, -1, hospitals.hospital)
    found = resampled(rows, PatientHospitals(hospitals.subject, some), curve)["ckd"]
    assert found.hospitals == 10 and found.verdict.verdict == "saturated"


def test_an_undecidable_task_keeps_its_share_of_alpha() -> None:
    """Holm's correction is over both tasks, as it is for the verdicts by patients."""
    rows, hospitals, curve = study(40, 0.0, 3)
    few = SplitPredictions(
        rows.cells, rows.subject[:40], rows.day[:40], np.arange(40) < 4, rows.risks[:, :40]
    )
    tasks = {
        "ckd": ComparedTask(curve, rows, MODELS),
        "rare": ComparedTask(curve_of(few), few, MODELS),
    }
    found = cluster_verdicts(tasks, hospitals, COMPARE, 0)
    assert list(found) == ["ckd"] and found["ckd"].verdict.alpha == pytest.approx(0.025)


def test_few_hospitals_widen_the_interval() -> None:
    """The same replicates carry less information if they come from few units."""
    replicates = np.random.default_rng(0).normal(0.4, 0.01, size=(2, 400))
    widths: list[float] = []
    for units in (None, 50.0, 6.0):
        low, high = interval(
            Scores((1, 2), np.array([0.4, 0.401]), replicates, 4000, units=units)
        ).two_sided()
        widths.append(high - low)
    assert widths == sorted(widths) and widths[2] > 1.2 * widths[0]


@pytest.mark.parametrize("names", [["b", None, "a", "b"], [None] * 4, ["a"] * 4])
def test_hospitals_are_read_by_patient(tmp_path: Path, names: Sequence[str | None]) -> None:
    file = tmp_path / "patients.parquet"
    people = {"subject_id": [7, 3, 5, 1], "hospital_id": pa.array(names, pa.string())}
    pq.write_table(pa.table(people), file)
    found = read_hospitals(file)
    assert found is not None and found.subject.tolist() == [1, 3, 5, 7]
    expected = dict(zip(people["subject_id"], names, strict=True))
    for one, place in zip(found.subject.tolist(), found.hospital.tolist(), strict=True):
        assert (place == -1) == (expected[one] is None)
        for other, elsewhere in zip(found.subject.tolist(), found.hospital.tolist(), strict=True):
            assert (place == elsewhere) == (expected[one] == expected[other])
    assert read_hospitals(tmp_path / "none.parquet") is None

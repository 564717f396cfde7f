"""Validation elsewhere: known errors of calibration are found and mended, and nobody is shown."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from packaged_study import PackagedStudy
from scipy.special import expit, logit

from claimscale import cli
from claimscale.inference import calibration
from claimscale.inference.drift import outside_shares, risk_psi
from claimscale.inference.performance import cross_fitted, performance
from claimscale.inference.reference import Range, Reference
from claimscale.inference.validation_text import conclusions, read_validation
from claimscale.privacy.suppression import PROFILES


def risks_and_labels(patients: int, shift: float, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Risks, and labels whose true log odds are a line of theirs."""
    random = np.random.default_rng(3)
    risks = expit(random.normal(-2.5, 1, patients))
    return risks, random.random(patients) < expit(shift + slope * logit(risks))


def test_a_wrong_line_is_found_and_mended() -> None:
    risks, labels = risks_and_labels(20_000, shift=0.8, slope=0.7)
    patient = np.arange(len(labels))
    before = performance("as_is", labels, risks, patient, None)
    assert before.slope.low < 0.7 < before.slope.high < 1 and before.observed_expected.low > 1
    after = performance(
        "recalibrated", labels, cross_fitted(labels, calibration.log_odds_of(risks), patient), patient, None
    )
    assert after.slope.low < 1 < after.slope.high
    assert after.observed_expected.low < 1 < after.observed_expected.high
    assert after.log_loss.estimate < before.log_loss.estimate
    intercept, slope = calibration.recalibrate(labels, risks)
    assert intercept == pytest.approx(0.8, abs=0.2) and slope == pytest.approx(0.7, abs=0.06)


def test_patients_and_not_dates_are_resampled() -> None:
    risks, labels = risks_and_labels(2000, 0.0, 1.0)
    once = performance("as_is", labels, risks, np.arange(2000), None)
    twice = performance("as_is", np.tile(labels, 2), np.tile(risks, 2), np.tile(np.arange(2000), 2), None)
    width = once.auroc.high - once.auroc.low
    assert twice.auroc.high - twice.auroc.low == pytest.approx(width, rel=0.1)


def test_no_bin_of_a_curve_has_a_small_count() -> None:
    risks, labels = risks_and_labels(400, 0.0, 1.0)
    rule = PROFILES["ndb"]
    found = performance("as_is", labels, risks, np.arange(400), rule)
    full = performance("as_is", labels, risks, np.arange(400), None)
    assert 1 <= len(found.curve) < len(full.curve)
    assert all(point.observed * 400 >= 9.99 for point in found.curve)


def test_calibration_maps_and_intervals_hold_the_truth() -> None:
    risks, labels = risks_and_labels(20_000, shift=0.5, slope=1.4)
    fitted = calibration.fit(labels, risks)
    at = np.array([0.02, 0.05, 0.1, 0.3])
    truth = expit(0.5 + 1.4 * logit(at))
    assert fitted.method != "none" and np.allclose(fitted.calibrated(at), truth, rtol=0.25)
    low, high = fitted.interval(at)
    assert (low <= high).all() and (high - low < 0.2).all()
    assert calibration.fit(labels[:50] & False, risks[:50]).method == "none"


def test_stability_index_is_zero_for_the_same_risks_and_grows_with_a_shift() -> None:
    risks = risks_and_labels(20_000, 0, 1)[0]
    deciles = np.quantile(risks, np.arange(1, 10) / 10).tolist()
    same, moved = risk_psi(deciles, risks), risk_psi(deciles, expit(logit(risks) + 1))
    assert same is not None and moved is not None and same < 0.001 and moved > 0.25


def test_a_share_of_few_patients_is_not_shown() -> None:
    """Nine beyond a range are hidden, and so are nine within; ten are shown."""
    ages = np.array([50.0] * 91 + [100.0] * 9)
    ranges = {"age_years": Range(low=20, high=90)}
    package = SimpleNamespace(reference=Reference(patients=5000, ranges=ranges))
    rule = PROFILES["ndb"]
    for values, expected in (
        (ages, None),
        (150 - ages, None),
        (np.append(ages, 100.0), 10 / 101),
        (ages[:91], 0.0),
    ):
        scored = SimpleNamespace(measure=lambda name, values=values: values)
        assert outside_shares(package, scored, rule) == {"age_years": expected}
        assert outside_shares(package, scored, None)["age_years"] == pytest.approx((values > 90).mean())


@pytest.fixture(scope="module")
def validated(packaged_study: PackagedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another country, with younger patients."""
    folder = tmp_path_factory.mktemp("validated")
    source = folder / "source.yaml"
    source.write_text("source: {kind: simulated, patients: 1500, hospitals: 5, min_age: 50}\n")
    package = packaged_study.packages["ensemble"]
    assert cli.call(["validate", str(package), str(source), str(folder / "out"), "--on", "2020-10-01"]) == 0
    return folder / "out"


def test_a_validation_counts_everybody_once_and_shows_no_small_count(validated: Path) -> None:
    content = json.loads((validated / "validation.json").read_text())
    flow = content["flow"]
    numbers = [*flow["excluded"].values(), flow["eligible"], flow["positives"]]
    assert all(value is None or isinstance(value, str) or value == 0 or value >= 10 for value in numbers)
    if all(isinstance(value, int) for value in numbers):
        assert sum(flow["excluded"].values()) + flow["eligible"] == flow["predictions"]
    found = read_validation(validated)
    assert found.performance[0].auroc.estimate > 0.5 and found.training
    assert 0.5 < found.codes.read_share <= 1
    assert found.drift.outside == {}, "fewer than 2,000 training dates show no range"
    assert conclusions(found)
    page = (validated / "validation.html").read_text("utf-8")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "").replace(
        "http://www.w3.org", ""
    )


def test_calibration_is_not_judged_before_outcomes_have_had_their_time(
    validated: Path, tmp_path: Path, packaged_study: PackagedStudy
) -> None:
    assert read_validation(validated).incomplete == []
    package, source = packaged_study.packages["logistic"], validated.parent / "source.yaml"
    out = tmp_path / "late"
    assert cli.call(["validate", str(package), str(source), str(out), "--on", "2022-12-01"]) == 0
    found = read_validation(out)
    assert found.incomplete == [dt.date(2022, 12, 1)] and found.recalibration is None
    said = " ".join(conclusions(found))
    assert f"the claims end on {found.claims_until}" in said and "Calibration:" not in said


def test_two_validations_are_compared(validated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["compare", str(validated), str(validated)]) == 0
    assert "AUROC" in (said := capsys.readouterr().out) and "not shown to differ" in said


def test_what_cannot_be_validated_is_bad_input(
    packaged_study: PackagedStudy, validated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = str(packaged_study.run / "events")
    package, pretrained = (str(packaged_study.packages[name]) for name in ("logistic", "pretrained"))
    for arguments, message in (
        ([pretrained, events, str(tmp_path / "out"), "--on", "2020-10-01"], "no question with rules"),
        ([package, events, str(validated), "--on", "2020-10-01"], "is there already"),
        ([package, events, str(tmp_path / "out"), "--on", "1950-01-01"], "no patient has"),
        ([package, events, str(tmp_path / "out"), "--on", "2030-01-01"], "before the time of the outcome"),
    ):
        assert cli.call(["validate", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

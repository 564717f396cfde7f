"""Monitoring: planted changes are found, what is not known yet is not said, and nobody is shown."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from packaged_study import PackagedStudy

from claimscale import cli
from claimscale.config.sources import MedsSource
from claimscale.inference.claims_end import outcome_end
from claimscale.inference.monitor import monitor
from claimscale.inference.monitoring_page import page
from claimscale.inference.monitoring_schema import Monitoring
from claimscale.inference.monitoring_text import conclusions
from claimscale.inference.scored_dates import patients_with_code
from claimscale.inference.source_file import SourceFile
from claimscale.progress import Silent
from claimscale.tokens.store import TokenStore

SINCE, CHANGED = dt.date(2021, 7, 1), dt.date(2022, 1, 1)


def monitored(study: PackagedStudy, events: Path) -> Monitoring:
    source = SourceFile(source=MedsSource(kind="meds", path=str(events)))
    return monitor(study.open("logistic"), source, SINCE, "ndb", Silent())


@pytest.fixture(scope="module")
def as_it_was(packaged_study: PackagedStudy) -> Monitoring:
    return monitored(packaged_study, packaged_study.run / "events")


@pytest.fixture(scope="module")
def changed(packaged_study: PackagedStudy, tmp_path_factory: pytest.TempPathFactory) -> Monitoring:
    """From a day on, every diagnosis has a code that the package has never seen."""
    folder = tmp_path_factory.mktemp("changed") / "events"
    shutil.copytree(packaged_study.run / "events", folder)
    for file in (folder / "data").glob("*.parquet"):
        rows = pq.read_table(file)
        text = rows["code"].cast(pa.string())
        is_new = pc.and_(
            pc.starts_with(text, "ICD10//"),
            pc.fill_null(pc.greater_equal(rows["time"], pa.scalar(CHANGED).cast(rows["time"].type)), False),
        )
        place = rows.schema.get_field_index("code")
        codes = pc.if_else(is_new, pc.replace_substring(text, "ICD10//", "ICD11//"), text).cast(
            rows.schema.field(place).type
        )
        pq.write_table(rows.set_column(place, rows.schema.field(place), codes), file)
    return monitored(packaged_study, folder)


def test_every_month_is_assessed_and_its_outcomes_only_when_their_time_has_passed(
    packaged_study: PackagedStudy, as_it_was: Monitoring
) -> None:
    task = packaged_study.open("logistic").config.task
    assert task is not None
    dates = [one.date for one in as_it_was.dates]
    assert dates[0] == SINCE and all(date.day == 1 for date in dates)
    assert all((after - before).days in (28, 29, 30, 31) for before, after in itertools.pairwise(dates))
    until = (as_it_was.claims_until - dt.date(1970, 1, 1)).days
    for one in as_it_was.dates:
        day = (one.date - dt.date(1970, 1, 1)).days - 1
        assert one.is_complete == (outcome_end(task, day) <= until)
        assert one.is_complete or (one.positives is None and one.auroc.estimate is None)
    known = [one for one in as_it_was.dates if one.is_complete]
    assert 0 < len(known) < len(dates)
    assert all(one.observed_expected.low < one.observed_expected.high for one in known)
    assert any("dates whose outcomes are known" in text for text in conclusions(as_it_was))


def test_codes_that_change_are_found_and_the_rest_stays(as_it_was: Monitoring, changed: Monitoring) -> None:
    before = [one for one in changed.dates if one.date <= CHANGED]
    same = as_it_was.dates[: len(before)]
    assert [one.unread_share for one in before] == [one.unread_share for one in same]
    rises = [
        one.unread_share - other.unread_share
        for one, other in zip(changed.dates, as_it_was.dates, strict=True)
    ]
    assert rises[-1] > 0.1 and all(
        later > sooner for sooner, later in itertools.pairwise(rises[len(before) :])
    )
    assert changed.dates[-1].code_psi > 3 * as_it_was.dates[-1].code_psi
    are_diagnoses = [one.code.startswith("ICD10//") and one.last < one.first for one in changed.codes]
    assert are_diagnoses[0] and sum(are_diagnoses) > len(are_diagnoses) / 2
    assert any("New codes" in text for text in conclusions(changed))
    assert not any("New codes" in text for text in conclusions(as_it_was))


def test_small_counts_and_patients_are_not_shown(
    as_it_was: Monitoring, packaged_study: PackagedStudy
) -> None:
    for one in as_it_was.dates:
        for count in (one.predictions, one.positives):
            assert count is None or isinstance(count, str) or count == 0 or count >= 10
        if not isinstance(one.positives, int):
            assert one.observed_expected.estimate is None and one.auroc.estimate is None
    text = page(as_it_was)
    assert "<script" not in text and "subject_id" not in text
    assert str(as_it_was.dates[-1].date) in text


def test_patients_with_a_code_are_those_of_a_loop() -> None:
    random = np.random.default_rng(0)
    offsets = np.array([0, 40, 40, 90, 130])
    store = TokenStore.__new__(TokenStore)
    vars(store).update(
        offsets=offsets, token=random.integers(0, 12, 130), available=random.integers(0, 100, 130)
    )
    rows, days = np.array([0, 1, 3]), np.array([50, 60, 99])
    for window in (None, 20):
        expected = np.zeros(12, int)
        for row, day in zip(rows, days, strict=True):
            own = slice(offsets[row], offsets[row + 1])
            age = day - store.available[own]
            for token in set(store.token[own][(age >= 0) & ((age < 20) if window else True)].tolist()):
                expected[token] += 1
        assert patients_with_code(store, rows, days, 12, window).tolist() == expected.tolist()


def test_from_the_command_line(
    packaged_study: PackagedStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, events = str(packaged_study.packages["logistic"]), str(packaged_study.run / "events")
    out = tmp_path / "out"
    assert cli.call(["monitor", package, events, str(out), "--since", "2022-09-15"]) == 0
    said = capsys.readouterr().out
    assert "the time of no outcome has passed" in said
    assert sorted(file.name for file in out.iterdir()) == ["monitoring.html", "monitoring.json"]
    found = Monitoring.model_validate_json((out / "monitoring.json").read_bytes())
    assert found.dates[0].date == dt.date(2022, 10, 1)
    for since, message in (("2030-01-01", "no month begins"), ("soon", "--since soon: is not a date")):
        assert cli.call(["monitor", package, events, str(tmp_path / "none"), "--since", since]) == 2
        assert message in capsys.readouterr().err
    assert cli.call(["monitor", package, events, str(out), "--since", "2022-09-15"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()

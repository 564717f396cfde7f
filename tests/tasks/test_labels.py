"""Labels follow the protocol's rule, patient by patient, and eligibility depends on the past only."""

from __future__ import annotations

import calendar
import datetime as dt
from pathlib import Path

import ibis
import meds
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from claimscale.artifacts import read_json
from claimscale.codes.systems import full_prefixes
from claimscale.cohort import selection as cohort
from claimscale.config.cohort import CohortSettings, Splits
from claimscale.config.study import Study
from claimscale.config.tasks import Task
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events import observation
from claimscale.events.table import EPOCH, day_number, timestamps, with_days
from claimscale.tasks import index_dates
from claimscale.tasks.label_counts import InsufficientData, count_labels
from claimscale.tasks.labels import EXCLUSIONS, build_labels, label_index_dates, read_labels

OUTCOME, CONFIRMING, OTHER = "ICD10//N189", "ATC//B03XA01", "ICD10//A00"
FIRST, SECOND = dt.date(1970, 7, 20), dt.date(1970, 9, 8)
LANDMARK, LATER = day_number(FIRST), day_number(SECOND)


def made_task(**changed: object) -> Task:
    fields = {"name": "ckd", "kind": "disease", "outcome": {"ICD10": ["N18"]}, "min_history_days": 0}
    return Task.model_validate({**fields, **changed})


def made_study(task: Task, study: Study, min_events: int = 1) -> Study:
    cohort_settings = CohortSettings(
        landmark=FIRST, min_events=min_events, splits=Splits(temporal_date=SECOND)
    )
    return study.model_copy(update={"tasks": [task], "cohort": cohort_settings})


def label_by_hand(task: Task, rows: list, landmark: int, min_events: int, recency: int | None) -> dict | None:
    """The protocol's rule for one patient at one landmark, written as it is read; None if not eligible."""
    known = [row for row in contacts_of(rows) if row.known_day < landmark]
    if len(known) < min_events:
        return None
    return label_at(task, rows, landmark - 1, recency)


def contacts_of(rows: list) -> list:
    return [row for row in rows if not row.code.startswith(("MEDS_BIRTH", "SEX"))]


def label_at(task: Task, rows: list, index: int, recency: int | None = None) -> dict:
    """The rule at one index date."""
    contacts = contacts_of(rows)
    known = [row for row in contacts if row.known_day <= index]
    date = EPOCH + dt.timedelta(days=index)
    month_start = index - date.day + 1
    month_end = month_start + calendar.monthrange(date.year, date.month)[1] - 1
    outcomes = [
        row for row in contacts if row.code.startswith(full_prefixes(task.outcome)) and not row.suspected
    ]
    washout_start = index - task.washout_days if task.washout_days else -1_000_000
    earlier = [
        row for row in outcomes if row.known_day <= index and row.day > min(washout_start, month_start - 1)
    ]
    later = sorted(row.day for row in outcomes if row.known_day > index)
    confirming = [
        row.day
        for row in contacts
        if row.code.startswith(full_prefixes(task.confirmation_codes)) and not row.suspected
    ]
    excluded = None
    for rule in task.exclude:
        since = index - rule.look_back_days if rule.look_back_days else -1_000_000
        if any(
            row.code.startswith(full_prefixes(rule.codes))
            and not row.suspected
            and since < row.day <= index + rule.window_end_days
            for row in known
        ):
            excluded = "excluded_code"
    if earlier:
        excluded = "outcome_before_index"
    if min(row.day for row in known) > index - task.min_history_days:
        excluded = "history_too_short"
    if recency is not None and max(row.day for row in known) <= index - recency:
        excluded = "no_recent_contact"
    if any(row.code == "MEDS_DEATH" for row in known):
        excluded = "dead"
    first = later[0] if later else None
    confirmed = task.confirmation_days is None and not task.confirmation_codes
    if first is not None and task.confirmation_days is not None:
        confirmed |= any(day >= first + task.confirmation_days for day in later)
    if first is not None:
        confirmed |= any(day >= first - 30 for day in confirming)
    start, end = max(index + task.gap_days, month_end), index + task.gap_days + task.horizon_days
    positive = first is not None and start < first <= end and confirmed
    last = max(row.day for row in contacts)
    return {
        "index_day": index,
        "excluded": excluded,
        "boolean_value": positive,
        "outcome_in_gap": first is not None and first <= start,
        "censored": not positive and last < end,
    }


def visits_by_hand(rows: list, first: int, end: int, min_events: int) -> list[int]:
    """The first day of each month on which something became known, once enough events are known."""
    found: dict[tuple[int, int], int] = {}
    for day in sorted({row.known_day for row in contacts_of(rows)}):
        date = EPOCH + dt.timedelta(days=day)
        enough = sum(row.known_day <= day for row in contacts_of(rows)) >= min_events
        if first <= day < end and enough:
            found.setdefault((date.year, date.month), day)
    return list(found.values())


def table_of(rows: list, claims):
    """The events of all rows, as `tasks` reads them; all patients are held out."""
    split = pa.table({"subject_id": sorted({row.subject_id for row in rows})})
    split = split.append_column("split", pa.array(["held_out"] * len(split)))
    table = claims.raw(rows).table.rename(subject_id="patient").distinct()
    return with_days(table).inner_join(ibis.memtable(split), "subject_id")


def labelled(
    task: Task, rows: list, engine: Engine, study: Study, claims, recency: int | None = None
) -> dict[tuple[int, str], dict]:
    """The labels of the module under test, by patient and split."""
    table = table_of(rows, claims)
    index = engine.to_arrow(index_dates.landmark_dates(table, study))
    found = engine.to_arrow(label_index_dates(task, index, table, recency)).to_pylist()
    return {(row["subject_id"], row["split"]): row for row in found}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple]:
    """Patients as (subject, day, code, days until known, suspected), dense around both landmarks."""
    event = st.tuples(
        st.integers(1, 5),
        st.integers(0, 400),
        st.sampled_from([OUTCOME, OUTCOME, "ICD10//N18", CONFIRMING, OTHER, OTHER, "MEDS_DEATH"]),
        st.sampled_from([0, 0, 1, 30, 90]),
        st.booleans(),
    )
    return draw(st.lists(event, min_size=1, max_size=40))


TASKS = st.builds(
    made_task,
    confirmation_days=st.sampled_from([None, 1, 30]),
    confirmation_codes=st.sampled_from([{}, {"ATC": ["B03X"]}]),
    washout_days=st.sampled_from([None, 60, 200]),
    gap_days=st.sampled_from([0, 30]),
    horizon_days=st.sampled_from([40, 365]),
    min_history_days=st.sampled_from([0, 50]),
    exclude=st.sampled_from(
        [
            [],
            [{"codes": {"ICD10": ["A00"]}, "look_back_days": 45, "window_end_days": -10}],
            [{"codes": {"ATC": ["B03XA01"]}}, {"codes": {"ICD10": ["A"]}, "look_back_days": 3}],
        ]
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=histories(), task=TASKS, min_events=st.integers(1, 3), recency=st.sampled_from([None, 30, 120]))
def test_labels_are_those_of_the_rule_read_aloud(
    events: list[tuple],
    task: Task,
    min_events: int,
    recency: int | None,
    engine: Engine,
    study: Study,
    claims,
) -> None:
    rows = [
        claims.event(subject, day, code, day + late, suspected=suspected)
        for subject, day, code, late, suspected in set(events)
    ]
    found = labelled(task, rows, engine, made_study(task, study, min_events), claims, recency)
    expected = {}
    for subject in {row.subject_id for row in rows}:
        own = [row for row in rows if row.subject_id == subject]
        expected[subject, "held_out"] = label_by_hand(task, own, LANDMARK, min_events, recency)
        expected[subject, "temporal"] = label_by_hand(task, own, LATER, min_events, recency)
    expected = {key: label for key, label in expected.items() if label is not None}
    assert found.keys() == expected.keys()
    for key, label in expected.items():
        assert {name: found[key][name] for name in label} == label


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=histories(), task=TASKS, min_events=st.integers(1, 3))
def test_every_visit_is_asked_about_once_a_month_by_the_same_rule(
    events: list[tuple], task: Task, min_events: int, engine: Engine, study: Study, claims
) -> None:
    rows = [
        claims.event(subject, day, code, day + late, suspected=suspected)
        for subject, day, code, late, suspected in set(events)
    ]
    first = dt.date(1970, 3, 5)
    table = table_of(rows, claims)
    dates = engine.to_arrow(index_dates.visit_dates(table, made_study(task, study, min_events), first))
    found = engine.to_arrow(label_index_dates(task, dates, table)).to_pylist()
    expected = {}
    for subject in {row.subject_id for row in rows}:
        own = [row for row in rows if row.subject_id == subject]
        periods = {"held_out": (day_number(first), LANDMARK), "temporal": (LANDMARK, LATER)}
        for split, (begin, end) in periods.items():
            for day in visits_by_hand(own, begin, end, min_events):
                expected[subject, split, day] = label_at(task, own, day)
    keyed = {(row["subject_id"], row["split"], row["index_day"]): row for row in found}
    assert len(keyed) == len(found) and keyed.keys() == expected.keys()
    for key, label in expected.items():
        assert {name: keyed[key][name] for name in label} == label


def test_training_uses_all_visits_and_testing_one_by_the_past(
    study: Study,
) -> None:
    first = dt.date(2008, 1, 1)
    days = np.arange(day_number(first), claims_end := day_number(dt.date(2010, 1, 1)), 31)
    subjects = np.repeat(np.arange(400), len(days))
    split = np.where(subjects % 2 == 0, "train", "held_out")
    index = pa.table(
        {"subject_id": subjects, "split": pa.array(split.tolist()), "index_day": np.tile(days, 400)}
    )
    chosen = index_dates.sample_one_per_patient(index, study, first)
    assert chosen[split == "train"].all()
    tested = subjects[chosen & (split == "held_out")]
    assert len(tested) == len(set(tested)) > 180
    picked = np.tile(days, 400)[chosen & (split == "held_out")]
    assert len(set(picked)) == len(days), "all parts of the period occur"
    # Without the events after an index date, it stays the index date.
    last = dict(zip(tested.tolist(), picked.tolist(), strict=True))
    until = np.array([last.get(subject, claims_end) for subject in subjects])
    kept = np.tile(days, 400) <= until
    again = index_dates.sample_one_per_patient(index.filter(pa.array(kept)), study, first)
    assert (again == chosen[kept]).all()


@pytest.mark.parametrize(
    ("days", "suspected", "positive", "in_gap"),
    [
        ([131], False, True, False),  # index day 100, gap 30: the first day that counts
        ([130], False, False, True),
        ([495], False, True, False),  # horizon 365: the last day that counts
        ([496], False, False, False),
        ([101, 200], False, False, True),  # the first code decides
        ([200], True, False, False),  # a suspicion never counts
    ],
)
def test_edges_of_the_window(
    days: list[int], suspected: bool, positive: bool, in_gap: bool, engine: Engine, study: Study, claims
) -> None:
    rows = [claims.event(1, 100, OTHER)] + [
        claims.event(1, day, OUTCOME, suspected=suspected) for day in days
    ]
    task = made_task()
    landmark = CohortSettings(landmark=dt.date(1970, 4, 12), min_events=1)
    found = labelled(task, rows, engine, study.model_copy(update={"cohort": landmark}), claims)
    label = found[1, "held_out"]
    assert (label["index_day"], label["excluded"]) == (100, None)
    assert (label["boolean_value"], label["outcome_in_gap"]) == (positive, in_gap)


@pytest.mark.parametrize(("day", "excluded"), [(70, "no_recent_contact"), (71, None)])
def test_edges_of_recency(day: int, excluded: str | None, engine: Engine, study: Study, claims) -> None:
    cohort_settings = CohortSettings(landmark=dt.date(1970, 4, 12), min_events=1)  # the index day is day 100
    made = study.model_copy(update={"cohort": cohort_settings})
    found = labelled(made_task(), [claims.event(1, day, OTHER)], engine, made, claims, 30)
    assert found[1, "held_out"]["excluded"] == excluded


@pytest.mark.parametrize(
    ("second", "confirming", "positive"),
    [
        (None, None, False),
        (229, None, False),
        (230, None, True),  # a second code 30 days after the first
        (None, 170, True),  # a confirming drug from 30 days before it
        (None, 169, False),
        (229, 300, True),  # either will do
    ],
)
def test_edges_of_confirmation(
    second: int | None, confirming: int | None, positive: bool, engine: Engine, study: Study, claims
) -> None:
    rows = [claims.event(1, 100, OTHER), claims.event(1, 200, OUTCOME)]
    rows += [claims.event(1, second, OUTCOME)] if second else []
    rows += [claims.event(1, confirming, CONFIRMING)] if confirming else []
    task = made_task(confirmation_days=30, confirmation_codes={"ATC": ["B03X"]})
    landmark = CohortSettings(landmark=dt.date(1970, 4, 12), min_events=1)
    found = labelled(task, rows, engine, study.model_copy(update={"cohort": landmark}), claims)
    assert found[1, "held_out"]["boolean_value"] is positive


def test_the_future_decides_nobodys_eligibility(engine: Engine, study: Study, claims) -> None:
    rows = claims.random(50, seed=1)
    study = study.model_copy(update={"cohort": CohortSettings(landmark=claims.landmark, min_events=3)})
    task = made_task(
        outcome={"ICD10": ["A005"]},
        min_history_days=850,
        washout_days=300,
        exclude=[{"codes": {"ICD10": ["A020"]}, "look_back_days": 200}],
    )

    def eligibility(changed: list) -> dict:
        found = labelled(task, changed, engine, study, claims, 40)
        return {key: (label["index_day"], label["excluded"]) for key, label in found.items()}

    one = eligibility(rows)
    assert {excluded for _, excluded in one.values()} == {None, *EXCLUSIONS} - {"dead"}
    for name, changed in claims.other_futures(rows).items():
        assert eligibility(changed) == one, name


def test_no_day_of_the_index_dates_month_counts_as_later(engine: Engine, study: Study, claims) -> None:
    """Index date 11 April without a gap: an outcome of 30 April is no positive, one of 1 May is."""
    cohort_settings = CohortSettings(landmark=dt.date(1970, 4, 12), min_events=1)
    for day, positive in ((119, False), (120, True)):
        rows = [claims.event(1, 100, OTHER), claims.event(1, day, OUTCOME)]
        made = study.model_copy(update={"cohort": cohort_settings})
        found = labelled(made_task(gap_days=0), rows, engine, made, claims)[1, "held_out"]
        assert (found["boolean_value"], found["outcome_in_gap"]) == (positive, not positive)


@pytest.fixture
def build(engine: Engine, study: Study, write_events, tmp_path: Path):
    def built(rows: list, study: Study = study) -> Path:
        events = write_events(rows)
        for name in ("cohort", "labels"):
            (tmp_path / name).mkdir()
        cohort.build(study, engine, events, tmp_path / "cohort")
        build_labels(study, engine, events, tmp_path / "cohort", tmp_path / "labels")
        return tmp_path / "labels"

    return built


def test_labels_agree_with_their_counts(claims, build, study: Study) -> None:
    splits = Splits(fractions=(0.5, 0.2, 0.3), temporal_date=dt.date(2010, 5, 1), held_out_hospitals=1)
    study = study.model_copy(
        update={"cohort": CohortSettings(landmark=claims.landmark, min_events=3, splits=splits)}
    )
    task = made_task(outcome={"ICD10": ["A005"]}, min_history_days=100, washout_days=200)
    folder = build(claims.random(120, seed=2), study.model_copy(update={"tasks": [task]}))
    meds.LabelSchema.validate(pq.read_table(folder / "ckd.parquet"))  # raises where they are no MEDS labels
    rows = read_labels(folder, "ckd").to_pylist()
    keys = [(row["subject_id"], row["prediction_time"]) for row in rows]
    assert keys == sorted(set(keys))
    landmark = dt.datetime(2010, 1, 1)
    assert all((row["prediction_time"] >= landmark) == (row["split"] == "temporal") for row in rows)

    counted = read_json(folder / "labels.json")["ckd"]["splits"]
    assert set(counted) == {"train", "tuning", "held_out", "hospital", "temporal"}
    for split, counts in counted.items():
        inside = [row["boolean_value"] for row in rows if row["split"] == split]
        assert (counts["n"], counts["positives"]) == (len(inside), sum(inside))
        assert counts["prevalence"] == pytest.approx(sum(inside) / len(inside))
        assert 0 <= counts["censored_share"] <= 1 - counts["prevalence"] + 1e-9


def test_earlier_dates_are_spaced_and_of_training_patients(study: Study) -> None:
    random = np.random.default_rng(1)
    first, landmark = random.integers(12_000, 14_600, 500), dt.date(2010, 1, 1)
    split = random.choice(["train", "tuning", "held_out", "hospital"], 500)
    patients = pa.table({"subject_id": np.arange(500), "split": split, "first_day": first})
    changed = study.model_copy(
        update={"dates_per_patient": 4, "cohort": study.cohort.model_copy(update={"landmark": landmark})}
    )
    dates = index_dates.earlier_dates(patients, changed, 365).to_pandas()
    for subject in range(500):
        days = np.sort(dates["index_day"][dates["subject_id"] == subject])
        room = day_number(landmark) - 1 - first[subject] - 365
        learning = split[subject] in ("train", "tuning")
        assert len(days) == (np.clip(room // 180, 0, 3) if learning else 0)
        if len(days):
            assert first[subject] + 365 <= days[0] and days[-1] < day_number(landmark) - 1
            assert np.all(np.diff(days) >= 179)
    alone = index_dates.earlier_dates(patients.slice(100, 50), changed, 365).to_pandas()
    inside = dates[dates["subject_id"].between(100, 149)].reset_index(drop=True)
    assert alone.equals(inside), "whichever other patients there are"


@pytest.mark.parametrize("labels", ["all_dates", "scarce"])
def test_training_has_earlier_dates_unless_labels_are_scarce(
    labels: str, claims, build, study: Study
) -> None:
    task = made_task(outcome={"ICD10": ["A005"]}, min_history_days=100, washout_days=200)
    folder = build(claims.random(120, seed=2), study.model_copy(update={"tasks": [task], "labels": labels}))
    table = read_labels(folder, "ckd").to_pandas()
    dates = table.groupby(["split", "subject_id"])["prediction_time"].agg(["size", "max"])
    tested = dates.drop(index=["train", "tuning"], level=0)
    assert set(tested["size"]) == {1}
    assert (dates.loc["train", "size"].max() > 1) == (labels == "all_dates")
    assert table["prediction_time"].max() <= pd.Timestamp("2010-12-31"), "none after the temporal landmark"


def test_insufficient_data_of_one_task_does_not_stop_others(claims, build, study: Study) -> None:
    some = {"ICD10": ["A018"]}
    short = {"horizon_days": 1, "confirmation_days": 1}
    none = made_task(name="none", outcome=some, **short, min_history_days=100, washout_days=90)
    common = made_task(name="common", outcome=some, min_history_days=100, washout_days=90)
    impossible = made_task(name="impossible", outcome=some, min_history_days=9000)
    folder = build(claims.random(500, seed=3), study.model_copy(update={"tasks": [none, common, impossible]}))
    counted = read_json(folder / "labels.json")
    assert counted["none"]["insufficient_data"] == {
        "label": "positive",
        "observed": {"train": 0, "held_out": 0},
        "required": 10,
    }
    assert counted["common"]["insufficient_data"] is None
    assert counted["impossible"]["insufficient_data"]["observed"] == {"train": 0, "held_out": 0}
    assert counted["impossible"]["excluded"]["history_too_short"] > 0
    assert len(read_labels(folder, "impossible")) == 0


@pytest.mark.parametrize(("label", "only"), [("positive", False), ("negative", True)])
def test_tuning_needs_both_outcomes(label: str, only: bool) -> None:
    random = np.random.default_rng(5)
    split = np.repeat(["train", "tuning", "held_out"], [400, 60, 200])
    outcome = random.random(len(split)) < 0.3

    def insufficient_data() -> InsufficientData | None:
        columns = {"subject_id": np.arange(len(split)), "split": split, "boolean_value": outcome}
        return count_labels(pa.table(columns), {}, made_task(), seeds=[42])["insufficient_data"]

    assert insufficient_data() is None
    outcome[split == "tuning"] = only
    assert insufficient_data() == {"label": label, "observed": {"tuning": 0}, "required": 1}
    outcome[np.flatnonzero(split == "tuning")[7]] = not only
    assert insufficient_data() is None


def test_tasks_without_eligible_patients_are_bad_input(claims, build, study: Study) -> None:
    rules = {"outcome": {"ICD10": ["A018"]}, "min_history_days": 9000}
    found = [made_task(**rules), made_task(name="other", **rules)]
    message = (
        r"task ckd: no training index date is eligible \(40 history too short\); nor has any of the 2 tasks"
    )
    with pytest.raises(BadInput, match=message):
        build(claims.random(40, seed=4), study.model_copy(update={"tasks": found}))


def test_a_landmark_after_the_claims_is_bad_input(claims, build, study: Study) -> None:
    late = study.cohort.model_copy(update={"landmark": dt.date(2031, 1, 1)})
    tasks = [made_task(outcome={"ICD10": ["A018"]})]
    changed = study.model_copy(update={"tasks": tasks, "cohort": late})
    with pytest.raises(BadInput, match=r"landmark is 2031-01-01, the claims .* outcome of task ckd"):
        build(claims.random(40, seed=4), changed)


@pytest.mark.parametrize(
    ("start", "end", "excluded", "censored"),
    [
        (None, None, "history_too_short", True),  # the contacts alone
        (-300, 900, None, False),  # insured long before the first contact, and beyond the window
        (-300, 480, None, True),
        (50, 900, "history_too_short", False),
        (101, 900, "history_too_short", False),  # begins after the index date: not known then
    ],
)
def test_observation_is_what_the_source_states_of_it(
    start: int | None, end: int | None, excluded: str | None, censored: bool,
    engine: Engine, study: Study, claims, tmp_path: Path,
) -> None:  # fmt: skip
    days = np.array([[0 if start is None else start, 0 if end is None else end]], dtype="datetime64[D]")
    periods = pa.table(
        [pa.array([1]), *(timestamps(day.astype(int)) for day in days.T)],
        schema=observation.SCHEMA,
    )
    observation.write(periods, start is not None, tmp_path / "observation.parquet")
    rows = [claims.event(1, 60, OTHER), claims.event(1, 100, OTHER), claims.event(1, 300, OTHER)]
    split = pa.table({"subject_id": [1], "split": ["held_out"]})
    table = with_days(claims.raw(rows).table.rename(subject_id="patient"))
    table = table.inner_join(ibis.memtable(split), "subject_id")
    changed = study.model_copy(update={"cohort": CohortSettings(landmark=dt.date(1970, 4, 12), min_events=1)})
    index = engine.to_arrow(index_dates.landmark_dates(table, changed))
    index = observation.with_stated(index, tmp_path)
    (label,) = engine.to_arrow(label_index_dates(made_task(min_history_days=60), index, table)).to_pylist()
    assert (label["excluded"], label["censored"]) == (excluded, censored)


def test_who_is_observed_is_in_sight_and_who_left_is_not(tmp_path: Path) -> None:
    columns = {"first_day": 100, "last_contact": [120, 990, 120, 990], "observed_until": 1000}
    index = pa.table(
        {
            "subject_id": [1, 2, 3, 4],
            **{name: np.broadcast_to(np.int32(values), 4) for name, values in columns.items()},
            "index_day": np.full(4, 1000, np.int32),
        }
    )
    periods = [pa.array([1, 2]), timestamps(np.array([0, 0])), timestamps(np.array([2000, 995]))]
    observation.write(pa.table(periods, schema=observation.SCHEMA), True, tmp_path / "observation.parquet")
    found = observation.with_stated(index, tmp_path)
    assert found["last_contact"].to_pylist() == [1000, observation.NEVER, 120, 990]


def test_the_period_of_a_day_is_that_which_began_last(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    rows = sorted(
        {(int(one), int(start)) for one, start in zip(*random.integers(0, 60, (2, 150)), strict=True)}
    )
    subject, start = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    periods = observation.Periods(subject, start * 10, start * 10 + 5)
    asked, days = random.integers(-2, 64, 500), random.integers(-50, 700, 500)
    found = periods.on(asked, days)
    for one, day, begins, ends, is_listed in zip(asked, days, *found, strict=True):
        own = [begin * 10 for number, begin in rows if number == one]
        assert is_listed == bool(own)
        if own:
            expected = max([begin for begin in own if begin <= day], default=own[0])
            assert (begins, ends) == (expected, expected + 5)


def at_day_1000(observed_until: int) -> pa.Table:
    """An index date of patient 1."""
    columns = {"subject_id": 1, "index_day": 1000, "first_day": 9, "last_contact": 990}
    columns |= {"observed_until": observed_until}
    return pa.table({name: np.array([day], np.int32) for name, day in columns.items()})


def test_who_left_is_not_in_sight_though_insured_again_later(tmp_path: Path) -> None:
    index = at_day_1000(observed_until=1990)
    starts, ends = np.array([0, 1100]), np.array([900, 2000])
    table = pa.table([pa.array([1, 1]), timestamps(starts), timestamps(ends)], schema=observation.SCHEMA)
    observation.write(table, True, tmp_path / "observation.parquet")
    (found,) = observation.with_stated(index, tmp_path).to_pylist()
    assert (found["last_contact"], found["observed_until"]) == (observation.NEVER, 900)
    (later,) = observation.with_stated(
        index.set_column(1, "index_day", pa.array([1500], pa.int32())), tmp_path
    ).to_pylist()
    assert (later["first_day"], later["last_contact"], later["observed_until"]) == (1100, 1500, 2000)


def test_open_coverage_is_follow_up_to_the_month_of_the_last_claim_alone(tmp_path: Path) -> None:
    index = at_day_1000(observed_until=999)
    open_end = [pa.array([1]), timestamps(np.array([0])), timestamps(np.array([10**6]))]
    for claims_until, expected in ((None, 10**6), (dt.date(1972, 10, 2), 1034), (dt.date(1972, 2, 29), 789)):
        periods = pa.table(open_end, schema=observation.SCHEMA)
        observation.write(periods, True, tmp_path / "observation.parquet", claims_until)
        found = observation.with_stated(index, tmp_path).to_pylist()[0]
        assert found["observed_until"] == expected
        assert found["last_contact"] == 1000, "the patient is covered on the index date"
        assert observation.last_claim(tmp_path) == claims_until


def test_the_future_of_observation_decides_nobodys_eligibility(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    index = pa.table(
        {
            "subject_id": np.arange(300),
            "index_day": np.full(300, 1000, np.int32),
            "first_day": random.integers(0, 1000, 300, dtype=np.int32),
            "last_contact": random.integers(900, 1000, 300, dtype=np.int32),
            "observed_until": random.integers(1000, 2000, 300, dtype=np.int32),
        }
    )

    def known_of(start: np.ndarray, end: np.ndarray) -> list:
        columns = [np.arange(300), timestamps(start), timestamps(end)]
        table = pa.table(columns, schema=observation.SCHEMA)
        observation.write(table, True, tmp_path / "observation.parquet")
        found = observation.with_stated(index, tmp_path)
        assert found.schema.equals(index.schema)
        return [*found["first_day"].to_pylist(), *found["last_contact"].to_pylist()]

    start, end = random.integers(0, 1300, 300), random.integers(900, 2000, 300)
    known = known_of(start, end)
    later = np.where(start > 1000, start + 500, start)
    assert known_of(later, np.where(end >= 1000, end + 700, end)) == known
    assert known_of(np.where(start <= 1000, start - 1, start), end) != known
    assert known_of(start, np.full(300, 999)) != known

from __future__ import annotations

import errno

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.codes.systems import ADMISSION, DISCHARGE
from claimscale.errors import BadInput
from claimscale.simulator import description, months, population
from claimscale.simulator.kernel.histories import states_at
from claimscale.simulator.parameters import build_country
from claimscale.simulator.population import Population, simulate
from claimscale.simulator.writers import WRITERS


def test_same_seed_gives_the_same_rows_in_any_shards(tmp_path):
    for shard_patients in (7, 20, 100):
        simulate(tmp_path / str(shard_patients), Population(20, 3, 11), shard_patients=shard_patients)
    shards = {name: sorted((tmp_path / name / "events").iterdir()) for name in ("7", "20", "100")}
    assert [len(files) for files in shards.values()] == [3, 1, 1]
    assert shards["20"][0].read_bytes() == shards["100"][0].read_bytes()
    parts = pa.concat_tables([pq.read_table(file) for file in shards["7"]])
    assert parts.equals(pq.read_table(shards["100"][0]))


@pytest.mark.parametrize("kind", WRITERS)
def test_the_number_of_workers_changes_no_byte_of_any_format(tmp_path, kind):
    for workers in (1, 3):
        simulate(tmp_path / str(workers), Population(30, 3, 5), kind, workers=workers, shard_patients=7)
    files = {
        workers: {path.relative_to(tmp_path / workers): path.read_bytes() for path in found if path.is_file()}
        for workers in ("1", "3")
        for found in [sorted((tmp_path / workers).rglob("*"))]
    }
    assert len(files["1"]) > 1
    assert files["1"] == files["3"]


def test_progress_grows_to_the_whole(tmp_path):
    fractions = []
    simulate(tmp_path / "out", Population(30, 3, 5), shard_patients=7, workers=2, progress=fractions.append)
    assert fractions == sorted(fractions) and fractions[-1] == 1 and len(fractions) > 1


def test_another_seed_gives_other_patients():
    first, other = (population.events(build_country(3, 1), seed, 1, 20) for seed in (1, 2))
    assert not first.equals(other)


def test_negative_seeds_work():
    assert population.stream_seed(-1) == np.uint64(2**64 - 1)


@pytest.mark.parametrize(
    ("patients", "hospitals", "kind", "message"),
    [
        (0, 2, "events", "patients: 0"),
        (3, 4, "events", "4 hospitals are more than 3 patients"),
        (1000, 520, "events", "more than the country's 519"),
        (3, 2, "fhir", "'fhir' is none of events, tables, uke"),
    ],
)
def test_impossible_arguments_are_bad_input_and_write_nothing(tmp_path, patients, hospitals, kind, message):
    with pytest.raises(BadInput, match=message):
        simulate(tmp_path / "out", Population(patients, hospitals, 1), kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("min_age", [-5, 63, 95])
def test_impossible_minimum_ages_are_bad_input(tmp_path, min_age):
    with pytest.raises(BadInput, match=f"min_age: {min_age}"):
        simulate(tmp_path / "out", Population(5, 1, 1, min_age))


@pytest.mark.parametrize("workers", [-1, 0])
def test_too_few_workers_are_bad_input(tmp_path, workers):
    with pytest.raises(BadInput, match=f"workers: {workers}"):
        simulate(tmp_path / "out", Population(5, 1, 1), workers=workers)


def test_existing_files_are_never_overwritten(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match=str(folder)):
            simulate(folder, Population(1, 1, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_a_stop_writes_nothing(tmp_path, monkeypatch, failure):
    class Failing:
        def __init__(self, folder, codes, options):
            self.folder = folder

        def write(self, events, shard):
            (self.folder / f"{shard}").write_text("begun")
            if shard == 2:
                raise failure

        def finish(self):
            raise AssertionError

    monkeypatch.setitem(population.WRITERS, "events", Failing)
    expected = BadInput if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match=r"No space left|^$"):
        simulate(tmp_path / "out", Population(40, 2, 1), shard_patients=5)
    assert list(tmp_path.iterdir()) == []


def test_rows_are_sorted_and_complete(table, events, country):
    assert table.schema == population.SCHEMA
    order = np.lexsort((events.suspected, events.code, events.day, events.subject))
    assert np.array_equal(order, np.arange(order.size))
    assert np.array_equal(np.unique(events.subject), np.arange(1, events.subject.max() + 1))
    assert set(events.code) <= {*country.codes, "MEDS_BIRTH", "MEDS_DEATH", "SEX//F", "SEX//M"}


def test_every_patient_has_one_birth_and_one_sex(events):
    people = np.unique(events.subject).size
    for prefix in ("MEDS_BIRTH", "SEX//"):
        rows = events.where(events.coded(prefix))
        assert np.array_equal(np.unique(rows.subject), rows.subject)
        assert rows.subject.size == people
        assert np.array_equal(rows.day, rows.available)


def test_deaths_end_histories(events):
    dead = events.where(events.coded("MEDS_DEATH"))
    assert 0.05 < dead.subject.size / np.unique(events.subject).size < 0.5
    assert np.unique(dead.subject).size == dead.subject.size
    last_day = dict(zip(events.subject, events.day, strict=True))  # rows are sorted: the last one stays
    assert all(last_day[subject] == day for subject, day in zip(dead.subject, dead.day, strict=True))


def test_nothing_happens_before_birth(everybody):
    births = everybody.where(everybody.coded("MEDS_BIRTH"))
    first_claim = everybody.where(~everybody.coded("MEDS_BIRTH", "SEX//"))
    assert (births.day > months.first_days()[0]).any()
    assert np.all(first_claim.day >= births.day[first_claim.subject - 1])


def test_a_transferred_patient_has_no_later_events(claims, country):
    moved = claims.where(claims.code == country.codes[country.parameters.referral])
    assert 0.005 < np.unique(moved.subject).size / np.unique(claims.subject).size < 0.2
    last_known = dict(zip(claims.subject, claims.available, strict=True))
    last_known |= {s: max(last_known[s], a) for s, a in zip(claims.subject, claims.available, strict=True)}
    assert all(last_known[s] == a for s, a in zip(moved.subject, moved.available, strict=True))


def test_events_are_in_the_period_and_available_at_month_end(claims):
    first_days = months.first_days()
    assert claims.day.min() >= first_days[0]
    month = np.searchsorted(first_days, claims.day, side="right") - 1
    assert np.array_equal(claims.available, first_days[month + 1] - 1)
    assert claims.available.max() == np.datetime64("2022-12-31").astype(int)


def day_of_month(claims) -> np.ndarray:
    days = claims.day.astype("datetime64[D]")
    return (days - days.astype("datetime64[M]")).astype(int)


def test_diagnoses_are_monthly_and_a_visit_has_one_day(claims):
    is_diagnosis = claims.coded("ICD10//")
    assert np.all(day_of_month(claims)[is_diagnosis] == 0)
    services = claims.where(claims.coded("ATC//", "KUBUN//") & ~claims.of_stays())
    days = day_of_month(services)
    assert np.bincount(days).min() > 0.8 * days.size / 28
    pairs = np.unique(np.stack([np.unique(services.visit, return_inverse=True)[1], services.day]), axis=1)
    assert pairs.shape[1] == np.unique(services.visit).size


def test_stays_start_with_admission_and_end_with_discharge(claims):
    stays = claims.where(claims.of_stays() & ~claims.coded("ICD10//"))
    _, stay = np.unique(stays.visit, return_inverse=True)
    ends = {}
    for code in (ADMISSION, DISCHARGE):
        rows = stays.where(stays.code == code)
        assert rows.subject.size == stay.max() + 1 > 100
        ends[code] = rows.day[np.argsort(rows.visit)]
    assert np.all((ends[ADMISSION][stay] <= stays.day) & (stays.day <= ends[DISCHARGE][stay]))
    lengths = ends[DISCHARGE] - ends[ADMISSION]
    assert 4 < lengths.mean() < 12
    assert not claims.where(~claims.of_stays()).coded("VISIT//").any()


def test_a_claim_names_its_visit_and_one_hospital(claims):
    is_death = claims.coded("MEDS_DEATH")
    assert np.all(claims.visit[is_death] == "")
    rows = claims.where(~is_death)
    year_month = np.strings.replace(
        rows.available.astype("datetime64[D]").astype("datetime64[M]").astype(str), "-", ""
    )
    expected = np.strings.add(np.strings.add(rows.subject.astype(str), "-"), year_month)
    suffix = np.where(rows.of_stays(), "-1", "")
    assert np.array_equal(rows.visit, np.strings.add(expected, suffix))
    pairs = np.unique(np.strings.add(claims.subject.astype(str), claims.hospital))
    assert pairs.size == np.unique(claims.subject).size


def test_a_claim_holds_a_code_once(claims):
    claimed = claims.where(claims.visit != "")
    rows = list(zip(claimed.visit, claimed.code, claimed.suspected, strict=True))
    assert len(set(rows)) == len(rows)


def test_every_contact_leaves_a_fee(claims, country):
    arrays = country.parameters
    fees = [country.codes[code] for code in [*arrays.visit_codes, *arrays.stay_codes, arrays.first_visit]]
    with_fee = np.unique(claims.visit[np.isin(claims.code, fees)])
    assert np.array_equal(with_fee, np.setdiff1d(claims.visit, [""]))


def test_suspected_diagnoses_justify_a_test_of_the_same_claim(claims, country):
    suspected = claims.where(claims.suspected)
    is_diagnosis = claims.coded("ICD10//")
    assert 0.02 < suspected.subject.size / is_diagnosis.sum() < 0.15
    assert np.all(suspected.coded("ICD10//"))
    arrays, justified = country.parameters, {}
    for revised_codes in arrays.revised_codes:  # a revision may have renamed the test, the diagnosis or both
        for test in range(len(country.codes)):
            diagnoses = arrays.rule_out_codes[slice(*arrays.rule_out_offsets[test:][:2])]
            spelt = {country.codes[code] for code in revised_codes[diagnoses]}
            justified.setdefault(country.codes[revised_codes[test]], set()).update(spelt)
    codes_of_visit: dict[str, set[str]] = {}
    for visit, code in zip(claims.visit, claims.code, strict=True):
        codes_of_visit.setdefault(visit, set()).add(code)
    for visit, code in zip(suspected.visit[:500], suspected.code[:500], strict=True):
        assert any(code in justified.get(test, ()) for test in codes_of_visit[visit])


def rows_of_condition(claims, country, name: str):
    """Confirmed diagnoses that nothing else in the country writes, of one condition."""
    arrays = country.parameters
    position = country.conditions.index(name)
    own = arrays.diagnosis_codes[slice(*arrays.diagnosis_offsets[position:][:2])]
    elsewhere = np.delete(arrays.diagnosis_codes, slice(*arrays.diagnosis_offsets[position:][:2]))
    alone = np.setdiff1d(own, np.concatenate([elsewhere, arrays.everyday_codes]))
    return claims.where(np.isin(claims.code, [country.codes[code] for code in alone]) & ~claims.suspected)


def test_a_patient_repeats_one_usual_synonym(claims, country):
    rows = rows_of_condition(claims, country, "osteoporosis")
    assert np.unique(rows.code).size >= 3
    shares, repeated = [], []
    for subject in np.unique(rows.subject)[:300]:
        counts = np.unique(rows.code[rows.subject == subject], return_counts=True)[1]
        shares += [counts.max() / counts.sum()] if counts.sum() >= 5 else []
        repeated.append(counts.sum())
    assert 0.7 < np.mean(shares) < 1
    assert np.median(repeated) >= 5


def test_patients_differ_in_adherence(claims):
    """The variance of refill shares is more than twice the binomial variance."""
    outpatient = claims.where(~claims.of_stays() & (claims.visit != ""))
    refilled, by_chance = [], []
    fills = outpatient.where(outpatient.code == "ATC//A10BA02")
    for subject in np.unique(fills.subject):
        own = fills.where(fills.subject == subject)
        between = (outpatient.available > own.available.min()) & (outpatient.available < own.available.max())
        visits = np.unique(outpatient.visit[(outpatient.subject == subject) & between])
        if visits.size >= 15:
            share = np.isin(visits, own.visit).mean()
            refilled.append(share)
            by_chance.append(share * (1 - share) / visits.size)
    assert len(refilled) > 50
    assert 0.2 < np.mean(refilled) < 0.7
    assert np.var(refilled) > 2 * np.mean(by_chance)


def test_no_drug_is_prescribed_before_its_launch(claims, country):
    launched = description.read().practice.launched
    everyday = {country.codes[code] for code in country.parameters.everyday_codes}
    first = {drug: np.datetime64(month, "D").astype(int) for drug, month in launched.items()}
    seen = [
        drug for drug in first if (claims.code == f"ATC//{drug}").any() and f"ATC//{drug}" not in everyday
    ]
    assert len(seen) > 5
    for drug in seen:
        assert claims.day[claims.code == f"ATC//{drug}"].min() >= first[drug]


def test_contraindicated_drugs_stop_at_onset(claims, country):
    """Dialysis implies kidney failure, which contraindicates metformin."""
    dialysis = claims.where(claims.coded("KUBUN//J0381"))
    metformin = claims.where(claims.code == "ATC//A10BA02")
    first = {}
    for subject, available in zip(dialysis.subject, dialysis.available, strict=True):
        first[subject] = min(available, first.get(subject, available))
    assert len(first) > 5
    assert not any(
        available > first.get(s, available)
        for s, available in zip(metformin.subject, metformin.available, strict=True)
    )


def test_revisions_take_codes_out_of_use(claims):
    for year_month, replaced in description.read().practice.revisions.items():
        since = np.datetime64(year_month, "D").astype(int)
        for old in replaced:
            assert not (claims.day[claims.code == old] >= since).any(), old


def test_influenza_has_its_season_and_covid_its_beginning(everybody):
    claims = everybody.where(~everybody.suspected)
    influenza = claims.where(claims.coded("ICD10//J101", "ICD10//J111"))
    of_year = np.bincount(
        (influenza.day.astype("datetime64[D]").astype("datetime64[M]").astype(int)) % 12, minlength=12
    )
    winter, summer = of_year[[11, 0, 1, 2]].sum(), of_year[[5, 6, 7, 8]].sum()
    assert winter > 2 * summer > 0
    covid = claims.where(claims.coded("ICD10//U071"))
    assert covid.subject.size > 20
    assert covid.day.min() >= np.datetime64("2020-02-01").astype(int)


def test_a_stage_is_never_there_without_the_stage_before(country):
    has, in_sight = states_at(country.parameters, months.first_days(), population.stream_seed(7), 3000, 40)
    assert 0.3 < in_sight.mean() < 1
    stages = np.flatnonzero(country.parameters.stage_of >= 0)
    assert has[:, stages].any(axis=0).sum() > 10
    assert not (has[:, stages] & ~has[:, country.parameters.stage_of[stages]]).any()


def incidence_of(claims, child: list[str], parent: list[str]) -> tuple[float, float]:
    """Share of new cases in a year among patients with and without a recent code of the parent."""
    seen = claims.where(~claims.suspected)
    exposed, affected = [], []
    for year in (2018, 2019, 2020, 2021):
        landmark = np.datetime64(f"{year}-10-01").astype(int)
        before = seen.where(seen.available < landmark)
        soon = seen.where((seen.available >= landmark) & (seen.day < landmark + 365))
        recent = before.where(before.day >= landmark - 183)
        # Both groups are in recent contact: those who are not have few codes of any kind.
        candidates = np.setdiff1d(recent.subject, before.subject[before.coded(*child)])
        exposed.append(np.isin(candidates, recent.subject[recent.coded(*parent)]))
        affected.append(np.isin(candidates, soon.subject[soon.coded(*child)]))
    is_exposed, is_affected = np.concatenate(exposed), np.concatenate(affected)
    return is_affected[is_exposed].mean(), is_affected[~is_exposed].mean()


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        (["ICD10//R80", "ICD10//E112"], ["ICD10//N18"]),
        (["ICD10//B02"], ["ATC//N02BF02"]),
        (["ICD10//E11", "ICD10//E14"], ["ICD10//E113", "ICD10//E112"]),
        (["ICD10//I48"], ["ICD10//I50"]),
    ],
)
def test_causes_raise_the_incidence_of_what_they_cause(claims, parent, child):
    with_parent, without = incidence_of(claims, child, parent)
    assert with_parent > 1.8 * without > 0

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claimscale.errors import BadInput
from claimscale.simulator import months, population, world


def test_same_seed_gives_the_same_rows_in_any_shards(tmp_path):
    for shard_patients in (7, 20, 100):
        population.simulate(tmp_path / str(shard_patients), 20, 3, seed=11, shard_patients=shard_patients)
    shards = {name: sorted((tmp_path / name).iterdir()) for name in ("7", "20", "100")}
    assert [len(files) for files in shards.values()] == [3, 1, 1]
    assert shards["20"][0].read_bytes() == shards["100"][0].read_bytes()
    parts = pa.concat_tables([pq.read_table(file) for file in shards["7"]])
    assert parts.equals(pq.read_table(shards["100"][0]))


def test_another_seed_gives_other_patients():
    first, other = (population.events(world.build(3, 1), seed, 1, 20) for seed in (1, 2))
    assert not first.equals(other)


def test_negative_seeds_work():
    assert population.stream_seed(-1) == np.uint64(2**64 - 1)


def test_only_whole_shards_lie_in_the_folder(tmp_path):
    population.simulate(tmp_path, 5, 2, seed=1, shard_patients=2)
    assert [file.name for file in sorted(tmp_path.iterdir())] == [f"{n:06d}.parquet" for n in range(3)]


def test_bad_numbers_and_folders_are_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"source\.patients"):
        population.simulate(tmp_path, 0, 2, seed=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file"):
        population.simulate(tmp_path / "file" / "folder", 1, 2, seed=1)


def test_rows_are_sorted_and_nobody_is_missing(table, events, country):
    assert table.schema == population.SCHEMA
    order = np.lexsort((events.day, events.subject))
    assert np.array_equal(order, np.arange(order.size))
    assert np.array_equal(np.unique(events.subject), np.arange(1, events.subject.max() + 1))
    assert set(events.code) <= {*country.codes, "MEDS_BIRTH", "MEDS_DEATH", "SEX//F", "SEX//M"}


def test_everybody_is_born_once_with_one_sex(events):
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


def test_events_lie_in_the_calendar_and_become_known_at_month_end(claims):
    first_days = months.first_days()
    assert claims.day.min() >= first_days[0]
    month = np.searchsorted(first_days, claims.day, side="right") - 1
    assert np.array_equal(claims.available, first_days[month + 1] - 1)
    assert claims.available.max() == np.datetime64("2022-12-31").astype(int)


def test_diagnoses_are_monthly_and_everything_else_has_a_visit_day(claims):
    is_diagnosis = claims.coded("ICD10//")
    day_of_month = claims.day - claims.day.astype("datetime64[D]").astype("datetime64[M]").astype(
        "datetime64[D]"
    ).astype(int)
    assert np.all(day_of_month[is_diagnosis] == 0)
    visit_days = day_of_month[~is_diagnosis & ~claims.coded("MEDS_DEATH")]
    assert np.bincount(visit_days).min() > 0.8 * visit_days.size / 28
    services = claims.where(claims.coded("ATC//", "KUBUN//"))
    days_of_visit = np.unique(np.stack([services.subject, services.available, services.day]), axis=1)
    assert np.unique(days_of_visit[:2], axis=1).shape == days_of_visit[:2].shape


def test_a_claim_names_its_visit_and_one_hospital(claims):
    expected = np.strings.add(claims.subject.astype(str), "-")
    year_month = np.strings.replace(claims.available.astype("datetime64[D]").astype(str), "-", "")
    assert np.array_equal(claims.visit, np.strings.add(expected, np.strings.slice(year_month, 6)))
    pairs = np.unique(np.strings.add(claims.subject.astype(str), claims.hospital))
    assert pairs.size == np.unique(claims.subject).size


def test_a_claim_holds_a_code_once(claims):
    rows = list(zip(claims.visit, claims.code, claims.suspected, strict=True))
    assert len(set(rows)) == len(rows)


def test_every_contact_leaves_a_visit_code(claims, country):
    visits = [country.codes[code] for code in country.world.visit_codes]
    with_visit = claims.visit[np.isin(claims.code, visits)]
    without = np.setdiff1d(claims.visit, with_visit)
    assert np.all(np.isin(without, claims.visit[claims.coded("MEDS_DEATH")]))


def test_suspected_diagnoses_justify_a_test_of_the_same_claim(claims, country):
    suspected = claims.where(claims.suspected)
    assert 0.005 < suspected.subject.size / claims.subject.size < 0.1
    assert np.all(suspected.coded("ICD10//"))
    arrays, index = country.world, {code: position for position, code in enumerate(country.codes)}
    codes_of_visit: dict[str, set[str]] = {}
    for visit, code in zip(claims.visit, claims.code, strict=True):
        codes_of_visit.setdefault(visit, set()).add(code)
    for visit, code in zip(suspected.visit[:500], suspected.code[:500], strict=True):
        justified = {
            country.codes[diagnosis]
            for test in codes_of_visit[visit] & index.keys()
            for diagnosis in arrays.rule_out_codes[slice(*arrays.rule_out_offsets[index[test] :][:2])]
        }
        assert code in justified


def test_a_patient_keeps_to_one_synonym(claims, country):
    diabetes = country.conditions.index("type_2_diabetes")
    synonyms = country.world.diagnosis_codes[slice(*country.world.diagnosis_offsets[diabetes:][:2])]
    rows = claims.where(np.isin(claims.code, [country.codes[code] for code in synonyms]) & ~claims.suspected)
    assert np.unique(rows.code).size == synonyms.size
    shares = []
    for subject in np.unique(rows.subject)[:300]:
        counts = np.unique(rows.code[rows.subject == subject], return_counts=True)[1]
        shares += [counts.max() / counts.sum()] if counts.sum() >= 5 else []
    assert 0.7 < np.mean(shares) < 1


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
    ("parent", "child", "least"),
    [
        (["ICD10//R80", "ICD10//E112"], ["ICD10//N18"], 0.15),
        (["ICD10//B02"], ["ATC//N02BF02"], 0.1),
        (["ICD10//E11", "ICD10//E14"], ["ICD10//H360", "ICD10//H350", "ICD10//H431"], 0.004),
        (["ICD10//I48"], ["ICD10//I50"], 0.05),
    ],
)
def test_causes_raise_the_incidence_of_what_they_cause(claims, parent, child, least):
    """`least` lies between the incidence with causes and that seen when effects are switched off."""
    with_parent, without = incidence_of(claims, child, parent)
    assert with_parent > max(least, 1.8 * without)

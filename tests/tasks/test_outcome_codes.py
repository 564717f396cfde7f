"""Codes that no event has: the outcome's are refused with the nearest that occurs, other rules' are named."""

from __future__ import annotations

import datetime as dt

import pytest

from claimscale.codes.systems import full_prefixes
from claimscale.config.study import Study
from claimscale.config.tasks import Task, catalogue
from claimscale.errors import BadInput
from claimscale.tasks.outcome_codes import (
    absent_codes,
    misspelt_systems,
    refuse_absent_outcomes,
    refuse_misspelt_systems,
)

CLAIMS = ["ICD10//I10", "ICD10//I119", "ICD10//N189", "ATC//C09AA05", "SEX//F", "VISIT//ADMISSION"]
ABSENT = "no event has a code that starts with"


def task(outcome: object, **settings: object) -> Task:
    return Task.model_validate({"name": "asked", "kind": "other", "outcome": outcome, **settings})


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ({"icd10": ["I10"]}, "icd10 is no code system; the nearest is ICD10"),
        ({"icd-10": ["I10"]}, "icd-10 is no code system; the nearest is ICD10"),
        ({"atc": ["C09"], "ICD10": ["I10"]}, "atc is no code system; the nearest is ATC"),
        ({"ICD10CM": ["I10"]}, f"{ABSENT} ICD10CM//I10; the nearest that occurs is ICD10//I10"),
        ({"ICD10": ["N183"]}, f"{ABSENT} ICD10//N183; the nearest that occurs is ICD10//N189"),
        ({"WHO": ["C09AB"]}, f"{ABSENT} WHO//C09AB; the nearest that occurs is ATC//C09AA05"),
        ("MEDS_DEATH", f"{ABSENT} MEDS_DEATH"),
        ({"ICD10": ["Z99"]}, f"{ABSENT} ICD10//Z99; codes by system: ICD10 3, ATC 1, SEX 1, VISIT 1"),
    ],
)
def test_an_outcome_that_no_event_has_is_refused(outcome: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        refuse_absent_outcomes([task({"ICD10": ["I1"]}), task(outcome)], CLAIMS)
    assert str(caught.value) == f"tasks.asked.outcome: {message}"


@pytest.mark.parametrize("system", ["icd-10", "icd10", "Icd_10", "ICD 10"])
def test_a_system_that_the_claims_misspell_is_found(system: str) -> None:
    claims = [code.replace("ICD10//", f"{system}//") for code in CLAIMS]
    with pytest.raises(BadInput) as caught:
        refuse_absent_outcomes([task({"ICD10": ["I10"], "ATC": ["C09"]})], claims)
    assert str(caught.value) == f"tasks.asked.outcome: ICD10 is in no event; the nearest is {system}"


def test_all_absent_outcomes_are_named_at_once() -> None:
    tasks = [task({"ICD10": [code]}).model_copy(update={"name": name}) for name, code in ("aX", "bY", "cI")]
    with pytest.raises(BadInput, match=r"^tasks\.a\.outcome: .*; nor has any event an outcome code of b$"):
        refuse_absent_outcomes(tasks, CLAIMS)


@pytest.mark.parametrize(
    "outcome",
    [
        {"ICD10": ["I10"]},
        {"ICD10": ["i.10"]},
        {"ICD9CM": ["401"], "ICD10": ["I10"]},
        {"ICD10": ["I10", "Z99"]},
    ],
)
def test_one_code_that_occurs_is_enough(outcome: object) -> None:
    refuse_absent_outcomes([task(outcome)], CLAIMS)


def test_a_label_file_needs_no_codes() -> None:
    from_file = Task.model_validate({"name": "asked", "kind": "other", "labels": "labels.parquet"})
    refuse_absent_outcomes([from_file], CLAIMS)
    assert absent_codes(from_file, CLAIMS) == []


def test_other_rules_are_named_where_no_code_of_theirs_occurs() -> None:
    rules = {
        "exclude": [{"codes": {"ICD10": ["N18"]}}, {"codes": {"ICD10": ["Z94"], "ICD9CM": ["V42"]}}],
        "hidden_codes": {"KUBUN": ["J038"]},
        "confirmation_codes": {"ATC": ["C09"]},
    }
    found = absent_codes(task({"ICD10": ["I10"]}, **rules), CLAIMS)
    assert found == ["hidden_codes (KUBUN//J038)", "exclude.1.codes (ICD10//Z94, ICD9CM//V42)"]
    with pytest.raises(BadInput, match=r"^tasks\.asked\.exclude\.0\.codes: Atc is no code system"):
        refuse_absent_outcomes([task({"ICD10": ["I10"]}, exclude=[{"codes": {"Atc": ["C09"]}}])], CLAIMS)


def test_the_catalogue_spells_its_systems_as_they_are() -> None:
    assert [line for one in catalogue().values() for line in misspelt_systems(one)] == []


@pytest.mark.parametrize(
    "given", ["MEDS_DEATH", {"MEDS_DEATH": []}, {"MEDS_DEATH": [""]}, {"": ["MEDS_DEATH"]}]
)
def test_death_is_an_outcome(given: object) -> None:
    death = task(given)
    assert full_prefixes(death.outcome) == ("MEDS_DEATH",)
    assert Task.model_validate(death.model_dump()) == death
    refuse_absent_outcomes([death], [*CLAIMS, "MEDS_DEATH"])


def test_another_name_of_a_known_system_is_refused_before_any_claim_is_read() -> None:
    base = {"name": "x", "cohort": {"landmark": dt.date(2020, 10, 1)}, "sizes": ["300k"]}
    for system in ("ICD-10", "IDC10", "ICD10CM"):
        tasks = [{"name": "ckd", "kind": "disease", "outcome": {system: ["N18"]}}]
        tables = {"kind": "tables", "path": "claims", "mapping": "jmdc"}
        with pytest.raises(BadInput, match=rf"outcome: {system} is no code system; the nearest is ICD10"):
            refuse_misspelt_systems(Study.model_validate(base | {"source": tables, "tasks": tasks}))
        meds = {"kind": "meds", "path": "events"}  # whose codes name their systems
        refuse_misspelt_systems(Study.model_validate(base | {"source": meds, "tasks": tasks}))


def test_a_code_of_another_system_is_named_only_where_it_is_like_it() -> None:
    with pytest.raises(BadInput, match=r"digits without dashes; codes by system: HCPCS 1"):
        refuse_absent_outcomes([task({"NDC": ["00071-0155"]})], ["HCPCS//00702"])

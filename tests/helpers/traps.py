"""The traps: each plants one kind of fault into a clean set. TRAPS names the check that must warn."""

from __future__ import annotations

from collections.abc import Callable

import made_up
import numpy as np
from made_up import GAP, LANDMARK, NEVER, PATIENTS, WINDOW, Made

Trap = Callable[[Made], None]
TRAPS: list[tuple[str, Trap]] = []


def trap(check: str) -> Callable[[Trap], Trap]:
    def add(plant: Trap) -> Trap:
        TRAPS.append((check, plant))
        return plant

    return add


@trap("label_leakage")
def outcome_dated_back(made: Made, share: float = 0.5) -> None:
    """The outcome's claim is dated in the index month and comes in after it, for a share of the positives."""
    hit = made.positives(share)
    made.add(hit, 100, made.index_day[hit] - 3, made.index_day[hit] + 25)


@trap("label_leakage")
def work_up_dated_back(made: Made) -> None:
    """Ten rarer codes of the work-up, each for a fifth of the positives."""
    for code in range(90, 100):
        hit = made.positives(0.2)
        made.add(hit, code, made.index_day[hit] - 1, made.index_day[hit] + 20)


@trap("label_leakage")
def outcome_in_the_index_month(made: Made) -> None:
    hit = made.positives(0.1)
    made.index_day[hit] = LANDMARK - LANDMARK % 7 - 20
    first = made.index_day.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]").astype(int)
    made.index_day[hit] = first[hit] + 2
    made.onset_day[hit] = first[hit] + 20


@trap("label_leakage")
def months_without_days(made: Made) -> None:
    """The source carries months only and says nothing about when a claim was known."""
    month = made.entries.day.astype("datetime64[D]").astype("datetime64[M]")
    day = month.astype("datetime64[D]").astype(np.int64)
    made.entries = made_up.Entries(made.entries.patient, made.entries.code, day, day, made.entries.names)


@trap("single_feature")
def a_code_that_is_the_label(made: Made, share: float = 0.97) -> None:
    hit = made.positives(share)
    made.add(hit, 110, made.index_day[hit] - 5, made.index_day[hit] - 5)


@trap("single_feature")
def a_common_code_repeated_by_cases(made: Made) -> None:
    """Everybody has the code; cases have it twenty times."""
    everyone = np.arange(PATIENTS)
    made.add(everyone, 111, made.index_day - 9, made.index_day - 9)
    hit = np.repeat(made.positives(), 20)
    made.add(hit, 111, made.index_day[hit] - 5, made.index_day[hit] - 5)


@trap("single_feature")
def ids_in_the_order_of_labels(made: Made) -> None:
    """Cases were loaded last and have the highest ids."""
    ids = np.arange(PATIENTS)
    made.facts["the order of patient ids"] = ids[np.argsort(np.argsort(made.outcome, kind="stable"))]


@trap("single_feature")
def index_dates_of_cases_come_later(made: Made) -> None:
    index = np.where(made.outcome, LANDMARK - 5, LANDMARK - 30 - made.random.integers(0, 200, PATIENTS))
    made.facts["the index date"] = index


@trap("suspected_only")
def suspicions_count_as_cases(made: Made) -> None:
    """A tenth of the positives have suspected codes only."""
    hit = made.positives(0.1)
    flagged = made.outcomes.suspected | np.isin(made.outcomes.patient, hit)
    made.outcomes = made_up.replaced(made.outcomes, suspected=flagged)


@trap("suspected_only")
def every_suspicion_a_case(made: Made) -> None:
    """Negatives with a suspicion in the window were labelled positive."""
    since = made.outcomes.day - made.index_day[made.outcomes.patient]
    inside = made.outcomes.suspected & (since > GAP) & (since <= WINDOW)
    made.outcome[made.outcomes.patient[inside]] = True


@trap("suspected_only")
def positives_without_a_code(made: Made) -> None:
    """Labels from elsewhere: some positives have no outcome code at all in the window."""
    hit = made.positives(0.05)
    kept = ~np.isin(made.outcomes.patient, hit)
    old = made.outcomes
    made.outcomes = made_up.Codings(
        old.patient[kept], old.day[kept], old.available[kept], old.suspected[kept]
    )


@trap("prevalent_cases")
def cases_of_long_ago(made: Made) -> None:
    """The washout looked back one year only; some had the outcome three years before."""
    hit = made.random.choice(PATIENTS, 40, replace=False)
    made.add_coding("outcomes", hit, made.index_day[hit] - 1000, made.index_day[hit] - 1000)


@trap("prevalent_cases")
def cases_that_became_known_late(made: Made) -> None:
    hit = made.positives(0.1)
    made.add_coding("outcomes", hit, made.index_day[hit] - 40, made.index_day[hit] + 20)


@trap("prevalent_cases")
def treated_before_the_index(made: Made, share: float = 0.05) -> None:
    hit = made.positives(share)
    made.add_coding("treatments", hit, made.index_day[hit] - 100, made.index_day[hit] - 100)


@trap("prevalent_cases")
def confirming_drug_before_the_index(made: Made, share: float = 0.4) -> None:
    hit = made.positives(share)
    made.add_coding("confirming", hit, made.index_day[hit] - 100, made.index_day[hit] - 100)


@trap("immortal_time")
def only_those_followed_to_the_end(made: Made) -> None:
    """Patients who died or left in the window have no label."""
    made.labelled = made.observed_until - made.index_day >= WINDOW


@trap("immortal_time")
def only_those_who_come_back(made: Made) -> None:
    """A contact half a year after the index date was required."""
    made.observed_until = made.index_day + made.random.integers(0, 2 * WINDOW, PATIENTS)
    made.labelled = made.observed_until - made.index_day >= 180


@trap("immortal_time")
def index_at_a_later_contact(made: Made) -> None:
    """The index of cases is set back from the outcome rather than forward from the landmark."""
    made.index_day[made.outcome] = made.onset_day[made.outcome] - 90


@trap("immortal_time")
def index_at_the_last_contact(made: Made) -> None:
    """Nothing can happen between the last contact before the landmark and the landmark."""
    made.index_day -= made.random.integers(0, 300, PATIENTS)
    made.due_day = made.index_day.copy()


@trap("immortal_time")
def labelled_without_history(made: Made) -> None:
    """A twentieth of the labelled patients are not eligible by what was known."""
    made.eligible = made.random.random(PATIENTS) > 0.05


@trap("split_overlap")
def patients_in_both_splits(made: Made) -> None:
    hit = made.random.choice(np.flatnonzero(made.tests), 5, replace=False)
    made.learns[hit] = True


@trap("split_overlap")
def the_same_person_under_two_ids(made: Made) -> None:
    _twins(made, changed=0)


@trap("split_overlap")
def nearly_the_same_person(made: Made, changed: float = 1) -> None:
    """Of twenty codes some differ."""
    _twins(made, int(changed))


@trap("split_overlap")
def labels_split_anew(made: Made) -> None:
    """A task has its own split: a fifth of test patients train elsewhere."""
    made.learns |= made.tests & (made.random.random(PATIENTS) < 0.2)


def _twins(made: Made, changed: int) -> None:
    learners = np.flatnonzero(made.learns)[:10]
    testers = np.flatnonzero(made.tests)[:10]
    codes = {}
    for learner, tester in zip(learners, testers, strict=True):
        own = made.random.choice(made_up.CODES, 20 + changed, replace=False)
        codes[int(learner)] = own[:20]
        codes[int(tester)] = own[changed : 20 + changed]
        made.birth_day[tester], made.sex[tester] = made.birth_day[learner], made.sex[learner]
    made_up.with_codes_of(made, codes)


@trap("pretraining_overlap")
def pretrained_on_everybody(made: Made) -> None:
    made.pretrained = made.subjects


@trap("pretraining_overlap")
def pretrained_on_a_few_test_patients(made: Made) -> None:
    made.pretrained = np.append(made.pretrained, made.subjects[made.tests][:3])


@trap("pretraining_overlap")
def pretrained_past_the_landmark(made: Made) -> None:
    made.pretrained_until = LANDMARK + 200


@trap("censoring")
def a_third_leave(made: Made, share: float = 0.35) -> None:
    leaves = ~made.outcome & (made.random.random(PATIENTS) < share)
    made.observed_until = np.where(
        leaves, made.index_day + made.random.integers(0, WINDOW, PATIENTS), made.observed_until
    )


@trap("censoring")
def those_at_risk_leave(made: Made) -> None:
    """Patients with many contacts leave within weeks: they move to another hospital."""
    contacts = np.bincount(made.visible().patient, minlength=PATIENTS)
    leaves = ~made.outcome & (contacts > np.quantile(contacts, 0.5)) & (made.random.random(PATIENTS) < 0.5)
    made.observed_until = np.where(leaves, made.index_day + 20, made.observed_until)


@trap("censoring")
def the_data_end_early(made: Made) -> None:
    """The extract ends eight months after the landmark: later outcomes cannot be seen."""
    end = LANDMARK + 240
    missed = made.outcome & (made.onset_day > end)
    made.outcome[missed] = False
    made.onset_day[missed] = NEVER
    made.observed_until = np.minimum(made.observed_until, end)


@trap("single_site_visibility")
def one_hospital_per_patient(made: Made) -> None:
    made.hospitals[:] = 1


@trap("single_site_visibility")
def most_in_one_hospital(made: Made) -> None:
    made.hospitals[made.random.random(PATIENTS) < 0.7] = 1


@trap("code_drift")
def a_code_replaced(made: Made) -> None:
    """A drug gets another code between the periods (pregabalin did in 2023)."""
    made.after[10] = 0
    made.before[110], made.after[110] = 0, made.before[10]


@trap("code_drift")
def a_code_vanishes(made: Made) -> None:
    made.after[30] = 0


@trap("code_drift")
def coding_habits_change(made: Made, times: float = 3.0) -> None:
    """No code is new; half of them become so many times as common, half as rare."""
    factor = np.where(np.arange(made_up.CODES) % 2, times, 1 / times)
    made.after = np.maximum(1, made.after * factor).astype(np.int64)


@trap("competing_risk")
def many_die(made: Made, share: float = 0.33) -> None:
    """The very old and ill: a third die in the window, evenly."""
    _deaths(made, share, WINDOW)


@trap("competing_risk")
def many_die_early(made: Made) -> None:
    _deaths(made, 0.25, 60)


def _deaths(made: Made, share: float, within: int) -> None:
    dies = ~made.outcome & (made.random.random(PATIENTS) < share)
    day = made.index_day + made.random.integers(1, within, PATIENTS)
    made.death_day = np.where(dies, day, made.death_day)
    made.observed_until = np.where(dies, day, made.observed_until)


@trap("outcome_precursors")
def suspicion_before_the_index(made: Made, share: float = 0.8) -> None:
    """Four in five positives were under suspicion already."""
    hit = made.positives(share)
    made.add(hit, made_up.PRECURSORS[0], made.index_day[hit] - 20, made.index_day[hit] - 20)
    _thin(made)


@trap("outcome_precursors")
def two_precursors(made: Made) -> None:
    """Nearly all positives have one of two codes of the outcome's group."""
    for code in made_up.PRECURSORS:
        hit = made.positives(0.6)
        made.add(hit, code, made.index_day[hit] - 200, made.index_day[hit] - 200)
    _thin(made)


def _thin(made: Made) -> None:
    """Others have the precursors seldom."""
    is_precursor = np.isin(made.entries.code, made_up.PRECURSORS)
    others = ~made.outcome[made.entries.patient]
    gone = is_precursor & others & (made.random.random(len(is_precursor)) < 0.7)
    made.entries = made.entries.where(~gone)

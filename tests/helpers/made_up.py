"""Simulated sets of claims as the checks read them, clean or with one trap planted.

A set is some thousand patients of several hospitals with ages, chronic codes, a true risk that depends on
them, late claims, suspicions, deaths and patients who leave. Nothing in a clean set is wrong; a trap
changes what a fault of that kind would change, and no more.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from claimscale.validity import drift, follow_up, leakage, outcome_validity, overlap
from claimscale.validity.check_result import CheckResult, Entries
from claimscale.validity.outcome_validity import Codings
from claimscale.validity.survival import CENSORED, DEATH, OUTCOME

PATIENTS, CODES = 4000, 120
GAP, HORIZON = 30, 365
WINDOW = GAP + HORIZON
LANDMARK = 18_500
NEVER = -(10**6)
PRECURSORS = (5, 6)
NAMES = tuple(f"ICD10//X{code:03d}" for code in range(CODES))


@dataclass
class Made:
    """Everything the twelve checks read, for one task; arrays may be changed in place to plant a trap."""

    random: np.random.Generator
    entries: Entries
    index_day: np.ndarray
    outcome: np.ndarray
    onset_day: np.ndarray
    death_day: np.ndarray
    observed_until: np.ndarray
    outcomes: Codings
    treatments: Codings
    confirming: Codings
    facts: dict[str, np.ndarray]
    due_day: np.ndarray
    eligible: np.ndarray
    labelled: np.ndarray
    subjects: np.ndarray
    learns: np.ndarray
    tests: np.ndarray
    birth_day: np.ndarray
    sex: np.ndarray
    offsets: np.ndarray
    codes: np.ndarray
    pretrained: np.ndarray
    pretrained_until: int
    hospitals: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def follow_up(self) -> tuple[np.ndarray, np.ndarray]:
        died = np.where(self.death_day != NEVER, self.death_day - self.index_day, 2 * WINDOW)
        kind = np.where(died <= WINDOW, DEATH, CENSORED)
        left = np.clip(self.observed_until - self.index_day, 0, WINDOW)
        time = np.where(kind == DEATH, died, left)
        time = np.where(self.outcome, self.onset_day - self.index_day, time)
        return time, np.where(self.outcome, OUTCOME, kind)

    def visible(self) -> Entries:
        return self.entries.where(self.entries.available <= self.index_day[self.entries.patient])

    def positives(self, share: float = 1.0) -> np.ndarray:
        """Places of a random share of the positives, at least one."""
        places = np.flatnonzero(self.outcome)
        return self.random.permutation(places)[: max(1, round(share * len(places)))]

    def add(
        self, patient: np.ndarray, code: int | np.ndarray, day: np.ndarray, available: np.ndarray
    ) -> None:
        """More entries."""
        code = np.broadcast_to(code, patient.shape)
        old = self.entries
        joined = [
            np.concatenate(pair)
            for pair in (
                (old.patient, patient), (old.code, code), (old.day, day), (old.available, available)
            )
        ]  # fmt: skip
        self.entries = Entries(*joined, names=old.names)

    def add_coding(self, kind: str, patient: np.ndarray, day: np.ndarray, available: np.ndarray) -> None:
        """More outcome, treatment or confirming codes, none suspected."""
        old: Codings = getattr(self, kind)
        firm = np.zeros(len(patient), dtype=bool)
        new = Codings(
            np.concatenate([old.patient, patient]), np.concatenate([old.day, day]),
            np.concatenate([old.available, available]), np.concatenate([old.suspected, firm]),
        )  # fmt: skip
        setattr(self, kind, new)


def make(seed: int) -> Made:
    """A clean set."""
    random = np.random.default_rng([7, seed])
    n = PATIENTS
    age = np.clip(random.normal(65, 14, n), 20, 99)
    sex = random.integers(0, 2, n)
    severity = random.normal(size=n)
    has, entries = _entries(random, age, severity)
    index_day = LANDMARK - 1 - random.geometric(0.2, n).clip(max=GAP)
    entries = entries.where(entries.day <= LANDMARK + WINDOW)
    # Contacts fix the index: everything of the index day is known on that day.
    logit = -4.1 + 0.03 * (age - 65) + 1.1 * severity + 1.2 * has[:, 3] + 0.8 * has[:, 5]
    outcome = random.random(n) < 1 / (1 + np.exp(-logit))
    onset = index_day + GAP + random.integers(1, HORIZON + 1, n)
    dies = (random.random(n) < 0.02) & ~outcome
    death = np.where(dies, index_day + random.integers(1, WINDOW, n), NEVER)
    leaves = (random.random(n) < 0.04) & ~outcome & ~dies
    until = np.where(leaves, index_day + random.integers(0, WINDOW, n), index_day + WINDOW + 200)
    until = np.where(dies, death, until)
    subjects = random.permutation(n) + 1
    split = random.random(n)
    order = np.lexsort((entries.code, entries.patient))
    counts = random.binomial(n // 2, np.linspace(0.4, 0.004, CODES))
    return Made(
        random, entries, index_day, outcome, np.where(outcome, onset, NEVER), death, until,
        _outcome_codings(random, outcome, onset, index_day), _few(random, outcome, index_day, 0),
        _few(random, outcome, index_day, 40),
        {"age": age, "sex": sex, "the number of events": np.bincount(entries.patient, minlength=n),
         "the index date": index_day, "the order of patient ids": subjects},
        index_day.copy(), np.ones(n, bool), np.ones(n, bool), subjects, split < 0.7, split >= 0.7,
        LANDMARK - (age * 365.25).astype(np.int64), sex,
        np.concatenate([[0], np.cumsum(np.bincount(entries.patient, minlength=n))]), entries.code[order],
        subjects[split < 0.7], LANDMARK - 1, 1 + random.binomial(3, 0.5, n), counts,
        random.binomial(n // 2, np.linspace(0.4, 0.004, CODES)),
    )  # fmt: skip


def _entries(
    random: np.random.Generator, age: np.ndarray, severity: np.ndarray
) -> tuple[np.ndarray, Entries]:
    """Codes of three years before the landmark and one after, some known only a month later."""
    n = len(age)
    rate = 0.02 + 0.5 / (1 + np.arange(CODES))
    rate = np.clip(rate * np.exp(0.5 * severity[:, None] + 0.01 * (age[:, None] - 65)), 0, 0.9)
    has = random.random((n, CODES)) < rate
    patient, code = np.nonzero(has)
    repeats = random.geometric(0.4, len(patient))
    patient, code = np.repeat(patient, repeats), np.repeat(code, repeats)
    day = random.integers(LANDMARK - 1100, LANDMARK + 300, len(patient))
    late = np.where(random.random(len(patient)) < 0.3, random.integers(1, 31, len(patient)), 0)
    return has, Entries(patient, code, day, day + late, NAMES)


def _outcome_codings(
    random: np.random.Generator, outcome: np.ndarray, onset: np.ndarray, index_day: np.ndarray
) -> Codings:
    """Two firm codes per positive, and suspicions of a tenth of everybody, before and after the index."""
    cases_ = np.flatnonzero(outcome)
    suspects = np.flatnonzero(random.random(len(outcome)) < 0.1)
    patient = np.concatenate([cases_, cases_, suspects])
    doubted = index_day[suspects] + random.integers(-300, 300, len(suspects))
    day = np.concatenate([onset[cases_], onset[cases_] + 40, doubted])
    suspected = np.repeat([False, True], [2 * len(cases_), len(suspects)])
    return Codings(patient, day, day, suspected)


def _few(random: np.random.Generator, outcome: np.ndarray, index_day: np.ndarray, unselected: int) -> Codings:
    """Treatment of positives after the outcome; `unselected` treatments of random patients before it."""
    cases_ = np.flatnonzero(outcome)
    some = random.choice(len(outcome), unselected)
    patient = np.concatenate([cases_, some])
    day = np.concatenate([index_day[cases_] + WINDOW + 5, index_day[some] - 50])
    return Codings(patient, day, day, np.zeros(len(patient), bool))


def run(made: Made) -> dict[str, CheckResult]:
    """All twelve checks."""
    precursor = np.zeros(CODES, bool)
    precursor[list(PRECURSORS)] = True
    time, kind = made.follow_up()
    contacts = np.bincount(made.visible().patient, minlength=PATIENTS)
    found = [
        leakage.label_leakage(made.entries, made.index_day, made.outcome, made.onset_day),
        leakage.single_feature(made.visible(), made.outcome, made.facts),
        leakage.outcome_precursors(made.visible(), precursor, made.outcome),
        outcome_validity.suspected_only(made.outcomes, made.index_day, made.outcome, GAP, HORIZON),
        outcome_validity.prevalent_cases(
            made.outcomes, made.treatments, made.confirming, made.index_day, made.outcome, None
        ),
        outcome_validity.immortal_time(
            made.index_day,
            made.due_day,
            made.observed_until,
            made.eligible,
            made.labelled,
            LANDMARK,
            (GAP, WINDOW),
        ),
        overlap.split_overlap(
            made.subjects, made.learns, made.tests, made.birth_day, made.sex, made.offsets, made.codes
        ),
        overlap.pretraining_overlap(
            made.pretrained, made.subjects[made.tests], made.pretrained_until, LANDMARK
        ),
        follow_up.censoring(time, kind, contacts, WINDOW),
        follow_up.competing_risk(time, kind, WINDOW),
        follow_up.single_site_visibility(made.hospitals),
        drift.code_drift(made.before, PATIENTS // 2, made.after, PATIENTS // 2, NAMES),
    ]
    return {one.check: one for one in found}


def with_codes_of(made: Made, changed: dict[int, np.ndarray]) -> None:
    """Give patients (by place) other codes in the sets that twins are looked for in."""
    parts = [
        changed.get(place, made.codes[made.offsets[place] : made.offsets[place + 1]])
        for place in range(PATIENTS)
    ]
    made.codes = np.concatenate(parts)
    made.offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])


def replaced(codings: Codings, **changed: np.ndarray) -> Codings:
    return dataclasses.replace(codings, **changed)

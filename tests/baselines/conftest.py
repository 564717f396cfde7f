"""Small random token stores, and the made-up claims of the corpus tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import made_claims
import numpy as np
import pytest
from made_claims import engine as engine

from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.events.build import write_events_folder
from claimscale.tokens.special_tokens import SPECIAL_CODES
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def claims() -> SimpleNamespace:
    """Made-up claims as `tests/corpus` makes them, a study of them, and how to write them as events."""

    def write(rows: list, engine: Engine, scratch: Path, folder: Path) -> None:
        write_events_folder(made_claims.raw_events(rows), engine, scratch, folder, 1000)

    def study() -> Study:
        return Study.model_validate(
            {
                "name": "made-up",
                "source": {"kind": "simulated"},
                "cohort": {"landmark": made_claims.LANDMARK, "min_events": 3},
                "tokens": {"min_patients": 2},
                "sizes": ["80k"],
                "tasks": ["ckd"],
            }
        )

    return SimpleNamespace(
        random=made_claims.random_events,
        other_futures=made_claims.other_futures,
        landmark_day=made_claims.LANDMARK_DAY,
        study=study,
        write=write,
    )


DIAGNOSIS, SUSPECTED, DRUG = 2, 3, 4
KINDS = [
    ("ICD10//N181", DIAGNOSIS), ("ICD10//N189", DIAGNOSIS), ("ICD10//N189", SUSPECTED),
    ("ICD10//N10", DIAGNOSIS), ("ICD10//I10", DIAGNOSIS), ("ICD10//N17", SUSPECTED),
    ("ATC//A10BA02", DRUG), ("ATC//A10BB01", DRUG), ("ATC//N02BF02", DRUG), ("ATC//N02BF01", DRUG),
    ("YJ//1190017F1", DRUG), ("ICD9CM//25000", DIAGNOSIS), ("LAB//X", 7),
]  # fmt: skip
INDEX_DAY = 18_000


def make_vocabulary() -> Vocabulary:
    codes = [*SPECIAL_CODES, *(code for code, _ in KINDS)]
    types = np.array([0, 0, 0, 1, 1, 1, *(kind for _, kind in KINDS)], dtype=np.int8)
    none = np.zeros(len(codes), dtype=np.int64)
    return Vocabulary(codes, types, none, none, none.astype(bool))


def make_store(patients: list[list[tuple[int, int, int]]], births: list[int], sexes: list[int]) -> TokenStore:
    """Patients as lists of (day, day available, token), in any order."""
    # Stored order: by available day, then day, then token.
    ordered = [sorted(patient, key=lambda event: (event[1], event[0], event[2])) for patient in patients]
    events = np.array([event for patient in ordered for event in patient], dtype=np.int64).reshape(-1, 3)
    counts = np.array([len(patient) for patient in ordered])
    visits: list[int] = []
    for patient in ordered:
        dates = sorted({(available, day) for day, available, _ in patient})
        visits += [dates.index((available, day)) for day, available, _ in patient]
    return TokenStore(
        subjects=np.arange(len(patients)),
        offsets=np.r_[0, np.cumsum(counts)],
        token=events[:, 2].astype(np.uint16),
        age_days=(events[:, 0] - np.repeat(births, counts)).astype(np.int32),
        visit=np.array(visits, dtype=np.int32),
        available=events[:, 1].astype(np.int32),
        birth_day=np.array(births, dtype=np.int32),
        sex=np.array(sexes, dtype=np.int32),
        vocabulary=make_vocabulary(),
    )


def random_store(patients: int, seed: int, events: int = 25) -> TokenStore:
    """Events up to three years before and one year after the index day, some known late."""
    random = np.random.default_rng(seed)
    histories = []
    for _ in range(patients):
        days = INDEX_DAY - random.integers(-365, 1100, size=random.integers(0, events))
        late = days + random.integers(0, 40, size=len(days)) * (random.random(len(days)) < 0.5)
        tokens = 6 + random.integers(0, len(KINDS), size=len(days))
        histories.append(list(zip(days.tolist(), late.tolist(), tokens.tolist(), strict=True)))
    births = random.integers(-20_000, 5000, size=patients).tolist()
    return make_store(histories, births, random.integers(3, 6, size=patients).tolist())


@pytest.fixture(scope="session")
def stores() -> SimpleNamespace:
    """How the tests make token stores: see the functions of this module."""
    return SimpleNamespace(make=make_store, random=random_store, kinds=KINDS, index_day=INDEX_DAY)

"""Tokens are the events, in the order they became known; nothing known later moves what came before."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from claimscale.artifacts import read_json
from claimscale.codes.systems import TYPES, roll_up, type_of
from claimscale.cohort import selection as cohort
from claimscale.config.study import Study
from claimscale.config.training import Tokens
from claimscale.engine import Engine
from claimscale.tokens import store as tokens
from claimscale.tokens.store import NpyWriter, TokenStore

ROLLUP: dict[str, int | Literal["who"]] = {"ICD10": 3, "ATC": 4}


@pytest.fixture
def build(engine: Engine, study: Study, write_events, tmp_path: Path):
    study = study.model_copy(update={"tokens": Tokens(min_patients=4, rollup=ROLLUP)})

    def build_tokens(rows, name: str = "one", shard_rows: int = 300) -> Path:
        events = write_events(rows, name, shard_rows)
        folders = tmp_path / f"{name}-cohort", tmp_path / f"{name}-tokens"
        for folder in folders:
            folder.mkdir()
        cohort.build(study, engine, events, folders[0])
        tokens.build(study, engine, events, *folders)
        return folders[1]

    return build_tokens


def expected_tokens(rows, store: TokenStore, subject: int) -> list[tuple[int, int, int]]:
    """The patient's (available day, day, token), one event after another."""
    vocabulary = store.vocabulary
    ids = {
        (code, TYPES[kind]): token
        for token, (code, kind) in enumerate(zip(vocabulary.codes, vocabulary.types, strict=True))
    }
    found = []
    for row in set(rows):
        if row.subject_id == subject and not row.code.startswith(("MEDS_BIRTH", "SEX")):
            token = ids.get((roll_up(row.code, ROLLUP), type_of(row.code, row.suspected)))
            found += [] if token is None else [(row.known_day, row.day, token)]
    return sorted(found)


@pytest.mark.parametrize("shard_rows", [150, 100_000])
def test_tokens_are_the_events_in_the_order_they_became_known(claims, build, shard_rows: int) -> None:
    rows = claims.random(60, seed=1)
    folder = build(rows, shard_rows=shard_rows)
    store = TokenStore.load(folder)
    kept = 0
    for patient, subject in enumerate(store.subjects.tolist()):
        inside = slice(store.offsets[patient], store.offsets[patient + 1])
        day = store.age_days[inside] + store.birth_day[patient]
        stored = list(
            zip(store.available[inside].tolist(), day.tolist(), store.token[inside].tolist(), strict=True)
        )
        assert stored == expected_tokens(rows, store, subject)
        visits = [visit[:2] for visit in stored]
        assert store.visit[inside].tolist() == [sorted(set(visits)).index(visit) for visit in visits]
        kept += len(stored)
    assert kept == len(store.token) == store.offsets[-1]
    counted = read_json(folder / "tokens.json")
    chosen = set(store.subjects.tolist())
    contacts = [
        row for row in set(rows) if row.subject_id in chosen and not row.code.startswith(("M", "SEX"))
    ]
    assert counted["tokens"] == kept
    assert counted["tokens"] + counted["dropped_rare"] == len(contacts)


def test_demographics_stand_beside_the_tokens(claims, build) -> None:
    store = TokenStore.load(build(claims.random(40, seed=2)))
    assert store.token.min() >= 6
    assert store.token.dtype == np.uint16
    assert np.array_equal(store.birth_day, np.full(len(store), -10_000))
    names = [store.vocabulary.codes[token] for token in store.sex]
    assert names == ["SEX//" + "FM"[subject % 2] for subject in store.subjects]


def test_what_became_known_later_moves_nothing_before(claims, build) -> None:
    rows = claims.random(40, seed=3)
    one = TokenStore.load(build(rows, "whole"))
    for name, changed in claims.other_futures(rows).items():
        other = TokenStore.load(build(changed, name))
        assert np.array_equal(other.subjects, one.subjects), name
        assert other.vocabulary.codes == one.vocabulary.codes, name
        for patient in range(len(one)):
            for array in ("token", "age_days", "visit", "available"):
                assert known_before(one, array, patient, claims) == known_before(
                    other, array, patient, claims
                )


def known_before(store: TokenStore, array: str, patient: int, claims) -> list[int]:
    inside = slice(store.offsets[patient], store.offsets[patient + 1])
    return getattr(store, array)[inside][store.available[inside] < claims.landmark_day].tolist()


def test_rows_of_patients(claims, build) -> None:
    store = TokenStore.load(build(claims.random(40, seed=4)))
    some = store.subjects[[5, 0, 7]]
    assert store.rows_of(some).tolist() == [5, 0, 7]
    for absent in (0, 999):
        with pytest.raises(KeyError, match="1 of 2 patients are not in the token store"):
            store.rows_of(np.array([store.subjects[0], absent]))


def test_arrays_written_in_pieces_are_plain_npy_files(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 60_000, 12_345)
    with NpyWriter(tmp_path / "pieces.npy", np.uint16) as writer:
        for piece in np.array_split(values, 7):
            writer.append(piece)
    loaded = np.load(tmp_path / "pieces.npy")
    assert loaded.dtype == np.uint16
    assert np.array_equal(loaded, values)

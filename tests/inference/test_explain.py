"""Explanations: contributions add up, agree with the model, and show nobody in a cohort."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from packaged_study import MODELS, PackagedStudy
from safetensors.torch import load_file
from scipy.stats import hypergeom

from claimscale import cli
from claimscale.baselines.fitted_models import LinearModel
from claimscale.inference import explanation_page
from claimscale.inference.attribution import Attribution, Input, averaged
from claimscale.inference.explained import Explained, explain_row
from claimscale.inference.explanation_schema import (
    CohortExplanation,
    Contribution,
    PatientExplanation,
)
from claimscale.inference.members import BaselineMember
from claimscale.inference.package import ModelPackage
from claimscale.inference.presence import PresenceModel
from claimscale.inference.tabular_attribution import columns
from claimscale.simulator.population import Population, simulate
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import LEADING
from claimscale.tokens.store import TokenStore
from claimscale.training.finetune_trainer import LabelledSequences, logits
from claimscale.training.finetuning import FinetuneJob, finetune
from claimscale.training.initialization import Initialization

CPU = torch.device("cpu")
PATIENTS = 25


def patients(study: PackagedStudy, count: int = PATIENTS) -> list[tuple[int, int]]:
    """Row and index day of test patients."""
    sample = study.workspace.samples("analgesics")["held_out"]
    return list(zip(sample.rows[:count].tolist(), sample.index_days[:count].tolist(), strict=True))


def sequence_of(package: ModelPackage, store: TokenStore, row: int, day: int) -> Sequences:
    return package.encoder.sequences(store, np.array([row]), np.array([day]))


def without(sequence: Sequences, position: int) -> Sequences:
    kept = np.arange(len(sequence.token)) != position
    bounds = np.array([0, kept.sum()])
    return Sequences(sequence.token[kept], sequence.age_days[kept], bounds, sequence.count[kept])


@pytest.fixture(scope="module")
def explanations(packaged_study) -> Callable[[str], list[Explained]]:
    """The explanations of the test patients by a model, made once."""
    found: dict[str, list[Explained]] = {}

    def of(model: str) -> list[Explained]:
        if model not in found:
            package = packaged_study.open(model)
            found[model] = [
                explain_row(package, packaged_study.workspace.store, *where)
                for where in patients(packaged_study)
            ]
        return found[model]

    return of


@pytest.mark.parametrize("model", MODELS)
def test_contributions_add_up_to_the_score(explanations, packaged_study, model: str) -> None:
    package, store = packaged_study.open(model), packaged_study.workspace.store
    for explained, (row, day) in zip(explanations(model), patients(packaged_study), strict=True):
        risk = float(package.risks(store, np.array([row]), np.array([day]))[0])
        assert explained.risk == pytest.approx(risk, rel=1e-12)
        found = explained.attribution
        total = found.baseline + sum(found.contributions.values())
        assert abs(total - found.log_odds) < 0.01 * max(abs(found.log_odds - found.baseline), 0.1)
        assert found.is_complete
        if model not in ("encoder", "ensemble"):
            assert abs(found.completeness_error) < 1e-5 and found.steps is None


def test_presence_one_is_the_model_and_presence_zero_is_removal(packaged_study) -> None:
    package, store = packaged_study.open("encoder"), packaged_study.workspace.store
    member = package.encoder
    assert member.model.has_zero_shot
    for row, day in patients(packaged_study, 8):
        sequence = sequence_of(package, store, row, day)
        patient = PresenceModel.of(member.model, sequence, package.reference, CPU)
        codes = len(sequence.token) - LEADING
        with torch.no_grad():
            whole = float(patient.logits(*patient.observed))
            presence = torch.cat((torch.ones(codes, LEADING), 1 - torch.eye(codes)), 1)
            each = patient.logits(presence, patient.observed.person.expand(codes, -1, -1)).numpy()
        assert whole == pytest.approx(float(logits(member.model, sequence, CPU)[0]), abs=1e-4)
        # The newest code sets what [CLS] knows of recency; the other ones can be removed from the input.
        newest = np.flatnonzero(sequence.age_days[LEADING:] == sequence.age_days[LEADING:].max())
        others = np.setdiff1d(np.arange(codes), newest if len(newest) == 1 else [])
        for position in others.tolist():
            removed = logits(member.model, without(sequence, position + LEADING), CPU)
            assert each[position] == pytest.approx(float(removed[0]), abs=1e-4)


def test_the_baseline_is_a_person_without_codes(packaged_study) -> None:
    package, store = packaged_study.open("encoder"), packaged_study.workspace.store
    row, day = patients(packaged_study, 1)[0]
    sequence = sequence_of(package, store, row, day)
    sex = "FMU"[int(sequence.token[1]) - 3]
    age = float(sequence.age_days[0]) / 365.25
    reference = package.reference.model_copy(update={"mean": {"age_years": age}, "sex": {sex: 1.0}})
    patient = PresenceModel.of(package.encoder.model, sequence, reference, CPU)
    empty = Sequences(sequence.token[:2], sequence.age_days[:2], np.array([0, 2]), sequence.count[:2])
    with torch.no_grad():
        baseline = float(patient.logits(*patient.baseline))
    assert baseline == pytest.approx(float(logits(package.encoder.model, empty, CPU)[0]), abs=1e-4)


def test_a_patient_without_visible_codes_has_contributions_of_the_person(packaged_study) -> None:
    package, store = packaged_study.open("encoder"), packaged_study.workspace.store
    row, day = patients(packaged_study, 1)[0]
    start, stop = store.offsets[row], store.offsets[row + 1]
    available = np.array(store.available)
    available[start:stop] = day + 1
    found = explain_row(package, dataclasses.replace(store, available=available), row, day)
    assert {one.kind for one in found.attribution.contributions} == {"age", "sex", "recency"}
    assert found.attribution.is_complete and found.removals == () and found.removal_correlation is None


def test_contributions_of_a_linear_model_are_coefficient_times_value(packaged_study) -> None:
    package, store = packaged_study.open("logistic"), packaged_study.workspace.store
    member = package.members[0]
    assert isinstance(member, BaselineMember) and isinstance(member.model, LinearModel)
    names = columns(member)
    for row, day in patients(packaged_study):
        values = np.asarray(member.features(store, np.array([row]), np.array([day])).todense())[0]
        expected: dict[tuple[str, str, bool], float] = {}
        for column, weight in zip(member.model.columns, member.model.coefficient, strict=True):
            kind, name, suspected = names[column]
            key = ("code" if kind == "absent_code" else kind, name, suspected)
            expected[key] = expected.get(key, 0.0) + float(weight * values[column])
        found = explain_row(package, store, row, day).attribution
        assert found.baseline == member.model.intercept
        assert {one[:3]: pytest.approx(value) for one, value in found.contributions.items()} == {
            key: value for key, value in expected.items() if value
        }


@pytest.mark.parametrize("model", ["encoder", "lightgbm", "logistic", "outcome_history"])
def test_every_column_of_a_model_has_a_name(packaged_study, model: str) -> None:
    for member in packaged_study.open(model).members:
        if isinstance(member, BaselineMember):
            where = np.array([0]), np.array([18_000])
            width = member.features(packaged_study.workspace.store, *where).get_shape()[1]
            assert len(columns(member)) == width


def test_removing_a_code_changes_the_risk_in_its_direction(explanations) -> None:
    """For most of the codes with the largest contributions of a trained encoder."""
    removals = [one for explained in explanations("encoder") for one in explained.removals[:5]]
    assert len(removals) > 3 * PATIENTS
    assert np.mean([one.contribution * one.change > 0 for one in removals]) > 0.8
    correlations = [explained.removal_correlation for explained in explanations("encoder")]
    assert np.median([one for one in correlations if one is not None]) > 0.5


def test_the_order_of_codes_of_one_day_changes_nothing(packaged_study) -> None:
    package, store = packaged_study.open("encoder"), packaged_study.workspace.store
    random, compared = np.random.default_rng(0), 0
    for row, day in patients(packaged_study, 20):
        start, stop = store.offsets[row], store.offsets[row + 1]
        order = np.arange(len(store.token))
        key = store.available[start:stop].astype(np.int64) * 100_000 + store.age_days[start:stop]
        shuffled = random.permutation(stop - start)
        order[start:stop] = start + shuffled[np.argsort(key[shuffled], kind="stable")]
        other = dataclasses.replace(store, token=store.token[order])
        if len(sequence_of(package, store, row, day).token) == package.config.tokens.max_length:
            continue  # which of the oldest day's codes are kept depends on their order
        compared += int((store.token[order] != store.token).any())
        first, second = (explain_row(package, one, row, day).attribution for one in (store, other))
        assert first.contributions.keys() == second.contributions.keys()
        for one, value in first.contributions.items():
            assert second.contributions[one] == pytest.approx(value, abs=1e-4)
    assert compared > 3


def test_an_ensemble_averages_the_contributions_of_its_members(explanations) -> None:
    for explained in explanations("ensemble"):
        first, second = explained.members
        for one, value in explained.attribution.contributions.items():
            both = first.contributions.get(one, 0.0) + second.contributions.get(one, 0.0)
            assert value == pytest.approx(both / 2)
        assert explained.attribution.log_odds == pytest.approx((first.log_odds + second.log_odds) / 2)


def test_averaged_keeps_inputs_that_one_member_has() -> None:
    age, code = Input("age", "age"), Input("code", "ICD10//I10", False, 18_000)
    one = Attribution({age: 1.0}, {}, -2.0, -1.0, 64)
    two = Attribution({age: 3.0, code: 1.0}, {code: 2}, -4.0, 0.0)
    found = averaged([one, two], -0.5)
    assert found.contributions == {age: 2.0, code: 0.5} and found.counts == {code: 2}
    assert found.baseline == -3.0 and found.steps == 64 and found.completeness_error == 0.0


def test_shuffled_labels_rank_planted_drivers_no_better_than_chance(packaged_study, tmp_path: Path) -> None:
    """Four codes drive planted labels: an encoder that learns them ranks these codes first; one that learns
    the same labels shuffled does not."""
    workspace, package = packaged_study.workspace, packaged_study.open("encoder")
    vocabulary = workspace.store.vocabulary
    is_code = vocabulary.patients > 0
    planted = np.flatnonzero(is_code & (vocabulary.patients < 0.35 * vocabulary.patients.max()))[:4]
    samples = workspace.samples("analgesics")
    shares = {}
    for name in ("planted", "shuffled"):
        random = np.random.default_rng(3)

        def labelled(split: str, name: str = name, random: np.random.Generator = random) -> LabelledSequences:
            sample = samples[split]
            sequences = package.encoder.sequences(workspace.store, sample.rows, sample.index_days)
            held = np.logical_or.reduceat(np.isin(sequences.token, planted), sequences.offsets[:-1])
            outcome = random.random(len(held)) < np.where(held, 0.95, 0.02)
            return LabelledSequences(
                sequences, random.permutation(outcome) if name == "shuffled" else outcome
            )

        member = copy.copy(package.encoder)
        settings = workspace.study.finetune.model_copy(update={"epochs": 6, "learning_rates": [0.008]})
        start = Initialization(member.shape, workspace.token_metadata, None, 0, CPU)
        (tmp_path / name).mkdir()
        job = FinetuneJob(labelled("train"), labelled("tuning"), start, settings, tmp_path / name)
        finetune(job, {}, lambda share: None)
        member.model = start.model(settings).eval()
        member.model.load_state_dict(load_file(tmp_path / name / "model.safetensors"))
        shares[name] = hits(dataclasses.replace(package, members=(member,)), packaged_study, planted)
    (found, chance), (shuffled, _) = shares["planted"], shares["shuffled"]
    assert found > chance + 0.4
    assert shuffled < chance + 0.2


def hits(package: ModelPackage, study: PackagedStudy, planted: np.ndarray) -> tuple[float, float]:
    """Shares of patients with a planted code among the five largest contributions, and of a random order."""
    names = {package.vocabulary.codes[token] for token in planted.tolist()}
    found = []
    for row, day in patients(study, 80):
        by_code = explain_row(package, study.workspace.store, row, day).attribution.by_code()
        ranked = sorted(by_code, key=lambda key: -by_code[key])
        is_driver = np.array([code in names for code, _suspected in ranked])
        if is_driver.any():
            found.append((is_driver[:5].any(), hypergeom.sf(0, len(ranked), is_driver.sum(), 5)))
    assert len(found) > 15
    share, chance = np.mean(found, axis=0)
    return float(share), float(chance)


@pytest.fixture
def run(packaged_study, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Call `claimscale explain` for a model; returns exit code, standard output, standard error, folder."""

    def call(model: str, *arguments: object, on: str = "2020-10-01", out: Path | None = None):
        folder = out or tmp_path / model
        named = (packaged_study.packages[model], packaged_study.file, folder, "--on", on)
        code = cli.call(["explain", *map(str, (*named, *arguments))])
        captured = capsys.readouterr()
        return code, captured.out, captured.err, folder

    return call


def test_one_patient_from_the_command_line(run, packaged_study) -> None:
    row, _day = patients(packaged_study, 1)[0]
    patient = int(packaged_study.workspace.store.subjects[row])
    code, out, _, folder = run("ensemble", "--patient", patient)
    assert code == 0 and "completeness error" in out and str(folder / "explanation.html") in out
    found = PatientExplanation.model_validate_json((folder / "explanation.json").read_bytes())
    assert found.subject_id == patient == int(found.patient) and len(found.members) == 2
    assert sum(visit.contribution for visit in found.visits) == pytest.approx(
        sum(one.contribution for one in found.contributions if one.day is not None)
    )
    assert all(one.odds_ratio == pytest.approx(np.exp(one.contribution)) for one in found.contributions)
    page = (folder / "explanation.html").read_text("utf-8")
    assert "This page is patient data" in page and "They do not say what causes the disease" in page
    assert "<script" not in page and "http-equiv" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page.replace("xmlns:xlink", ""))
    dated = [one for one in found.contributions if one.day is not None]
    assert page.count("<title>") == len(dated) + 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, _, error, _ = run("ensemble", "--patient", patient)
    assert code == 2 and "is there already" in error


def test_text_ids_name_the_patient_of_the_source_not_a_number_of_the_events(
    packaged_study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(tmp_path / "tables", Population(40, 2, 5, 70), "tables", workers=1)
    source, package = tmp_path / "source.yaml", packaged_study.packages["lightgbm"]
    source.write_text(f"source: {{kind: tables, path: {tmp_path / 'tables'}}}\n")
    on = ("--on", "2020-10-01")
    assert cli.call(["predict", str(package), str(source), str(tmp_path / "scores.parquet"), *on]) == 0
    scores = pq.read_table(tmp_path / "scores.parquet").to_pandas().set_index("source_id")
    text = next(one for one in scores.index if one != str(scores.subject_id[one]))
    explain = ["explain", str(package), str(source), str(tmp_path / "out"), *on, "--patient"]
    assert cli.call([*explain, text]) == 0
    found = PatientExplanation.model_validate_json((tmp_path / "out/explanation.json").read_bytes())
    assert (found.patient, found.subject_id) == (text, scores.subject_id[text])
    assert found.risk == pytest.approx(scores.predicted_boolean_probability[text], abs=1e-12)
    assert f"Patient {text}," in (tmp_path / "out/explanation.html").read_text("utf-8")
    capsys.readouterr()
    explain[3] = str(tmp_path / "other")
    for unknown in (f"0{text}", f" {text}"):
        assert cli.call([*explain, unknown]) == 2
        error = capsys.readouterr().err
        assert "source_id of `predict` names them" in error and unknown not in error


def test_a_cohort_names_no_patient_and_no_small_number(run, packaged_study) -> None:
    code, out, _, folder = run("lightgbm", "--patients", 120)
    assert code == 0 and "120 patients" in out
    text = (folder / "explanation.json").read_text("utf-8")
    found = CohortExplanation.model_validate_json(text)
    assert found.patients == 120 and found.complete_share == 1 and found.hidden_inputs > 0
    for one in found.inputs:
        assert one.patients is None or one.patients == 120 or 10 <= one.patients <= 110
        assert (one.mean_with is None) == (one.mean_absolute_with is None) == (one.patients is None)
    page = (folder / "explanation.html").read_text("utf-8")
    assert "subject" not in text + page and not any("day" in one for one in json.loads(text)["inputs"])
    assert all(re.search(rf"(?<!\d){word}(?!\d)", text) is None for word in ("2017-", "2018-", "2019-"))


@pytest.mark.parametrize(
    ("model", "arguments", "on", "problem"),
    [
        ("encoder", ("--patient", 999_999), "2020-10-01", "no such patient"),
        ("encoder", ("--patient", 1), "2001-01-01", "events of this patient are known on 2001-01-01"),
        ("pretrained", ("--patient", 1), "2020-10-01", "without a question"),
        ("encoder", (), "2001-01-01", "0 patients are eligible"),
        ("encoder", ("--patients", 3), "2020-10-01", "--patients"),
        ("encoder", ("--patient", 1), "tomorrow", "is not a date"),
    ],
)
def test_bad_input_is_one_line(run, model: str, arguments: tuple[object, ...], on: str, problem: str) -> None:
    code, _, error, folder = run(model, *arguments, on=on)
    lines = [line for line in error.splitlines() if line.startswith("claimscale: ")]
    assert code == 2 and len(lines) == 1 and problem in lines[0]
    assert "999999" not in lines[0] and not folder.exists()


def test_without_captum_the_extra_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    code, _, error, _ = run("encoder", "--patient", 1)
    assert code == 2 and "claimscale[explain]" in error


def test_hostile_names_are_text_on_the_page() -> None:
    hostile = "\"><script>alert(1)</script>'&lt;img src=x>"
    one = Contribution(
        kind="code", name=hostile, day=dt.date(2020, 1, 1), count=2, contribution=0.1, odds_ratio=1.1
    )
    svg = explanation_page._svg(explanation_page.timeline([one]))
    assert "<script" not in svg and "<img" not in svg and "&lt;script" in svg

"""The methods section states every setting with an effect, wherever it is on."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import pytest
import synthetic
from pydantic import BaseModel

from claimscale.config.study import Study
from claimscale.report.methods import EXEMPT, paragraphs

TASK = {"name": "x", "kind": "disease", "outcome": {"ICD10": ["N18"]}}
VISITS = {"index": "every_visit", "first_index_date": "2020-01-01"}
EXCLUSION = {"codes": {"ICD10": ["C50"]}}
SIMULATED = {"kind": "simulated", "patients": 900}
ALL_DATES = {"labels": "all_dates", "finetune.labelled_patients": ["all"]}
PHENOME = {"phenome": {}}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "seed": ({}, {"seed": 7}),
    "phenome.min_cases": (PHENOME, {"phenome": {"min_cases": 60}}),
    "phenome.levels": (PHENOME, {"phenome": {"levels": {"ICD10": 4}}}),
    "phenome.gap_days": (PHENOME, {"phenome": {"gap_days": 60}}),
    "phenome.min_history_days": (PHENOME, {"phenome": {"min_history_days": 180}}),
    "phenome.lightgbm_outcomes": (
        ALL_DATES | PHENOME,
        ALL_DATES | {"phenome": {"lightgbm_outcomes": 20}},
    ),
    "phenome.washout_days": (PHENOME, {"phenome": {"washout_days": 180}}),
    "source.kind": ({}, {"source": {"kind": "meds", "path": "claims"}}),
    "source.patients": ({"source": SIMULATED}, {"source": SIMULATED | {"patients": 800}}),
    "source.hospitals": ({"source": SIMULATED}, {"source": SIMULATED | {"hospitals": 9}}),
    "source.min_age": ({"source": SIMULATED}, {"source": SIMULATED | {"min_age": 40}}),
    "source.masters": (
        {"source": {"kind": "dpc", "path": "x"}},
        {"source": {"kind": "dpc", "path": "x", "masters": "y"}},
    ),
    "source.patient": (
        {"source": {"kind": "receipt", "path": "x"}},
        {"source": {"kind": "receipt", "path": "x", "patient": "insurance"}},
    ),
    "source.codes": (
        {"source": {"kind": "omop", "path": "x"}},
        {"source": {"kind": "omop", "path": "x", "codes": "standard"}},
    ),
    "source.stays": (
        {"source": {"kind": "omop", "path": "x"}},
        {"source": {"kind": "omop", "path": "x", "stays": [9201]}},
    ),
    "source.dates": (
        {"source": {"kind": "meds", "path": "x"}},
        {"source": {"kind": "meds", "path": "x", "dates": "shifted"}},
    ),
    "source.anchor": (
        {"source": {"kind": "omop", "path": "x", "dates": "shifted"}},
        {"source": {"kind": "omop", "path": "x", "dates": "shifted", "anchor": "admitted"}},
    ),
    "source.translate_to": (
        {"source": {"kind": "omop", "path": "x"}},
        {"source": {"kind": "omop", "path": "x", "translate_to": ["ATC"]}},
    ),
    "cohort.landmark": ({}, {"cohort.landmark": "2021-05-01"}),
    "cohort.min_events": ({}, {"cohort.min_events": 9}),
    "cohort.recency_days": ({}, {"cohort.recency_days": 180}),
    "cohort.sample.hospitals": ({}, {"cohort.sample": {"hospitals": 3}}),
    "cohort.sample.patients": ({}, {"cohort.sample": {"patients": 300}}),
    "cohort.splits.fractions": ({}, {"cohort.splits.fractions": [0.6, 0.1, 0.3]}),
    "cohort.splits.temporal_date": ({}, {"cohort.splits.temporal_date": "2022-01-01"}),
    "cohort.splits.held_out_hospitals": ({}, {"cohort.splits.held_out_hospitals": 0}),
    "tokens.max_length": ({}, {"tokens.max_length": 64}),
    "tokens.min_patients": ({}, {"tokens.min_patients": 3}),
    "tokens.rollup": ({}, {"tokens.rollup": {"ICD10": 3}}),
    "tokens.deduplicate": ({}, {"tokens.deduplicate": "month"}),
    "tokens.hierarchical_embeddings": ({}, {"tokens.hierarchical_embeddings": True}),
    "pretrain.seeds": ({}, {"pretrain.seeds": [42, 123, 456, 789]}),
    "pretrain.start": ({}, {"pretrain.start": "package"}),
    "pretrain.epochs": ({}, {"pretrain.epochs": 77}),
    "pretrain.batch_tokens": ({}, {"pretrain.batch_tokens": 777}),
    "pretrain.mask_probability": ({}, {"pretrain.mask_probability": 0.17}),
    "pretrain.mask_unit": ({}, {"pretrain.mask_unit": "code"}),
    "pretrain.calendar_date_share": ({}, {"pretrain.calendar_date_share": 0.0}),
    "pretrain.incident_weight": ({}, {"pretrain.incident_weight": 0.0}),
    "pretrain.horizon_days": ({}, {"pretrain.horizon_days": 99}),
    "pretrain.learning_rate": ({}, {"pretrain.learning_rate": 0.007}),
    "pretrain.cooldown_fractions": ({}, {"pretrain.cooldown_fractions": [1.0]}),
    "pretrain.lr_sweep": ({}, {"pretrain.lr_sweep": [0.001, 0.002, 0.004]}),
    "pretrain.lr_sweep_fraction": (
        {"pretrain.lr_sweep": [0.001, 0.002, 0.004]},
        {"pretrain.lr_sweep": [0.001, 0.002, 0.004], "pretrain.lr_sweep_fraction": 0.27},
    ),
    "finetune.seeds": ({}, {"finetune.seeds": [42]}),
    "finetune.epochs": ({}, {"finetune.epochs": 77}),
    "finetune.batch_tokens": ({}, {"finetune.batch_tokens": 777}),
    "finetune.learning_rates": ({}, {"finetune.learning_rates": [0.0007]}),
    "finetune.layerwise_lr_decay": ({}, {"finetune.layerwise_lr_decay": 0.83}),
    "finetune.method": ({}, {"finetune.initialization": ["pretrained"], "finetune.method": "lora"}),
    "finetune.zero_shot_init": (ALL_DATES, ALL_DATES | {"finetune.zero_shot_init": False}),
    "labels": (ALL_DATES, {"finetune.labelled_patients": ["all"]}),
    "dates_per_patient": (ALL_DATES, ALL_DATES | {"dates_per_patient": 2}),
    "finetune.weight_averaging": ({}, {"finetune.weight_averaging": False}),
    "finetune.token_dropout": ({}, {"finetune.token_dropout": 0.13}),
    "recipes": ({}, {"recipes": ["behrt"]}),
    "search.n_trials": ({}, {"search.n_trials": 77}),
    "compare.metric": ({}, {"compare.metric": "auroc"}),
    "compare.relative_margin": ({}, {"compare.relative_margin": 0.035}),
    "compare.bootstrap_replicates": ({}, {"compare.bootstrap_replicates": 777}),
    "compare.stopping": (
        {"baselines": ["lightgbm"]}, {"baselines": ["lightgbm"], "compare.stopping": "futility"},
    ),
    "privacy.profile": ({}, {"privacy.profile": "ndb"}),
    **{
        f"source.crosswalks.{name}": (
            {"source.crosswalks": [{"source": "ICD9CM", "target": "ICD10"}]},
            {"source.crosswalks": [{"source": "ICD9CM", "target": "ICD10"} | {name: "OTHER"}]},
        )
        for name in ("source", "target")
    },
    **{
        f"tasks.{name}": ({"tasks": [TASK]}, {"tasks": [TASK | {name: value}]})
        for name, value in {
            "name": "y", "kind": "medication", "outcome": {"ICD10": ["N17"]}, "confirmation_days": 44,
            "confirmation_codes": {"ATC": ["A10"]}, "washout_days": 222, "gap_days": 11, "horizon_days": 111,
            "min_history_days": 99, "hidden_codes": {"ATC": ["B01"]}, "source": "a guideline",
        }.items()
    },
    "tasks.index": ({"tasks": [TASK]}, {"tasks": [TASK | VISITS]}),
    "tasks.first_index_date": (
        {"tasks": [TASK | VISITS]}, {"tasks": [TASK | VISITS | {"first_index_date": "2019-01-01"}]},
    ),
    "tasks.labels": (
        {"tasks": [TASK]}, {"tasks": [{"name": "x", "kind": "disease", "labels": "labels.parquet"}]},
    ),
    "tasks.exclude.codes": ({"tasks": [TASK]}, {"tasks": [TASK | {"exclude": [EXCLUSION]}]}),
    **{
        f"tasks.exclude.{name}": (
            {"tasks": [TASK | {"exclude": [EXCLUSION]}]},
            {"tasks": [TASK | {"exclude": [EXCLUSION | {name: value}]}]},
        )
        for name, value in {"look_back_days": 500, "window_end_days": -20}.items()
    },
}  # fmt: skip
"""For each setting two studies that differ in it; keys are paths into the synthetic study."""
OF_THE_RESULTS = {"sizes", "finetune.labelled_patients", "finetune.initialization", "baselines"}
"""Stated as far as the summary has results; test_documents has their tests."""


def leaves(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """The paths of all settings of a model."""
    for name, field in model.model_fields.items():
        inner = list(models_in(field.annotation))
        if place + name in EXEMPT or not inner:
            yield place + name
        for one in inner if place + name not in EXEMPT else ():
            yield from leaves(one, f"{place}{name}.")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, list, tuple) or get_args(annotation):
        for inner in get_args(annotation):
            yield from models_in(inner)


def changed(changes: dict[str, Any]) -> Study:
    """The synthetic study with other settings."""
    settings = synthetic.STUDY.model_dump(mode="json")
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = settings
        for name in parents:
            place = place[name]
        place[last] = value
    return Study.model_validate(settings, strict=False)


def text_of(study: Study, language: str) -> str:
    summary = synthetic.typed(synthetic.summary(tasks=2))
    return "\n".join(one.render(language) for one in paragraphs(summary, study))


def test_every_setting_is_stated_or_exempt() -> None:
    """A new setting needs a sentence and a line above, or a reason in EXEMPT."""
    assert set(leaves(Study)) == set(CHANGES) | set(EXEMPT) | OF_THE_RESULTS
    assert not set(CHANGES) & set(EXEMPT)


@pytest.mark.parametrize("setting", CHANGES)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_methods_change_with_the_setting(setting: str, language: str) -> None:
    one, other = (text_of(changed(changes), language) for changes in CHANGES[setting])
    assert one != other


def test_incident_codes_are_stated_where_they_are_on() -> None:
    """They are on by default and shape the weights."""
    assert "codes appear for the first time within 365 days" in text_of(synthetic.STUDY, "en")
    off = text_of(changed({"pretrain.incident_weight": 0.0}), "en")
    assert "for the first time" not in off and "zero-shot" not in off and "masked" in off

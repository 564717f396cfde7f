"""The methods section of a paper, written from the settings and from the models that have results.

Every setting with an effect is stated where it is on; `EXEMPT` names the others, each with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from claimscale.config.sources import (
    FIRST_CONTACT,
    DpcSource,
    FileSource,
    OmopSource,
    ReceiptSource,
    SimulatedSource,
    Source,
)
from claimscale.config.study import Study
from claimscale.findings import Finding, finding, sentences
from claimscale.model.shapes import PAIRS_PER_CODE
from claimscale.report import phenome_methods, task_methods
from claimscale.report.page_data import ARMS
from claimscale.summary.entries import METRIC_NAMES
from claimscale.summary.recipe_entries import TITLES
from claimscale.summary.result_schema import ModelResultEntry
from claimscale.summary.schema import Summary

SOURCES = {
    "simulated": finding("source.simulated"),
    "synpuf": finding("source.synpuf"),
    "tables": finding("source.tables"),
    "receipt": finding("source.receipt"),
    "dpc": finding("source.dpc"),
    "omop": finding("source.omop"),
    "meds": finding("source.meds"),
}
DEDUPLICATION = {
    "none": finding("methods.deduplicate_none"),
    "month": finding("methods.deduplicate_month"),
    "quarter": finding("methods.deduplicate_quarter"),
    "year": finding("methods.deduplicate_year"),
    "history": finding("methods.deduplicate_history"),
}
METHODS = {
    "full": finding("methods.full"),
    "lora": finding("methods.lora"),
    "linear_probe": finding("methods.linear_probe"),
}
BASELINES = {
    "lightgbm": finding("model.lightgbm_cited"),
    "logistic": finding("model.logistic"),
    "outcome_history": finding("model.outcome_history"),
    "lightgbm_embeddings": finding("model.lightgbm_embeddings"),
    "lightgbm_counts_and_embeddings": finding("model.lightgbm_counts_and_embeddings"),
}
"""Baselines that are tuned; the ensemble has nothing to tune."""
EXEMPT = {
    "name": "names the study",
    "source.path": "is a place on this machine",
    "source.vocabulary": "is a place on this machine",
    "source.crosswalks.file": "is a place on this machine",
    "source.crosswalks.columns": "says how a file is read",
    "source.mapping": "says how files are read",
    "source.encoding": "says how files are read",
    "engine.kind": "does not change results",
    "engine.master": "does not change results",
    "engine.memory": "does not change results",
    "pretrain.checkpoint_minutes": "does not change results",
    "finetune.checkpoint_minutes": "does not change results",
    "compute.device": "does not change the method",
    "compute.workers": "does not change results",
    "compute.slurm": "does not change results",
    "compute.peak_tflops": "does not change results",
    "report.language": "does not change results",
    "runs_dir": "is a place on this machine",
}
"""Settings that a methods section leaves out, with the reason."""


def paragraphs(summary: Summary, study: Study) -> list[Finding]:
    """The paragraphs, with numbers of references in brackets."""
    before = (_data(summary, study), _tokens(study), models(summary, study))
    definitions = {task.name: list(task_methods.paragraph(task, summary, study)) for task in study.tasks}
    tasks = [
        finding("methods.of_task", task=name, definition=sentences(definition))
        for name, definition in definitions.items()
    ]
    return [
        *(sentences(list(part)) for part in before),
        *tasks,
        sentences(list(_evaluation(summary, study))),
    ]


def _data(summary: Summary, study: Study) -> Iterator[Finding]:
    source, cohort = study.source, study.cohort
    patients, hospitals = summary.dataset.patients, summary.dataset.hospitals
    yield finding("methods.data", patients=patients, hospitals=hospitals, source=SOURCES[source.kind])
    if isinstance(source, SimulatedSource):
        yield finding("methods.simulated", patients=source.patients, hospitals=source.hospitals)
        if source.min_age:
            yield finding("methods.min_age", age=source.min_age)
    else:
        for crosswalk in source.crosswalks:
            yield finding("methods.crosswalk", source=crosswalk.source, target=crosswalk.target)
    if isinstance(source, ReceiptSource) and source.patient == "insurance":
        yield finding("methods.insurance_number")
    elif isinstance(source, ReceiptSource):
        yield finding("methods.chart_number")
    if isinstance(source, ReceiptSource | DpcSource) and source.masters is not None:
        yield finding("methods.masters")
    if isinstance(source, OmopSource) and source.codes == "standard":
        yield finding("methods.omop_standard")
    elif isinstance(source, OmopSource):
        yield finding("methods.omop_source")
    if isinstance(source, OmopSource) and source.translate_to:
        yield finding("methods.omop_translated", systems=source.translate_to)
    yield from _dates_and_stays(source)
    if cohort.sample.hospitals is not None:
        yield finding("methods.sampled_hospitals", n=cohort.sample.hospitals)
    if cohort.sample.patients is not None:
        yield finding("methods.sampled_patients", n=cohort.sample.patients)
    yield finding("methods.cohort", events=cohort.min_events, landmark=str(cohort.landmark))
    yield from splits(study)


def splits(study: Study) -> Iterator[Finding]:
    """How patients were divided, and the further test sets."""
    chosen = study.cohort.splits
    yield finding("methods.splits", fractions=list(chosen.fractions), seed=study.seed)
    if chosen.held_out_hospitals:
        yield finding("methods.held_out_hospitals", n=chosen.held_out_hospitals)
    if chosen.temporal_date is not None:
        yield finding("methods.temporal", date=str(chosen.temporal_date))
    if not chosen.held_out_hospitals and chosen.temporal_date is None:
        yield finding("methods.no_further_test_set")


def _tokens(study: Study) -> Iterator[Finding]:
    tokens = study.tokens
    yield finding("methods.vocabulary", patients=tokens.min_patients, length=tokens.max_length)
    yield DEDUPLICATION[tokens.deduplicate]
    if tokens.rollup:
        levels = [
            finding("methods.rollup_who", system=system)
            if level == "who"
            else finding("methods.rollup_level", system=system, level=level)
            for system, level in tokens.rollup.items()
        ]
        yield finding("methods.rollup", levels=levels)
    if tokens.hierarchical_embeddings:
        yield finding("methods.hierarchical_embeddings")


def models(summary: Summary, study: Study) -> Iterator[Finding]:
    """The models that have results: pretraining, fine-tuning, training from scratch, baselines."""
    results = [result for task in summary.tasks for result in task.results]
    arms = [arm for arm in ARMS if any(result.arm == arm for result in results)]
    pretrained = [size for size in summary.sizes if size.seeds]
    if pretrained:
        yield from _pretraining(study, [size.name for size in pretrained])
    if {"pretrained", "scratch"} & set(arms):
        yield from _finetuning(study, arms, results, [size.name for size in summary.sizes])
    names = [BASELINES[arm] for arm in arms if arm in BASELINES]
    if names:
        yield finding("methods.baselines", baselines=names, trials=study.search.n_trials)
    if "ensemble" in arms:
        yield finding("methods.ensemble")
    if study.recipes and results:
        yield finding("methods.recipes", recipes=[TITLES[name] for name in study.recipes])
    if study.compare.stopping == "futility":
        yield finding("methods.futility")
    if not results:
        yield finding("methods.no_results")


def _dates_and_stays(source: Source) -> Iterator[Finding]:
    if isinstance(source, OmopSource) and source.stays is not None:
        yield finding("methods.stay_concepts", concepts=[str(concept) for concept in source.stays])
    if isinstance(source, FileSource) and source.dates == "shifted":
        is_first = source.anchor == FIRST_CONTACT
        anchor = finding("methods.first_contact") if is_first else source.anchor
        yield finding("methods.shifted_dates", anchor=anchor)


def _pretraining(study: Study, sizes: list[str]) -> Iterator[Finding]:
    chosen = study.pretrain
    yield finding(
        "methods.pretrained", sizes=sizes, epochs=chosen.epochs, batch=chosen.batch_tokens,
        rate=chosen.learning_rate, seeds=chosen.seeds,
    )  # fmt: skip
    if chosen.start is not None:
        yield finding("methods.started")
    if chosen.mask_unit == "code":
        yield finding("methods.masked_codes", share=chosen.mask_probability)
    else:
        yield finding("methods.masked_tokens", share=chosen.mask_probability)
    if chosen.incident_weight:
        yield finding(
            "methods.incident_codes",
            days=chosen.horizon_days, weight=chosen.incident_weight, pairs=PAIRS_PER_CODE,
        )  # fmt: skip
        yield finding("methods.calendar_dates", share=chosen.calendar_date_share)
    if len(chosen.cooldown_fractions) > 1:
        yield finding("methods.cooldowns", fractions=chosen.cooldown_fractions)
    if chosen.lr_sweep:
        yield finding("methods.lr_sweep", rates=chosen.lr_sweep, fraction=chosen.lr_sweep_fraction)


def _finetuning(
    study: Study, arms: list[str], results: Sequence[ModelResultEntry], sizes: list[str]
) -> Iterator[Finding]:
    chosen = study.finetune
    requested = {result.labelled_patients for result in results if result.size}
    labelled = [finding("methods.labelled", n=n) for n in sorted(n for n in requested if n != "all")]
    labelled += [finding("methods.all_labelled")] * ("all" in requested)
    if "pretrained" not in arms:
        yield finding("methods.from_scratch", sizes=sizes, labelled=labelled)
    elif len(requested) == 1:
        yield finding("methods.finetuned", labelled=labelled)
    else:
        yield finding("methods.finetuned_subsets", labelled=labelled)
    if {"pretrained", "scratch"} <= set(arms):
        yield finding("methods.scratch_too")
    if study.labels == "scarce":
        yield finding("methods.scarce")
    yield METHODS[chosen.method]
    yield finding(
        "methods.early_stopping", epochs=chosen.epochs, batch=chosen.batch_tokens, seeds=chosen.seeds
    )
    if len(chosen.learning_rates) == 1:
        yield finding("methods.one_rate", rate=chosen.learning_rates[0])
    else:
        yield finding("methods.several_rates", rates=chosen.learning_rates)
    if chosen.layerwise_lr_decay != 1:
        yield finding("methods.layerwise_lr_decay", factor=chosen.layerwise_lr_decay)
    predicted = study.pretrain.incident_weight and study.labels != "scarce"
    if chosen.zero_shot_init and predicted and "pretrained" in arms:
        yield finding("methods.zero_shot_init")
    if chosen.weight_averaging:
        yield finding("methods.weight_averaging")
    if chosen.token_dropout:
        yield finding("methods.token_dropout", share=chosen.token_dropout)


def _evaluation(summary: Summary, study: Study) -> Iterator[Finding]:
    metric = METRIC_NAMES[study.compare.metric]
    yield finding("methods.metric", metric=metric, replicates=study.compare.bootstrap_replicates)
    yield finding("methods.size_sufficiency", margin=study.compare.relative_margin, metric=metric)
    if study.phenome is not None:
        yield from phenome_methods.paragraph(study, study.phenome)
    yield finding("methods.software", version=summary.version)
    if study.privacy.profile == "none":
        yield finding("methods.counts_shown")
    else:
        yield finding("methods.counts_suppressed", profile=study.privacy.profile)

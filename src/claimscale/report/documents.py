"""What a paper and an ethics board ask for, filled from the run: methods, model card, TRIPOD+AI checklist.

What a run cannot know is marked for a human. Numbers are those of the summary, never of the settings alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from claimscale.report.answers import percent
from claimscale.report.numbers import count
from claimscale.report.texts import Texts

Summary = Mapping[str, Any]
REFERENCES = (
    "Collins GS et al. TRIPOD+AI statement. BMJ 2024;385:e078378. doi 10.1136/bmj-2023-078378",
    "The study of five model sizes that this one follows: arXiv 2604.22348",
    "Dey N et al. Don't be lazy: CompleteP enables compute-efficient deep transformers. arXiv 2505.01618",
    "Ke G et al. LightGBM: a highly efficient gradient boosting decision tree. NeurIPS 2017",
    "Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979;6:65-70",
    "Satterthwaite FE. An approximate distribution of estimates of variance components. Biometrics 1946;2:110-114",
    "Van Calster B et al. Calibration: the Achilles heel of predictive analytics. BMC Med 2019;17:230. "
    "doi 10.1186/s12916-019-1466-7",
    "Vickers AJ, Elkin EB. Decision curve analysis. Med Decis Making 2006;26:565-574. "
    "doi 10.1177/0272989X06295361",
    "Arnrich B et al. Medical Event Data Standard (MEDS). ICLR 2024 Workshop on Learning from Time Series for Health",
)  # fmt: skip


class Item(NamedTuple):
    """An entry of a checklist or card; `human` where the text says what is still to be filled in."""

    number: str
    section: str
    topic: str
    text: str
    human: bool


def methods(summary: Summary, study_yaml: str, t: Texts) -> list[str]:
    """Paragraphs for the methods section, with the numbers of the references in brackets."""
    found = facts(summary, study_yaml, t)
    return [
        t(
            "We studied {patients} patients of {hospitals} hospitals in a claims database ({source}), converted to the Medical Event Data Standard [9]; everything used as input was known at the index date, the last contact before {landmark}. Patients were divided at random into training, tuning and test sets ({splits}); {further}.",
            **found,
        ),
        t(
            "Encoder-only Transformers of {sizes} parameters were pretrained by masked-code modelling ({mask} of codes masked, {epochs} epochs, seeds {seeds}) on training patients only, with learning rates carried across sizes by CompleteP [3], and fine-tuned on nested subsets of labelled patients ({labelled}). The same shapes were trained from scratch on the same patients, and these baselines: {baselines}, each tuned with {trials} trials [4].",
            **found,
        ),
        t(
            "The clinical questions were {tasks}. Performance on test patients is given as {metric} with 95 % intervals that cover both the choice of patients (bootstrap, {replicates} replicates) and of training runs (seeds; Satterthwaite's degrees of freedom [6]). A size was taken as good enough if every larger one gained less than {margin} of the largest model's {metric}, tested one-sided from the largest size down, with Holm's correction across questions [5]. Calibration [7] and net benefit [8] are reported. Reporting follows TRIPOD+AI [1].",
            **found,
        ),
        t(
            "Analyses used claimscale {version} (sizes after [2]). Counts are shown under the privacy rule '{privacy}'.",
            **found,
        ),
    ]


def facts(summary: Summary, study_yaml: str, t: Texts) -> dict[str, str]:
    """Short texts on the run for sentences to take up; a dash for what is not known."""
    study = yaml.safe_load(study_yaml)
    study = study if isinstance(study, dict) else {}
    cohort, pretrain, finetune = (study.get(part) or {} for part in ("cohort", "pretrain", "finetune"))
    compare, splits = study.get("compare") or {}, cohort.get("splits") or {}
    further = []
    if splits.get("held_out_hospitals"):
        further.append(t("{n} hospitals were held out whole", n=splits["held_out_hospitals"]))
    if splits.get("temporal"):
        further.append(t("a second landmark, {date}, gives a later test set", date=splits["temporal"]))
    dataset, listed = summary["dataset"], t(", ")

    def several(values: Any) -> str:
        return listed.join(str(value) for value in values or []) or "–"

    tasks = several(
        f"{task['name']} ({t('with the outcome:')} {count(task['positives'])} / {count(task['n_test'])})"
        for task in summary["tasks"]
    )
    metric = str(compare.get("metric", "auprc")).upper()
    return {
        "patients": count(dataset.get("patients")),
        "hospitals": count(dataset.get("hospitals")),
        "source": str(dataset.get("source") or "–"),
        "landmark": str(cohort.get("landmark", "–")),
        "splits": several(percent(part) for part in splits.get("patients", [])),
        "further": t("; ").join(further) or t("no other test set was made"),
        "sizes": several(size["name"] for size in summary["sizes"]),
        "mask": percent(pretrain["mask"]) if "mask" in pretrain else "–",
        "epochs": str(pretrain.get("epochs", "–")),
        "seeds": several(pretrain.get("seeds")),
        "labelled": several(finetune.get("patients")),
        "baselines": several(study.get("baselines")),
        "trials": str((study.get("search") or {}).get("trials", "–")),
        "tasks": tasks,
        "metric": metric,
        "replicates": count(compare.get("replicates")),
        "margin": percent(compare["margin"]) if "margin" in compare else "–",
        "version": summary["version"],
        "privacy": summary.get("privacy", {}).get("profile", "none"),
        "outcomes": several(task["source"] or task["name"] for task in summary["tasks"]),
        "warnings": " ".join(t.sentence(warning) for warning in summary["warnings"]) or "–",
        "answers": " ".join(
            f"{answer['task']}: {t.sentence(answer['sentence'])}" for answer in summary["answers"]
        ),
    }


def tripod(summary: Summary, study_yaml: str, t: Texts) -> list[Item]:
    """The 27 items of TRIPOD+AI with their parts, filled from the run where it can."""
    found = facts(summary, study_yaml, t)
    return [
        Item(number, t(section), t(topic), t(text, **found), human)
        for number, section, topic, text, human in TRIPOD
    ]


def model_card(summary: Summary, study_yaml: str, t: Texts) -> list[Item]:
    """A model card (Mitchell 2019, doi 10.1145/3287560.3287596)."""
    found = facts(summary, study_yaml, t)
    return [Item("", "", t(topic), t(text, **found), human) for topic, text, human in CARD]


CARD = (
    ("Model", "Encoder-only Transformers over medical claims, sizes {sizes}, made with claimscale {version}.", False),
    ("Owner and contact", "who is responsible, and how they are reached", True),
    ("Intended use", "who may use which model for which decision, and for which not", True),
    ("Questions", "{tasks}", False),
    ("Answers", "{answers}", False),
    ("Training data", "{patients} patients of {hospitals} hospitals ({source}); inputs end before {landmark}.", False),
    ("Test data", "Splits of patients: {splits}; {further}.", False),
    ("Metrics", "{metric} with 95 % intervals over patients and seeds; calibration, net benefit, subgroups by sex, age and hospital: see each question.", False),
    ("Limits", "{warnings}", False),
    ("Ethics and harm", "approval, consent or waiver, who could be harmed by a wrong prediction, and what is done about it", True),
    ("Updating", "when the model is checked again, and what happens then", True),
)  # fmt: skip

TRIPOD = (
    ("1", "Title", "Prediction model, population and outcome named", "a title that names the model, the population and the outcome", True),
    ("2", "Abstract", "Structured summary (TRIPOD+AI for abstracts)", "an abstract; results to take up: {answers}", True),
    ("3a", "Introduction", "Healthcare context and rationale", "why the questions matter, and what models exist", True),
    ("3b", "Introduction", "Target population, purpose, intended users", "who would use the model, when and for whom", True),
    ("3c", "Introduction", "Known health inequalities", "inequalities known between groups of patients", True),
    ("4", "Introduction", "Objectives", "To find the smallest model that is good enough for: {tasks}.", False),
    ("5a", "Methods", "Sources of data", "Claims ({source}), {patients} patients of {hospitals} hospitals; why they are representative is to be added.", False),
    ("5b", "Methods", "Dates of the data", "Inputs end before the landmark {landmark}; the span is given under 'The data'.", False),
    ("6a", "Methods", "Setting and centres", "{hospitals} hospitals; where they are and of which kind is to be added.", False),
    ("6b", "Methods", "Eligibility", "The cohort's steps are under 'From the source to the cohort'; per question, patients with an earlier outcome are excluded.", False),
    ("6c", "Methods", "Treatments received", "treatments that bear on the outcomes", True),
    ("7", "Methods", "Data preparation", "Every row is accounted for under 'What became of every row'.", False),
    ("8a", "Methods", "Outcome and horizon", "Definitions: {outcomes}; codes and horizons are in the settings.", False),
    ("8b", "Methods", "Who assessed the outcome", "Outcomes come from codes by fixed rules, not from assessors; how valid the codes are is to be added.", False),
    ("8c", "Methods", "Blinding of outcome assessment", "Rules are fixed in the settings before any model is trained.", False),
    ("9a", "Methods", "Choice of predictors", "All codes that enough training patients have; none is chosen by hand.", False),
    ("9b", "Methods", "Predictors and their timing", "Codes known at the index date, with age and sex; later events cannot enter.", False),
    ("9c", "Methods", "Assessment of predictors", "Predictors are codes as claimed; nobody assessed them.", False),
    ("10", "Methods", "Sample size", "All eligible patients; where they are too few, the answer gives the number that would decide.", False),
    ("11", "Methods", "Missing data", "A code that is absent counts as not claimed; unknown sex is a value of its own.", False),
    ("12a", "Methods", "Use of the data for development and evaluation", "Patients are divided: {splits}; {further}.", False),
    ("12b", "Methods", "Handling of predictors", "Codes are rolled up as in the settings; repeats within a period are kept once.", False),
    ("12c", "Methods", "Model type, building, tuning", "Masked-code pretraining, then fine-tuning; baselines {baselines} with {trials} trials each.", False),
    ("12d", "Methods", "Heterogeneity between clusters", "Held-out hospitals and subgroups by hospital are reported.", False),
    ("12e", "Methods", "Measures of performance", "AUPRC, AUROC, log-loss, calibration, net benefit; {metric} decides.", False),
    ("12f", "Methods", "Model updating", "No model was updated after evaluation.", False),
    ("12g", "Methods", "Calculation of predictions", "`claimscale predict` applies a model to new claims.", False),
    ("13", "Methods", "Class imbalance", "Nothing was resampled or reweighted; risks are calibrated as they come.", False),
    ("14", "Methods", "Fairness", "Subgroups by sex, age and hospital are reported; what follows from them is to be added.", False),
    ("15", "Methods", "Model output", "A risk between 0 and 1; no threshold is set.", False),
    ("16", "Methods", "Training and evaluation data compared", "The table of the cohort compares the splits.", False),
    ("17", "Methods", "Ethical approval", "the ethics board, its number, consent or waiver", True),
    ("18a", "Open science", "Funding", "who paid, and for what", True),
    ("18b", "Open science", "Conflicts of interest", "conflicts of all authors", True),
    ("18c", "Open science", "Protocol", "where the protocol can be read; the settings below were resolved before training", True),
    ("18d", "Open science", "Registration", "the registry and number, or that there is none", True),
    ("18e", "Open science", "Data sharing", "who can have the data, and how", True),
    ("18f", "Open science", "Code sharing", "claimscale {version} with the settings below; where your own code lies is to be added.", False),
    ("19", "Patient and public involvement", "Involvement", "how patients or the public took part, or that they did not", True),
    ("20a", "Results", "Flow of participants", "Under 'From the source to the cohort' and, per question, its first line.", False),
    ("20b", "Results", "Characteristics of participants", "The table of the cohort, overall and per split.", False),
    ("20c", "Results", "Development and evaluation data compared", "The table of the cohort compares the splits.", False),
    ("21", "Results", "Participants and outcomes per analysis", "{tasks}", False),
    ("22", "Results", "Full model", "Weights are in cells/<id>/model.safetensors, shapes under 'Pretraining and its cost'.", False),
    ("23a", "Results", "Performance with intervals, subgroups", "{answers}", False),
    ("23b", "Results", "Heterogeneity between clusters", "Under 'Other hospitals, later times' and the subgroups by hospital of each question.", False),
    ("24", "Results", "Model updating", "No model was updated.", False),
    ("25", "Discussion", "Interpretation", "what the results mean, fairness included, beside earlier studies", True),
    ("26", "Discussion", "Limitations", "{warnings}", False),
    ("27a", "Discussion", "Poor or missing input data", "Codes unknown to the vocabulary are left out of the input; how often that may happen is to be added.", False),
    ("27b", "Discussion", "Interaction with users", "what users must do or know", True),
    ("27c", "Discussion", "Next steps", "what comes next, with applicability and generalisability", True),
)  # fmt: skip
"""Number, section, topic, what the run says or what is to be written, and whether a human must write it."""

"""What the results mean, in words: one sentence per task, and what a reader must be warned of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from claimscale.evaluation.gains import beats_all, best
from claimscale.evaluation.scoring import Model, ModelScores
from claimscale.study import Study

FEW_POSITIVES = 100
UNTRAINED = {
    "untrained_few_positives": "positives",
    "untrained_few_negatives": "patients without the outcome",
}
"""Reasons why nothing was trained: of whom there were too few."""
RIVALS = {"lightgbm": "LightGBM", "logistic": "Logistic regression", "carry_forward": "Carry-forward"}
"""Baselines that need no encoder, and may therefore make one superfluous."""
METRIC_NAMES = {"auprc": "AUPRC", "auroc": "AUROC"}


def largest_sample(scores: Mapping[Model, ModelScores]) -> int | Literal["all"]:
    """The number of labelled patients (as asked for) that verdicts and answers rest on."""
    encoders: dict[int | Literal["all"], int] = {
        model.requested: found.patients for model, found in scores.items() if model.size
    }
    if not encoders:
        return "all"
    return max(encoders, key=lambda requested: (encoders[requested], requested == "all"))


def answer(study: Study, task: Mapping[str, Any], scores: Mapping[Model, ModelScores]) -> dict[str, Any]:
    """The answer to one task: `sentence` for a reader in a hurry, `recommendation` a size, a rival or null.

    `task` is the task's entry in the summary, `scores` its models on held-out patients.
    """
    saturation = task["saturation"]
    rival = _rival(study, scores)
    if rival is not None:
        recommendation, sentence = rival
    else:
        recommendation = saturation["smallest_sufficient"]
        if saturation["verdict"] == "not_saturated":
            recommendation = saturation["evidence"][0]["larger"]
        sentence = _about_size(task)
    return {
        "task": task["name"],
        "verdict": saturation["verdict"],
        "recommendation": recommendation,
        "sentence": sentence,
        "about_size": _about_size(task),
    }


UNMEASURED = {
    "tokens": "training was not repeated with twice the tokens",
    "learning_rate": "not every size had a learning-rate sweep",
}
"""What a guard against under-training would have needed."""


def warnings(study: Study, summary: Mapping[str, Any]) -> list[str]:
    """Everything that limits what the summary shows, one sentence each."""
    found = _convergence_warnings(summary)
    if study.source.kind == "simulated":
        found.append("The patients are simulated: nothing here is evidence about real patients.")
    for check in summary["checks"]:
        if check["status"] == "warned":
            found.append(f"{check['task']}: {check['sentence']}" if check["task"] else check["sentence"])
    for task, answered in zip(summary["tasks"], summary["answers"], strict=True):
        found += _task_warnings(task, answered)
    if len(study.finetune.seeds) == 1:
        found.append(
            "One seed only: intervals cover the choice of patients but not the chance of training, and are "
            "too narrow; no verdict is given."
        )
    found += learning_rate_warnings(summary["sizes"], study.pretrain.learning_rate)
    if summary["task_dependence"]["estimate"] is None:
        found.append(
            "Whether diseases gain more from size than medications was not tested: it takes both kinds of "
            "task, two sizes, and seeds common to all."
        )
    return found


def learning_rate_warnings(sizes: Sequence[Mapping[str, Any]], used: float) -> list[str]:
    """What short runs at several learning rates leave open about each size, one sentence each.

    `used` is the rate that all sizes were trained with.
    """
    found = []
    for size in (size for size in sizes if size["lr_sweep"]):
        tried = [one for one in size["lr_sweep"] if one["validation_loss"] is not None]
        if not tried:
            found.append(f"{size['name']}: training diverged at every learning rate of the sweep.")
            continue
        best = min(tried, key=lambda one: one["validation_loss"])["learning_rate"]
        rates = [one["learning_rate"] for one in size["lr_sweep"]]
        if best in (rates[0], rates[-1]):
            side = "lowest" if best == rates[0] else "highest"
            found.append(
                f"{size['name']}: of the learning rates swept the {side}, {best:g}, gave the lowest loss: "
                "the best may lie beyond it, and a plateau is not to be trusted before it is found."
            )
        elif best != used and used in rates:
            found.append(
                f"{size['name']}: learning rate {best:g} did better than the {used:g} that was used, in "
                "short runs."
            )
    return found


def _convergence_warnings(summary: Mapping[str, Any]) -> list[str]:
    """Which guards against under-training failed or were not measured, a sentence each.

    What each size's learning rates leave open is said by `learning_rate_warnings`.
    """
    found, guards = [], summary["convergence"]
    unmeasured = [UNMEASURED[name] for name in guards["unmeasured"] if name in UNMEASURED]
    if unmeasured:
        missing = " and ".join(unmeasured)
        found.append(
            f"{missing[0].upper()}{missing[1:]}: that a plateau is under-training cannot be excluded."
        )
    if "tokens" in guards["failed"]:
        found.append(
            "Under-trained: the last doubling of tokens still took "
            f"{percent(guards['from_doubling'])} off the largest size's validation loss."
        )
    if "overfitting" in guards["failed"]:
        found.append(
            f"Pretraining overfits: the loss on training patients lies {percent(guards['gap'])} below that "
            "on others."
        )
    return found


def overtaking(found: Mapping[str, Any]) -> str:
    """How many labelled patients it takes before the pretrained model is ahead of LightGBM, in a sentence."""
    model, tested = f"The pretrained {found['size']} model", found["tested"]
    least, most = f"{tested[0]:,}", f"{tested[-1]:,}"
    low, high = (None if found[end] is None else _rounded(found[end]) for end in ("low", "high"))
    from_few = f"fewer than {least}" if low is None else low
    to_many = f"more than {most}" if high is None else high
    match found["outcome"]:
        case "at":
            return (
                f"{model} overtakes LightGBM at about {_rounded(found['patients'])} labelled patients "
                f"(95 % interval {from_few} to {to_many})."
            )
        case "from_the_smallest":
            limit = f"; the 95 % interval reaches to {to_many}" if found["ahead"] < 1 or high else ""
            return (
                f"{model} is ahead of LightGBM from {least} labelled patients on, the fewest tested{limit}."
            )
        case _:
            limit = f"; the 95 % interval begins at {from_few}" if found["ahead"] > 0 else ""
            return f"{model} does not overtake LightGBM with up to {most} labelled patients{limit}."


def figure(value: float | None, decimals: int = 3) -> str:
    """A number for reading: a true minus sign, a dash for what is not known."""
    if value is None or math.isnan(value):
        return "–"
    # adding zero turns -0.0, which a small negative number rounds to, into 0.0
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def count(value: int | str | None) -> str:
    """A number of patients; '<10' as it is, 'some' where the privacy gate left it out.

    >>> count(12345), count("<10"), count(None)
    ('12,345', '<10', 'some')
    """
    return f"{value:,}" if isinstance(value, int) else value or "some"


def span(entry: Mapping[str, Any], name: str = "estimate") -> str:
    """An estimate with its 95 % interval."""
    if entry["low"] is None or math.isnan(entry["low"]):
        return f"{figure(entry[name])} (no interval)"
    return f"{figure(entry[name])} (95 % interval {figure(entry['low'])} to {figure(entry['high'])})"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _about_size(task: Mapping[str, Any]) -> str:
    saturation = task["saturation"]
    metric, margin = METRIC_NAMES[saturation["metric"]], percent(saturation["relative_margin"])
    evidence = saturation["evidence"]
    match saturation["verdict"]:
        case "saturated":
            size = saturation["smallest_sufficient"]
            gains = [entry for entry in evidence if entry["smaller"] == size]
            saved = saturation["hours_saved"]
            if saturation["convergence"] == "under_trained":
                return (
                    f"Under-trained: the {size} model does as well as larger ones as they were trained (the "
                    f"largest, {gains[0]['larger']}, changes {metric} by {span(gains[0], 'difference')}), "
                    "but pretraining had not converged: a plateau cannot be told from too little training."
                )
            spared = f"; it saves {_spared(saturation)}" if saved and saved > 0 else ""
            return (
                f"The {size} model is good enough: the largest, {gains[0]['larger']}, changes {metric} by "
                f"{span(gains[0], 'difference')}, and no larger one gains {margin} or more{spared}."
            )
        case "not_saturated":
            gain = evidence[0]
            return (
                f"Use {gain['larger']}, the largest model: it adds {span(gain, 'difference')} {metric} to "
                f"{gain['smaller']}, more than the margin of {margin}; larger ones may add still more."
            )
        case _ if saturation["reason"] in UNTRAINED:
            return _what_was_lacking(task)
        case _:
            return f"Undecided which size is good enough: {_why_undecided(task)}."


def _spared(saturation: Mapping[str, Any]) -> str:
    saved = duration(saturation["hours_saved"])
    if not saturation["hours_saved_estimated"]:
        return f"{saved} of pretraining"
    return (
        f"about {saved} of pretraining against {saturation['saved_against']}, which was left out (estimated)"
    )


def _what_was_lacking(task: Mapping[str, Any]) -> str:
    saturation, splits = task["saturation"], task["splits"]
    more, asked = saturation["more_needed"], UNTRAINED[saturation["reason"]]
    if not task["n_train"] or not task["n_test"]:
        found = "nobody can be asked this question"
    else:
        counts = ((splits[split], use) for split, use in (("train", "training"), ("held_out", "testing")))
        having = " and ".join(
            f"{count(found['positives'])} of {count(found.get('dates', found['patients']))} in {use}"
            for found, use in counts
        )
        found = f"too few to learn from or to test on, as the outcome came to {having}"
    if more is None:
        return f"Undecided, nothing was trained: {found}; more {asked} are needed."
    return (
        f"Undecided, nothing was trained: {found}; at least {sum(more.values()):,} more {asked} needed "
        f"({more['train']:,} to train, {more['held_out']:,} to test)."
    )


def _why_undecided(task: Mapping[str, Any]) -> str:
    saturation, evidence = task["saturation"], task["saturation"]["evidence"]
    metric, margin = METRIC_NAMES[saturation["metric"]], figure(saturation["margin"])
    needed, positives = saturation["positives_needed"], count(task["positives"])
    asked = (
        f"about {_rounded(needed)} test patients with the outcome would decide, there are {positives}"
        if needed
        else "more seeds are needed, for training runs differ too much from each other"
    )
    match saturation["reason"]:
        case "one_size":
            return "only one size was trained"
        case "one_seed":
            return "the sizes share fewer than two seeds, so the chance of training is unknown"
        case "no_signal":
            return f"not even the largest model is shown to do better than chance in {metric}"
        case "few_positives" if not needed:
            return f"{positives} test patients with the outcome are too few to compare models"
        case "few_positives":
            return f"{positives} test patients with the outcome are too few; {asked}"
    gain = evidence[0]
    compared = f"what {gain['larger']} adds to {gain['smaller']}, {span(gain, 'difference')} {metric},"
    if saturation["reason"] == "near_margin":
        return f"{compared} lies near the margin of {margin}; {asked}"
    return f"{compared} is too uncertain for the margin of {margin}; {asked}"


def _rival(study: Study, scores: Mapping[Model, ModelScores]) -> tuple[str, str] | None:
    """The best baseline and the advice to use it, where no encoder has a higher estimate.

    All on as many labelled patients.
    """
    metric, largest = study.compare.metric, largest_sample(scores)
    rivals = {
        RIVALS[model.arm]: found.by_metric[metric]
        for model, found in scores.items()
        if model.arm in RIVALS and model.requested == largest
    }
    encoders = {
        f"{model.size} {model.arm.replace('scratch', 'from scratch')}": found.by_metric[metric]
        for model, found in scores.items()
        if model.size and model.requested == largest
    }
    if not rivals or not encoders:
        return None
    champion, rival = best(encoders), best(rivals)
    theirs, ours = (found.values.mean() for found in (encoders[champion], rivals[rival]))
    if not ours >= theirs:
        return None
    name, used = METRIC_NAMES[metric], rival if rival == "LightGBM" else rival.lower()
    if beats_all(rivals[rival], list(encoders.values())):
        return rival, (
            f"Use {used}: its {name} of {figure(ours)} is above that of every encoder (the best, "
            f"{champion}, reaches {figure(theirs)})."
        )
    return rival, (
        f"Use {used}: no encoder is shown to be better ({name} {figure(ours)} against {figure(theirs)} of "
        f"the best, {champion})."
    )


def _task_warnings(task: Mapping[str, Any], answered: Mapping[str, Any]) -> list[str]:
    found, name = [], task["name"]
    if task["saturation"]["reason"] in UNTRAINED:
        return [
            f"{name}: nothing was trained, for want of patients; the other questions do not depend on it."
        ]
    positives = task["positives"]
    if isinstance(positives, str) or (positives is not None and positives < FEW_POSITIVES):
        found.append(
            f"{name}: only {count(positives)} test patients have the outcome; below {FEW_POSITIVES} every "
            "figure is uncertain and the intervals are rough."
        )
    if not same_by_hospital(task["saturation"]):
        there, here = task["saturation"]["by_hospital"], task["saturation"]
        found.append(
            f"{name}: with whole hospitals resampled the verdict is {_named(there)}, not {_named(here)}: "
            "other hospitals might have given another answer."
        )
    if answered["verdict"] == "inconclusive":
        found.append(
            f"{name}: no verdict on size. That is want of evidence, not evidence that sizes are equal."
        )
    if answered["recommendation"] in RIVALS.values():
        found.append(
            f"{name}: {answered['recommendation']} does as well as every encoder or better; the verdict "
            "about sizes is about encoders only."
        )
    return found


def same_by_hospital(saturation: Mapping[str, Any]) -> bool:
    """Whether resampling hospitals gives the verdict that resampling patients gave, as far as it was done."""
    other = saturation["by_hospital"]
    return other is None or all(saturation[key] == other[key] for key in ("verdict", "smallest_sufficient"))


def _named(saturation: Mapping[str, Any]) -> str:
    size = saturation["smallest_sufficient"]
    return f"saturated at {size}" if size else saturation["verdict"].replace("_", " ")


def _rounded(count: float) -> str:
    """Two significant digits: the number is a plan, not a measurement."""
    return f"{int(float(f'{count:.2g}')):,}"


def duration(hours: float | None) -> str:
    """Hours in the unit a reader would say.

    >>> duration(178.2), duration(0.25), duration(0.004)
    ('178 hours', '15 minutes', '14 seconds')
    """
    if hours is None:
        return "–"
    if hours >= 1:
        return f"{hours:.3g} hours"
    return f"{60 * hours:.2g} minutes" if hours >= 1 / 60 else f"{3600 * hours:.2g} seconds"

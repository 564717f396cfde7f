"""What the results mean, in words: one sentence per task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimscale.privacy.suppression import SUPPRESSED
from claimscale.summary.formatting import count, duration, figure, percent, rounded, span

NOT_TRAINED = {
    "not_trained_few_positives": "positives",
    "not_trained_few_negatives": "patients without the outcome",
    "not_trained_tuning_few_positives": "positives",
    "not_trained_tuning_few_negatives": "patients without the outcome",
    "not_trained_subsets_few_positives": "labelled patients",
    "not_trained_subsets_few_negatives": "labelled patients",
}
"""Reasons why nothing was trained: of whom there were too few."""
"""The reason of a verdict that is not shown, because few held-out patients have the outcome, or lack it."""
NOT_ENOUGH = {
    "not_trained_tuning_few_positives": "too few tuning patients have the outcome to choose models by",
    "not_trained_tuning_few_negatives": "too few tuning patients are without the outcome to choose models by",
    "not_trained_subsets_few_positives": "in every subset asked for too few patients have the outcome",
    "not_trained_subsets_few_negatives": "in every subset asked for too few patients are without the outcome",
}
"""What is said of them where training and testing had enough; never how few."""
RIVALS = {"lightgbm": "LightGBM", "logistic": "Logistic regression", "outcome_history": "Carry-forward"}
"""Baselines that need no encoder, and may therefore make one superfluous."""
UNDER_TRAINED = "under_trained"
"""Said instead of a verdict of saturation where pretraining had not converged."""
METRIC_NAMES = {"auprc": "AUPRC", "auroc": "AUROC"}


def answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one task: `text` for a reader in a hurry, `recommendation` a size, a baseline or null.

    `verdict` is that on sizes, but `under_trained` where a plateau may be too little pretraining.
    `ensemble_text` says what encoder and LightGBM averaged reach, null unless that is better than each alone.
    `task` is the task's entry in the summary.
    """
    found = task["recommendation"]
    baseline = found["baseline"]
    return {
        "task": task["name"],
        "verdict": found["verdict"],
        "recommendation": RIVALS[baseline["baseline"]] if baseline else found["size"],
        "text": _baseline(task) if baseline else _about_size(task),
        "size_text": _about_size(task),
        "ensemble_text": _ensemble(task),
    }


def overtaking(found: Mapping[str, Any]) -> str:
    """How many labelled patients it takes before the pretrained model is ahead of LightGBM, in a sentence."""
    model, tested = f"The pretrained {found['size']} model", found["tested_n_labelled"]
    least, most = f"{tested[0]:,}", f"{tested[-1]:,}"
    low, high = found["low"], found["high"]
    from_few = f"fewer than {least}" if low == 0 else low and rounded(low)
    to_many = f"more than {most}" if high is None else rounded(high)
    match found["outcome"]:
        case "at":
            return (
                f"{model} overtakes LightGBM at about {rounded(found['n_labelled'])} labelled patients "
                f"(95 % interval {from_few} to {to_many})."
            )
        case "from_the_smallest":
            limit = "" if high == 0 else f"; the 95 % interval reaches to {to_many}"
            return (
                f"{model} is ahead of LightGBM from {least} labelled patients on, the fewest tested{limit}."
            )
        case _:
            limit = "" if low is None else f"; the 95 % interval begins at {from_few}"
            return f"{model} does not overtake LightGBM with up to {most} labelled patients{limit}."


def _about_size(task: Mapping[str, Any]) -> str:
    saturation = task["saturation"]
    metric, margin = METRIC_NAMES[saturation["metric"]], percent(saturation["relative_margin"])
    evidence = saturation["comparisons"]
    match saturation["verdict"]:
        case "saturated":
            size = saturation["smallest_sufficient"]
            gains = [entry for entry in evidence if entry["smaller"] == size]
            saved = saturation["hours_saved"]
            if saturation["convergence_status"] == UNDER_TRAINED:
                return (
                    f"Under-trained: the {size} model does as well as larger ones as they were trained (the "
                    f"largest, {gains[0]['larger']}, changes {metric} by {span(gains[0], 'difference')}), "
                    "but pretraining had not converged: a plateau cannot be told from too little training."
                )
            spared = f"; it saves {_spared(saturation)}" if saved and saved > 0 else ""
            converged = saturation["convergence_status"] == "converged"
            unmeasured = "" if converged else "; whether pretraining had converged was not measured"
            return (
                f"The {size} model is good enough: the largest trained, {gains[0]['larger']}, changes "
                f"{metric} by {span(gains[0], 'difference')}, and no larger one that was trained gains "
                f"{margin} or more{spared}{unmeasured}."
            )
        case "not_saturated":
            gain = evidence[0]
            return (
                f"Use {gain['larger']}, the largest model: it adds {span(gain, 'difference')} {metric} to "
                f"{gain['smaller']}, more than the margin of {margin}; larger ones may add still more."
            )
        case _ if saturation["reason"] in NOT_TRAINED:
            return _what_was_lacking(task)
        case _ if saturation["reason"] == SUPPRESSED:
            return (
                "Not shown: too few test patients have the outcome, or are without it, for results under the "
                "report's privacy profile."
            )
        case _:
            return f"Undecided which size is good enough: {_why_undecided(task)}."


def _spared(saturation: Mapping[str, Any]) -> str:
    saved = duration(saturation["hours_saved"])
    if not saturation["hours_saved_estimated"]:
        return f"{saved} of pretraining"
    return (
        f"about {saved} of pretraining against {saturation['reference_size']}, which was left out (estimated)"
    )


def _what_was_lacking(task: Mapping[str, Any]) -> str:
    saturation, splits = task["saturation"], task["splits"]
    more, asked = saturation["additional_needed"], NOT_TRAINED[saturation["reason"]]
    if saturation["reason"] in NOT_ENOUGH:
        found = NOT_ENOUGH[saturation["reason"]]
    elif not task["n_train"] or not task["n_test"]:
        found = "nobody can be asked this question"
    else:
        counts = ((splits[split], use) for split, use in (("train", "training"), ("held_out", "testing")))
        having = " and ".join(
            f"{count(found['positives'])} of {count(found['index_dates'])} in {use}" for found, use in counts
        )
        found = f"too few to learn from or to test on, as the outcome came to {having}"
    if more is None:
        return f"Undecided, nothing was trained: {found}; more {asked} are needed."
    return (
        f"Undecided, nothing was trained: {found}; at least {sum(more.values()):,} more {asked} needed "
        f"({more['train']:,} to train, {more['held_out']:,} to test)."
    )


def _why_undecided(task: Mapping[str, Any]) -> str:
    saturation, evidence = task["saturation"], task["saturation"]["comparisons"]
    metric, margin = METRIC_NAMES[saturation["metric"]], figure(saturation["margin"])
    needed, positives = saturation["positives_needed"], count(task["positives"])
    if needed:
        asked = f"about {rounded(needed)} test patients with the outcome would decide, there are {positives}"
    elif saturation["reason"] == "borderline":
        asked = "so near that more data are unlikely to decide"
    else:
        asked = "more seeds are needed, for training runs differ too much from each other"
    match saturation["reason"]:
        case "one_size":
            return "only one size was trained"
        case "one_seed":
            return "the sizes share fewer than two seeds, so the chance of training is unknown"
        case "not_above_chance":
            return f"not even the largest model is shown to do better than chance in {metric}"
        case "few_positives" if not needed:
            return f"{positives} test patients with the outcome are too few to compare models"
        case "few_positives":
            return f"{positives} test patients with the outcome are too few; {asked}"
    gain = evidence[0]
    if saturation["reason"] == "non_monotone":
        against = [pair for pair in evidence if pair["larger"] == gain["larger"]]
        worst = min(against, key=lambda pair: pair["difference"])
        return (
            f"{gain['larger']}, the largest, does better than {gain['smaller']}, yet changes {metric} by "
            f"{span(worst, 'difference')} against {worst['smaller']}: it does not rise with size, so look at "
            "how each size was trained"
        )
    compared = f"what {gain['larger']} adds to {gain['smaller']}, {span(gain, 'difference')} {metric},"
    if saturation["reason"] == "borderline":
        return f"{compared} lies near the margin of {margin}; {asked}"
    return f"{compared} is too uncertain for the margin of {margin}; {asked}"


def _encoder(arm: str, size: str) -> str:
    return f"{size} {arm.replace('scratch', 'from scratch')}"


def _baseline(task: Mapping[str, Any]) -> str:
    """The advice to use a baseline, because no encoder has a higher estimate."""
    found, metric = task["recommendation"]["baseline"], METRIC_NAMES[task["saturation"]["metric"]]
    name = RIVALS[found["baseline"]]
    used = name if name == "LightGBM" else name.lower()
    best = _encoder(found["encoder_arm"], found["encoder_size"])
    ours, theirs = figure(found["baseline_estimate"]), figure(found["encoder_estimate"])
    if found["superior"]:
        return (
            f"Use {used}: its {metric} of {ours} is above that of every encoder (the best, {best}, reaches "
            f"{theirs})."
        )
    return (
        f"Use {used}: no encoder is shown to be better ({metric} {ours} against {theirs} of the best, "
        f"{best})."
    )


def _ensemble(task: Mapping[str, Any]) -> str | None:
    """That the largest encoder and LightGBM averaged are shown to be better than every model alone."""
    found = task["ensemble"]
    if not found:
        return None
    over = (
        RIVALS[found["over_arm"]]
        if found["over_size"] is None
        else _encoder(found["over_arm"], found["over_size"])
    )
    return (
        f"The mean of {found['encoder_size']} and LightGBM is better than each alone: "
        f"{METRIC_NAMES[task['saturation']['metric']]} {figure(found['estimate'])}, {span(found['gain'])} "
        f"above {over}."
    )

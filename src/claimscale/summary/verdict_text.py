"""What the results mean, in words: one sentence per task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from claimscale.config.study import Study
from claimscale.evaluation.contrasts import beats_all, best
from claimscale.evaluation.intervals import Scores, difference, interval
from claimscale.evaluation.scoring import Model, ModelScores
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


def judged_arm(scores: Mapping[Model, ModelScores]) -> str:
    """The arm whose sizes are compared: pretrained, as far as there is any."""
    return "pretrained" if any(model.arm == "pretrained" for model in scores) else "scratch"


def largest_sample(scores: Mapping[Model, ModelScores]) -> int | Literal["all"]:
    """The number of labelled patients (as asked for) that verdicts and answers rest on.

    Of the arm that is judged: while a study runs, the other may be further.
    """
    arm = judged_arm(scores)
    encoders: dict[int | Literal["all"], int] = {
        model.requested: found.patients for model, found in scores.items() if model.arm == arm
    }
    if not encoders:
        return "all"
    return max(encoders, key=lambda requested: (encoders[requested], requested == "all"))


def answer(study: Study, task: Mapping[str, Any], scores: Mapping[Model, ModelScores]) -> dict[str, Any]:
    """The answer to one task: `text` for a reader in a hurry, `recommendation` a size, a rival or null.

    `verdict` is that on sizes, but `under_trained` where a plateau may be too little pretraining.
    `ensemble_text` says what encoder and LightGBM averaged reach, null unless that is better than each alone.
    `task` is the task's entry in the summary, `scores` its models on held-out patients.
    """
    saturation = task["saturation"]
    verdict, advised = saturation["verdict"], saturation["smallest_sufficient"]
    if verdict == "saturated" and saturation["convergence_status"] == UNDER_TRAINED:
        verdict, advised = UNDER_TRAINED, None
    elif verdict == "not_saturated":
        advised = saturation["comparisons"][0]["larger"]
    recommendation, sentence = _rival(study, scores) or (advised, _about_size(task))
    return {
        "task": task["name"],
        "verdict": verdict,
        "recommendation": recommendation,
        "text": sentence,
        "size_text": _about_size(task),
        "ensemble_text": _together(study, scores),
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


def _rival(study: Study, scores: Mapping[Model, ModelScores]) -> tuple[str, str] | None:
    """The best baseline and the advice to use it, where no encoder has a higher estimate.

    All on as many labelled patients.
    """
    metric = study.compare.metric
    encoders, rivals = _on_all_labels(study, scores)
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


def _together(study: Study, scores: Mapping[Model, ModelScores]) -> str | None:
    """That the largest encoder and LightGBM averaged are shown to be better than every model alone."""
    largest = largest_sample(scores)
    averaged = Model("ensemble", None, largest)
    encoders, rivals = _on_all_labels(study, scores)
    alone = encoders | rivals
    if averaged not in scores or not alone:
        return None
    metric = study.compare.metric
    both, champion = scores[averaged].by_metric[metric], best(alone)
    gain = difference(both, alone[champion])
    if gain is None or not beats_all(both, list(alone.values())):
        return None
    found = interval(gain)
    low, high = found.two_sided()
    if low <= 0:
        return None
    over = span({"estimate": found.estimate, "low": low, "high": high})
    return (
        f"The mean of {study.sizes[-1]} and LightGBM is better than each alone: {METRIC_NAMES[metric]} "
        f"{figure(both.values.mean())}, {over} above {champion}."
    )


def _on_all_labels(
    study: Study, scores: Mapping[Model, ModelScores]
) -> tuple[dict[str, Scores], dict[str, Scores]]:
    """Encoders and the baselines that need none, by name, all on the most labelled patients."""
    largest = largest_sample(scores)
    encoders, rivals = dict[str, Scores](), dict[str, Scores]()
    for model, found in scores.items():
        if model.requested == largest and model.size:
            name = f"{model.size} {model.arm.replace('scratch', 'from scratch')}"
            encoders[name] = found.by_metric[study.compare.metric]
        elif model.requested == largest and model.arm in RIVALS:
            rivals[RIVALS[model.arm]] = found.by_metric[study.compare.metric]
    return encoders, rivals

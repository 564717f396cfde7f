"""The model card of a package (`README.md`), and the study's evidence for the model (`evidence.json`).

The card has the metadata of Hugging Face model cards and the items of TRIPOD+AI (BMJ 2024;385:e078378) that a
study can answer by itself. Both come from `summary.json`, which the study's privacy profile has protected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from claimscale import artifacts, outputs
from claimscale.inference.calibration import Calibration
from claimscale.inference.reference import Reference
from claimscale.packages.config import PackageConfig

SUMMARY = "summary.json"
ARMS = ("pretrained", "scratch")
DESCRIBES = ("arm", "size", "split", "n_labelled", "n_seeds", "n_test", "positives")
METRICS = ("auprc", "auroc", "log_loss", "calibration")
CALIBRATION = ("estimate", "low", "high", "intercept")
SPLITS = {
    "held_out": "test patients",
    "hospital": "patients of held-out hospitals",
    "temporal": "test patients at the later landmark",
}


def evidence_of(run: Path, task: str | None, model: str, size: str | None) -> dict[str, Any]:
    """What `summary.json` says of the model: its results per test set, the verdict, the labels.

    Empty without a summary or a task.
    """
    if task is None or not (run / SUMMARY).exists():
        return {}
    summary = artifacts.read_json(outputs.verified(run / SUMMARY))
    entry = next((one for one in summary["tasks"] if one["name"] == task), None)
    if entry is None:
        return {}
    arms = ARMS if model == "encoder" else (model,)
    results = [
        {
            key: one[key]
            for key in ("arm", "size", "split", "n_labelled", "n_seeds", "n_test", "positives", *METRICS)
        }
        for one in entry["results"]
        if one["arm"] in arms and (model != "encoder" or one["size"] == size)
    ]
    for one in results:
        one["calibration"] = {
            key: one["calibration"][key] for key in ("estimate", "low", "high", "intercept")
        }
    answers = [one["text"]["text"] for one in summary["answers"] if one["task"] == task]
    return {
        "study": summary["name"],
        "schema_version": summary["schema_version"],
        "simulated": entry["oracle"] is not None,
        "privacy": summary["privacy"]["profile"],
        "verdict": entry["saturation"]["verdict"],
        "answer": answers[0] if answers else None,
        "splits": entry["splits"],
        "results": results,
        "limitations": [one["text"] for one in summary["limitations"]],
    }


def card(config: PackageConfig, evidence: dict[str, Any], fitted: Calibration, found: Reference) -> str:
    """The card as Markdown, with its metadata as YAML ahead."""
    metadata = {
        "license": config.license,
        "library_name": "claimscale",
        "tags": ["medical-claims", "risk-prediction", *config.code_systems],
        "model_name": config.name,
    }
    parts = [f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---", f"# {config.name}"]
    if evidence.get("simulated"):
        parts.append("**Made from simulated patients: it says nothing about real ones.**")
    parts += [_question(config), _use(config), _data(config, evidence, found), _performance(evidence)]
    parts += [_calibration(fitted), _limits(config, evidence)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _codes(codes: dict[str, list[str]]) -> str:
    return "; ".join(f"{system} {', '.join(prefixes)}".strip() for system, prefixes in codes.items())


def _question(config: PackageConfig) -> str:
    if config.task is None:
        return "## Purpose\n\nA pretrained encoder. It gives a vector for each patient and date, and no risk."
    task = config.task
    if task.labels is not None:
        return f"## Question\n\n`{task.name}`: labels were read from a file, so this package has no rules."
    lines = [
        f"## Question\n\nDoes **{task.name}** ({task.kind}) occur?",
        "",
        f"- Outcome: {_codes(task.outcome)}",
        f"- Time: from day {task.gap_days} to day {task.gap_days + task.horizon_days} after the index date, "
        "and not in its calendar month",
        f"- Eligible: at least {task.min_history_days} days of history, a contact within "
        f"{config.recency_days or 'any number of'} days, no earlier outcome",
        f"- Source of the definition: {task.source or 'the study file'}",
    ]
    return "\n".join(lines)


def _use(config: PackageConfig) -> str:
    verb = "embed" if config.task is None else "predict"
    models = ", ".join(f"{member.kind} ({member.cell})" for member in config.members)
    return (
        f"## Use\n\n```\nclaimscale {verb} PACKAGE SOURCE --on 2024-04-01 --out scores.parquet\n```\n\n"
        f"Models: {models}. {'Their log odds are averaged. ' if len(config.members) > 1 else ''}"
        f"Code systems: {', '.join(config.code_systems)}. Written by claimscale {config.claimscale}."
    )


def _data(config: PackageConfig, evidence: dict[str, Any], found: Reference) -> str:
    lines = [f"## Training data\n\nStudy `{config.study}`, landmark {config.landmark}."]
    for name, counts in evidence.get("splits", {}).items():
        lines.append(
            f"- {name}: {counts['patients']} patients, {counts['positives']} labels with the outcome"
        )
    for name, limits in found.ranges.items():
        lines.append(
            f"- {name}: 99 % of the training patients are between {limits.low:.3g} and {limits.high:.3g}"
        )
    lines.append("\nPatients beyond these ranges are scored, and marked in the column `outside`.")
    return "\n".join(lines)


def _performance(evidence: dict[str, Any]) -> str:
    if not evidence.get("results"):
        return ""
    rows = [
        "## Performance in the study\n",
        "| test set | AUPRC | AUROC | calibration slope |",
        "|---|---|---|---|",
    ]
    for one in evidence["results"]:
        values = " | ".join(_estimate(one[name]) for name in ("auprc", "auroc", "calibration"))
        rows.append(f"| {SPLITS[one['split']]} | {values} |")
    rows.append("\nMeans over the study's seeds with 95 % intervals. " + (evidence.get("answer") or ""))
    return "\n".join(rows)


def _estimate(entry: dict[str, Any]) -> str:
    if entry.get("estimate") is None:
        return "-"
    if entry.get("low") is None:
        return f"{entry['estimate']:.3f}"
    return f"{entry['estimate']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


def _calibration(fitted: Calibration) -> str:
    if not fitted.log_loss:
        return "## Calibration\n\nToo few tuning patients with the outcome: risks are those of the model."
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in fitted.log_loss.items())
    return f"## Calibration\n\nMethod: {fitted.method}, chosen by cross-validated log-loss ({losses})."


def _limits(config: PackageConfig, evidence: dict[str, Any]) -> str:
    lines = [
        "## Limits\n",
        "- Check the package on your own patients before use: `claimscale validate PACKAGE SOURCE OUT`.",
        f"- Nothing after {config.landmark} was learnt: practice and coding may have changed.",
        "- A risk is not an effect: it does not tell what treatment would change.",
        "- Weights can reveal training data. Ask the owner of the data before passing them on.",
    ]
    lines += [f"- {text}" for text in evidence.get("limitations", [])]
    return "\n".join(lines)

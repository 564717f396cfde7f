"""The results of one task after its counts are suppressed: everything that would disclose them is removed."""

from __future__ import annotations

from collections.abc import Callable

from claimscale.formatting import two_digits
from claimscale.privacy.coarsening import merge_curve_bins, merge_risk_bands, spaced_thresholds
from claimscale.privacy.counts import CountTable
from claimscale.privacy.relations import TaskCells
from claimscale.privacy.suppression import Rule
from claimscale.summary.decision_schema import SUPPRESSED, SaturationEntry
from claimscale.summary.result_schema import ModelDiagnosticsEntry, SplitCountsEntry, SubgroupEntry
from claimscale.summary.task_schema import TaskEntry


def protected_task(
    task: TaskEntry, cells: TaskCells, table: CountTable, hidden: set[int], rule: Rule
) -> TaskEntry:
    """The task without results that disclose counts.

    Args:
        task: the task, its counts already as they are shown.
        cells: its cells in the table.
        table: all counts as they are.
        hidden: the cells that are suppressed.
        rule: the privacy rule.
    """
    counts = {
        split: (table.counts[cells.index_dates[split]], table.counts[cells.positives[split]])
        for split in cells.index_dates
    }
    unknown = {split for split in counts if {cells.positives[split], cells.index_dates[split]} & hidden}
    few = {split for split, (n, cases) in counts.items() if rule.is_small(cases) or rule.is_small(n - cases)}
    splits = {split: _with_prevalence(one, split in unknown | few) for split, one in task.splits.items()}
    task = task.model_copy(
        update={
            "splits": splits,
            "prevalence": splits["held_out"].prevalence if "held_out" in splits else task.prevalence,
            "results": tuple(result for result in task.results if result.split not in few),
            "saturation": _saturation(task.saturation, unknown | few, rule),
        }
    )
    if "held_out" in few:
        task = _without_results(task)
    about = _shown_labelled(cells, table, hidden, rule)
    held_out = None if "held_out" in unknown else counts.get("held_out")
    return _with_curves(_with_labelled(task, lambda n: about.get(n, n)), held_out, rule)


def _with_prevalence(counts: SplitCountsEntry, unknown: bool) -> SplitCountsEntry:
    """The prevalence of the counts that are shown."""
    positives, dates = counts.positives, counts.index_dates
    prevalence = None
    if not unknown and isinstance(positives, int) and isinstance(dates, int) and dates:
        prevalence = positives / dates
    return SplitCountsEntry(**counts.model_dump(exclude={"prevalence"}), prevalence=prevalence)


def _saturation(saturation: SaturationEntry, unknown: set[str], rule: Rule) -> SaturationEntry:
    """The additional patients would disclose the existing ones."""
    needed, additional = saturation.positives_needed, saturation.additional_needed
    if rule.base > 1 or unknown & {"train", "held_out"}:
        additional = None
    trained = saturation.trained_models
    if rule.base > 1 and needed:
        needed = two_digits(needed)
    if rule.base > 1 and trained and trained.positives_needed:
        trained = trained.model_copy(update={"positives_needed": two_digits(trained.positives_needed)})
    changed = {"positives_needed": needed, "additional_needed": additional, "trained_models": trained}
    return saturation.model_copy(update=changed)


def _without_results(task: TaskEntry) -> TaskEntry:
    """The task without results on held-out patients, and without the verdict that uses them."""
    saturation = task.saturation.model_copy(update={"positives_needed": None, "trained_models": None})
    if saturation.comparisons or saturation.margin is not None:
        saturation = SaturationEntry(
            verdict="inconclusive",
            reason=SUPPRESSED,
            metric=saturation.metric,
            relative_margin=saturation.relative_margin,
            convergence_status=saturation.convergence_status,
        )
    return task.model_copy(
        update={
            "results": (),
            "oracle": None,
            "per_model": (),
            "pretraining_gain": (),
            "crossover": (),
            "recommendation": None,
            "ensemble": None,
            "seed_ensembles": (),
            "recipes": (),
            "saturation": saturation,
        }
    )


def _shown_labelled(cells: TaskCells, table: CountTable, hidden: set[int], rule: Rule) -> dict[int, int]:
    """How the number of all labelled patients is shown: as in the training split, or to two digits."""
    trained = {found["train"] for found in (cells.patients, cells.index_dates) if "train" in found}
    counts = {cell: table.counts[cell] for cell in trained}
    return {
        count: two_digits(count) if cell in hidden else rule.rounded(count) for cell, count in counts.items()
    }


def _with_labelled(task: TaskEntry, shown: Callable[[int], int]) -> TaskEntry:
    """The task with `shown` of each number of labelled patients."""

    def change(n_labelled: int) -> dict[str, int]:
        return {"n_labelled": shown(n_labelled)}

    return task.model_copy(
        update={
            "results": tuple(one.model_copy(update=change(one.n_labelled)) for one in task.results),
            "pretraining_gain": tuple(
                one.model_copy(update=change(one.n_labelled)) for one in task.pretraining_gain
            ),
            "recipes": tuple(one.model_copy(update=change(one.n_labelled)) for one in task.recipes),
            "crossover": tuple(
                one.model_copy(update={"tested_n_labelled": tuple(map(shown, one.tested_n_labelled))})
                for one in task.crossover
            ),
        }
    )


def _with_curves(task: TaskEntry, held_out: tuple[int, int] | None, rule: Rule) -> TaskEntry:
    """The task with coarser curves and without metrics of subgroups whose counts are suppressed.

    `held_out` are the labels, and those with the outcome; None where they are suppressed. The bands of a
    curve add up to them, so that all curves are removed then.
    """
    results = [
        one.model_copy(
            update={
                "calibration": one.calibration.model_copy(
                    update={
                        "curve": merge_curve_bins(one.calibration.curve, one.n_seeds, rule)
                        if held_out
                        else ()
                    }
                )
            }
        )
        if one.calibration.curve is not None
        else one
        for one in task.results
    ]
    per_model = tuple(_diagnostics(one, held_out, rule) for one in task.per_model)
    return task.model_copy(update={"results": tuple(results), "per_model": per_model})


def _diagnostics(
    one: ModelDiagnosticsEntry, held_out: tuple[int, int] | None, rule: Rule
) -> ModelDiagnosticsEntry:
    seeds = len(one.cells)
    curve, benefit, risks = one.curve, one.net_benefit, one.risk_distribution
    return one.model_copy(
        update={
            "top_decile": None,
            "curve": None if held_out is None or curve is None else merge_curve_bins(curve, seeds, rule),
            "net_benefit": (
                None
                if held_out is None or benefit is None
                else spaced_thresholds(benefit, held_out, seeds, rule)
            ),
            "risk_distribution": None if held_out is None or risks is None else merge_risk_bands(risks, rule),
            "subgroups": one.subgroups and tuple(_subgroup(group, rule) for group in one.subgroups),
        }
    )


def _subgroup(group: SubgroupEntry, rule: Rule) -> SubgroupEntry:
    n_test, positives = group.n_test, group.positives
    if not isinstance(n_test, int) or not isinstance(positives, int) or rule.is_small(n_test - positives):
        return group.model_copy(update=dict.fromkeys(("predicted", "observed", "auprc", "auroc")))
    if rule.base > 1:
        observed = float(f"{positives / n_test:.6g}") if n_test else None
        return group.model_copy(update={"observed": observed})
    return group

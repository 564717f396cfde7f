"""A whole summary behind the gate, attacked: nothing small can be worked out from all that is shown together.

The attacker reads the summary that has passed and the relations written down here, which share no code with
the gate, and looks for counts that can have one value only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import synthetic
from scipy.optimize import Bounds, LinearConstraint, milp

from claimscale.privacy.suppression import PROFILES, Rule

RULES = {name: rule for name, rule in PROFILES.items() if rule is not None}
SPLITS = ("train", "tuning", "held_out", "hospital")
NAMES = {"F": "Women", "M": "Men", "U": "Sex unknown"}
MOST = 10**5
PLANTED = (
    "nothing", "women not labelled", "men not labelled, few cases", "small hospital",
    "patients without hospital", "small split of one hospital", "unknown age", "patients without a code",
    "lost at a step", "many small",
)  # fmt: skip


def raw(planted: str, seed: int = 0) -> dict[str, Any]:
    """A summary of one task before the gate, all counts of which agree, with the planted small ones."""
    generator = np.random.default_rng(seed)
    found = synthetic.summary(tasks=1, seed=seed)
    sexes = {
        "train": {"F": 3000, "M": 3000, "U": 40}, "tuning": {"F": 400, "M": 400, "U": 20},
        "held_out": {"F": 500, "M": 500, "U": 60}, "hospital": {"F": 301, "M": 300, "U": 11},
    }  # fmt: skip
    if planted == "small split of one hospital":
        sexes["hospital"] = {"F": 4, "M": 3, "U": 0}
    if planted == "many small":
        sexes = {
            split: {sex: int(generator.integers(0, {"F": 60, "M": 60, "U": 9}[sex])) for sex in "FMU"}
            for split in SPLITS
        }
    lost = {"women not labelled": {"F": 3}, "men not labelled, few cases": {"M": 2}}.get(planted, {})
    labelled = {
        split: {
            sex: _n_labelled(generator, planted, count, lost.get(sex, 0), split) for sex, count in of.items()
        }
        for split, of in sexes.items()
    }
    _describe(found["dataset"], sexes, planted, generator)
    _label(found["tasks"][0], labelled, planted, generator)
    return found


def _n_labelled(generator: np.random.Generator, planted: str, count: int, lost: int, split: str) -> int:
    if planted == "many small":
        return count - int(generator.integers(0, count // 4 + 1))
    return (
        count - lost if lost and split == "held_out" else count - count // 25 - 10 if count > 200 else count
    )


def _describe(
    dataset: dict[str, Any],
    sexes: Mapping[str, Mapping[str, int]],
    planted: str,
    generator: np.random.Generator,
) -> None:
    groups, counts = (
        dataset["description"]["groups"],
        {split: sum(of.values()) for split, of in sexes.items()},
    )
    whole = sum(counts.values())
    together = {sex: sum(of[sex] for of in sexes.values()) for sex in "FMU"}
    for name in groups:
        groups[name] |= {"patients": counts.get(name, whole), "sex": dict(sexes.get(name, together))}
    steps = [whole + more for more in (900, 600, 300, 5 if planted == "lost at a step" else 100, 0)]
    keys = ("patients", "seen_before_landmark", "in_sampled_hospitals", "with_enough_events", "included")
    dataset["cohort"] |= {**dict(zip(keys, steps, strict=True)), "splits": dict(counts)}
    dataset["patients"] = whole
    many, bands = planted == "many small", 6
    histograms = dataset["description"]["histograms"]
    unknown = {"F": 3 if planted == "unknown age" else 0}
    histograms["age_by_sex"]["edges"] = [20 * place for place in range(bands + 1)]
    histograms["age_by_sex"]["counts"] = {
        sex: _bands(generator, count - unknown.get(sex, 0), bands, many) for sex, count in together.items()
    }
    for name in ("sequence_length", "observation_years"):
        histograms[name] = {"edges": list(range(bands + 1)), "counts": _bands(generator, whole, bands, many)}
    others = whole - counts["hospital"]
    bars = [others - others // 3, others // 3]
    if planted in ("small hospital", "many small"):
        bars = [bars[0], bars[1] - 7, 7]
    if planted == "patients without hospital":
        bars[0] -= 4
    # The held-out hospital is a bar of its own.
    histograms["patients_per_hospital"] = [*bars, counts["hospital"]]
    trained = counts["train"]
    dataset["codes"] = [
        {"code": f"ICD10//N{place:03d}", "type": "diagnosis", "patients": count}
        for place, count in enumerate(
            (trained - 3 if planted == "patients without a code" else trained // 2, trained // 3)
        )
    ]


def _bands(generator: np.random.Generator, count: int, bands: int, many: bool) -> list[int]:
    if many:
        return synthetic.divided(generator, count, bands)
    return [count - (bands - 1) * (count // bands), *[count // bands] * (bands - 1)]


def _label(
    task: dict[str, Any],
    labelled: Mapping[str, Mapping[str, int]],
    planted: str,
    generator: np.random.Generator,
) -> None:
    cases = {
        split: {
            sex: count // 4 if planted != "many small" else int(generator.integers(0, count + 1))
            for sex, count in of.items()
        }
        for split, of in labelled.items()
    }
    if planted == "men not labelled, few cases":
        cases["held_out"]["M"] = 4
    task["splits"] = {
        split: {
            **dict.fromkeys(("patients", "index_dates"), sum(of.values())),
            "positives": sum(cases[split].values()),
        }
        for split, of in labelled.items()
    }
    published = task["splits"]
    task |= {
        "n_train": published["train"]["patients"],
        "n_test": published["held_out"]["index_dates"],
        "positives": published["held_out"]["positives"],
    }
    task["results"] = [row for row in task["results"] if row["split"] in labelled]
    for row in task["results"]:
        row |= {
            "n_test": published[row["split"]]["index_dates"],
            "positives": published[row["split"]]["positives"],
        }
        row["calibration"].pop("curve", None)
    for detail in task["per_model"]:
        for name in ("curve", "net_benefit", "risk_distribution"):
            detail.pop(name, None)
        if "subgroups" in detail:
            blank = detail["subgroups"][0]
            detail["subgroups"] = [
                {
                    **blank,
                    "by": "sex",
                    "group": NAMES[sex],
                    "n_test": count,
                    "positives": cases["held_out"][sex],
                }
                for sex, count in labelled["held_out"].items()
                if count
            ]


@dataclass
class Attacker:
    """What is shown of every count, what it is, and which counts add up to which."""

    rule: Rule
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    rows: list[tuple[int, list[int]]] = field(default_factory=list)

    def sees(self, name: str, true: int, *shown: Any) -> int:
        """A count at one or more places, each a number, '<10', or null."""
        low, high = 0.0, float(MOST)
        for value in shown:
            if isinstance(value, int):
                near = (max(0, value - self.rule.base // 2), value + self.rule.base // 2)
                assert not self.rule.is_small(value), f"{name}: {value} is shown"
            elif isinstance(value, str):
                near = (0 if self.rule.zeros else 1, self.rule.least - 1)
            else:
                near = (self.rule.least, MOST)
            low, high = max(low, near[0]), min(high, near[1])
        return self._add(name, true, low, high, not all(isinstance(value, int) for value in shown))

    def infers(self, name: str, true: int) -> int:
        """A count that is at no place."""
        return self._add(name, true, 0, MOST, 0 < true < self.rule.least)

    def _add(self, name: str, true: int, low: float, high: float, target: bool) -> int:
        place = len(self.true)
        for content, value in ((self.low, low), (self.high, high), (self.true, true), (self.names, name)):
            content.append(value)  # type: ignore[arg-type]
        assert low <= true <= high, f"{name}: what is shown is not true"
        if target:
            self.targets.append(place)
        return place

    def adds_up(self, total: int, parts: list[int], remainder: str = "") -> None:
        rest = self.true[total] - sum(self.true[part] for part in parts)
        self.rows.append((total, [*parts, self.infers(remainder, rest)] if remainder else parts))
        assert remainder or rest == 0, "the test's own relations must hold"

    def recovered(self) -> list[str]:
        """The counts that can have one value only."""
        matrix = np.zeros((len(self.rows), len(self.true)))
        for row, (total, parts) in enumerate(self.rows):
            matrix[row, total] = 1
            matrix[row, parts] -= 1
        seen = [{value} for value in self.true]
        for place in self.targets:
            for direction in (1, -1):
                cost = np.zeros(len(self.true))
                cost[place] = direction
                if len(seen[place]) > 1:
                    break
                solved = milp(
                    cost, integrality=np.ones_like(cost), bounds=Bounds(self.low, self.high),  # pyright: ignore
                    constraints=LinearConstraint(matrix, 0, 0),  # pyright: ignore
                )  # fmt: skip
                assert solved.x is not None, "the true table is always possible"
                values = np.round(solved.x)
                assert not (matrix @ values).any()
                for known, value in zip(seen, values.tolist(), strict=True):
                    known.add(int(value))
        return [self.names[place] for place in self.targets if len(seen[place]) == 1]


def attacker(found: dict[str, Any], shown: dict[str, Any], rule: Rule) -> Attacker:
    """The attacker before a summary that has passed; `found` is the one before the gate."""
    one = Attacker(rule)
    data, seen = found["dataset"], shown["dataset"]
    groups, published = data["description"]["groups"], seen["description"]["groups"]
    whole = one.sees(
        "whole", data["patients"], seen["patients"], seen["cohort"]["included"], published["all"]["patients"]
    )
    steps = [
        one.sees(name, data["cohort"][name], seen["cohort"][name])
        for name in ("patients", "seen_before_landmark", "in_sampled_hospitals", "with_enough_events")
    ]
    for before, after in zip(steps, [*steps[1:], whole], strict=True):
        one.adds_up(before, [after], f"lost after {one.names[before]}")
    splits = {
        split: one.sees(
            split, groups[split]["patients"], published[split]["patients"], seen["cohort"]["splits"][split]
        )
        for split in SPLITS
    }
    one.adds_up(whole, list(splits.values()))
    sexes = {
        (name, sex): one.sees(f"{sex} of {name}", groups[name]["sex"][sex], published[name]["sex"][sex])
        for name in ("all", *SPLITS)
        for sex in "FMU"
    }
    for name in ("all", *SPLITS):
        one.adds_up(splits.get(name, whole), [sexes[name, sex] for sex in "FMU"])
    for sex in "FMU":
        one.adds_up(sexes["all", sex], [sexes[split, sex] for split in SPLITS])
    _distributions(one, data, seen, whole, splits, sexes)
    for code, here in zip(data["codes"], seen["codes"], strict=True):
        cell = one.sees(code["code"], code["patients"], here["patients"])
        one.adds_up(splits["train"], [cell], f"train without {code['code']}")
    _task(one, found["tasks"][0], shown["tasks"][0], splits, sexes)
    return one


def _distributions(
    one: Attacker,
    data: Any,
    seen: Any,
    whole: int,
    splits: Mapping[str, int],
    sexes: Mapping[tuple[str, str], int],
) -> None:
    true, published = data["description"]["histograms"], seen["description"]["histograms"]

    def cells(name: str, counts: list[int], here: list[Any]) -> list[int]:
        return [one.sees(f"{name} {at}", *pair) for at, pair in enumerate(zip(counts, here, strict=True))]

    for sex in "FMU":
        bands = cells(
            f"age of {sex}", true["age_by_sex"]["counts"][sex], published["age_by_sex"]["counts"][sex]
        )
        one.adds_up(sexes["all", sex], bands, f"{sex} of unknown age")
    for name in ("sequence_length", "observation_years"):
        one.adds_up(whole, cells(name, true[name]["counts"], published[name]["counts"]))
    bars, here = true["patients_per_hospital"], published["patients_per_hospital"]
    if any(count is not None for count in here):
        hospitals = cells("hospital", bars, here)
    else:
        hospitals = [one.infers(f"hospital {at}", count) for at, count in enumerate(bars)]
    one.adds_up(whole, hospitals, "of no hospital")
    one.adds_up(splits["hospital"], hospitals[-1:])  # the attacker knows which hospital was held out


def _task(
    one: Attacker, task: Any, here: Any, splits: Mapping[str, int], sexes: Mapping[tuple[str, str], int]
) -> None:
    labelled, cases = {}, {}
    for split in SPLITS:
        true, published = task["splits"][split], here["splits"][split]
        rows = [row for row in here["results"] if row["split"] == split]
        also = {"train": [here["n_train"]], "held_out": [here["n_test"]]}.get(split, [])
        places = [published["patients"], published["index_dates"], *also, *(row["n_test"] for row in rows)]
        labelled[split] = one.sees(f"labelled in {split}", true["patients"], *places)
        also = [here["positives"]] if split == "held_out" else []
        cases[split] = one.sees(
            f"cases of {split}",
            true["positives"],
            published["positives"],
            *also,
            *(row["positives"] for row in rows),
        )
        one.adds_up(splits[split], [labelled[split]], f"{split} not labelled")
        one.adds_up(labelled[split], [cases[split]], f"{split} without the outcome")
    groups = next(detail["subgroups"] for detail in task["per_model"] if "subgroups" in detail)
    lists = [detail["subgroups"] for detail in here["per_model"] if detail["subgroups"]]
    if not lists:
        return
    by_sex = []
    for at, group in enumerate(groups):
        name, sex = group["group"], next(sex for sex in "FMU" if NAMES[sex] == group["group"])
        patients = one.sees(f"labelled: {name}", group["n_test"], *(found[at]["n_test"] for found in lists))
        positives = one.sees(
            f"cases: {name}", group["positives"], *(found[at]["positives"] for found in lists)
        )
        one.adds_up(patients, [positives], f"without the outcome: {name}")
        one.adds_up(sexes["held_out", sex], [patients], f"not labelled: {name}")
        by_sex.append((patients, positives))
    one.adds_up(labelled["held_out"], [patients for patients, _ in by_sex])
    one.adds_up(cases["held_out"], [positives for _, positives in by_sex])


@pytest.mark.parametrize("profile", RULES)
@pytest.mark.parametrize("planted", PLANTED)
def test_nothing_small_follows_from_all_that_is_shown(planted: str, profile: str) -> None:
    rule, tried = RULES[profile], 0
    for seed in range(4 if planted == "many small" else 1):
        found = raw(planted, seed)
        before = copy.deepcopy(found)
        attack = attacker(before, synthetic.shown(found, profile), rule)
        tried += len(attack.targets)
        assert attack.recovered() == []
    if rule.base == 1 and not rule.zeros:
        assert (tried > 0) == (planted != "nothing"), "hidden is what must be, and nothing without need"


def test_the_attacker_breaks_primary_suppression_alone() -> None:
    """The same attacker does find them where small counts are hidden and nothing else."""
    rule = RULES["ndb"]
    for planted in set(PLANTED) - {"nothing", "small hospital", "small split of one hospital"}:
        found = raw(planted)
        shown = synthetic.shown(found, "none")
        hide(shown, rule)
        assert attacker(found, shown, rule).recovered(), planted


def hide(node: Any, rule: Rule) -> None:
    """Every small count becomes '<10'."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if isinstance(value, dict | list):
            hide(value, rule)
        elif isinstance(value, int) and not isinstance(value, bool) and rule.is_small(value):
            node[key] = rule.mark

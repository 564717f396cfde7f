"""One gate for everything shown: no small count passes, and none follows from what does."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import synthetic

from claimscale.config.loading import load
from claimscale.errors import BadInput
from claimscale.privacy import coarsening
from claimscale.privacy.gate import suppress
from claimscale.privacy.suppression import PROFILES, Rule
from claimscale.report import page
from claimscale.summary.result_schema import CalibrationPointEntry, NetBenefitPointEntry

RULES = {name: rule for name, rule in PROFILES.items() if rule is not None}
COUNTS = {
    "patients", "index_dates", "positives", "n_train", "n_test", "F", "M", "U", "held_out", "hospital",
    "train", "tuning", "temporal", "used", "rows_in", "rows", "seen_before_landmark", "in_sampled_hospitals",
    "included", "with_enough_events", "events", "counts", "patients_per_hospital", "with_outcome",
    "without_outcome", "true_positives", "false_positives",
}  # fmt: skip
"""Names under which counts of patients or rows stand."""


def counts(node: Any, name: str = "") -> list[tuple[str, int]]:
    """Every count of patients or rows in a summary, with the name it stands under."""
    if isinstance(node, dict):
        inside = {"quarantined", "dropped", "repaired", "warnings", "without_event"}
        return [
            pair
            for key, value in node.items()
            if key not in ("sizes", "edges", "additional_needed", "provenance", "training_losses", "curve")
            for pair in counts(value, "rows" if name in inside else key)
        ]
    if isinstance(node, list):
        return [pair for value in node for pair in counts(value, name)]
    whole = isinstance(node, int) and not isinstance(node, bool)
    return [(name, node)] if whole and name in COUNTS else []


@pytest.fixture(scope="module", params=range(3))
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    return synthetic.summary(tasks=2, seed=request.param, largest=(3000, 700)[request.param % 2])


@pytest.mark.parametrize("profile", RULES)
def test_no_small_count_passes(found: dict[str, Any], profile: str) -> None:
    rule = RULES[profile]
    small = [pair for pair in counts(found) if rule.is_small(pair[1])]
    assert len(small) > 20, "without small counts the test says nothing"
    shown = synthetic.shown(found, profile)
    seeds_summed = {"true_positives", "false_positives"}
    passed = [pair for pair in counts(shown) if rule.is_small(pair[1]) and pair[0] not in seeds_summed]
    assert passed == []
    assert all(
        value % rule.base == 0 for name, value in counts(shown) if name != "events" and value < 10**6
    ) or (rule.base == 1)
    assert (
        found != shown
        and synthetic.shown(found)["tasks"] == synthetic.typed(found).model_dump(mode="json")["tasks"]
    )


@pytest.mark.parametrize("profile", RULES)
def test_what_is_worked_out_from_a_hidden_count_goes_too(found: dict[str, Any], profile: str) -> None:
    shown = synthetic.shown(found, profile)
    hidden = 0
    for task in shown["tasks"]:
        for split, counted in task["splits"].items():
            if not all(isinstance(counted[name], int) for name in ("positives", "index_dates")):
                hidden += 1
                assert counted["prevalence"] is None
                assert not any(
                    row["split"] == split
                    and all(isinstance(row[name], int) for name in ("n_test", "positives"))
                    for row in task["results"]
                )
            else:
                assert counted["prevalence"] == pytest.approx(
                    counted["positives"] / counted["index_dates"], rel=1e-5
                )
        for detail in task["per_model"]:
            for group in detail["subgroups"] or []:
                if not all(isinstance(group[name], int) for name in ("n_test", "positives")):
                    hidden += 1
                    assert group["auprc"] is group["observed"] is group["predicted"] is None
        assert task["n_test"] == task["splits"]["held_out"]["index_dates"]
    assert hidden, "without hidden counts the test says nothing"
    for group in shown["dataset"]["description"]["groups"].values():
        assert group["age"]["min"] is group["age"]["max"] is None


@pytest.mark.parametrize("profile", RULES)
def test_curves_hold_no_few_patients(found: dict[str, Any], profile: str) -> None:
    """Bands of a calibration curve, of risks, and what lies between thresholds of the net benefit."""
    rule, seen = RULES[profile], 0
    for task in synthetic.shown(found, profile)["tasks"]:
        held_out = task["splits"]["held_out"]
        for detail in task["per_model"]:
            for point in detail["curve"] or []:
                cases = round(point["observed"] * point["predictions"])
                for pooled in (cases, point["predictions"] - cases):
                    assert not 0 < pooled < 3 * rule.least - rule.base + 1
                seen += 1
            bands = detail["risk_distribution"]
            for count in [*bands["with_outcome"], *bands["without_outcome"]] if bands else []:
                assert not rule.is_small(count)
            if rule.base > 1:
                continue  # rounding has moved what lies between
            above = (0, 0)
            for point in reversed(detail["net_benefit"] or []):
                here = (point["true_positives"], point["false_positives"])
                for more, less in zip(here, above, strict=True):
                    assert not 0 < more - less < 3 * rule.least
                above = here
            if detail["net_benefit"]:
                assert not 0 < 3 * held_out["positives"] - above[0] < 3 * rule.least
    assert seen or found["dataset"]["patients"] < 2000


def test_joined_bins_keep_their_patients_and_cases() -> None:
    content = synthetic.curve_points(synthetic.np.random.default_rng(1), 300, 4000)
    points = [CalibrationPointEntry.model_validate(point) for point in content]
    joined = coarsening.merge_curve_bins(points, 3, Rule(10))
    assert 1 < len(joined) < len(points)
    assert sum(point.predictions for point in joined) == sum(point.predictions for point in points)
    cases = [sum(point.observed * point.predictions for point in some) for some in (points, joined)]
    assert cases[0] == pytest.approx(cases[1], rel=1e-4)
    assert [point.predicted for point in joined] == sorted(point.predicted for point in joined)


def test_rounded_counts_do_not_follow_from_the_net_benefit() -> None:
    """Thresholds are multiples of the prevalence: counts that are rounded alike give the same points."""
    rule, shown = RULES["opensafely"], []
    for index_dates, cases in ((4000, 510), (4001, 508), (3998, 512)):
        points = []
        for times in (0.5, 1, 2, 7.9):
            prevalence, threshold = cases / index_dates, times * cases / index_dates
            odds = threshold / (1 - threshold)
            true, false = round(3 * 510 / (1 + times)), round(3 * 2100 / (1 + times))
            points.append(
                NetBenefitPointEntry(
                    threshold=threshold,
                    true_positives=true,
                    false_positives=false,
                    net_benefit=(true - false * odds) / (3 * index_dates),
                    treat_all=prevalence - (1 - prevalence) * odds,
                )
            )
        shown.append(coarsening.spaced_thresholds(points, (index_dates, cases), 3, rule))
    assert shown[0] == shown[1] == shown[2] and len(shown[0]) == 3, "the last would be above one"
    at_prevalence = shown[0][1]
    assert at_prevalence.threshold == 0.128 and at_prevalence.treat_all == pytest.approx(0, abs=1e-3)
    assert all(
        count % 15 == 0 for point in shown[0] for count in (point.true_positives, point.false_positives)
    )


def test_counts_summed_over_seeds_are_rounded_as_coarsely() -> None:
    """All patients in one bin, three times: to the nearest five their number would follow."""
    rule = RULES["opensafely"]
    bins = [CalibrationPointEntry(predicted=0.1, observed=100 / n, predictions=3 * n) for n in (1001, 1002)]
    shown = [coarsening.merge_curve_bins([one], 3, rule)[0].predictions for one in bins]
    assert shown == [3000, 3000]


def test_nothing_hidden_stands_anywhere_on_the_page() -> None:
    """The counts of the smallest groups, made unmistakable, are in no corner of the file."""
    found = synthetic.summary(tasks=2, seed=3)
    for task in found["tasks"]:
        for detail in task["per_model"]:
            for group in detail.get("subgroups") or []:
                if group["by"] == "sex":
                    group["n_test"], group["positives"] = (7, 3) if group["group"] == "Men" else (4536, 497)
        task["splits"]["held_out"] |= {"patients": 4543, "index_dates": 4543, "positives": 500}
        task["n_test"], task["positives"] = 4543, 500
        for result in task["results"]:
            if result["split"] == "held_out":
                result["n_test"], result["positives"] = 4543, 500
    text = page.html(suppress(synthetic.typed(found), "ndb"), synthetic.STUDY)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', text)[0])
    for task in data["tasks"]:
        groups = {group["group"]: group for group in task["per_model"][0]["subgroups"]}
        assert groups["Men"]["n_test"] == "<10" and groups["Men"]["positives"] == "<10"
        assert groups["Women"]["n_test"] != 4536, "or the men were 4543 less these"
    women = re.compile(r"(?<![\d.,])4,?536(?!\d)")
    assert not women.search(text)
    assert women.search(page.html(suppress(synthetic.typed(found), "none"), synthetic.STUDY))


def test_the_gate_leaves_its_input_alone_and_names_its_profile() -> None:
    found = synthetic.summary(tasks=1)
    before = copy.deepcopy(found)
    assert synthetic.shown(found, "cms")["privacy"] == {"profile": "cms"}
    assert found == before


def test_sentences_of_checks_hide_small_numbers() -> None:
    shown = synthetic.shown(synthetic.summary(tasks=1), "ndb")
    assert shown["checks"][1]["text"]["text"].startswith("<10 patients die before the outcome: ")
    assert shown["checks"][1]["text"]["parameters"]["n"] == "<10"


def test_results_say_nothing_where_few_have_the_outcome() -> None:
    found = synthetic.summary(tasks=1, seed=2)
    found["tasks"][0]["splits"]["hospital"] |= {"patients": 40, "index_dates": 40, "positives": 4}
    shown = synthetic.shown(found, "ndb")["tasks"][0]
    assert not any(result["split"] == "hospital" for result in shown["results"])
    assert any(result["split"] == "held_out" for result in shown["results"])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"privacy": {"profile": "gdpr"}}, "privacy.profile"),
        ({"report": {"language": "de"}}, "report.language"),
    ],
)
def test_unknown_profiles_and_languages_are_refused(
    write_study: Any, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BadInput, match=problem):
        load(write_study(**given))

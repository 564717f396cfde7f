"""The plan of a study that is not prepared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from claimscale.config import loading
from claimscale.errors import BadInput
from claimscale.experiments import throughput
from claimscale.experiments.cells import cells_of
from claimscale.experiments.plan import assumed_corpus, plan_sizes, plan_text


@pytest.mark.parametrize("sizes", [["80k", "185k"], ["2.2M", "101M"]])
def test_every_size_has_a_plan_before_the_claims_are_prepared(write_study, sizes) -> None:
    settings = loading.load(write_study(sizes=sizes))
    corpus = assumed_corpus(settings)
    plans = plan_sizes(settings, corpus, cells_of(settings))
    for plan, target in zip(plans, (float(s[:-1]) * {"k": 1e3, "M": 1e6}[s[-1]] for s in sizes), strict=True):
        assert plan.parameters == pytest.approx(target, rel=0.02)


def test_small_encoders_are_planned_for_fewer_codes(write_study) -> None:
    small, large = (
        assumed_corpus(loading.load(write_study(sizes=sizes))).vocabulary
        for sizes in (["80k", "2.2M"], ["2.2M"])
    )
    assert small < large == 10_000


def test_a_size_too_small_for_any_vocabulary_is_bad_input(write_study) -> None:
    settings = loading.load(write_study(sizes=["1k"]))
    with pytest.raises(BadInput, match="nearest possible size"):
        plan_sizes(settings, assumed_corpus(settings), cells_of(settings))


def test_time_on_this_machine_is_shown_only_when_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """In days or years where hours would be many."""
    file = Path(__file__).parents[2] / "examples" / "nationwide.yaml"
    study = loading.load(file)
    text = plan_text(study, file)
    assert "on this machine" not in text and "--calibrate measures this machine" in text
    rates = dict.fromkeys(study.sizes, 2e10)
    monkeypatch.setattr(throughput, "flops_per_second", lambda *arguments: rates)
    text = plan_text(study, file, calibrate=True)
    assert re.search(r"; \d+ years on this machine with one worker \(measured", text)

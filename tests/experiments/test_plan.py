from __future__ import annotations

import pytest

from claimscale.config import loading
from claimscale.errors import BadInput
from claimscale.experiments.cells import cells_of
from claimscale.experiments.plan import assumed_corpus, plan_sizes


@pytest.mark.parametrize("sizes", [["60k", "185k"], ["2.2M", "101M"]])
def test_every_size_has_a_plan_before_the_claims_are_prepared(write_study, sizes) -> None:
    settings = loading.load(write_study(sizes=sizes))
    corpus = assumed_corpus(settings)
    plans = plan_sizes(settings, corpus, cells_of(settings))
    for plan, target in zip(plans, (float(s[:-1]) * {"k": 1e3, "M": 1e6}[s[-1]] for s in sizes), strict=True):
        assert plan.parameters == pytest.approx(target, rel=0.02)


def test_small_encoders_are_planned_for_fewer_codes_and_large_ones_for_the_usual(write_study) -> None:
    small, large = (
        assumed_corpus(loading.load(write_study(sizes=sizes))).vocabulary
        for sizes in (["60k", "2.2M"], ["2.2M"])
    )
    assert small < large == 10_000


def test_a_size_for_which_no_vocabulary_is_small_enough_is_bad_input(write_study) -> None:
    settings = loading.load(write_study(sizes=["1k"]))
    with pytest.raises(BadInput, match="nearest size that is possible"):
        plan_sizes(settings, assumed_corpus(settings), cells_of(settings))

"""Published recipes: their sequences worked by hand, and what holds for every model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from claimscale.errors import BadInput
from claimscale.model.recipes import RECIPES, behrt, cehr_bert, med_bert, motor
from claimscale.model.recipes.causal import visible
from claimscale.model.recipes.everyquery import EveryQuery
from claimscale.model.recipes.history import CodeTypes, Histories, RecipeSequences, code_counts, padded
from claimscale.model.recipes.recipe import (
    MASKED_SHARE,
    Recipe,
    RecipeModel,
    dimensions_of,
    mask_codes,
    parameters,
)
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import CLS, FIRST_CODE, FIRST_SEX, LEADING, MASK

CPU = torch.device("cpu")
SIZE = 60
ADMISSION, DISCHARGE = FIRST_CODE, FIRST_CODE + 1
CODES = CodeTypes(np.zeros(SIZE, np.int8), ADMISSION, DISCHARGE)
A, B, C = FIRST_CODE + 5, FIRST_CODE + 6, FIRST_CODE + 7
TARGET = 30_000


def sequences_of(*patients: list[tuple[int, int]], index_age: int = 20_000) -> Sequences:
    """Patients as (age in days, code) in the order in which codes became known."""
    token, age = [], []
    for codes in patients:
        token += [CLS, FIRST_SEX, *(code for _, code in codes)]
        age += [index_age, index_age, *(day for day, _ in codes)]
    lengths = [LEADING + len(codes) for codes in patients]
    return Sequences(np.array(token, np.int32), np.array(age, np.int32), np.cumsum([0, *lengths]))


def random_histories(patients: int, seed: int = 0) -> Histories:
    """Patients with up to 40 codes on some days, the first without any."""
    random = np.random.default_rng(seed)
    made: list[list[tuple[int, int]]] = [[]]
    for _ in range(patients - 1):
        days = np.sort(random.choice(np.arange(15_000, 20_000, 40), random.integers(1, 40)))
        made.append([(int(day), int(random.integers(FIRST_CODE, SIZE))) for day in days])
    return Histories.of(sequences_of(*made))


@pytest.fixture(params=list(RECIPES))
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return RECIPES[request.param]


@pytest.fixture
def model(recipe: Recipe) -> RecipeModel:
    torch.manual_seed(1)
    return recipe.build(dimensions_of(recipe, TARGET, CODES), CODES)


def readouts(model: RecipeModel, found: RecipeSequences, index: list[int]) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model.readout(padded(found, np.array(index), CPU))


def channel(found: RecipeSequences, name: str) -> list[int]:
    return found.channels[name].tolist()


def test_codes_are_in_order_of_their_day_and_not_of_when_they_became_known() -> None:
    histories = Histories.of(sequences_of([(200, B), (100, A), (200, C)], [(50, A)]))
    assert histories.patient.tolist() == [0, 0, 0, 1]
    assert histories.token.tolist() == [A, B, C, A]
    assert (histories.visit.tolist(), histories.order.tolist()) == ([0, 1, 1, 0], [0, 0, 1, 0])
    assert histories.days_with(C).tolist() == [False, True, True, False]


def test_codes_are_counted_without_the_tokens_of_a_recipe() -> None:
    known = sequences_of([(100, A), (100, B), (200, C)], [], [(100, A)])
    for recipe in RECIPES.values():
        found = recipe.read(Histories.of(known), CODES, 100)
        assert code_counts(found, CODES).tolist() == [3, 0, 1], recipe.name


def test_behrt_separates_visits_and_alternates_segments() -> None:
    histories = Histories.of(sequences_of([(366, A), (366, B), (800, C)], [], index_age=1200))
    found, separator = behrt.read(histories, CODES, 100), SIZE
    assert channel(found, "token") == [CLS, A, B, separator, C, separator, CLS]
    assert channel(found, "segment") == [0, 0, 0, 0, 1, 1, 0]
    assert channel(found, "position") == [0, 0, 0, 0, 1, 1, 0]
    assert channel(found, "age") == [3, 1, 1, 1, 2, 2, 3]


def test_cehr_bert_has_the_time_between_visits_and_their_kind() -> None:
    known = sequences_of([(100, ADMISSION), (100, A), (113, B), (400, C)], index_age=1000)
    found = cehr_bert.read(Histories.of(known), CODES, 100)
    start, end, gap = SIZE + cehr_bert.START, SIZE + cehr_bert.END, SIZE + cehr_bert.FIRST_GAP
    week, months, beyond = gap + 1, gap + cehr_bert.WEEKS + 8, gap + cehr_bert.WEEKS + cehr_bert.MONTHS
    assert channel(found, "token") == [
        *(CLS, start, ADMISSION, A, end, week),
        *(start, B, end, months, start, C, end, beyond),
    ]
    visit = [cehr_bert.INPATIENT] * 4 + [cehr_bert.NO_VISIT]
    out = [cehr_bert.OUTPATIENT] * 3 + [cehr_bert.NO_VISIT]
    assert channel(found, "kind") == [cehr_bert.NO_VISIT, *visit, *out, *out]


def test_a_stay_is_prolonged_from_eight_days_on() -> None:
    stays = [[(100, ADMISSION), (100 + days, DISCHARGE)] for days in (7, 8)]
    others = [[(100, ADMISSION)], [(100, DISCHARGE), (150, ADMISSION)], []]
    histories = Histories.of(sequences_of(*stays, *others))
    assert med_bert.prolonged_stay(histories, CODES).tolist() == [False, True, False, False, False]


def test_the_newest_codes_are_kept(recipe: Recipe) -> None:
    days = list(range(1000, 2000, 20))
    known = sequences_of([(day, FIRST_CODE + 2 + number) for number, day in enumerate(days)])
    whole, cut = (recipe.read(Histories.of(known), CODES, length) for length in (500, 20))
    # A separator without its codes is dropped.
    assert cut.lengths.tolist()[0] in (19, 20)
    assert channel(cut, "token")[-10:] == channel(whole, "token")[-10:]
    assert channel(cut, "token")[0] == channel(whole, "token")[0]


def test_a_size_is_met_and_grows_with_the_target(recipe: Recipe) -> None:
    widths = []
    for target in (30_000, 100_000, 1_000_000):
        found = dimensions_of(recipe, target, CODES)
        assert parameters(recipe, found, CODES) == pytest.approx(target, rel=0.02)
        widths.append((found.width, found.layers))
    assert widths == sorted(widths)


def test_an_impossible_size_names_the_smallest() -> None:
    with pytest.raises(BadInput, match=r"recipe behrt; its smallest model .* 60 codes has [\d,]+"):
        dimensions_of(RECIPES["behrt"], 100, CODES)


def test_other_patients_and_padding_change_nothing(recipe: Recipe, model: RecipeModel) -> None:
    found = recipe.read(random_histories(12), CODES, 64)
    together = readouts(model, found, list(range(12)))
    for number in range(12):
        torch.testing.assert_close(
            readouts(model, found, [number])[0], together[number], atol=1e-5, rtol=1e-5
        )
    assert together.shape == (12, model.readout_width)
    assert len(together.unique(dim=0)) == 12, "patients differ"


def test_every_weight_learns_from_pretraining_or_from_the_readout(recipe: Recipe, model: RecipeModel) -> None:
    batch = padded(recipe.read(random_histories(24), CODES, 64), np.arange(24), CPU)
    model.train()
    (model.pretraining_loss(batch) + model.readout(batch).sum()).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_pretraining_lowers_the_loss(recipe: Recipe, model: RecipeModel) -> None:
    """On patients who all have the same three codes again and again."""
    cycle = [(15_000 + 30 * number, (A, B, C)[number % 3]) for number in range(30)]
    histories = Histories.of(sequences_of(*[cycle[n:] for n in range(16)]))
    batch = padded(recipe.read(histories, CODES, 64), np.arange(16), CPU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def loss() -> float:
        torch.manual_seed(5)
        model.eval()
        with torch.no_grad():
            return float(model.pretraining_loss(batch))

    before = loss()
    for _ in range(40):
        model.train()
        optimizer.zero_grad()
        model.pretraining_loss(batch).backward()
        optimizer.step()
    assert loss() < 0.8 * before


def test_masking_is_that_of_bert() -> None:
    torch.manual_seed(0)
    token = torch.full((200, 200), A)
    token[:, 0] = CLS
    masked = mask_codes(token, CODES)
    assert not masked.is_masked[:, 0].any() and (masked.target == A).all()
    assert masked.is_masked.float().mean() == pytest.approx(MASKED_SHARE, abs=0.01)
    shown = masked.token[masked.is_masked]
    assert (shown == MASK).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (shown == A).float().mean() == pytest.approx(0.1, abs=0.02)
    assert (masked.token[~masked.is_masked] == token[~masked.is_masked]).all()


def test_delphi_hides_the_day_of_a_target() -> None:
    age = torch.tensor([[0, 10, 10, 20, 0]])
    present = torch.tensor([[True, True, True, True, False]])
    seen = visible(age, torch.tensor([[10, 10, 20, 30, 0]]), present)[0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],  # its own day is that of the target
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [0, 1, 1, 1, 0],  # padding: no target of its own
    ]


def test_piecewise_hazards_have_the_likelihood_of_an_exponential() -> None:
    rate = 0.01
    log_hazard = torch.full((1, len(motor.PIECES_DAYS), 2), math.log(rate))
    wait, censored = torch.tensor([[45.0, math.inf]]), torch.tensor([100.0])
    expected = -(math.log(rate) - rate * 45.0) + rate * 100.0
    assert float(motor.piecewise_loss(log_hazard, wait, censored)) == pytest.approx(expected, rel=1e-5)


def test_motor_knows_when_a_code_comes_next() -> None:
    token = torch.tensor([[FIRST_SEX, A, B, A]])
    age = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    found = motor.times_of_next(token, age, SIZE - FIRST_CODE)[0]
    assert found[:, A - FIRST_CODE].tolist() == [10, 30, 30, math.inf]
    assert found[:, B - FIRST_CODE].tolist() == [20, 20, math.inf, math.inf]


def test_queries_see_nothing_after_their_day() -> None:
    recipe = RECIPES["everyquery"]
    torch.manual_seed(1)
    model = recipe.build(dimensions_of(recipe, TARGET, CODES), CODES).eval()
    assert isinstance(model, EveryQuery)
    states = []
    for later in (B, C):
        histories = Histories.of(sequences_of([(100, A), (200, later), (300, later)]))
        batch = padded(recipe.read(histories, CODES, 64), np.arange(1), CPU)
        now = torch.tensor([[150.0]])
        query = model.queries(model.token(torch.tensor([[A]])), torch.tensor([[90.0]]))
        states.append(model.states(batch, query, now, batch.channels["age"] <= 150))
    torch.testing.assert_close(states[0], states[1])


def test_a_query_begins_as_the_mean_of_the_outcomes_codes() -> None:
    recipe = RECIPES["everyquery"]
    model = recipe.build(dimensions_of(recipe, TARGET, CODES), CODES)
    assert isinstance(model, EveryQuery)
    model.ask(np.array([A, B]))
    torch.testing.assert_close(model.task, model.token.weight[[A, B]].mean(0))

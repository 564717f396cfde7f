"""Expected time of cells: a first guess from FLOPs, corrected by the time of finished cells."""

from __future__ import annotations

from dataclasses import dataclass, field

from claimscale.config.comparison import USES_EMBEDDINGS
from claimscale.config.study import Study, parameter_count
from claimscale.experiments.cells import Cell
from claimscale.model import shapes
from claimscale.model.recipes.recipe import MASKED_SHARE
from claimscale.training.lr_schedule import token_budgets

CPU_FLOPS_PER_CORE = 2.0e10
"""Speed of one core on small encoders (measured); only the first guess of the time left depends on it."""

SECONDS_PER_SIMULATED_PATIENT = 0.0035
"""Preparation of simulated claims on two cores (measured); for the first guess too."""

OVERHEAD_SECONDS = {
    "pretrain": 3.0,
    "sweep": 3.0,
    "phenome": 10.0,
    "phenome_lightgbm": 120.0,
    "finetune": 2.0,
    "lightgbm": 10.0,
    "logistic": 10.0,
    "outcome_history": 3.0,
    "lightgbm_embeddings": 10.0,
    "lightgbm_counts_and_embeddings": 20.0,
    "ensemble": 1.0,
    "recipe_pretrain": 5.0,
    "recipe": 5.0,
}


RECIPE_BUDGETS = 1.75
"""Tokens of a recipe's pretraining with its search for a rate, over those of the encoder of its size."""


@dataclass(frozen=True)
class Corpus:
    """The numbers that the cost of a study depends on."""

    vocabulary: int
    groups: int
    pretraining_tokens: int
    """Tokens of one pretraining epoch."""
    tokens_per_patient: float
    labelled: dict[str, int]
    """Labelled training patients per task that can be trained."""
    predicted: dict[str, int]
    """Patients to predict per task, over all splits."""
    tested: int = 0
    """Held-out patients."""
    dates_per_patient: dict[str, float] = field(default_factory=dict)
    """Mean index dates of a training patient per task; 1 by default."""
    skipped: dict[str, list[int]] = field(default_factory=dict)
    """Subsets per task with too few patients of either outcome to train on."""


def cell_flops(study: Study, corpus: Corpus, cell: Cell) -> float:
    """Floating-point operations of a cell's training and prediction; 0 where it runs no encoder."""
    if cell.size is None or cell.kind == "ensemble":
        return 0.0
    shape = shapes.solve(parameter_count(cell.size), corpus.vocabulary, corpus.groups)
    if cell.kind == "recipe_pretrain":
        tokens = round(corpus.pretraining_tokens * study.pretrain.epochs * RECIPE_BUDGETS)
        return shapes.pretraining_flops(shape, tokens, round(tokens * MASKED_SHARE))
    if cell.kind in ("pretrain", "sweep"):
        epochs = study.pretrain.epochs * token_budgets(study.pretrain, cell.kind)
        tokens = round(corpus.pretraining_tokens * epochs)
        dated = tokens / corpus.tokens_per_patient if study.pretrain.incident_weight else 0
        masked = round(tokens * study.pretrain.mask_probability)
        return shapes.pretraining_flops(shape, tokens, masked, dated)
    if cell.kind == "phenome":
        tokens = round(corpus.tested * corpus.tokens_per_patient)
        return shapes.forward_flops(shape, shapes.ForwardPass(tokens, pools=True))
    assert cell.task is not None and cell.patients is not None
    everyone = corpus.labelled[cell.task]
    patients = everyone if cell.patients == "all" else min(cell.patients, everyone)
    dates = patients * corpus.dates_per_patient.get(cell.task, 1.0)
    passes = 1.5 * dates  # embeddings of training and tuning patients
    if cell.kind not in USES_EMBEDDINGS:
        # Each epoch trains on the patients, and predicts half as many for early stopping.
        epochs = study.finetune.epochs * len(study.finetune.learning_rates)
        passes = epochs * (shapes.TRAINING_PASSES + 0.5) * dates
    tokens = round((passes + corpus.predicted[cell.task]) * corpus.tokens_per_patient)
    return shapes.forward_flops(shape, shapes.ForwardPass(tokens, pools=True))


def preparation_seconds(study: Study) -> float | None:
    """First guess of the time to prepare the claims; None where the source does not give its patients."""
    if study.source.kind == "simulated":
        return SECONDS_PER_SIMULATED_PATIENT * study.source.patients
    return None


@dataclass
class TimeLeft:
    """Expected seconds of cells, corrected by kind as cells finish."""

    expected: dict[str, float]
    """First guess in seconds by cell id."""
    kinds: dict[str, str]
    """Kind by cell id."""
    seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Per kind: seconds expected and seconds taken, summed over finished cells."""

    @classmethod
    def of(cls, study: Study, corpus: Corpus, cells: list[Cell], threads: int) -> TimeLeft:
        rate = CPU_FLOPS_PER_CORE * threads
        expected = {
            cell.id: OVERHEAD_SECONDS[cell.kind] + cell_flops(study, corpus, cell) / rate for cell in cells
        }
        return cls(expected, {cell.id: cell.kind for cell in cells})

    def finished(self, cell_id: str, seconds: float) -> None:
        guessed, taken = self.seen.get(self.kinds[cell_id], (0.0, 0.0))
        self.seen[self.kinds[cell_id]] = (guessed + self.expected[cell_id], taken + seconds)

    def seconds(self, cell_id: str) -> float:
        """Expected seconds of the cell, corrected by finished cells of its kind."""
        guessed, taken = self.seen.get(self.kinds[cell_id], (0.0, 0.0))
        weight = self.expected[cell_id]  # the first guess counts as much as one cell like this
        return self.expected[cell_id] * (weight + taken) / (weight + guessed)

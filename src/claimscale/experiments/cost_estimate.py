"""How long cells will take: a first guess from FLOPs, corrected by what finished cells really took."""

from __future__ import annotations

from dataclasses import dataclass, field

from claimscale.config.comparison import USES_EMBEDDINGS
from claimscale.config.study import Study, parameter_count
from claimscale.experiments.cells import Cell
from claimscale.model import shapes
from claimscale.training.lr_schedule import budgets

CPU_FLOPS_PER_CORE = 2.0e10
"""What one core was seen to reach on small encoders; only the first guess depends on it."""

OVERHEAD_SECONDS = {
    "pretrain": 3.0,
    "sweep": 3.0,
    "finetune": 2.0,
    "lightgbm": 10.0,
    "logistic": 10.0,
    "outcome_history": 3.0,
    "lightgbm_embeddings": 10.0,
    "lightgbm_counts_and_embeddings": 20.0,
    "ensemble": 1.0,
}


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
    left_out: dict[str, list[int]] = field(default_factory=dict)
    """Subsets per task that hold too few of either outcome to be trained on."""


def cell_flops(study: Study, corpus: Corpus, cell: Cell) -> float:
    """Floating-point operations of a cell's training and prediction; 0 where it runs no encoder."""
    if cell.size is None or cell.kind == "ensemble":
        return 0.0
    shape = shapes.solve(parameter_count(cell.size), corpus.vocabulary, corpus.groups)
    if cell.kind in ("pretrain", "sweep"):
        epochs = study.pretrain.epochs * budgets(study.pretrain, cell.kind)
        tokens = round(corpus.pretraining_tokens * epochs)
        foretold = tokens / corpus.tokens_per_patient if study.pretrain.incident_weight else 0
        return shapes.train_flops(
            shape, tokens, round(tokens * study.pretrain.mask_probability), foretold=foretold
        )
    assert cell.task is not None and cell.patients is not None
    everyone = corpus.labelled[cell.task]
    patients = everyone if cell.patients == "all" else min(cell.patients, everyone)
    if cell.kind in USES_EMBEDDINGS:  # one pass forward, which is a third of a training step
        passes = (1.5 * patients + corpus.predicted[cell.task]) / 3
        return shapes.train_flops(shape, round(passes * corpus.tokens_per_patient), 0)
    # Every epoch trains on the patients and looks at half as many for early stopping, forward only.
    epochs = study.finetune.epochs * len(study.finetune.learning_rates)
    passes = epochs * (patients + patients / 6) + corpus.predicted[cell.task] / 3
    return shapes.train_flops(shape, round(passes * corpus.tokens_per_patient), 0)


@dataclass
class TimeLeft:
    """Expected seconds of cells, learnt as they finish, kind by kind."""

    expected: dict[str, float]
    """First guess in seconds by cell id."""
    kinds: dict[str, str]
    """Kind by cell id."""
    seen: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Per kind: seconds expected and seconds taken of what has been done."""

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
        """What the cell should take, in the light of cells of its kind that are done."""
        guessed, taken = self.seen.get(self.kinds[cell_id], (0.0, 0.0))
        weight = self.expected[cell_id]  # the first guess counts as much as one cell like this
        return self.expected[cell_id] * (weight + taken) / (weight + guessed)

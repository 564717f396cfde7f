"""Studies and finished runs from Python: what the commands study, plan and package do, as objects.

study = Study.load("study.yaml")
run = study.run()
run.summary.answers, run.results.to_pandas(), run.predictions(run.cells[0])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import artifacts, outputs, pipeline
from claimscale.config import loading
from claimscale.config.study import Study as StudySettings
from claimscale.errors import BadInput
from claimscale.experiments.plan import plan_text
from claimscale.inference.package import ModelPackage
from claimscale.inference.packaging import Choice, settings_of, write_package
from claimscale.progress import Display, Silent
from claimscale.summary.schema import Summary, read_summary


class Study:
    """A study: its settings, and how to run it."""

    def __init__(self, settings: StudySettings, file: Path) -> None:
        self.settings, self.file = settings, file

    @classmethod
    def load(cls, file: str | Path, **settings: Any) -> Study:
        """Read a study file; `settings` override it, dots written as two underscores (`pretrain__epochs=2`).

        Raises BadInput with one line for a wrong setting.

        Examples
        --------
        >>> from tempfile import mkdtemp
        >>> file = Path(mkdtemp(), "first.yaml")
        >>> text = "{name: first, source: {kind: simulated}, cohort: {landmark: 2020-10-01}"
        >>> written = file.write_text(text + ", sizes: [80k], tasks: [ckd]}")
        >>> study = Study.load(file, pretrain__epochs=2)
        >>> study.settings.name, study.settings.pretrain.epochs
        ('first', 2)
        """
        overrides = [f"{name.replace('__', '.')}={_yaml(value)}" for name, value in settings.items()]
        return cls(loading.load(Path(file), overrides), Path(file))

    def plan(self) -> str:
        """What the study would run, its time and memory, and what it can decide.

        Examples
        --------
        >>> print(Study.load("study.yaml").plan())  # doctest: +SKIP
        """
        return plan_text(self.settings, self.file, "a100", False)

    def run(self, display: Display | None = None) -> Run:
        """Run the whole study; what is there and current is not made again.

        `display` shows the progress; nothing is shown without one.

        Examples
        --------
        >>> run = Study.load("examples/demo.yaml").run()  # doctest: +SKIP
        >>> run.folder  # doctest: +SKIP
        PosixPath('runs/demo')
        """
        done = pipeline.run_study(self.settings, display or Silent())
        return Run.open(done.folder)


class Run:
    """A run directory, read only."""

    def __init__(self, folder: Path, settings: StudySettings) -> None:
        self.folder, self.settings = folder, settings

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open `runs/<study>`. Raises BadInput if it is no run directory.

        Examples
        --------
        >>> Run.open("nowhere")
        Traceback (most recent call last):
        ...
        claimscale.errors.BadInput: nowhere: is not a run directory (study.yaml is missing)
        """
        return cls(Path(folder), settings_of(Path(folder)))

    @property
    def summary(self) -> Summary:
        """All results as typed objects. Raises BadInput before the study is finished.

        Examples
        --------
        >>> for answer in run.summary.answers:  # doctest: +SKIP
        ...     print(answer.task, answer.text.text)
        """
        return read_summary(outputs.verified(self.folder / outputs.SUMMARY))

    @property
    def results(self) -> pa.Table:
        """One row per model, task and test set; `.to_pandas()` or `polars.from_arrow` convert it.

        Raises BadInput before the study is finished.

        Examples
        --------
        >>> run.results.to_pandas().query("metric == 'auprc'")  # doctest: +SKIP
        """
        return _table(outputs.verified(self.folder / outputs.RESULTS))

    @property
    def cells(self) -> list[str]:
        """The names of the finished cells.

        Examples
        --------
        >>> [cell for cell in run.cells if cell.startswith("lightgbm-")]  # doctest: +SKIP
        """
        done = self.folder.glob(f"cells/*/{artifacts.DONE}")
        return sorted(file.parent.name for file in done)

    def predictions(self, cell: str) -> pa.Table:
        """The predictions of a cell in the MEDS prediction schema. Raises BadInput if it has none.

        Columns: `subject_id`, `prediction_time`, `boolean_value`, `predicted_boolean_probability`, `split`.

        Examples
        --------
        >>> run.predictions(run.cells[0]).to_pandas()  # doctest: +SKIP
        """
        folder = self.folder / "cells" / cell
        if (folder / artifacts.DONE).exists():
            artifacts.verified(folder)
        return _table(folder / "predictions.parquet")

    def package(self, out: str | Path, task: str | None = None, **choice: Any) -> ModelPackage:
        """Write a model package and open it; `choice` are the further fields of `packaging.Choice`.

        Those are `model`, `size`, `seeds` and `license`, as options of `claimscale package`. Raises BadInput
        if the folder exists, or if the study has no such model.

        Examples
        --------
        >>> package = run.package("ckd-package", task="ckd", model="ensemble")  # doctest: +SKIP
        """
        return write_package(self.folder, Choice(task, **choice), Path(out), Silent())[0]


def _table(file: Path) -> pa.Table:
    if not file.is_file():
        raise BadInput(f"{file}: is missing; the study is not finished, or has no such cell")
    return pq.read_table(file)


def _yaml(value: Any) -> str:
    """A value as the text after `--set key=`."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()

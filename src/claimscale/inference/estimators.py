"""Model packages as scikit-learn estimators.

Rows of `X` are patients and dates, with the columns `subject_id` and `prediction_time` (the last day whose
records may be used); the claims themselves are the parameter `events`. Rows can be divided, so that
`cross_val_predict`, `Pipeline` and `CalibratedClassifierCV` work. Where `X` is claims, each patient is
assessed at his or her last event.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags

from claimscale.config.sources import MedsSource
from claimscale.errors import BadInput
from claimscale.events.table import usable_days
from claimscale.inference.calibration import log_odds_of
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import PatientShard, lookup_of, shards
from claimscale.inference.source_file import SourceFile, prepared

Floats = NDArray[np.floating]
EVENTS = ("subject_id", "time", "code")
ROWS = ("subject_id", "prediction_time")


class _PackageEstimator(BaseEstimator):
    """What both estimators share: a package, the claims, and rows of patients and dates."""

    def __init__(self, package: str | Path | ModelPackage, events: Any = None) -> None:
        self.package = package
        self.events = events

    @classmethod
    def from_pretrained(cls, folder: str | Path, events: Any = None) -> Any:
        """The estimator of a package in a local folder; nothing is downloaded.

        `events` is the folder of a MEDS dataset, or a table with subject_id, time and code (Arrow, pandas,
        Polars). Raises BadInput for a folder that is no package.

        Examples
        --------
        >>> model = ClaimsClassifier.from_pretrained("ckd-package", "runs/demo/events")  # doctest: +SKIP
        """
        return cls(ModelPackage.open(Path(folder)), events)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def _opened(self) -> ModelPackage:
        return (
            self.package if isinstance(self.package, ModelPackage) else ModelPackage.open(Path(self.package))
        )

    def _scored(self, X: Any, method: str) -> Floats:
        """The result of a method of the package for each row of X, in order.

        Raises BadInput for a patient without events.
        """
        package = self._opened
        if _is_claims(X):
            claims, rows = X, None
        else:
            claims, rows = self.events, _rows(X)
        if claims is None:
            raise BadInput("events: no claims were given; pass events=... to the estimator")
        patients = _shards(package, claims)
        subject, day = _last_dates(patients) if rows is None else rows
        found: list[tuple[NDArray[np.int64], Floats]] = []
        for shard in patients:
            own = np.flatnonzero(np.isin(subject, shard.store.subjects))
            if len(own):
                place = np.searchsorted(shard.store.subjects, subject[own])
                found.append((own, getattr(package, method)(shard.store, place, day[own])))
        done = np.concatenate([own for own, _ in found]) if found else np.zeros(0, np.int64)
        if len(done) < len(subject):
            raise BadInput(f"X: {len(subject) - len(done):,} of {len(subject):,} rows have no usable events")
        return np.concatenate([values for _, values in found])[np.argsort(done)]


class ClaimsClassifier(ClassifierMixin, _PackageEstimator):
    """The risk of a package's question; or, after `fit`, of another one, on frozen vectors of its encoder.

    `calibrated` chooses the package's calibrated risks. `fit` trains a logistic regression on the vectors.
    """

    def __init__(
        self, package: str | Path | ModelPackage, events: Any = None, calibrated: bool = False
    ) -> None:
        super().__init__(package, events)
        self.calibrated = calibrated

    def fit(self, X: Any, y: ArrayLike) -> ClaimsClassifier:
        """Fit a logistic regression on the vectors of rows X, [n]; y are two classes, [n].

        Raises BadInput unless y has two classes.

        Examples
        --------
        >>> model.fit(rows, outcome).predict_proba(rows)  # doctest: +SKIP
        """
        self.classes_ = np.unique(np.asarray(y))
        if len(self.classes_) != 2:
            raise BadInput(f"y: has {len(self.classes_)} classes, not 2")
        self.head_ = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        self.head_.fit(self._inputs(X), np.asarray(y))
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of both classes, float64 [n, 2]: column 1 is the risk.

        X has subject_id and prediction_time; or it is claims, and each patient is assessed at the last event.
        Raises BadInput for a patient without usable events.

        Examples
        --------
        >>> risks = model.predict_proba(rows)[:, 1]  # doctest: +SKIP
        """
        if hasattr(self, "head_"):
            return self.head_.predict_proba(self._inputs(X))
        risk = np.asarray(self._scored(X, "risks"), np.float64)
        if self.calibrated:
            risk = self._opened.calibration.calibrated(risk)
        return np.column_stack([1 - risk, risk])

    def predict(self, X: Any) -> NDArray[Any]:
        """The more probable class of each row, [n]. A rare outcome is seldom the more probable class.

        Examples
        --------
        >>> model.predict(rows).mean()  # doctest: +SKIP
        """
        classes = getattr(self, "classes_", np.array([False, True]))
        return classes[self.predict_proba(X).argmax(axis=1)]

    def _inputs(self, X: Any) -> Floats:
        """Vectors, and the log odds of the package's own question if it has one."""
        vectors = self._scored(X, "embed")
        if self._opened.config.task is None:
            return vectors
        return np.column_stack([vectors, log_odds_of(self._scored(X, "risks"))])


class ClaimsEmbedder(TransformerMixin, _PackageEstimator):
    """The vector of each row by the frozen encoder of a package: float32 [n, width]."""

    def fit(self, X: Any, y: Any = None) -> ClaimsEmbedder:
        """Nothing is fitted.

        Examples
        --------
        >>> ClaimsEmbedder("ckd-package").fit(None).package
        'ckd-package'
        """
        return self

    def transform(self, X: Any) -> Floats:
        """Vectors, float32 [n, width], of rows X as for `ClaimsClassifier.predict_proba`.

        Examples
        --------
        >>> vectors = ClaimsEmbedder.from_pretrained("ckd-package", events).transform(rows)  # doctest: +SKIP
        """
        return self._scored(X, "embed")


def _table(data: Any) -> pa.Table | None:
    """Arrow, pandas or Polars data as Arrow; None for anything else."""
    if isinstance(data, pa.Table):
        return data
    if hasattr(data, "to_arrow"):  # Polars
        return data.to_arrow()
    if hasattr(data, "iloc"):  # pandas
        return pa.Table.from_pandas(data, preserve_index=False)
    return None


def _is_claims(X: Any) -> bool:
    if isinstance(X, str | Path):
        return True
    table = _table(X)
    return table is not None and "code" in table.column_names


def _rows(X: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Patients and index days of rows, int64 [n] each. Raises BadInput for other input."""
    table = _table(X)
    if table is None or not set(ROWS) <= set(table.column_names):
        raise BadInput("X: needs the columns subject_id and prediction_time, or claims with code")
    try:
        day = usable_days(table["prediction_time"])
        subject = table["subject_id"].cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise BadInput(f"X: {str(error).splitlines()[0]}") from None
    return subject, day.astype(np.int64)


def _shards(package: ModelPackage, claims: Any) -> list[PatientShard]:
    """The patients of claims, in memory; the last ones are kept, for the folds of a cross-validation."""
    key = package.digest, id(claims)
    if _LAST and _LAST[0][0] == key:
        return _LAST[0][2]
    _LAST[:] = [(key, claims, _read_shards(package, claims))]
    return _LAST[0][2]


_LAST: list[tuple[tuple[str, int], Any, list[PatientShard]]] = []
"""The claims read last, with the objects that name them: as long as they exist, their id is theirs."""


def _read_shards(package: ModelPackage, claims: Any) -> list[PatientShard]:
    with tempfile.TemporaryDirectory(prefix="claimscale-") as scratch:
        folder = Path(claims) if isinstance(claims, str | Path) else _as_meds(claims, Path(scratch))
        source = SourceFile(source=MedsSource(kind="meds", path=str(folder)))
        with prepared(package, source, dt.date.today()) as (events, engine):
            lookup = lookup_of(events, engine, package.config, package.vocabulary)
            return list(shards(events, package.vocabulary, lookup))


def _as_meds(claims: Any, folder: Path) -> Path:
    """Write a table of events as a MEDS dataset. Raises BadInput if it lacks a column."""
    found = _table(claims)
    if found is None or not set(EVENTS) <= set(found.column_names):
        raise BadInput(f"events: needs the columns {', '.join(EVENTS)}")
    file = folder / meds.data_subdirectory / "0.parquet"
    file.parent.mkdir(parents=True)
    table = found.sort_by([("subject_id", "ascending"), ("time", "ascending")])
    table = table.set_column(table.column_names.index("time"), "time", table["time"].cast(pa.timestamp("us")))
    if "numeric_value" not in table.column_names:
        table = table.append_column("numeric_value", pa.nulls(len(table), pa.float32()))
    pq.write_table(table, file)
    return folder


def _last_dates(patients: list[PatientShard]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each patient at the last day on which something became known, by subject id: int64 [n] each."""
    subjects = np.concatenate([shard.store.subjects for shard in patients])
    days = np.concatenate([shard.last_day() for shard in patients])
    order = np.argsort(subjects)
    return subjects[order], days[order]

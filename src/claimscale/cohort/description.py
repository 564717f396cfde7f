"""The description of a cohort, as in Table 1 of a paper: counts, means, quartiles and distributions.

It is computed from the events known before the landmark, which are the data of pretraining.
"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from ibis import _

from claimscale.codes.systems import TYPES, type_of
from claimscale.constants import DAYS_PER_YEAR, SEXES
from claimscale.engine import Engine

AGE_BAND_YEARS = 5
BINS = 24
MONTHS_OF = {"month": 1, "quarter": 3, "year": 12}
COUNTED = ("age", "visits", "sequence_length", "observation_days")
"""Numbers per patient that describe every group, beside the codes of each type."""


def per_patient(
    known: ir.Table, patients: pa.Table, landmark: int, deduplicate: str, engine: Engine
) -> pa.Table:
    """One row per patient of the cohort, by subject id.

    `known` are the events known before the landmark (a day number), `patients` the rows of
    `patients.parquet`. Further columns: `age` in years at the landmark; `visits`, days with a contact;
    `observation_days` from the first to the last contact, both included; `sequence_length`, codes after
    deduplication; and the number of codes of each type that occurs.
    """
    contacts = known.filter(~_.demographic).semi_join(
        ibis.memtable(patients.select(["subject_id"])), "subject_id"
    )
    distinct = engine.to_arrow(contacts.select("code", "suspected").distinct())
    kinds = [type_of(row["code"], row["suspected"]) for row in distinct.to_pylist()]
    typed = contacts.inner_join(
        ibis.memtable(distinct.append_column("type", pa.array(kinds, pa.string()))), ["code", "suspected"]
    )
    months = _.time.year() * 12 + _.time.month() - 1
    period = months // MONTHS_OF[deduplicate] if deduplicate in MONTHS_OF else ibis.literal(0, "int64")
    present = [kind for kind in TYPES if kind in kinds]
    counts = typed.group_by("subject_id").aggregate(
        visits=_.day.nunique(),
        sequence_length=_.count(),
        **{kind: (_.type == kind).sum().cast("int64") for kind in present},
    )
    if deduplicate != "none":
        kept = typed.mutate(period=period).select("subject_id", "code", "suspected", "period").distinct()
        lengths = kept.group_by("subject_id").aggregate(sequence_length=_.count())
        counts = counts.drop("sequence_length").inner_join(lengths, "subject_id")
    table = engine.to_arrow(counts.order_by("subject_id"))
    assert table["subject_id"].equals(patients["subject_id"].cast(table["subject_id"].type))
    days = patients["last_day"].to_numpy() - patients["first_day"].to_numpy() + 1
    births = patients["birth_day"].to_numpy(zero_copy_only=False).astype(np.float64)
    found = patients.append_column("age", pa.array((landmark - births) / DAYS_PER_YEAR))
    found = found.append_column("observation_days", pa.array(days.astype(np.int64)))
    for name in ("visits", "sequence_length", *present):
        found = found.append_column(name, table[name])
    return found


def describe(people: pa.Table) -> dict[str, object]:
    """The description of the patients of `per_patient`: `groups` and `histograms`.

    `groups` holds `all` and each split: patients, hospitals, sexes, and the mean, standard deviation,
    median, quartiles and range of each number (`codes` per type). `histograms` holds `age_by_sex`,
    `sequence_length` and `observation_years` as bin edges and counts (the last bin is open), and
    `patients_per_hospital`, descending.
    """
    kinds = [kind for kind in TYPES if kind in people.column_names and kind != "sex"]
    split = np.array(people["split"].to_pylist())
    groups = {"all": _group(people, kinds)}
    for name in dict.fromkeys(["train", "tuning", "held_out", *sorted(set(split.tolist()))]):
        groups[name] = _group(people.filter(pa.array(split == name)), kinds)
    sex = np.array(people["sex"].to_pylist())
    age = people["age"].to_numpy()
    bands = age[np.isfinite(age)] // AGE_BAND_YEARS if np.isfinite(age).any() else np.zeros(1)
    edges = AGE_BAND_YEARS * np.arange(bands.min(), bands.max() + 2)
    ages = {name: np.histogram(age[sex == name], edges)[0].tolist() for name in sorted(set(sex.tolist()))}
    hospital = people["hospital_id"].drop_null().value_counts().field("counts").to_numpy()
    return {
        "groups": groups,
        "histograms": {
            "age_by_sex": {"edges": edges.tolist(), "counts": ages},
            "sequence_length": histogram(people["sequence_length"].to_numpy(), whole=True),
            "observation_years": histogram(people["observation_days"].to_numpy() / DAYS_PER_YEAR),
            "patients_per_hospital": np.sort(hospital)[::-1].tolist(),
        },
    }


def histogram(values: npt.NDArray[np.number], whole: bool = False) -> dict[str, list]:
    """Counts in equal bins from 0 to the 99th percentile; the last bin includes all larger values.

    With `whole` the edges are whole numbers.
    """
    width = max(float(np.quantile(values, 0.99)) / BINS, 1 / DAYS_PER_YEAR)
    edges = np.arange(BINS + 1) * (np.ceil(width) if whole else width)
    counts = np.histogram(np.minimum(values, edges[-1]), edges)[0]
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _group(people: pa.Table, kinds: Sequence[str]) -> dict[str, object]:
    sex = people["sex"].to_pylist()
    return {
        "patients": len(people),
        "hospitals": len(people["hospital_id"].drop_null().unique()),
        "sex": {name: sex.count(name) for name in SEXES},
        **{name: _spread(people[name].to_numpy()) for name in COUNTED},
        "codes": {kind: _spread(people[kind].to_numpy()) for kind in kinds},
    }


def _spread(values: npt.NDArray[np.number]) -> dict[str, float | None]:
    """Mean, sample standard deviation, median, quartiles and range; None for too few values."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return dict.fromkeys(("mean", "sd", "median", "q1", "q3", "min", "max"))
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "median": median,
        "q1": q1,
        "q3": q3,
        "min": float(values.min()),
        "max": float(values.max()),
    }

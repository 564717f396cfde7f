"""Selection of the cohort and its splits.

`cohort/` holds `patients.parquet` (one row per patient, by subject id), `subject_splits.parquet` (the splits
as MEDS), `cohort.json` (the number of patients after each step) and `description.json`. Selection and splits
depend only on what was known before the landmark.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from ibis import _

from claimscale import meds_metadata
from claimscale.artifacts import write_json
from claimscale.codes.systems import BIRTH, SEX_PREFIX
from claimscale.cohort import description
from claimscale.config.cohort import Splits
from claimscale.config.study import Study
from claimscale.engine import Engine
from claimscale.errors import BadInput
from claimscale.events.table import day_number, read_events, span_of_claims
from claimscale.seeded_random import hashed_order, hashed_uniform

TRAIN, TUNING, HELD_OUT, HOSPITAL, TEMPORAL = "train", "tuning", "held_out", "hospital", "temporal"
PATIENT_SPLITS = (TRAIN, TUNING, HELD_OUT)
"""Splits by patient, with the names of MEDS. HOSPITAL: held-out hospitals. TEMPORAL: in labels only."""


def build(study: Study, engine: Engine, events: Path, target: Path) -> None:
    """Select the patients and their splits.

    Raises BadInput if no patient is left, a split is empty, or there are fewer hospitals or patients than
    the study samples or holds out.
    """
    table = read_events(engine, events)
    landmark = day_number(study.cohort.landmark)
    known = table.filter(_.available_day < landmark)
    everyone = engine.to_arrow(table.aggregate(patients=table.subject_id.nunique()))["patients"][0].as_py()
    before_landmark = engine.to_arrow(_patients(known))
    hospitals = {name for name in before_landmark["hospital_id"].unique().to_pylist() if name is not None}
    sampled = sample_hospitals(hospitals, study.cohort.sample.hospitals, study.seed)
    inside = before_landmark
    if study.cohort.sample.hospitals is not None:
        inside = before_landmark.filter(
            pa.array([name in sampled for name in before_landmark["hospital_id"].to_pylist()], pa.bool_())
        )
    enough = inside.filter(inside["contacts"].to_numpy() >= study.cohort.min_events)
    if len(enough) == 0:
        raise BadInput(
            f"cohort: no patient is left: of {everyone:,}, {everyone - len(before_landmark):,} have no event "
            f"known before {study.cohort.landmark} and {len(inside):,} have fewer than "
            f"{study.cohort.min_events}; {span_of_claims(events)}"
        )
    sample = sample_patients(enough["subject_id"].to_numpy(), study.cohort.sample.patients, study.seed)
    included = enough.take(sample)

    split = assign_splits(
        included["subject_id"].to_numpy(),
        included["hospital_id"].to_pylist(),
        study.cohort.splits,
        study.seed,
    )
    patients = included.drop_columns("contacts").add_column(1, "split", pa.array(split, pa.string()))
    pq.write_table(patients, target / "patients.parquet", write_page_checksum=True)
    splits = meds_metadata.splits_table(patients["subject_id"], split)
    pq.write_table(splits, target / "subject_splits.parquet", write_page_checksum=True)
    names, counts = np.unique(split, return_counts=True)
    flow = {
        "patients": everyone,
        "seen_before_landmark": len(before_landmark),
        "hospitals": len(hospitals),
        "sampled_hospitals": len(sampled),
        "in_sampled_hospitals": len(inside),
        "with_enough_events": len(enough),
        "included": len(included),
        "splits": dict(zip(names.tolist(), counts.tolist(), strict=True)),
    }
    write_json(target / "cohort.json", flow)
    people = description.per_patient(known, patients, landmark, study.tokens.deduplicate, engine)
    write_json(target / "description.json", description.describe(people))


def read_patients(cohort: Path) -> pa.Table:
    """The patients: subject_id, split, hospital_id, sex, birth_day, first_day, last_day, by subject id."""
    return pq.read_table(cohort / "patients.parquet")


def sample_hospitals(hospitals: Collection[str], wanted: int | None, seed: int) -> set[str]:
    """The sampled hospitals: those with the smallest salted md5; all if `wanted` is None.

    The order of any two hospitals depends on their names and the seed alone. Raises BadInput if there are
    fewer than wanted.
    """
    if wanted is None:
        return set(hospitals)
    if wanted > len(hospitals):
        raise BadInput(f"cohort.sample.hospitals: cannot sample {wanted:,} of {len(hospitals):,} hospitals")
    known = sorted(hospitals)
    return {known[place] for place in hashed_order(known, f"sample/hospital/{seed}")[:wanted]}


def sample_patients(
    subject_ids: npt.NDArray[np.int64], wanted: int | None, seed: int
) -> npt.NDArray[np.int64]:
    """Positions of the sampled patients, ascending: those with the smallest salted md5; all if `wanted` is
    None.

    Raises BadInput if there are fewer than wanted.
    """
    if wanted is None:
        return np.arange(len(subject_ids))
    if wanted > len(subject_ids):
        raise BadInput(f"cohort.sample.patients: cannot sample {wanted:,} of {len(subject_ids):,} patients")
    return np.sort(hashed_order(subject_ids.tolist(), f"sample/patient/{seed}")[:wanted])


def assign_splits(
    subject_ids: npt.NDArray[np.int64], hospitals: Sequence[str | None], splits: Splits, seed: int
) -> list[str]:
    """The split of each patient, given the patient's hospital.

    Held-out hospitals and the patients' splits are chosen by hash, so they do not depend on the rest of the
    cohort. Raises BadInput if a split is empty or no hospital is left for training.
    """
    held_out = held_out_hospitals(hospitals, splits.held_out_hospitals, seed)
    bounds = np.cumsum(splits.fractions)[:-1]
    by_patient = np.searchsorted(bounds, hashed_uniform(subject_ids, f"split/{seed}"), side="right")
    assigned = [
        HOSPITAL if hospital in held_out else PATIENT_SPLITS[place]
        for hospital, place in zip(hospitals, by_patient, strict=True)
    ]
    for name in PATIENT_SPLITS:
        if name not in assigned:
            raise BadInput(
                f"cohort.splits: none of {len(assigned):,} patients are in the {name} split; "
                "use more patients or a larger fraction"
            )
    return assigned


def held_out_hospitals(hospitals: Sequence[str | None], wanted: int, seed: int) -> set[str]:
    """The hospitals to hold out whole. Raises BadInput unless at least one other would be left."""
    known = sorted({hospital for hospital in hospitals if hospital is not None})
    if wanted and wanted >= len(known):
        raise BadInput(
            f"cohort.splits.held_out_hospitals: cannot hold out {wanted} of {len(known)} hospitals and train"
        )
    return {known[place] for place in hashed_order(known, f"hospital/{seed}")[:wanted]}


def _patients(known: ir.Table) -> ir.Table:
    """One row per patient with a contact: demographics, first and last day, hospital with most contacts."""
    contacts = known.filter(~_.demographic)
    spans = contacts.group_by("subject_id").aggregate(
        first_day=_.day.min(), last_day=_.day.max(), contacts=_.count()
    )
    sex = _.code.startswith(SEX_PREFIX)
    value = _.code.substr(len(SEX_PREFIX))
    people = known.group_by("subject_id").aggregate(
        birth_day=_.day.min(where=_.code == BIRTH), low=value.min(where=sex), high=value.max(where=sex)
    )
    # A patient with two recorded sexes, or an unknown one, is "U".
    clear = (_.low == _.high) & _.low.isin(["F", "M"])
    people = people.mutate(sex=clear.fill_null(False).ifelse(_.low, "U"))
    at_hospital = contacts.filter(_.hospital_id.notnull()).group_by("subject_id", "hospital_id")
    visits = at_hospital.aggregate(visits=_.count())
    most_first = ibis.window(group_by="subject_id", order_by=[ibis.desc("visits"), "hospital_id"])
    main = visits.mutate(place=ibis.row_number().over(most_first)).filter(_.place == 0)
    joined = spans.inner_join(people, "subject_id").left_join(main, "subject_id")
    columns = ["subject_id", "hospital_id", "sex", "birth_day", "first_day", "last_day", "contacts"]
    return joined.select(*columns).order_by("subject_id")

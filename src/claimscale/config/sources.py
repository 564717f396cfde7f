"""The `source` section: one class of settings per data format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from claimscale.config.base import Count, Settings


class SimulatedSource(Settings):
    """Patients of the embedded simulator, whose true risks are known."""

    kind: Literal["simulated"]
    """The claims are simulated."""
    patients: Count = 6000
    """Number of simulated patients."""
    hospitals: Annotated[int, Field(gt=0, le=519)] = 8
    """Number of hospitals, sampled from the 519 of the simulated country."""
    min_age: Annotated[int, Field(ge=0, le=90, multiple_of=5)] = 0
    """Youngest age of the simulated patients, in years in 2021."""

    @model_validator(mode="after")
    def has_a_patient_per_hospital(self) -> SimulatedSource:
        if self.hospitals > self.patients:
            raise ValueError(f"{self.hospitals} hospitals are more than {self.patients} patients")
        return self


class CodeCrosswalk(Settings):
    """A map from one code system to another: a CSV file with a header and one row per code.

    Codes that the file does not list stay unchanged. A code with several targets takes the first in
    alphabetical order. Without a file, ICD9CM becomes ICD10, or the reverse, with claimscale[icd].
    """

    source: str
    """Code system that is translated."""
    target: str
    """Code system of the result."""
    file: str | None = None
    """CSV file of the crosswalk; null uses the built-in ICD tables."""
    columns: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """Columns of the file that hold the source code and the target code."""

    @model_validator(mode="after")
    def file_has_columns(self) -> CodeCrosswalk:
        if (self.file is None) != (self.columns is None):
            raise ValueError("file and columns: one needs the other")
        return self


FIRST_CONTACT = "first_contact"


class FileSource(Settings):
    """Claims in the user's files."""

    path: str
    """Folder of the files; for OMOP also the URL of a database."""
    crosswalks: list[CodeCrosswalk] = []
    """Maps between code systems, applied to all codes in the order of the list."""
    dates: Literal["calendar", "shifted"] = "calendar"
    """`shifted`: the dates of each patient were moved by an unknown time, as in de-identified databases; each
    patient's `anchor` becomes 2000-01-01, and dates are not compared with the calendar."""
    anchor: str = FIRST_CONTACT
    """With shifted dates, the day of a patient that becomes 2000-01-01: the first contact, or the date in
    this column of the table of patients (`tables` and `omop`)."""

    @model_validator(mode="after")
    def anchor_can_be_read(self) -> FileSource:
        if self.anchor != FIRST_CONTACT:
            if self.dates != "shifted":
                raise ValueError("anchor: needs dates: shifted")
            if not isinstance(self, TablesSource | OmopSource):
                raise ValueError("anchor: a column needs kind: tables or omop; use first_contact")
        return self


class SynpufSource(FileSource):
    """A folder of DE-SynPUF claim files (CMS public use files, CSV)."""

    kind: Literal["synpuf"]
    """The claims are DE-SynPUF files."""


class TablesSource(FileSource):
    """A folder of flat tables, CSV or Parquet."""

    kind: Literal["tables"]
    """The claims are flat tables."""
    mapping: str = "neutral"
    """Meaning of the columns: a built-in mapping by name, or the path of a YAML file."""
    encoding: Literal["utf-8", "utf-16", "cp932", "cp1252", "latin-1"] = "utf-8"
    """Text encoding of CSV files."""


class ReceiptSource(FileSource):
    """A folder of electronic receipts (UKE, 医科 and DPC), searched with all its subfolders."""

    kind: Literal["receipt"]
    """The claims are Japanese electronic receipts."""
    masters: str | None = None
    """Folder of the national master files; without it codes stay receipt codes."""
    patient: Literal["chart", "insurance"] = "chart"
    """Identity of a patient: hospital and chart number, or insurance number."""


class DpcSource(FileSource):
    """A folder of DPC survey files (EFn, EFg, Dn, FF1), searched with all its subfolders."""

    kind: Literal["dpc"]
    """The claims are DPC survey files."""
    masters: str | None = None
    """Folder of the national master files; without it codes stay receipt codes."""


class OmopSource(FileSource):
    """OMOP CDM 5.3 or 5.4: a folder with a Parquet or CSV file (or a folder of them) per table.

    For a database, `path` is a URL that Ibis connects to (`duckdb://cdm.duckdb`, `postgres://...`).
    """

    kind: Literal["omop"]
    """The claims are an OMOP common data model."""
    codes: Literal["source", "standard"] = "source"
    """Codes that are read: those of the source systems, or those of the standard vocabularies."""
    vocabulary: str | None = None
    """Folder of the vocabulary tables, or their schema in the database of `path` (a name without a slash);
    null: they are beside the clinical tables."""
    translate_to: list[Literal["ICD10", "ATC"]] = []
    """Code systems to which conditions (ICD10) and drugs (ATC) of other systems are translated by the
    vocabulary tables; codes without a clear target are unchanged and counted."""
    stays: list[int] | None = None
    """Visit concepts that are inpatient stays; null: the inpatient concepts of OMOP, and other visits of at
    least one night unless their concept is outpatient."""

    @model_validator(mode="after")
    def vocabulary_is_no_url(self) -> OmopSource:
        if self.vocabulary is not None and "://" in self.vocabulary:
            raise ValueError("vocabulary: is a folder, or a schema of the database of path, not a URL")
        return self


class MedsSource(FileSource):
    """A MEDS dataset, 0.3 or 0.4: the folder that holds `data/`."""

    kind: Literal["meds"]
    """The claims are a MEDS dataset."""


Source = Annotated[
    SimulatedSource | TablesSource | ReceiptSource | DpcSource | OmopSource | MedsSource | SynpufSource,
    Field(discriminator="kind"),
]

"""Where a study's claims come from: one class of settings per format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from claimscale.config.base import Count, Settings


class SimulatedSource(Settings):
    """Patients of the embedded simulator; their true risks are known.

    `hospitals` of the simulated country's 519 are drawn. `min_age` leaves out those who are younger in 2021.
    """

    kind: Literal["simulated"]
    patients: Count = 6000
    hospitals: Annotated[int, Field(gt=0, le=519)] = 8
    min_age: Annotated[int, Field(ge=0, le=90, multiple_of=5)] = 0

    @model_validator(mode="after")
    def has_patients_enough(self) -> SimulatedSource:
        if self.hospitals > self.patients:
            raise ValueError(f"{self.hospitals} hospitals are more than {self.patients} patients")
        return self


class CodeCrosswalk(Settings):
    """A crosswalk: a CSV file of the user's own with a header, one row per code.

    A code of system `source` becomes one of system `target`; `columns` names where each stands. Codes that the file
    does not list stay as they are. A code with several targets takes the first in alphabetical order.
    Without a file ICD9CM becomes ICD10, or the reverse, by what claimscale[icd] knows.
    """

    source: str
    target: str
    file: str | None = None
    columns: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def file_has_columns(self) -> CodeCrosswalk:
        if (self.file is None) != (self.columns is None):
            raise ValueError("file and columns: one needs the other")
        return self


class FileSource(Settings):
    """Claims in files of the user's. `crosswalks` are applied in turn to the codes that come out."""

    path: str
    crosswalks: list[CodeCrosswalk] = []


class SynpufSource(FileSource):
    """A folder of DE-SynPUF claim files (CMS public use files, CSV)."""

    kind: Literal["synpuf"]


class TablesSource(FileSource):
    """A folder of flat tables, CSV or Parquet. `mapping` says what their columns mean.

    It is the name of a ready mapping (`sources/mappings/`) or a YAML file of the user's.
    """

    kind: Literal["tables"]
    mapping: str = "neutral"
    encoding: Literal["utf-8", "cp932"] = "utf-8"


class ReceiptSource(FileSource):
    """A folder of electronic receipts (UKE, 医科 and DPC), searched through all its folders.

    `masters` is a folder with the national master files; without it codes stay receipt codes. `patient` is
    what a person is known by: the hospital and its chart number, or the insurance number.
    """

    kind: Literal["receipt"]
    masters: str | None = None
    patient: Literal["chart", "insurance"] = "chart"


class DpcSource(FileSource):
    """A folder of DPC survey files (EFn, EFg, Dn, FF1), searched through all its folders."""

    kind: Literal["dpc"]
    masters: str | None = None


class OmopSource(FileSource):
    """OMOP CDM 5.3 or 5.4: a folder with a Parquet or CSV file (or a folder of them) per table.

    Or a database: `path` is then a URL that Ibis connects to (`duckdb://cdm.duckdb`, `postgres://...`).
    `codes` asks for the codes of the source's own systems or of the standard vocabularies.
    """

    kind: Literal["omop"]
    codes: Literal["source", "standard"] = "source"


class MedsSource(FileSource):
    """A MEDS dataset, 0.3 or 0.4: the folder that holds `data/`."""

    kind: Literal["meds"]


Source = Annotated[
    SimulatedSource | TablesSource | ReceiptSource | DpcSource | OmopSource | MedsSource | SynpufSource,
    Field(discriminator="kind"),
]

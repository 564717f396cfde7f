"""MEDS 0.4: the events themselves, with the metadata that the format asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import meds
import pyarrow as pa
import pyarrow.parquet as pq

from claimscale import meds_metadata as meds_files
from claimscale.artifacts import make_folder
from claimscale.codes.systems import ADMISSION, BIRTH, DEATH, DISCHARGE, SEX_PREFIX
from claimscale.errors import BadInput
from claimscale.simulator.writers.base import WriterOptions, write_bytes, write_parquet

WITHOUT_CLAIM = (BIRTH, DEATH, ADMISSION, DISCHARGE, SEX_PREFIX + "F", SEX_PREFIX + "M")


class MedsWriter:
    """`data/<shard>.parquet`, with the columns of an event that MEDS does not know, and `metadata/`."""

    def __init__(self, folder: Path, country_codes: Sequence[str], options: WriterOptions) -> None:
        self.folder = folder
        self.codes = {*country_codes, *WITHOUT_CLAIM}

    def write(self, events: pa.Table, shard: int) -> None:
        write_parquet(self.folder / meds.data_subdirectory / f"{shard:06d}.parquet", events)

    def finish(self) -> None:
        """Codes, the dataset's description, and one split that holds every subject of the shards."""
        write_parquet(self.folder / meds.code_metadata_filepath, meds_files.codes_table(self.codes))
        description = meds_files.description("claimscale simulated claims")
        text = json.dumps(description, indent=2) + "\n"
        write_bytes(self.folder / meds.dataset_metadata_filepath, text.encode())
        self._write_splits()

    def _write_splits(self) -> None:
        """One shard's subjects at a time, so that memory does not grow with the country."""
        schema = meds.SubjectSplitSchema.schema()
        file = self.folder / meds.subject_splits_filepath
        make_folder(file.parent)
        partial = file.with_name(file.name + ".partial")
        try:
            with pq.ParquetWriter(partial, schema, compression="zstd", write_page_checksum=True) as writer:
                for shard in sorted((self.folder / meds.data_subdirectory).glob("*.parquet")):
                    subjects = pq.read_table(shard, columns=["subject_id"])["subject_id"].unique()
                    writer.write_table(meds_files.splits_table(subjects, [meds.train_split] * len(subjects)))
            partial.replace(file)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise BadInput(f"{file}: cannot be written ({error.strerror or error})") from None

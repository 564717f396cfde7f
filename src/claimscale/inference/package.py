"""A model package opened: its models, vocabulary, calibration and reference, and the risks they give."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from claimscale import artifacts
from claimscale.codes.systems import TYPES
from claimscale.config.loading import validated
from claimscale.errors import BadInput
from claimscale.evaluation.metrics import mean_log_odds
from claimscale.inference.calibration import Calibration
from claimscale.inference.members import EncoderMember, PackagedMember, load_member
from claimscale.inference.package_config import PackageConfig
from claimscale.inference.package_files import check_files, read_json_file
from claimscale.inference.reference import Reference
from claimscale.tokens.special_tokens import SPECIAL_CODES
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import Vocabulary
from claimscale.training.embeddings import embed_sequences

CONFIG, VOCABULARY, CALIBRATION, REFERENCE, EVIDENCE, CARD = (
    "config.json",
    "vocabulary.parquet",
    "calibration.json",
    "reference.json",
    "evidence.json",
    "README.md",
)
"""The files of a package, beside one folder per model."""
LARGEST_VOCABULARY = 5_000_000


@dataclass(frozen=True)
class ModelPackage:
    """A finished model that can be used: see `ModelPackage.open`."""

    folder: Path
    config: PackageConfig
    vocabulary: Vocabulary
    members: tuple[PackagedMember, ...]
    calibration: Calibration
    reference: Reference

    @classmethod
    def open(cls, folder: Path) -> ModelPackage:
        """Open a package; nothing is downloaded. Raises BadInput with one line if it cannot be trusted."""
        folder = Path(folder)
        check_files(folder)
        config = read_config(folder)
        vocabulary = read_vocabulary(folder / VOCABULARY, config.vocabulary_size)
        members = tuple(load_member(config, member, vocabulary, folder) for member in config.members)
        calibration = validated(Calibration, read_json_file(folder / CALIBRATION), str(folder / CALIBRATION))
        reference = validated(Reference, read_json_file(folder / REFERENCE), str(folder / REFERENCE))
        return cls(folder, config, vocabulary, members, calibration, reference)

    @property
    def digest(self) -> str:
        """A fingerprint of all files, which names the package in results."""
        return hashlib.sha256((self.folder / artifacts.MANIFEST).read_bytes()).hexdigest()[:16]

    def risks(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        """Probabilities, float64 [n], as the study computed them: not calibrated.

        Raises BadInput for a package without a question.
        """
        if self.config.task is None:
            raise BadInput(f"{self.folder}: holds an encoder without a question; it gives embeddings only")
        return together(np.stack([member.risks(store, rows, index_days) for member in self.members]))

    def embed(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        """Vectors of the first encoder, float32 [n, width]: state at [CLS], mean of the states, sums.

        Raises BadInput for a package without an encoder.
        """
        encoder = self.encoder
        sequences = encoder.sequences(store, rows, index_days)
        return embed_sequences(encoder.model, sequences, encoder.device, with_zero_shot=False)

    @property
    def encoder(self) -> EncoderMember:
        """The first encoder. Raises BadInput without one."""
        for member in self.members:
            if isinstance(member, EncoderMember):
                return member
        raise BadInput(f"{self.folder}: holds no encoder")


def together(risks: np.ndarray) -> np.ndarray:
    """The risks of k models [k, n] as one [n]: by their mean log odds; those of one model are unchanged."""
    return risks[0] if len(risks) == 1 else mean_log_odds(risks)


def read_config(folder: Path) -> PackageConfig:
    """The configuration of a package. Raises BadInput if it is none."""
    file = folder / CONFIG
    read_json_file(file)  # one line for what is no JSON
    try:
        return PackageConfig.model_validate_json(file.read_bytes())
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise BadInput(f"{file}: {place}: {problem['msg'].splitlines()[0]}") from None


def read_vocabulary(file: Path, size: int) -> Vocabulary:
    """The vocabulary of a package. Raises BadInput unless it is one, of this size."""
    try:
        rows = pq.read_metadata(file).num_rows
        if rows != size or rows > LARGEST_VOCABULARY:
            raise BadInput(f"{file}: has {rows:,} tokens, not {size:,}")
        vocabulary = Vocabulary.load(file)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise BadInput(f"{file}: is no vocabulary ({str(error).splitlines()[0]})") from None
    if tuple(vocabulary.codes[: len(SPECIAL_CODES)]) != SPECIAL_CODES or None in vocabulary.codes:
        raise BadInput(f"{file}: is no vocabulary (it does not start with the special tokens)")
    assert len(TYPES) > int(vocabulary.types.max(initial=0))
    return vocabulary

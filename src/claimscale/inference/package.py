"""A model package opened: its models, vocabulary, calibration and reference, and the risks they give."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from claimscale import artifacts
from claimscale.config.loading import validated
from claimscale.errors import BadInput
from claimscale.evaluation.metrics import mean_log_odds
from claimscale.inference.calibration import Calibration
from claimscale.inference.members import EncoderMember, PackagedMember, load_member
from claimscale.inference.reference import Reference
from claimscale.packages.config import PackageConfig, read_config, read_vocabulary
from claimscale.packages.files import CALIBRATION, REFERENCE, VOCABULARY, check_files, read_json_file
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import Vocabulary
from claimscale.training.embeddings import embed_sequences


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
        """Open a package; nothing is downloaded. Raises BadInput with one line if it cannot be trusted.

        Examples
        --------
        >>> ModelPackage.open(Path("nowhere"))
        Traceback (most recent call last):
        ...
        claimscale.errors.BadInput: nowhere: no such model package
        """
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
        """A fingerprint of all files, 16 hexadecimal digits, which names the package in results.

        Examples
        --------
        >>> package.digest == ModelPackage.open(package.folder).digest  # doctest: +SKIP
        True
        """
        return hashlib.sha256((self.folder / artifacts.MANIFEST).read_bytes()).hexdigest()[:16]

    def risks(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        """Probabilities, float64 [n], as the study computed them: not calibrated.

        `store` has the patients, `rows` their places in it, int64 [n], and `index_days` the last day whose
        records are used, in days since 1970-01-01, int64 [n]. `ClaimsClassifier` does this from tables.
        Raises BadInput for a package without a question.

        Examples
        --------
        >>> risks = package.risks(store, np.arange(10), np.full(10, 18_535))  # doctest: +SKIP
        """
        if self.config.task is None:
            raise BadInput(f"{self.folder}: holds an encoder without a question; it gives embeddings only")
        return together(np.stack([member.risks(store, rows, index_days) for member in self.members]))

    def embed(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        """Vectors of the first encoder, float32 [n, width]: state at [CLS], mean of the states, sums.

        Arguments are those of `risks`. Raises BadInput for a package without an encoder.

        Examples
        --------
        >>> states = package.embed(store, np.arange(10), np.full(10, 18_535))  # doctest: +SKIP
        """
        encoder = self.encoder
        sequences = encoder.sequences(store, rows, index_days)
        return embed_sequences(encoder.model, sequences, encoder.device, with_zero_shot=False)

    @property
    def encoder(self) -> EncoderMember:
        """The first encoder. Raises BadInput without one.

        Examples
        --------
        >>> sum(weights.numel() for weights in package.encoder.model.parameters())  # doctest: +SKIP
        """
        for member in self.members:
            if isinstance(member, EncoderMember):
                return member
        raise BadInput(f"{self.folder}: holds no encoder")


def together(risks: np.ndarray) -> np.ndarray:
    """The risks of k models [k, n] as one [n]: by their mean log odds; those of one model are unchanged."""
    return risks[0] if len(risks) == 1 else mean_log_odds(risks)

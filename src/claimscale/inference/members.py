"""The models of a package: the risk of each patient at each index date, from a token store.

A model sees exactly what it saw in the study; the same inputs give the same bits on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy.sparse as sparse
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from claimscale.baselines import features, fitted_models, outcome_history
from claimscale.codes.systems import TYPES
from claimscale.config.base import Codes
from claimscale.errors import BadInput
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.packages.config import Member, PackageConfig
from claimscale.packages.files import WEIGHTS
from claimscale.packages.start import metadata_of
from claimscale.tokens.code_groups import CodeGroups
from claimscale.tokens.sequences import Sequences, select_inputs
from claimscale.tokens.store import TokenStore
from claimscale.tokens.vocabulary import Vocabulary
from claimscale.training.finetune_trainer import probabilities


class PackagedMember(Protocol):
    """One model of a package."""

    def risks(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        """Probabilities, float64 [n], of patients (rows of the store) at index days, int [n] each."""
        ...


class EncoderMember:
    """A fine-tuned encoder, or a pretrained one without a question."""

    def __init__(self, config: PackageConfig, member: Member, vocabulary: Vocabulary, folder: Path) -> None:
        assert config.shape is not None
        self.config, self.shape = config, config.shape.shape()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.unseen = np.union1d(
            vocabulary.tokens_with_prefix(config.hidden_codes),
            vocabulary.tokens_with_prefix(config.withheld_codes),
        )
        encoder = Encoder(self.shape, metadata_of(vocabulary, config.tokens))
        outcome = outcome_tokens(vocabulary, config) if member.zero_shot else None
        self.model = EncoderClassifier(encoder, outcome)
        module = encoder if config.task is None else self.model
        load_weights(module, folder / member.folder / WEIGHTS)
        self.model.to(self.device).eval()

    def sequences(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> Sequences:
        """What the encoder sees."""
        tokens = self.config.tokens
        return select_inputs(store, rows, index_days, tokens.max_length, tokens.deduplicate, self.unseen)

    def risks(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros(0)
        return probabilities(self.model, self.sequences(store, rows, index_days), self.device)


class BaselineMember:
    """LightGBM or a logistic regression on counted codes."""

    def __init__(self, config: PackageConfig, member: Member, vocabulary: Vocabulary, folder: Path) -> None:
        assert config.task is not None
        self.kind, self.vocabulary, self.task = member.kind, vocabulary, config.task
        self.groups = CodeGroups.of(vocabulary)
        self.columns = features.FeatureColumns(self.groups.count)
        self.hidden = vocabulary.tokens_with_prefix(config.hidden_codes)
        self.model = fitted_models.load(folder / member.folder)
        width = self._of_counts(sparse.csr_matrix((1, self.columns.width), dtype=np.float32)).get_shape()[1]
        used = self.model.columns
        if len(used) and (used.min() < 0 or used.max() >= width):
            raise BadInput(f"{folder / member.folder}: has columns that the vocabulary does not give")

    def features(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> sparse.csr_matrix:
        """Inputs of the model, float32 [n, p], sparse."""
        counts = features.count_features(store, self.groups, rows, index_days, self.hidden)
        return self._of_counts(counts)

    def risks(self, store: TokenStore, rows: np.ndarray, index_days: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros(0)
        return self.model.predict(self.features(store, rows, index_days))

    def _of_counts(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        if self.kind == "logistic":
            return features.linear_features(counts, self.columns)
        if self.kind == "outcome_history":
            return outcome_history.history_features(counts, self.columns, self.families)
        return counts

    @cached_property
    def families(self) -> list[np.ndarray]:
        """Families of codes of the outcome history, int32 tokens each."""
        return outcome_history.families(self.vocabulary, self.task)


def load_member(
    config: PackageConfig, member: Member, vocabulary: Vocabulary, folder: Path
) -> PackagedMember:
    """The model in the package's folder. Raises BadInput for files that do not fit its configuration."""
    kind = EncoderMember if member.kind == "encoder" else BaselineMember
    return kind(config, member, vocabulary, folder)


def outcome_tokens(vocabulary: Vocabulary, config: PackageConfig) -> np.ndarray:
    """Tokens of the outcome, without suspected diagnoses: int32 [K]."""
    assert config.task is not None
    outcome: Codes = config.task.outcome
    tokens = vocabulary.tokens_with_prefix(outcome)
    return tokens[vocabulary.types[tokens] != TYPES.index("suspected")]


def load_weights(module: torch.nn.Module, file: Path) -> None:
    """Load the weights. Raises BadInput unless names, shapes and number types are those of the module."""
    wanted = module.state_dict()
    try:
        found: Mapping[str, Tensor] = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    for name in sorted(set(wanted) ^ set(found)):
        raise BadInput(f"{file}: {'lacks' if name in wanted else 'has an unknown'} {name[:80]!r}")
    for name, weight in wanted.items():
        if found[name].shape != weight.shape or found[name].dtype != weight.dtype:
            raise BadInput(f"{file}: {name} is {tuple(found[name].shape)}, not {tuple(weight.shape)}")
    module.load_state_dict(dict(found))

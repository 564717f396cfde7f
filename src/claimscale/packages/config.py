"""`config.json` of a model package: everything beside weights and vocabulary that a score depends on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError, model_validator

from claimscale.codes.systems import TYPES
from claimscale.config.base import Codes, Count, Settings
from claimscale.config.tasks import Task
from claimscale.config.training import Tokens
from claimscale.errors import BadInput
from claimscale.model.shapes import Shape
from claimscale.packages.files import CONFIG, read_json_file
from claimscale.tokens.special_tokens import SPECIAL_CODES
from claimscale.tokens.vocabulary import Vocabulary

FORMAT = "claimscale-package-1"
LARGEST_VOCABULARY = 5_000_000
Kind = Literal["encoder", "lightgbm", "logistic", "outcome_history"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"


class EncoderShape(Settings):
    """Dimensions of the encoder; see `model.shapes.Shape`."""

    vocabulary: Count
    """Tokens of the vocabulary."""
    width: Annotated[int, Field(ge=64, le=16384, multiple_of=64)]
    """Width of the states."""
    layers: Annotated[int, Field(ge=1, le=512)]
    """Number of layers."""
    feed_forward: Annotated[int, Field(ge=1, le=65536)]
    """Width of the feed-forward layers."""
    embedding: Annotated[int, Field(ge=1, le=16384)]
    """Width of the code embeddings."""
    groups: Annotated[int, Field(ge=0)] = 0
    """Code groups with an embedding."""

    def shape(self) -> Shape:
        return Shape(**self.model_dump())


class Member(Settings):
    """One trained model of the package."""

    kind: Kind
    """What it is."""
    folder: Annotated[str, Field(pattern=NAME)]
    """Its folder in the package."""
    cell: str
    """The cell of the study that trained it."""
    zero_shot: bool = False
    """Whether the outcome's own codes give the initial logit; of encoders only."""


class PackageConfig(Settings):
    """What a package is: its models, its inputs, its question."""

    format: Literal["claimscale-package-1"] = FORMAT
    """Layout of the package."""
    claimscale: str
    """Version of claimscale that wrote the package."""
    name: Annotated[str, Field(pattern=NAME)]
    """Name of the package."""
    study: Annotated[str, Field(pattern=NAME)]
    """Name of the study."""
    license: str
    """SPDX identifier of the licence, or `other`."""
    size: str | None
    """Size of the encoder; null without one."""
    shape: EncoderShape | None
    """Dimensions of the encoder; null without one."""
    members: Annotated[list[Member], Field(min_length=1, max_length=64)]
    """The models. Their log odds are averaged."""
    task: Task | None
    """The question; null for an encoder without fine-tuning, which gives embeddings only."""
    tokens: Tokens
    """How events become inputs."""
    hidden_codes: Codes
    """Code prefixes that no model of the package sees."""
    withheld_codes: Codes
    """Code prefixes that the encoder does not see besides: outcomes of a study with scarce labels."""
    min_events: Count
    """Fewest known events of a patient who is scored."""
    recency_days: Count | None
    """Days before the index date within which a patient must have had a contact; null requires none."""
    landmark: dt.date
    """The date on which the study's patients were assessed; the models know nothing of what came later."""
    code_systems: list[str]
    """Code systems of the vocabulary."""
    crosswalks: list[str]
    """Maps between code systems that the study's source used, as `FROM to TO`."""
    vocabulary_size: Count
    """Tokens of the vocabulary."""

    @model_validator(mode="after")
    def fits_together(self) -> PackageConfig:
        has_encoder = any(member.kind == "encoder" for member in self.members)
        if has_encoder != (self.shape is not None):
            raise ValueError("shape: belongs to a package with an encoder")
        if self.shape is not None and self.shape.vocabulary != self.vocabulary_size:
            raise ValueError("shape.vocabulary: is not vocabulary_size")
        if len({member.folder for member in self.members}) != len(self.members):
            raise ValueError("members: two share a folder")
        if self.task is None and (len(self.members) > 1 or not has_encoder):
            raise ValueError("task: only a single encoder can do without")
        return self


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

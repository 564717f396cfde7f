"""The encoder of a package as the start of a pretraining: its shape, and its weights for other codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from claimscale.artifacts import MANIFEST
from claimscale.checksums import file_digest
from claimscale.config.study import Study
from claimscale.config.training import Tokens
from claimscale.errors import BadInput
from claimscale.model.shapes import Shape
from claimscale.packages.config import PackageConfig, read_config, read_vocabulary
from claimscale.packages.files import VOCABULARY, WEIGHTS, check_files
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.tokens.vocabulary import Vocabulary
from claimscale.training.transfer import Alignment, EncoderStart

IN_CLASSIFIER = "encoder."
"""What names of an encoder's weights begin with in a fine-tuned model."""


def start_digest(folder: Path) -> str:
    """The fingerprint of a package. Raises BadInput if there is none."""
    if not (folder / MANIFEST).is_file():
        raise BadInput(f"pretrain.start: {folder}: is not a model package ({MANIFEST} is missing)")
    return file_digest(folder / MANIFEST)


def start_shape(study: Study, vocabulary: Vocabulary, groups: int) -> Shape:
    """The shape of the package's encoder for the vocabulary of the study.

    Raises BadInput for a package without an encoder, and settings that its encoder was not trained with.
    """
    assert study.pretrain.start is not None
    config = _config(Path(study.pretrain.start))
    assert config.shape is not None
    if study.sizes != [config.size]:
        raise BadInput(f"sizes: must be [{config.size}], the size of the package in pretrain.start")
    for name in ("deduplicate", "hierarchical_embeddings"):
        theirs, ours = getattr(config.tokens, name), getattr(study.tokens, name)
        if theirs != ours:
            raise BadInput(f"tokens.{name}: must be {theirs}, as for the package in pretrain.start")
    return replace(config.shape.shape(), vocabulary=vocabulary.size, groups=groups)


def read_start(folder: Path, vocabulary: Vocabulary, metadata: TokenMetadata) -> EncoderStart:
    """The weights of the package's first encoder, aligned with a vocabulary.

    Raises BadInput for a package that cannot be trusted or has no encoder.
    """
    check_files(folder)
    config = _config(folder)
    other = read_vocabulary(folder / VOCABULARY, config.vocabulary_size)
    member = next(member for member in config.members if member.kind == "encoder")
    file = folder / member.folder / WEIGHTS
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    if config.task is not None:
        named = {name: tensor for name, tensor in tensors.items() if name.startswith(IN_CLASSIFIER)}
        tensors = {name.removeprefix(IN_CLASSIFIER): tensor for name, tensor in named.items()}
    alignment = Alignment.of((vocabulary, metadata), (other, metadata_of(other, config.tokens)))
    return EncoderStart(tensors, alignment, start_digest(folder))


def metadata_of(vocabulary: Vocabulary, tokens: Tokens) -> TokenMetadata:
    """What an encoder with these settings knows of each token before training."""
    hierarchical = tokens.hierarchical_embeddings
    return TokenMetadata.of(vocabulary) if hierarchical else TokenMetadata.plain(vocabulary.types)


def _config(folder: Path) -> PackageConfig:
    start_digest(folder)
    config = read_config(folder)
    if config.shape is None:
        raise BadInput(f"pretrain.start: {folder}: holds no encoder")
    return config

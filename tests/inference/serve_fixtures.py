"""A model package of random weights, and made-up patients whom it scores."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from claimscale import artifacts
from claimscale.codes.systems import TYPES, type_of
from claimscale.config.tasks import catalogue_task
from claimscale.config.training import Tokens
from claimscale.inference.calibration import Calibration
from claimscale.inference.members import outcome_tokens
from claimscale.inference.package import ModelPackage
from claimscale.inference.reference import MEASURES, Range, Reference
from claimscale.model.classifier import EncoderClassifier
from claimscale.model.encoder import Encoder
from claimscale.packages.config import EncoderShape, Member, PackageConfig
from claimscale.packages.files import CALIBRATION, CARD, CONFIG, EVIDENCE, REFERENCE, VOCABULARY, WEIGHTS
from claimscale.tokens.special_tokens import FIRST_SEX, SPECIAL_CODES
from claimscale.tokens.token_metadata import TokenMetadata
from claimscale.tokens.vocabulary import Vocabulary

LANDMARK = dt.date(2020, 10, 1)
CODES = (
    *(f"ICD10//{letter}{number:02d}" for letter in "EIKMN" for number in range(10, 30)),
    *(f"ICD10//N18{digit}" for digit in range(1, 5)),
    *(f"ATC//C0{group}AA0{number}" for group in range(2, 10) for number in range(1, 5)),
    *(f"KUBUN//D00{number}" for number in range(1, 10)),
    "ICD10//Z992",
)


def make_package(folder: Path, codes: tuple[str, ...] = CODES, **changed: Any) -> ModelPackage:
    """Write and open a package; `embedding`, `hierarchical` and `zero_shot` change its encoder."""
    folder.mkdir(parents=True)
    vocabulary = make_vocabulary(codes)
    tokens = Tokens(max_length=48, min_patients=1, hierarchical_embeddings=changed.get("hierarchical", False))
    metadata = TokenMetadata.of(vocabulary) if tokens.hierarchical_embeddings else None
    shape = EncoderShape(
        vocabulary=vocabulary.size,
        width=64,
        layers=2,
        feed_forward=96,
        embedding=changed.get("embedding", 64),
        groups=metadata.group_count if metadata else 0,
    )
    member = Member(kind="encoder", folder="encoder", cell="c", zero_shot=changed.get("zero_shot", True))
    config = make_config(vocabulary, tokens, shape, member)
    encoder = Encoder(shape.shape(), metadata or TokenMetadata.plain(vocabulary.types))
    model = EncoderClassifier(encoder, outcome_tokens(vocabulary, config) if member.zero_shot else None)
    randomize(model)
    vocabulary.save(folder / VOCABULARY)
    (folder / CONFIG).write_text(config.model_dump_json(), "utf-8")
    (folder / member.folder).mkdir()
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "encoder" / WEIGHTS
    )
    odds = [-12.0, 0.0, 12.0]
    fitted = Calibration(
        method="platt", slope=0.9, log_odds=odds, low=[1e-5, 0.4, 0.9], high=[1e-3, 0.6, 1.0]
    )
    (folder / CALIBRATION).write_text(fitted.model_dump_json(), "utf-8")
    reference = Reference(patients=5000, ranges=dict.fromkeys(MEASURES, Range(low=0.0, high=60.0)))
    (folder / REFERENCE).write_text(reference.model_dump_json(), "utf-8")
    artifacts.write_json(folder / EVIDENCE, {"study": "made-up"})
    (folder / CARD).write_text("# made up\n", "utf-8")
    artifacts.seal(folder, "made-up")
    (folder / artifacts.DONE).unlink()
    return ModelPackage.open(folder)


def make_vocabulary(codes: tuple[str, ...]) -> Vocabulary:
    types = [0] * len(SPECIAL_CODES) + [TYPES.index(type_of(code)) for code in codes]
    types[:FIRST_SEX] = [TYPES.index("special")] * FIRST_SEX
    types[FIRST_SEX : len(SPECIAL_CODES)] = [TYPES.index("sex")] * (len(SPECIAL_CODES) - FIRST_SEX)
    count = np.ones(len(types), np.int64)
    return Vocabulary(
        [*SPECIAL_CODES, *codes], np.array(types, np.int8), count, count, np.zeros(len(types), bool)
    )


def make_config(vocabulary: Vocabulary, tokens: Tokens, shape: EncoderShape, member: Member) -> PackageConfig:
    task = catalogue_task("ckd")
    return PackageConfig(
        claimscale="0",
        name="made-up-ckd",
        study="made-up",
        license="other",
        size="80k",
        shape=shape,
        members=[member],
        task=task,
        tokens=tokens,
        hidden_codes=task.hidden_codes,
        withheld_codes={},
        min_events=5,
        recency_days=365,
        landmark=LANDMARK,
        code_systems=["ATC", "ICD10", "KUBUN"],
        crosswalks=[],
        vocabulary_size=vocabulary.size,
    )


def randomize(model: EncoderClassifier) -> None:
    """Random weights everywhere: those that are zero before training would hide mistakes."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            is_scale = name.endswith(("gain", "zero_shot_scale"))
            weight.copy_(
                1 + 0.1 * noise if is_scale else noise * (0.1 if weight.ndim < 2 else weight.shape[1] ** -0.5)
            )
        encoder = model.encoder
        model.weight.mul_(0.5)
        for bias in (encoder.incident_head.bias, encoder.hazards.bias):
            bias.sub_(5)  # most outcomes are rare
        for table in (encoder.recurrence, encoder.own_recurrence, encoder.sum_pooling.down):
            table.weight.mul_(0.05)


def patient(subject: int, seed: int, visits: int = 30) -> list[dict[str, Any]]:
    """The events of a patient as JSON: known and unknown codes, suspicions, late claims, a repeated row."""
    random = np.random.default_rng(seed)
    born = dt.date(1930, 1, 1) + dt.timedelta(days=int(random.integers(0, 20_000)))
    events: list[dict[str, Any]] = [
        {"subject_id": subject, "time": born.isoformat(), "code": "MEDS_BIRTH"},
        {"subject_id": subject, "time": None, "code": f"SEX//{'FM'[seed % 2]}"},
        {"subject_id": subject, "time": None, "code": "BLOOD//A"},
    ]
    pool = (*CODES, "ICD10//Q999", "ICD10//e11.65", "LAB//718-7", "ATC//not a code")
    for _ in range(visits):
        day = LANDMARK - dt.timedelta(days=int(random.integers(-60, 1500)))
        known = day + dt.timedelta(days=int(random.integers(0, 90)))
        events.append(
            {
                "subject_id": subject,
                "time": f"{day.isoformat()}T10:00:00",
                "code": pool[int(random.integers(0, len(pool)))],
                "hospital_id": "H1",
                "available_at": f"{known.isoformat()}T00:00:00" if seed % 3 else None,
                "suspected": bool(random.integers(0, 4) == 0),
            }
        )
    return [*events, events[-1]]


@pytest.fixture(name="package", scope="session")
def made_package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("packages") / "made-up")

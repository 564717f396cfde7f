"""Contributions to an encoder's log odds by integrated gradients over the presence of codes.

Captum computes integrated gradients (Sundararajan, Taly and Yan 2017, arXiv:1703.01365) on the line from the
baseline to the patient. The baseline is a person of the training patients' mean age and average sex without
any code.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import torch

from claimscale.errors import BadInput
from claimscale.inference.attribution import Attribution, Input, token_name
from claimscale.inference.members import EncoderMember
from claimscale.inference.presence import PERSON, PresenceModel
from claimscale.inference.reference import Reference
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import LEADING
from claimscale.tokens.vocabulary import Vocabulary

STEPS = (32, 64, 128, 256, 512)
"""Points of the Gauss-Legendre quadrature; more are taken until the contributions are complete."""
POINT_TOKENS, POINT_PAIRS = 1 << 13, 1 << 24
"""Most positions, and pairs of positions in the heads of all layers, that are in memory together."""


def captum_attr() -> ModuleType:
    """The module `captum.attr`. Raises BadInput where it is not installed."""
    try:
        import captum.attr
    except ImportError:
        raise BadInput(
            "explain: an encoder needs Captum; install it with pip install 'claimscale[explain]'"
        ) from None
    return captum.attr


def encoder_attribution(
    member: EncoderMember,
    sequence: Sequences,
    index_day: int,
    vocabulary: Vocabulary,
    reference: Reference,
    log_odds: float,
) -> Attribution:
    """Contributions of the one sequence, known at the index day, to its score with these log odds."""
    patient = PresenceModel.of(member.model, sequence, reference, member.device)
    with torch.no_grad():
        baseline, whole = (float(patient.logits(*p)) for p in (patient.baseline, patient.observed))
    codes = _codes(sequence, index_day, vocabulary)
    counts: dict[Input, int] = {}
    for code, count in zip(codes, sequence.count[LEADING:, -1].tolist(), strict=True):
        counts[code] = counts.get(code, 0) + count
    for steps in STEPS:
        presence, person = _integrated(patient, member, steps)
        values = {Input(kind, kind): float(value) for kind, value in zip(PERSON, person, strict=True)}
        for code, value in zip(codes, presence.tolist(), strict=True):
            values[code] = values.get(code, 0.0) + value
        # A score on a GPU has less precision than these logits: the difference is no fault of the integral.
        found = Attribution(values, counts, baseline, whole, steps)
        if found.is_complete or steps == STEPS[-1]:
            return replace(found, log_odds=log_odds)
    raise AssertionError("the last number of steps returns")


def _integrated(patient: PresenceModel, member: EncoderMember, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Contributions of the codes, float64 [codes], and of PERSON, float64 [3]."""
    for weight in member.model.parameters():
        weight.requires_grad_(False)
    length = len(patient.embedded_Td)
    pairs = length**2 * member.model.encoder.shape.heads * member.shape.layers
    together = max(1, min(steps, POINT_TOKENS // length, POINT_PAIRS // pairs))
    presence, person = (
        captum_attr()
        .IntegratedGradients(patient.logits)
        .attribute(
            tuple(patient.observed),
            baselines=tuple(patient.baseline),
            n_steps=steps,
            internal_batch_size=together,
        )
    )
    return presence[0, LEADING:].double().cpu().numpy(), person[0].sum(1).double().cpu().numpy()


def _codes(sequence: Sequences, index_day: int, vocabulary: Vocabulary) -> list[Input]:
    """The codes of the sequence with their days, in its order."""
    days = index_day + sequence.age_days[LEADING:].astype(int) - int(sequence.age_days[0])
    named = (token_name(vocabulary, token) for token in sequence.token[LEADING:].tolist())
    return [Input("code", *name, day) for name, day in zip(named, days.tolist(), strict=True)]

"""The encoder classifier of a package as an ONNX model: padded sequences in, logits out.

The model starts at tokens. The package has what turns events into tokens: a vocabulary and sequence rules.
Inputs, for B sequences padded to L positions:

| name | type | meaning |
|---|---|---|
| `token` | int64 [B, L] | token of each position: [CLS], sex, then codes |
| `age_days` | int64 [B, L] | age at the code; at [CLS] and sex, age at the cutoff |
| `days` | int64 [B, L] | days after the cutoff, 0 or less |
| `count` | int64 [B, L, 4] | occurrences of the code in 30, 180, 365 days and the whole history before it |
| `mask` | bool [B, L] | true at positions of the sequence, false at padding, whose values have no effect |

Output: `logit`, float32 [B]. The risk is 1 / (1 + exp(-logit)), before the package's calibration.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from claimscale import artifacts
from claimscale.errors import BadInput
from claimscale.events.table import read_events
from claimscale.inference.exportable import ExportableClassifier
from claimscale.inference.members import EncoderMember
from claimscale.inference.package import ModelPackage
from claimscale.inference.patients import eligible_dates, lookup_of, shards
from claimscale.inference.source_file import Dates, SourceFile, parts_of, prepared
from claimscale.tokens.sequences import WINDOWS_DAYS, Sequences
from claimscale.tokens.special_tokens import CLS, FIRST_CODE, FIRST_SEX, LEADING, PAD
from claimscale.training.finetune_trainer import logits

INPUTS = ("token", "age_days", "days", "count", "mask")
OUTPUT = "logit"
OPSET = 20
TOLERANCE = 1e-4
"""Largest difference of a logit between the ONNX model and the package."""
BATCH = 32
MADE_UP = 256
"""Sequences of random tokens on which an export is checked."""


def export(package: ModelPackage, out: Path, checked: Sequence[Sequences] = ()) -> tuple[int, float]:
    """Write `out`, and check it on made-up sequences of all lengths and on those of `checked`.

    Returns the number of sequences and the largest difference of a logit. Raises BadInput for a package
    without an encoder or a question, and if `out` exists; AssertionError if a logit differs by more than
    TOLERANCE. The file then does not appear.
    """
    encoder = package.encoder
    if package.config.task is None:
        raise BadInput(f"{package.folder}: holds an encoder without a question, which has no logit")
    artifacts.refuse_existing(out)
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput(f"export: needs claimscale[onnx] (there is no {error.name})") from None
    artifacts.make_folder(out.absolute().parent)
    with artifacts.atomic_file(out) as partial:
        partial.write_bytes(_onnx_bytes(package, encoder))
        sets = [made_up(package), *checked]
        largest = max(difference(partial, encoder, sequences) for sequences in sets)
        if not largest <= TOLERANCE:
            raise AssertionError(f"a logit of the ONNX model differs by {largest:.2g}")
    return sum(len(sequences) for sequences in sets), largest


def patient_sequences(package: ModelPackage, source: SourceFile, dates: Dates) -> list[Sequences]:
    """The sequences of the patients of a source, as `predict` reads them, shard by shard."""
    config = package.config
    found: list[Sequences] = []
    with prepared(package, source, max(dates.on, default=config.landmark)) as (events, engine):
        index = eligible_dates(events, engine, config, dates.table(read_events(engine, events)))
        lookup = lookup_of(events, engine, config, package.vocabulary)
        for shard in shards(events, package.vocabulary, lookup):
            for part in parts_of(index, shard):
                rows = np.searchsorted(shard.store.subjects, part["subject_id"].to_numpy())
                days = part["index_day"].to_numpy().astype(np.int64)
                found.append(package.encoder.sequences(shard.store, rows, days))
    return found


def padded(sequences: Sequences) -> dict[str, np.ndarray]:
    """The inputs of the ONNX model for these sequences, padded to the longest."""
    lengths, starts = sequences.lengths, sequences.offsets[:-1]
    place = np.arange(int(lengths.max()))
    mask = place < lengths[:, None]
    source = (starts[:, None] + place)[mask]
    days = sequences.age_days - np.repeat(sequences.age_days[starts], lengths)
    columns = {
        "token": sequences.token,
        "age_days": sequences.age_days,
        "days": days,
        "count": sequences.count,
    }
    inputs: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        inputs[name] = np.full((*mask.shape, *values.shape[1:]), PAD, np.int64)
        inputs[name][mask] = values[source]
    return inputs | {"mask": mask}


def difference(file: Path, encoder: EncoderMember, sequences: Sequences) -> float:
    """The largest difference of a logit between the ONNX model and the package's encoder."""
    expected = logits(encoder.model, sequences, encoder.device).numpy()
    return float(np.abs(run(file, sequences) - expected).max(initial=0))


def run(file: Path, sequences: Sequences) -> np.ndarray:
    """Logits of the ONNX model in ONNX Runtime, float64 [n]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    found = np.empty(len(sequences))
    for start in range(0, len(found), BATCH):
        part = slice(start, start + BATCH)
        outputs = session.run([OUTPUT], padded(_slice(sequences, start, start + BATCH)))
        found[part] = np.asarray(outputs[0])
    return found


def made_up(package: ModelPackage, seed: int = 0) -> Sequences:
    """Sequences of random tokens, ages and counts, of all lengths up to the package's longest."""
    rng = np.random.default_rng(seed)
    config = package.config
    lengths = np.unique(np.linspace(LEADING, config.tokens.max_length, MADE_UP).round().astype(int))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    token = rng.integers(FIRST_CODE, config.vocabulary_size, offsets[-1]).astype(np.int32)
    ages = []
    for length in lengths:
        age = int(rng.integers(0, 100 * 365))
        before = np.sort(rng.integers(0, min(age, 4000) + 1, length - LEADING))[::-1]
        ages += [[age] * LEADING, age - before]
    token[offsets[:-1]] = CLS
    token[offsets[:-1] + 1] = rng.integers(FIRST_SEX, FIRST_CODE, len(lengths))
    count = np.sort(rng.integers(0, 200, (offsets[-1], len(WINDOWS_DAYS))), axis=1).clip([0, 0, 0, 1])
    return Sequences(token, np.concatenate(ages).astype(np.int32), offsets, count.astype(np.uint8))


def _slice(sequences: Sequences, start: int, stop: int) -> Sequences:
    offsets = sequences.offsets[start : stop + 1]
    part = slice(offsets[0], offsets[-1])
    return Sequences(
        sequences.token[part], sequences.age_days[part], offsets - offsets[0], sequences.count[part]
    )


def _onnx_bytes(package: ModelPackage, encoder: EncoderMember) -> bytes:
    """The ONNX model, with what it is in its metadata."""
    import onnx

    model = ExportableClassifier(encoder.model.to("cpu")).eval()
    example = padded(_slice(made_up(package), 1, 4))
    arguments = tuple(torch.from_numpy(example[name]) for name in INPUTS)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    with _quiet():
        program = torch.onnx.export(
            model,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_shapes=[{0: batch, 1: length}] * len(INPUTS),
            verbose=False,
        )
    encoder.model.to(encoder.device)
    assert program is not None
    proto = program.model_proto
    proto.doc_string = (__doc__ or "").strip()
    metadata = {
        "claimscale.package": package.config.name,
        "claimscale.digest": package.digest,
        "claimscale.member": package.config.members[package.members.index(encoder)].cell,
        "claimscale.max_length": str(package.config.tokens.max_length),
        "claimscale.deduplicate": package.config.tokens.deduplicate,
    }
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Any:
    """PyTorch's exporter prints its steps, and warns of its own deprecations."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

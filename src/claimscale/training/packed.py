"""A microbatch of pretraining as one block of memory, prepared ahead: one copy sends it to a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from claimscale.model.attention import BatchLayout, QueryPositions, bounds_of, longest_step, query_bounds
from claimscale.model.cross_entropy import IGNORED
from claimscale.model.inputs import EncoderInputs, IncidentTargets
from claimscale.model.pretraining_loss import PretrainingInputs
from claimscale.tokens.batches import Batch, Masked
from claimscale.tokens.incident_codes import IncidentCodes
from claimscale.training.device import cls_positions

ALIGNMENT = 256
"""Bytes; compiled code reads aligned arrays in larger pieces."""

DTYPES: dict[str, torch.dtype] = {
    "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8, "bool": torch.bool
}  # fmt: skip


@dataclass(frozen=True)
class PackedMicrobatch:
    """The arrays of a microbatch, one after another in `block` uint8, and where each of them lies.

    `longest` is at least the longest length; `predicts_incident` says whether there are incident codes.
    """

    block: Tensor
    places: dict[str, tuple[int, np.dtype, tuple[int, ...]]]
    longest: int
    predicts_incident: bool

    @classmethod
    def of(
        cls, batch: Batch, masked: Masked, codes: IncidentCodes | None, device: torch.device
    ) -> PackedMicrobatch:
        """The microbatch in memory from which `device` copies without a wait."""
        arrays = _arrays(batch, masked, codes)
        places, end = {}, 0
        for name, array in arrays.items():
            places[name] = end, array.dtype, array.shape
            end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        block = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        flat = block.numpy()
        for name, (start, _, _) in places.items():
            array = arrays[name]
            np.copyto(flat[start : start + array.nbytes].view(array.dtype).reshape(array.shape), array)
        return cls(block, places, longest_step(batch.lengths), codes is not None)

    def to(self, device: torch.device, weights: Tensor) -> PretrainingInputs:
        """The inputs of `pretraining_loss` on the device, with these weights of the losses, float32 [2]."""
        block = self.block.to(device, non_blocking=True)
        of = {name: _view(block, *place) for name, place in self.places.items()}
        layout = BatchLayout((), of["bounds"], self.longest, of["row"])
        incident = None
        if self.predicts_incident:
            incident = IncidentTargets(of["new"], of["known"], of["has_full_horizon"])
        return PretrainingInputs(
            EncoderInputs(of["token"], of["age_days"], of["days"], of["count"], layout),
            of["is_masked"],
            QueryPositions(of["query"], of["query"], None, (), of["query_bounds"]),
            of["target"],
            weights,
            of["cls"],
            incident,
        )


def _arrays(batch: Batch, masked: Masked, codes: IncidentCodes | None) -> dict[str, np.ndarray]:
    """The tensors of `PretrainingInputs` by name."""
    first = cls_positions(batch)
    cls = first if codes is not None else first[:0]
    query = np.sort(np.concatenate((masked.position, cls)))
    target = np.full(len(query), IGNORED, np.int64)
    target[np.searchsorted(query, masked.position)] = masked.target
    is_masked = np.zeros(len(batch.token), np.bool_)
    is_masked[masked.position] = True
    arrays = {
        "token": batch.token,
        "age_days": batch.age_days,
        "days": batch.days,
        "count": batch.count,
        "bounds": bounds_of(batch.lengths),
        "row": np.repeat(np.arange(len(batch.lengths), dtype=np.int32), batch.lengths),
        "is_masked": is_masked,
        "query": query,
        "query_bounds": query_bounds(query, np.cumsum(batch.lengths)),
        "target": target,
        "cls": np.searchsorted(query, cls),
    }
    if codes is not None:
        lists = {"new": codes.new, "known": codes.known}
        pairs = {name: np.stack(one.pairs(batch.index)).astype(np.int32) for name, one in lists.items()}
        arrays |= {**pairs, "has_full_horizon": codes.has_full_horizon[batch.index]}
    return arrays


def _view(block: Tensor, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> Tensor:
    size = int(np.prod(shape)) * dtype.itemsize
    return block[start : start + size].view(DTYPES[dtype.name]).view(shape)

"""What fits into a GPU's memory: the corpus, and how much of a step at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from claimscale.model.attention import BatchLayout
from claimscale.model.encoder import Inputs
from claimscale.tokens.batches import Batch, Masked
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import MASK
from claimscale.training import loop

CORPUS_SHARE = 0.25
"""Of the free memory, what the token arrays may take."""
USED_SHARE = 0.8
"""Of the memory left, what a part may take by measurement: parts of equal size differ in shape."""
PROBE_POSITIONS = 1 << 14
LARGEST_PART = 1 << 20
SMALLEST_PART = 1 << 10


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that this process could still use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def part_for(free: float, peak: float, positions: int) -> int:
    """The largest part, a power of two of positions, that fits where one of `positions` took `peak` bytes.

    >>> part_for(free=64e9, peak=3.1e9, positions=16_384)
    262144
    """
    fitting = USED_SHARE * free / max(peak, 1) * positions
    part = SMALLEST_PART
    while 2 * part <= min(fitting, LARGEST_PART):
        part *= 2
    return part


def measured_part(train_part: Callable[[int], int], held: int, device: torch.device) -> int:
    """The part for this GPU: `train_part` runs one of about so many positions and returns how many it had.

    `held` is what training will take besides parts.
    """
    torch.cuda.reset_peak_memory_stats(device)
    before, positions, tried = torch.cuda.memory_allocated(device), 0, PROBE_POSITIONS
    while not positions:
        try:
            positions = train_part(tried)
        except torch.OutOfMemoryError:
            if tried <= SMALLEST_PART:
                raise
        torch.cuda.empty_cache()
        tried //= 2
    peak = torch.cuda.max_memory_allocated(device) - before
    return part_for(free_memory(device) - held, peak, positions)


class ResidentCorpus:
    """Token arrays kept on the device, so that a step sends only where its positions lie in them."""

    def __init__(self, sequences: Sequences, device: torch.device) -> None:
        self.device = device
        self.token = torch.from_numpy(sequences.token).to(device)
        self.age_days = torch.from_numpy(sequences.age_days).to(device)
        self.count = torch.from_numpy(sequences.count).to(device)

    @classmethod
    def if_it_fits(cls, sequences: Sequences, device: torch.device) -> ResidentCorpus | None:
        size = sum(array.nbytes for array in (sequences.token, sequences.age_days, sequences.count))
        if device.type != "cuda" or size > CORPUS_SHARE * free_memory(device):
            return None
        return cls(sequences, device)

    def masked(self, batch: Batch, masked: Masked) -> tuple[Inputs, Tensor, Tensor]:
        """What `loop.on_device` makes of the masked batch, the positions hidden and their codes."""
        source = loop.tensor(batch.source.astype(np.int32), self.device)
        position = loop.tensor(masked.position, self.device)
        layout = BatchLayout.of(batch.lengths, self.device)
        token, age_days = self.token[source], self.age_days[source]
        newest = age_days[layout.bounds[:-1]]
        # Told how many there are, the device need not be waited for.
        newest = newest.repeat_interleave(layout.bounds.diff(), output_size=len(source))
        hidden = token.index_fill(0, position, MASK)
        inputs = Inputs(hidden, age_days, age_days - newest, self.count[source], layout)
        return inputs, position, token[position].long()

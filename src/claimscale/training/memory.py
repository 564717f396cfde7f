"""GPU memory: the size of a microbatch that fits, and the corpus kept on the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from claimscale.model.attention import BatchLayout
from claimscale.model.encoder import EncoderInputs
from claimscale.tokens.batches import Batch, Masked
from claimscale.tokens.sequences import Sequences
from claimscale.tokens.special_tokens import MASK
from claimscale.training.device import to_device

CORPUS_SHARE = 0.25
"""The part of the free memory that the token arrays may take."""
USED_SHARE = 0.8
"""The part of the remaining memory for a microbatch, as measured: equal sizes differ in shape."""
PROBE_TOKENS = 1 << 14
LARGEST_MICROBATCH = 1 << 20
SMALLEST_MICROBATCH = 1 << 10


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that this process can still use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def microbatch_for(free: float, peak: float, tokens: int) -> int:
    """The largest microbatch, a power of two tokens, that fits if one of `tokens` took `peak` bytes.

    >>> microbatch_for(free=64e9, peak=3.1e9, tokens=16_384)
    262144
    """
    fitting = USED_SHARE * free / max(peak, 1) * tokens
    size = SMALLEST_MICROBATCH
    while 2 * size <= min(fitting, LARGEST_MICROBATCH):
        size *= 2
    return size


def measured_microbatch(train: Callable[[int], int], held: int, device: torch.device) -> int:
    """The microbatch for this GPU: `train` runs one of about so many tokens and returns its actual size.

    `held` are the bytes that training takes besides microbatches.
    """
    torch.cuda.reset_peak_memory_stats(device)
    before, tokens, tried = torch.cuda.memory_allocated(device), 0, PROBE_TOKENS
    while not tokens:
        try:
            tokens = train(tried)
        except torch.OutOfMemoryError:
            if tried <= SMALLEST_MICROBATCH:
                raise
        torch.cuda.empty_cache()
        tried //= 2
    peak = torch.cuda.max_memory_allocated(device) - before
    return microbatch_for(free_memory(device) - held, peak, tokens)


class ResidentCorpus:
    """Token arrays kept on the device: a step sends only the indices of its positions."""

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

    def masked(self, batch: Batch, masked: Masked) -> tuple[EncoderInputs, Tensor, Tensor]:
        """As `pretraining_run.masked_inputs`: the masked batch, the masked positions and their codes."""
        source = to_device(batch.source.astype(np.int32), self.device)
        position = to_device(masked.position, self.device)
        layout = BatchLayout.of(batch.lengths, self.device)
        token, age_days = self.token[source], self.age_days[source]
        newest = age_days[layout.bounds[:-1]]
        # A known output size spares a wait for the device.
        newest = newest.repeat_interleave(layout.bounds.diff(), output_size=len(source))
        masked_token = token.index_fill(0, position, MASK)
        inputs = EncoderInputs(masked_token, age_days, age_days - newest, self.count[source], layout)
        return inputs, position, token[position].long()

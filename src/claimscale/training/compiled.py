"""Compilation of the loss for a GPU, counted and never left out in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._functorch import config as functorch

from claimscale.findings import Finding, finding

BACKEND = "inductor"

_NO_NOTE: Finding | None = None

log = logging.getLogger(__name__)


class CompiledLoss:
    """A function of tensors that returns a loss, compiled as one graph for all numbers of positions.

    Compiled code of earlier sizes is dropped: torch compiles the code of one function only a few times in a
    process, and runs it uncompiled afterwards. If compilation fails the function runs as it is, which the log
    and `note` say.

    Attributes:
        graphs: how many graphs have been compiled.
        note: why the function is not compiled; None if it is.
    """

    def __init__(self, function: Callable[..., Tensor], where: str) -> None:
        self.graphs, self.note = 0, _NO_NOTE
        self._function, self._where = function, where
        torch._dynamo.reset()
        # Numbers such as multipliers are constants of a size. An error in the gradient's compilation must be
        # raised here as well, not while gradients are accumulated.
        torch._dynamo.config.specialize_float = True
        functorch.force_non_lazy_backward_lowering = True
        self._compiled = torch.compile(function, dynamic=True, fullgraph=True, backend=self._compile)

    def __call__(self, *arguments: Any) -> Tensor:
        if self.note is None:
            try:
                return self._compiled(*arguments)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # of many kinds; one of the function itself is raised again below
                reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                self.note = finding("training.uncompiled", size=self._where, reason=reason[:200])
                log.warning("%s", self.note.text)
        return self._function(*arguments)

    def entry(self) -> dict[str, int]:
        """The fields of `cell.json`."""
        return {"graphs": self.graphs, "uncompiled": int(self.note is not None)}

    def _compile(self, graph: Any, inputs: Any) -> Any:
        from torch._inductor import config  # only a GPU has use for it

        self.graphs += 1
        # Conversions of weights and of their gradients, a kernel for each, become kernels of many.
        with config.patch(combo_kernels=True):
            return torch._dynamo.lookup_backend(BACKEND)(graph, inputs)

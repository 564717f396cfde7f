"""Modules of other people's code, imported from a checkout without installing it.

Checkouts have modules of the same names (`model`, `utils`), files that import what they do not need here, and
packages that no longer import as a whole. `checkout` lends the modules of one checkout at a time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

Weights = dict[str, Tensor]


class _Placeholder(ModuleType):
    """A module that has every name: an empty torch module, which may be a base class or never be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return nn.Module


class _Placeholders(MetaPathFinder, Loader):
    """Finds placeholders for some packages and all of their modules."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        wanted = fullname.split(".")[0] in self.packages
        return ModuleSpec(fullname, self, is_package=True) if wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _Placeholder(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextmanager
def checkout(
    folder: Path, bare: Sequence[str] = (), unneeded: Sequence[str] = ()
) -> Iterator[Callable[[str], Any]]:
    """A function that imports modules of the checkout, which are forgotten at the end.

    The `__init__.py` of packages in `bare` are not run. Packages in `unneeded` are replaced by placeholders,
    for imports whose names are not used. Raises ImportError where something lacks.
    """
    if not folder.is_dir():
        raise ImportError(f"no checkout {folder.name}")
    before, finder = dict(sys.modules), _Placeholders(unneeded)
    sys.path.insert(0, str(folder))
    sys.meta_path.insert(0, finder)
    try:
        for name in bare:
            package = ModuleType(name)
            package.__path__ = [str(folder.joinpath(*name.split(".")))]
            sys.modules[name] = package
        yield importlib.import_module
    finally:
        sys.meta_path.remove(finder)
        sys.path.remove(str(folder))
        # Found first, since a package without a file needs its parent to say where it is.
        lent = {
            name
            for name, module in list(sys.modules.items())
            if isinstance(module, _Placeholder) or _place(module).is_relative_to(folder)
        }
        for name in lent:
            del sys.modules[name]
        sys.modules.update(before)


def _place(module: ModuleType) -> Path:
    """The file or folder of a module."""
    known = vars(module)
    return Path(known.get("__file__") or next(iter(known.get("__path__", ())), "/"))


class Seen:
    """Keeps the first argument of the last call of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.value: Any = None
        module.register_forward_pre_hook(self._keep)

    def _keep(self, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.value = arguments[0].detach()


def bert_layers(layers: nn.TransformerEncoder, prefix: str) -> Weights:
    """The weights of layers under the names that BERT's have in public code."""
    found: Weights = {}
    for number, layer in enumerate(layers.layers):
        assert isinstance(layer, nn.TransformerEncoderLayer)
        attention = layer.self_attn
        for part, weights in (("weight", attention.in_proj_weight), ("bias", attention.in_proj_bias)):
            for name, weight in zip(("query", "key", "value"), weights.chunk(3), strict=True):
                found[f"{prefix}.{number}.attention.self.{name}.{part}"] = weight
        parts = {
            "attention.output.dense": attention.out_proj,
            "attention.output.LayerNorm": layer.norm1,
            "intermediate.dense": layer.linear1,
            "output.dense": layer.linear2,
            "output.LayerNorm": layer.norm2,
        }
        for name, module in parts.items():
            found |= named(module, f"{prefix}.{number}.{name}")
    return {name: weight.detach() for name, weight in found.items()}


def named(module: nn.Module, prefix: str) -> Weights:
    """The weights of a module under a prefix."""
    return {f"{prefix}.{name}": weight.detach() for name, weight in module.named_parameters()}


def copy_weights(model: nn.Module, weights: Weights, apart: tuple[str, ...] = ()) -> None:
    """Load weights into the public model. Every one must be given, but for names that begin as in `apart`."""
    missing, unexpected = model.load_state_dict(weights, strict=False)
    lacking = [name for name in missing if not name.startswith(apart)]
    if lacking or unexpected:
        raise ValueError(f"weights without a counterpart: {[*lacking, *unexpected]}")

"""Checkpoints, whole or not there: weights and optimizer moments, then a JSON file that vouches for them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from claimscale import runs

KEPT = 2
MOMENTS = ("exp_avg", "exp_avg_sq")


def save_tensors(file: Path, tensors: dict[str, Tensor]) -> str:
    """Write a safetensors file atomically and return its SHA-256."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
    return hashlib.sha256(content).hexdigest()


def save_checkpoint(
    folder: Path, step: int, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Save the state after `step` steps of the work with this identity (a fingerprint of its inputs)."""
    runs.make_folder(folder)
    tensors = {}
    for name, weight in model.named_parameters():
        tensors[f"model.{name}"] = weight
        tensors |= {f"{moment}.{name}": optimizer.state[weight][moment] for moment in MOMENTS}
    digest = save_tensors(folder / f"step-{step:09d}.safetensors", tensors)
    # The JSON comes last: without it, or with another digest, the tensors count for nothing.
    runs.write_json(folder / f"step-{step:09d}.json", {"step": step, "identity": identity, "sha256": digest})
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def resume(folder: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest sound checkpoint of this identity; returns its step, 0 if there is none."""
    for mark in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            entry = runs.read_json(mark)
            content = mark.with_suffix(".safetensors").read_bytes()
            if entry["identity"] != identity or hashlib.sha256(content).hexdigest() != entry["sha256"]:
                continue
            tensors = load(content)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            continue
        _restore(tensors, int(entry["step"]), model, optimizer)
        return int(entry["step"])
    return 0


def remove(folder: Path) -> None:
    """Once the work is done its checkpoints only cost disk."""
    shutil.rmtree(folder, ignore_errors=True)


def _restore(
    tensors: dict[str, Tensor], step: int, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors[f"model.{name}"])
            state = {moment: tensors[f"{moment}.{name}"].to(weight.device) for moment in MOMENTS}
            optimizer.state[weight] = {"step": torch.tensor(float(step), device=weight.device), **state}

"""Saved state of a pretraining run: modules and optimizers by name, and the step they stand at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

Stateful = nn.Module | torch.optim.Optimizer


def save_state(path: Path, modules: Mapping[str, Stateful], step: int) -> None:
    """Write the state beside its place, then put it there, so that a cut-off run leaves the last one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    torch.save({"step": step, **{name: module.state_dict() for name, module in modules.items()}}, beside)
    beside.replace(path)


def load_state(path: Path, modules: Mapping[str, Stateful]) -> int:
    """Load the state into the modules; returns the step to go on from, 0 where there is no file."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state[name])
    return int(state["step"])

"""How a pretraining runs: step by step, logged, saved now and then, gone on with where it was cut off."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Stateful = nn.Module | torch.optim.Optimizer
LOG_EVERY = 100


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training to be run.

    Attributes:
        name: What it is called in the log.
        step: Does the step of that number; returns losses by name.
        modules: All that changes, by the name under which it is saved.
        steps: How many steps there are.
        save_every: Steps between two checkpoints.
        judge: Called at each checkpoint with the number of steps done.
    """

    name: str
    step: Callable[[int], Mapping[str, Tensor]]
    modules: Mapping[str, Stateful]
    steps: int
    save_every: int
    judge: Callable[[int], None] | None = None


def save_state(path: Path, modules: Mapping[str, Stateful], step: int) -> None:
    """Write the state beside its place, then put it there: a cut-off run leaves the last one whole."""
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


def run(training: Run, checkpoint: Path, seconds: float = math.inf) -> None:
    """Run a training, from its checkpoint if there is one; stops early, resumable, after `seconds`."""
    start = load_state(checkpoint, training.modules)
    began = time.monotonic()
    mean: dict[str, Tensor] = {}
    for number in range(start, training.steps):
        for name, value in training.step(number).items():
            mean[name] = mean[name] * 0.99 + value * 0.01 if name in mean else value
        done, last = number + 1, number + 1 == training.steps
        late = time.monotonic() - began > seconds
        if done % LOG_EVERY == 0 or last:
            rate = (done - start) / (time.monotonic() - began)
            shown = " ".join(f"{name} {float(value):.3f}" for name, value in mean.items())
            logger.info("%s step %d, %.1f a second: %s", training.name, done, rate, shown)
        if done % training.save_every == 0 or last or late:
            save_state(checkpoint, training.modules, done)
            if training.judge is not None:
                training.judge(done)
        if late:
            return

"""The largest batch that a GPU's memory holds, found by trying: one step, half as many if it does not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rvc.errors import ConfigError

logger = logging.getLogger(__name__)

AUTOMATIC = 8
"""What a batch has if memory holds it: more makes a small set of recordings no better."""


def fitting_batch_size(attempt: Callable[[int], None], first: int = AUTOMATIC) -> int:
    """Find how many items a batch may have.

    Args:
        attempt: Takes a step with so many items, the largest that can come, and leaves no trace of it.
        first: How many to try first.

    Returns:
        `first`, or as many as are left of it after halving until it fits.

    Raises:
        ConfigError: Not even the least fits.
    """
    items = first
    while True:
        try:
            attempt(items)
        except torch.OutOfMemoryError as error:
            if items == 1:
                raise ConfigError(
                    "The memory of the GPU does not hold a single slice of these recordings; close what else "
                    "uses it, prepare shorter slices, or set gradient_checkpointing."
                ) from error
            logger.info("a batch of %d does not fit", items)
            items //= 2
        else:
            return items
        # Here, where the failed step's tensors are gone.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def on_cpu(state: Any) -> Any:  # noqa: ANN401 -- nested as states are
    """Copy a state, tensors into the CPU's memory, of which there is more."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {name: on_cpu(part) for name, part in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(on_cpu(part) for part in state)
    return state

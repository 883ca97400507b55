"""Golden data: what upstream programs computed with weights and noise that can be made again.

A test asks for a file by name and is skipped where it is not there. GOLDEN_DIR names another folder than
tests/golden, for files too large for the repository.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray


def golden_path(name: str) -> Path:
    """The file of this name; without it the test is skipped."""
    path = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden") / name
    if not path.is_file():
        pytest.skip(f"golden data {name} is not in {path.parent}; set GOLDEN_DIR to the folder that has it")
    return path


def golden(name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file."""
    with np.load(golden_path(name), allow_pickle=False) as arrays:
        return dict(arrays)


def recipe(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Normal noise that depends on nothing but a name and a shape."""
    noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(int(np.prod(shape)))
    return noise.reshape(shape).astype(np.float32)


def recipe_weights(
    state: Mapping[str, torch.Tensor], prefix: str, scale: float = 1.0
) -> dict[str, torch.Tensor]:
    """Weights for every entry of a state dict, made from the names alone, of sizes that suit a network."""
    made = {}
    for name, tensor in state.items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            made[name] = torch.zeros(shape, dtype=torch.int64)
            continue
        noise = torch.from_numpy(recipe(prefix + name, shape or (1,))).reshape(shape)
        if name.endswith("weight_g"):
            noise = 1 + 0.1 * noise
        elif name.endswith("running_mean"):
            noise = 0.1 * noise
        elif name.endswith("running_var"):
            noise = 1 + 0.1 * noise.abs()
        elif len(shape) >= 2:
            noise = noise * (scale / math.prod(shape[1:]) ** 0.5)
        elif name.endswith("weight"):
            noise = 1 + 0.1 * noise
        else:
            noise = 0.05 * noise
        made[name] = noise
    return made

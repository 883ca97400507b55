"""Golden data of networks, found by what they hold: whatever the files are called and however large the nets.

A voice is a .pth beside an .npz of the same stem; everything else is told by the names of its arrays.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rvc.vits.config import SynthesizerConfig
from rvc.vits.synthesizer import VitsSynthesizer
from rvc.vits.voice_model import read_voice_model

LATENT = (2e-5, 1e-4)  # absolute, and relative to the largest number
AUDIO = (2e-4, 1e-4)


def folder() -> Path:
    """Where the golden data is: GOLDEN_DIR, or tests/golden."""
    return Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")


def vectors_with(*names: str) -> list[Path]:
    """The .npz files that hold all of these arrays."""
    return [path for path in sorted(folder().glob("*.npz")) if set(names) <= set(names_in(path))]


def names_in(path: Path) -> list[str]:
    """What the arrays of an .npz file are called."""
    with np.load(path, allow_pickle=False) as file:
        return list(file.files)


def voices() -> list[Path]:
    """The .pth files that have an .npz beside them."""
    return [path for path in sorted(folder().glob("*.pth")) if path.with_suffix(".npz").is_file()]


def stem(path: Path) -> str:
    return path.stem


@lru_cache(maxsize=4)
def arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of an .npz file that are numbers, as tensors; nobody may change them."""
    with np.load(path, allow_pickle=False) as file:
        loaded = {name: file[name] for name in file.files}
    return {name: torch.from_numpy(array) for name, array in loaded.items() if array.dtype.kind in "fiub"}


@lru_cache(maxsize=2)
def voice(path: Path) -> VitsSynthesizer:
    model = read_voice_model(path)
    return VitsSynthesizer.for_inference(model.config, model.weights)


@lru_cache(maxsize=8)
def voice_config(path: Path) -> SynthesizerConfig:
    return read_voice_model(path).config


def assert_near(made: Tensor, expected: Tensor, tolerance: tuple[float, float], what: str) -> None:
    """Compare by the largest difference, which may be absolute or a share of the largest number."""
    assert made.shape == expected.shape, f"{what}: {tuple(made.shape)} is not {tuple(expected.shape)}"
    absolute, relative = tolerance
    difference = float((made.double() - expected.double()).abs().max())
    allowed = max(absolute, relative * float(expected.double().abs().max()))
    assert difference <= allowed, f"{what} differs by {difference:.3g}, more than {allowed:.3g}"

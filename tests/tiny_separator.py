"""What separates songs, at toy size: the real network with random weights, and one that finds half of all."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny import song

RATE = 44_100
KWARGS: dict[str, Any] = {
    "sources": ["drums", "bass", "other", "vocals"],
    "channels": 8,
    "dconv_depth": 1,
    "t_layers": 1,
    "t_heads": 2,
    "t_hidden_scale": 1.0,
    "bottom_channels": 16,
    "segment": Fraction(1, 2),
}
NEEDS_PACKAGE = "demucs-infer is not installed: pip install -r requirements-songs.txt"


def weights_file(path: Path, **kwargs: object) -> Path:
    """Write random weights as Meta publishes its own: half precision, and a class of the package demucs."""
    pytest.importorskip("demucs_infer", reason=NEEDS_PACKAGE)
    import torch
    from demucs_infer.htdemucs import HTDemucs

    network = HTDemucs(**KWARGS | kwargs)
    state = {name: tensor.half() for name, tensor in network.state_dict().items()}
    package = {"klass": HTDemucs, "args": (), "kwargs": KWARGS | kwargs, "state": state}
    package["training_args"] = {"dset": {"sources": KWARGS["sources"]}, "epochs": 360}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTDemucs, "__module__", "demucs.htdemucs")
        assert sys.modules["demucs.htdemucs"].HTDemucs is HTDemucs
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(package, path)
    return path


class HalfOfAll:
    """Finds in every window the same: a share of what is there."""

    rate_hz = RATE

    def __init__(self, window: int = 20_000, share: float = 0.5) -> None:
        self.window, self.share, self.heard = window, np.float32(share), 0

    def vocals(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        assert window.shape == (2, self.window)
        self.heard += 1
        return self.share * window


def band(seconds: float, rate_hz: int = RATE, channels: int = 2) -> NDArray[np.float32]:
    """A backing: chords that pulse, each channel with its own, (N, channels)."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    beat = np.exp(-4.0 * (time_s % 0.5))
    chords = [(110.0, 165.0, 220.0), (138.6, 207.7, 277.2)]
    sides = [0.08 * beat * sum(np.sin(2 * np.pi * hz * time_s) for hz in chord) for chord in chords]
    return np.stack(sides[:channels], axis=1).astype(np.float32)


def vocals(seconds: float, rate_hz: int = RATE) -> NDArray[np.float32]:
    """Something like a voice, (N, 1)."""
    from rvc.audio.resampling import resample

    return resample(song(seconds), 16_000, rate_hz)[: round(seconds * rate_hz), None]

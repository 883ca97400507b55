"""What excites the synthesizer: phase that runs through a whole recording (its noise: rvc/noise.py)."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_phase(f0_hz: Tensor) -> Tensor:
    """Cycles passed at the start of each frame, F0 linear between frames; (B, T) -> float64, (B, T)."""
    after = torch.cat([f0_hz[:, 1:], f0_hz[:, -1:]], 1)
    step = 0.005 * (f0_hz.double() + after.double())
    return step.cumsum(1) - step

"""What excites the synthesizer: phase that runs through a whole recording, noise that knows its place."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_FRAMES = 100


def frame_phase(f0_hz: Tensor) -> Tensor:
    """Cycles passed at the start of each frame, F0 linear between frames; (B, T) -> float64, (B, T)."""
    after = torch.cat([f0_hz[:, 1:], f0_hz[:, -1:]], 1)
    step = 0.005 * (f0_hz.double() + after.double())
    return step.cumsum(1) - step


def placed_noise(first_frame: int, frames: int, frame_samples: int) -> Tensor:
    """White noise of unit RMS that is the same at the same place of a recording however it is cut, (1, N).

    Args:
        first_frame: Place in the recording, in frames.
        frames: Length wanted, in frames.
        frame_samples: Samples per frame.
    """
    first, last = first_frame // BLOCK_FRAMES, (first_frame + max(frames, 1) - 1) // BLOCK_FRAMES
    blocks = [
        torch.randn(BLOCK_FRAMES * frame_samples, generator=torch.Generator().manual_seed(7919 * block + 1))
        for block in range(first, last + 1)
    ]
    start = (first_frame - first * BLOCK_FRAMES) * frame_samples
    return torch.cat(blocks)[None, start : start + frames * frame_samples]

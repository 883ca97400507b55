"""Noise that knows its place: the same at the same place of a recording, however that is cut."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_FRAMES = 100


def placed_noise(first_frame: int, frames: int, frame_samples: int, stream: int = 0) -> Tensor:
    """Draw white noise of unit RMS from that place on, (1, frames * frame_samples).

    Noises of different streams have nothing to do with each other.
    """
    first, last = first_frame // BLOCK_FRAMES, (first_frame + max(frames, 1) - 1) // BLOCK_FRAMES
    seeds = [1_000_000_007 * stream + 7919 * block + 1 for block in range(first, last + 1)]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    blocks = [torch.randn(BLOCK_FRAMES * frame_samples, generator=own) for own in generators]
    start = (first_frame - first * BLOCK_FRAMES) * frame_samples
    return torch.cat(blocks)[None, start : start + frames * frame_samples]

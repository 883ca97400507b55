"""Batches of different lengths: masks, and random stretches to train on.

Shapes:  B = batch, T = frames, C = channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rvc.errors import ConfigError


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Tell frames from padding.

    Args:
        lengths: Frames of each item, (B,).
        frames: T.

    Returns:
        1.0 for frames, 0.0 for padding, (B, 1, T).
    """
    positions = torch.arange(frames, device=lengths.device)
    return (positions < lengths[:, None])[:, None].float()


def random_starts(lengths: Tensor, segment_frames: int, draws: Tensor | None = None) -> Tensor:
    """Choose where in each item a training segment begins.

    Args:
        lengths: Frames of each item, (B,).
        segment_frames: Length of a segment; an item that is shorter gives its beginning and padding.
        draws: Numbers in 0..1, (B,); drawn here if None.

    Returns:
        First frames, (B,).
    """
    if draws is None:
        draws = torch.rand(lengths.shape, device=lengths.device)
    return (draws * (lengths - segment_frames + 1).clamp(min=1)).long()


def segments(signal: Tensor, starts: Tensor, length: int) -> Tensor:
    """Cut a stretch from each item.

    Args:
        signal: (B, C, T).
        starts: First position in each item, (B,).
        length: How many positions.

    Returns:
        (B, C, length).

    Raises:
        ConfigError: The signal is shorter than a stretch.
    """
    if signal.shape[-1] < length:
        raise ConfigError(
            f"A batch of {signal.shape[-1]} frames is shorter than a training segment of {length}; "
            "take longer slices."
        )
    positions = starts[:, None] + torch.arange(length, device=signal.device)
    return signal.gather(2, positions[:, None].expand(-1, signal.shape[1], -1))

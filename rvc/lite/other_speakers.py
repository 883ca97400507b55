"""A recording's content as other people would have it: what a voice hears when it speaks for a stranger.

Content still tells a little of who speaks. A synthesizer that is trained on nothing but its own speaker's
content relies on that; then a stranger's content makes it sound like the stranger. So it also trains on
content put together from other speakers' frames, found by retrieval, with the mean of its own, just as a
conversion moves the mean of what it hears (`rvc.voice`).

Shapes:  S = speakers (or groups of them), R = frames kept of each, C = content channels, T = frames.
Frames:  assets/builtin/others.safetensors, made by the recipe's stage "others".
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rvc.errors import CheckpointError
from rvc.lite.weights import BUILTIN

OTHERS_FILE = BUILTIN / "others.safetensors"
NEIGHBOURS = 4
LEAST_SHARE = 0.3


class OtherSpeakers:
    """Content frames of several speakers.

    Args:
        frames: Theirs, shape (S, R, C).
    """

    def __init__(self, frames: Tensor) -> None:
        self.frames = frames

    def say(self, content: Tensor, generator: torch.Generator) -> Tensor:
        """Let one of them say it, drawn at random, mixed with the content as it is by a random share.

        Args:
            content: Shape (T, C).
            generator: Decides the speaker and the share; on the content's device.

        Returns:
            Shape (T, C), with the mean of `content`.
        """
        draws = torch.rand(2, generator=generator, device=content.device).tolist()
        theirs = self.frames[int(draws[0] * len(self.frames))].to(content)
        share = LEAST_SHARE + (1.0 - LEAST_SHARE) * draws[1]
        nearest = torch.cdist(content, theirs).topk(min(NEIGHBOURS, len(theirs)), largest=False).indices
        found = theirs[nearest].mean(1)
        found = found + (content - found).mean(0)
        return content + share * (found - content)


def load_others(path: Path = OTHERS_FILE) -> OtherSpeakers:
    """Load the shipped frames.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        return OtherSpeakers(load_file(path)["frames"].float())
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{path.name} of the built-in engine cannot be read ({error}).") from error

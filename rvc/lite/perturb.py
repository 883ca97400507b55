"""Speech in another voice: what keeps a synthesizer from reading the voice out of what is said.

`Perturbation` changes the vocal tract and the tone of the sound, on power spectra (after Qian et al. 2022,
ContentVec, and Choi et al. 2021, NANSY). `ContentBank` changes the content, which still tells a little of
who speaks: frames of other speakers, found by retrieval, with the mean of the content itself, just as a
conversion moves the mean of what it hears (`rvc.voice`).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rvc.errors import CheckpointError
from rvc.lite.encoder import MEL_BANDS, log_mel, mel_bank, power_spectrum
from rvc.lite.weights import BUILTIN

WARPS = 25
WARP_RANGE = (0.76, 1.32)
OTHERS_FILE = BUILTIN / "others.safetensors"  # made by the recipe's stage "others"
NEIGHBOURS = 4
LEAST_SHARE = 0.3


class Perturbation:
    """Random views on one device; every draw comes from the generator that is passed in."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        low, high = map(math.log, WARP_RANGE)
        warps = torch.linspace(low, high, WARPS).exp().tolist()
        self.banks = torch.stack([mel_bank(warp) for warp in warps]).to(device)
        self.plain = mel_bank().to(device)

    def speaker_view(
        self, wav: Tensor, frame: Tensor, plain_share: float, generator: torch.Generator
    ) -> Tensor:
        """A log-mel, (B, T, 80), of 16 kHz crops, (B, N), with another vocal tract and tone but no noise.

        `frame`, (B, T), says which frame of the crop is shown; `plain_share` of the batch is not perturbed.
        """
        power = power_spectrum(wav)
        power = power.gather(1, frame[..., None].expand(-1, -1, power.shape[-1]))
        view = self.match_tone(power, generator)
        plain = self.uniform((wav.shape[0], 1, 1), 0, 1, generator) < plain_share
        return torch.where(plain, log_mel(power, self.plain), view)

    def match_tone(self, power: Tensor, generator: torch.Generator) -> Tensor:
        """A log-mel of another vocal tract, with a smooth change of tone, and for some a few bands lost."""
        chosen = torch.randint(WARPS, (power.shape[0],), generator=generator, device=self.device)
        mel = log_mel(power, self.banks[chosen])
        column = (mel.shape[0], 1, 1)
        band = torch.linspace(0, 1, MEL_BANDS, device=self.device)
        for ripples in (1, 2, 3, 5):
            height = torch.randn(column, generator=generator, device=self.device) * 0.45
            phase = self.uniform(column, 0, 6.3, generator)
            mel = mel + height * torch.cos(math.pi * ripples * band + phase)
        first = self.uniform(column, 0, 1, generator)
        lost = (band > first) & (band < first + self.uniform(column, 0.02, 0.12, generator))
        lost &= self.uniform(column, 0, 1, generator) < 0.3
        return torch.where(lost, mel.mean((1, 2), keepdim=True), mel)

    def uniform(self, size: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
        return torch.rand(size, generator=generator, device=self.device) * (high - low) + low


class ContentBank:
    """Content frames of several speakers or groups of them, (speakers, frames, C)."""

    def __init__(self, frames: Tensor) -> None:
        self.frames = frames

    def augment(self, content: Tensor, generator: torch.Generator) -> Tensor:
        """Let one of them, drawn at random, say the content, (T, C): mixed with it, its mean kept."""
        draws = torch.rand(2, generator=generator, device=content.device).tolist()
        theirs = self.frames[int(draws[0] * len(self.frames))].to(content)
        share = LEAST_SHARE + (1.0 - LEAST_SHARE) * draws[1]
        nearest = torch.cdist(content, theirs).topk(min(NEIGHBOURS, len(theirs)), largest=False).indices
        found = theirs[nearest].mean(1)
        found = found + (content - found).mean(0)
        return content + share * (found - content)


def load_others(path: Path = OTHERS_FILE) -> ContentBank:
    """Load the shipped frames; CheckpointError if the file is missing or damaged."""
    try:
        return ContentBank(load_file(path)["frames"].float())
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{path.name} of the built-in engine cannot be read ({error}).") from error

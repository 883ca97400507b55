"""Views of speech that say the same in another voice, room and microphone.

All of it works on power spectra (cheap, no resampling): vocal-tract warp (moves pitch and formants),
equaliser, gain, coloured noise, other speech in the background, reverberation, a narrow band, missing bands.
The idea of learning content as what survives such changes is that of Qian et al. 2022 (ContentVec) and Choi
et al. 2021 (NANSY).

A recording's content as other people would have it: what a voice hears when it speaks for a stranger.

Content still tells a little of who speaks. A synthesizer that is trained on nothing but its own speaker's
content relies on that; then a stranger's content makes it sound like the stranger. So it also trains on
content put together from other speakers' frames, found by retrieval, with the mean of its own, just as a
conversion moves the mean of what it hears (`rvc.voice`).

Shapes:  S = speakers (or groups of them), R = frames kept of each, C = content channels, T = frames.
Frames:  assets/builtin/others.safetensors, made by the recipe's stage "others".
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rvc.errors import CheckpointError
from rvc.lite.encoder import MEL_BANDS, RATE_HZ, log_mel, mel_bank, power_spectrum
from rvc.lite.weights import BUILTIN

WARPS = 25
WARP_RANGE = (0.76, 1.32)


class Perturbation:
    """Random views on one device; every draw comes from the generator that is passed in."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        low, high = map(math.log, WARP_RANGE)
        warps = torch.linspace(low, high, WARPS).exp().tolist()
        self.banks = torch.stack([mel_bank(warp) for warp in warps]).to(device)
        self.plain = mel_bank().to(device)

    def _uniform(self, size: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
        return torch.rand(size, generator=generator, device=self.device) * (high - low) + low

    def reverberate(self, wav: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Add a room (decaying noise, 0.1 to 0.6 s) to a share of the batch; (B, N) -> (B, N)."""
        batch, samples = wav.shape
        tail = RATE_HZ * 6 // 10
        decay_s = self._uniform((batch, 1), 0.1, 0.6, generator)
        time = torch.arange(tail, device=self.device) / RATE_HZ
        room = torch.randn((batch, tail), generator=generator, device=self.device) * torch.exp(
            -6.9 * time / decay_s
        )
        room = room / room.square().sum(1, keepdim=True).sqrt()
        size = samples + tail
        wet = torch.fft.irfft(torch.fft.rfft(wav, size) * torch.fft.rfft(room, size), size)[:, :samples]
        amount = self._uniform((batch, 1), 0.05, 0.5, generator)
        used = self._uniform((batch, 1), 0, 1, generator) < share
        return torch.where(used, wav + amount * wet, wav)

    def view(self, wav: Tensor, frame: Tensor, generator: torch.Generator) -> Tensor:
        """One perturbed log-mel.

        Args:
            wav: 16 kHz crops, (B, N).
            frame: Which frame of the crop each frame of the view shows, (B, T); stretches time.
            generator: Decides the view.

        Returns:
            (B, T, 80).
        """
        batch = wav.shape[0]
        column = (batch, 1, 1)
        power = power_spectrum(self.reverberate(wav, 0.25, generator))
        power = power.gather(1, frame[..., None].expand(-1, -1, power.shape[-1]))
        energy = power.mean((1, 2), keepdim=True) + 1e-9
        hz = torch.linspace(0.02, 1, power.shape[-1], device=self.device)
        colour = hz ** -self._uniform(column, -0.3, 2.2, generator)
        grain = -(torch.rand(power.shape, generator=generator, device=self.device) + 1e-6).log()
        noise = colour / colour.mean(-1, keepdim=True) * grain * energy
        noise *= 10 ** (-self._uniform(column, 2, 40, generator) / 10)
        noise *= self._uniform(column, 0, 1, generator) < 0.6
        babble = (
            power.roll(1, 0)
            * energy
            / energy.roll(1, 0)
            * 10 ** (-self._uniform(column, 12, 30, generator) / 10)
        )
        babble *= self._uniform(column, 0, 1, generator) < 0.25
        power = (power + noise + babble) * 10 ** (self._uniform(column, -9, 7, generator) / 10)
        narrow = self._uniform(column, 0, 1, generator) < 0.15
        power = torch.where(narrow & (hz > self._uniform(column, 0.4, 0.95, generator)), 1e-8, power)
        mel = log_mel(power, self._banks(batch, generator))
        return self._equalise(mel, generator)

    def speaker_view(
        self, wav: Tensor, frame: Tensor, plain_share: float, generator: torch.Generator
    ) -> Tensor:
        """A log-mel with another vocal tract and tone but no noise; a share of the batch is left as it is.

        Args:
            wav: 16 kHz crops, (B, N).
            frame: Which frame of the crop each frame of the view shows, (B, T).
            plain_share: Share of the batch that is not perturbed, 0..1.
            generator: Decides the view.

        Returns:
            (B, T, 80).
        """
        power = power_spectrum(wav)
        power = power.gather(1, frame[..., None].expand(-1, -1, power.shape[-1]))
        view = self._equalise(log_mel(power, self._banks(wav.shape[0], generator)), generator)
        plain = self._uniform((wav.shape[0], 1, 1), 0, 1, generator) < plain_share
        return torch.where(plain, log_mel(power, self.plain), view)

    def _banks(self, batch: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(WARPS, (batch,), generator=generator, device=self.device)
        return self.banks[chosen]

    def _equalise(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Random smooth tone control, and for some a few bands lost."""
        column = (mel.shape[0], 1, 1)
        band = torch.linspace(0, 1, MEL_BANDS, device=self.device)
        for ripples in (1, 2, 3, 5):
            height = torch.randn(column, generator=generator, device=self.device) * 0.45
            mel = mel + height * torch.cos(
                math.pi * ripples * band + self._uniform(column, 0, 6.3, generator)
            )
        first = self._uniform(column, 0, 1, generator)
        lost = (band > first) & (band < first + self._uniform(column, 0.02, 0.12, generator))
        lost &= self._uniform(column, 0, 1, generator) < 0.3
        return torch.where(lost, mel.mean((1, 2), keepdim=True), mel)


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

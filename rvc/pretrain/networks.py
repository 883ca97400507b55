"""What only the recipe trains: heads of the content encoder, large discriminators of the base synthesizer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from rvc.lite.encoder import MEL_BANDS, ConvNeXtBlock
from rvc.lite.losses import Discriminator, Discriminators, whole_windows
from rvc.pretrain.labels import PHONES

VOICE_DIM = 48
PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128))  # window and hop in samples
CHANNELS = 24


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: float) -> Tensor:  # noqa: ANN401 -- torch's own type
        context.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return -context.weight * gradient, None


class VoiceReference(nn.Module):
    """Log-mel of any stretch of a recording, (B, T, 80) -> what stays the same in it, (B, VOICE_DIM)."""

    def __init__(self, channels: int = 96) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(MEL_BANDS, channels, 5, padding=2), nn.GELU(),
            nn.Conv1d(channels, channels, 5, padding=2), nn.GELU(),
        )  # fmt: skip
        self.output = nn.Linear(2 * channels, VOICE_DIM)

    def forward(self, mel: Tensor) -> Tensor:
        h = self.layers(mel.transpose(1, 2) / 4 + 1.2).float()
        return self.output(torch.cat([h.mean(-1), h.std(-1)], 1))


class MelDecoder(nn.Module):
    """Content, pitch, level and a voice -> the log-mel that was said; (B, T, ...) -> (B, T, 80)."""

    def __init__(self, content_dim: int, channels: int = 160, blocks: int = 2) -> None:
        super().__init__()
        self.input = nn.Linear(content_dim + 3, channels)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, 5, 2, VOICE_DIM) for _ in range(blocks))
        self.output = nn.Linear(channels, MEL_BANDS)

    def forward(self, content: Tensor, contours: Tensor, voice: Tensor) -> Tensor:
        x = self.input(torch.cat([content, contours], -1))
        for block in self.blocks:
            x = block(x, voice[:, None])
        return self.output(x) * 2 - 5


class Heads(nn.Module):
    """All heads of the encoder's training: for phones, spectra and speakers."""

    def __init__(self, content_dim: int, speakers: int) -> None:
        super().__init__()
        self.phones = nn.Linear(content_dim, len(PHONES))
        self.voice = VoiceReference()
        self.decoder = MelDecoder(content_dim)
        self.speaker = nn.Sequential(nn.Linear(2 * content_dim, 256), nn.GELU(), nn.Linear(256, speakers))

    def speaker_logits(self, content: Tensor, inside: Tensor, reverse: float) -> Tensor:
        """Guess the speaker from the content's mean and spread; the encoder gets the gradient reversed."""
        content = _ReverseGradient.apply(content, reverse)  # type: ignore[no-untyped-call]
        weight = inside[..., None].float()
        count = weight.sum(1).clamp(min=1)
        mean = (content * weight).sum(1) / count
        spread = ((content - mean[:, None]).square() * weight).sum(1) / count
        return self.speaker(torch.cat([mean, (spread + 1e-5).sqrt()], 1))


def labelled_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy over the rows with a label (>= 0); 0 when there is none. Shapes (M, K), (M,)."""
    total = F.cross_entropy(logits, labels, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)


def contrast(a: Tensor, b: Tensor, heard: Tensor, temperature: float = 0.1) -> tuple[Tensor, Tensor]:
    """InfoNCE: how well heard frames of a find themselves in b, (B, T, C); and the share that do."""
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    likeness = a @ b.transpose(1, 2) / temperature  # (B, T, T)
    likeness = likeness.masked_fill(~heard[:, None, :], -1e4)
    target = torch.arange(a.shape[1], device=a.device).expand(a.shape[0], -1)
    target = torch.where(heard, target, -100)
    loss = F.cross_entropy(likeness.flatten(0, 1), target.flatten(), ignore_index=-100)
    found = (likeness.argmax(-1) == target).sum() / heard.sum().clamp(min=1)
    return loss, found


class PeriodDiscriminator(Discriminator):
    """Looks at every `period`-th sample (Kong et al. 2020, HiFi-GAN)."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period
        widths = (1, CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 8 * CHANNELS, 8 * CHANNELS)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if n < 4 else 1, 1), padding=(2, 0)))
            for n, (a, b) in enumerate(pairwise(widths))
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def picture(self, wav: Tensor) -> Tensor:
        usable = wav.shape[1] // self.period * self.period
        return wav[:, :usable].reshape(wav.shape[0], 1, -1, self.period) * 5


class ResolutionDiscriminator(Discriminator):
    """Looks at one complex spectrum, compressed, so that phase is judged too (Jang et al. 2021, UnivNet)."""

    def __init__(self, fft_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        widths, strides = (2, CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS), ((2, 1), (2, 2)) * 2
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (7, 3), stride, padding=(3, 1)))
            for (a, b), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def picture(self, wav: Tensor) -> Tensor:
        parts = whole_windows(wav, self.fft_samples, self.hop_samples).permute(0, 3, 1, 2)
        size = (parts.square().sum(1, keepdim=True) + 1e-6).sqrt()
        return parts / size * size**0.3


class LargeDiscriminators(Discriminators):
    """All periods and all resolutions: what only a GPU can afford."""

    def __init__(self) -> None:
        periods = [PeriodDiscriminator(period) for period in PERIODS]
        super().__init__([*periods, *(ResolutionDiscriminator(fft, hop) for fft, hop in RESOLUTIONS)])

"""What teaches the content encoder and is thrown away after: heads for phones, spectra and speakers.

The large discriminators that the base synthesizer is trained against, on a GPU, besides the small ones.

Multi-period after Kong et al. 2020 (HiFi-GAN): the waveform folded at prime periods. Multi-resolution after
Jang et al. 2021 (UnivNet), on complex spectra so that phase is judged too.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from rvc.lite.blocks import ConvNeXtBlock
from rvc.lite.encoder import MEL_BANDS
from rvc.lite.losses import SLOPE, gather
from rvc.pretrain.labels import PHONES

VOICE_DIM = 48


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: float) -> Tensor:  # noqa: ANN401 -- torch's own type
        context.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return -context.weight * gradient, None


class VoiceReference(nn.Module):
    """Log-mel of any stretch of a recording -> what stays the same in it: voice, microphone."""

    def __init__(self, channels: int = 96) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(MEL_BANDS, channels, 5, padding=2), nn.GELU(),
            nn.Conv1d(channels, channels, 5, padding=2), nn.GELU(),
        )  # fmt: skip
        self.output = nn.Linear(2 * channels, VOICE_DIM)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, T, 80) -> (B, VOICE_DIM)."""
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
        """Rebuild: (B, T, content_dim), (B, T, 3), (B, VOICE_DIM) -> (B, T, 80)."""
        x = self.input(torch.cat([content, contours], -1))
        for block in self.blocks:
            x = block(x, voice[:, None])
        return self.output(x) * 2 - 5


class Heads(nn.Module):
    """All heads of the encoder's training."""

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
    """How well a frame of one view finds itself among the frames of the other view of the same recording.

    Args:
        a: Content of one view, (B, T, C).
        b: Content of the other, (B, T, C).
        heard: Frames that are not silence, (B, T).
        temperature: Of the softmax over likenesses.

    Returns:
        Cross-entropy (InfoNCE) and the share of frames found.
    """
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    likeness = a @ b.transpose(1, 2) / temperature  # (B, T, T)
    likeness = likeness.masked_fill(~heard[:, None, :], -1e4)
    target = torch.arange(a.shape[1], device=a.device).expand(a.shape[0], -1)
    target = torch.where(heard, target, -100)
    loss = F.cross_entropy(likeness.flatten(0, 1), target.flatten(), ignore_index=-100)
    found = (likeness.argmax(-1) == target).sum() / heard.sum().clamp(min=1)
    return loss, found


PERIODS = (2, 3, 5, 7, 11)
RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128))


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample."""

    def __init__(self, period: int, channels: int = 24) -> None:
        super().__init__()
        self.period = period
        widths = (1, channels, 2 * channels, 4 * channels, 8 * channels, 8 * channels)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if n < 4 else 1, 1), padding=(2, 0)))
            for n, (a, b) in enumerate(pairwise(widths))
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge audio, (B, N)."""
        usable = wav.shape[1] // self.period * self.period
        h = wav[:, :usable].reshape(wav.shape[0], 1, -1, self.period) * 5
        seen = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            seen.append(h)
        return self.score(h), seen


class ResolutionDiscriminator(nn.Module):
    """Looks at real and imaginary parts of one short-time spectrum, compressed."""

    def __init__(self, fft_samples: int, hop_samples: int, channels: int = 24) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        strides = ((2, 1), (2, 2), (2, 1), (2, 2))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(2 if n == 0 else channels * 2 ** min(n - 1, 2), channels * 2 ** min(n, 2),
            (7, 3),
                                  stride, padding=(3, 1)))
            for n, stride in enumerate(strides)
        )  # fmt: skip
        self.score = weight_norm(nn.Conv2d(channels * 4, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge audio, (B, N)."""
        window = torch.hann_window(self.fft_samples, device=wav.device)
        spectrum = torch.stft(
            wav,
            self.fft_samples,
            self.hop_samples,
            self.fft_samples,
            window,
            center=False,
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum).permute(0, 3, 1, 2)
        size = (parts.square().sum(1, keepdim=True) + 1e-6).sqrt()
        h = parts / size * size**0.3
        seen = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            seen.append(h)
        return self.score(h), seen


class LargeDiscriminators(nn.Module):
    """All periods and all resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PeriodDiscriminator(period) for period in PERIODS)
        self.parts.extend(ResolutionDiscriminator(fft, hop) for fft, hop in RESOLUTIONS)

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Judge audio, (B, N): score maps, and all layers' outputs in one list."""
        return gather([part(wav) for part in self.parts])

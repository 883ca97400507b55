"""Losses of the built-in synthesizer: spectra at several resolutions, and a discriminator's opinion.

The small discriminators that finish a voice: they look at log-magnitude spectrograms at two resolutions.

Small enough for two CPU cores. They are trained along with the base synthesizer and ship with it, so that a
voice's few minutes of training need not begin with judges that know nothing of speech.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAGNITUDE_FLOOR = 1e-4


def magnitude(wav: Tensor, fft_samples: int, hop_samples: int) -> Tensor:
    """Magnitudes of whole windows only, (B, N) -> (B, fft_samples // 2 + 1, frames)."""
    window = torch.hann_window(fft_samples, device=wav.device)
    spectrum = torch.stft(
        wav, fft_samples, hop_samples, fft_samples, window, center=False, return_complex=True
    )
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-12).sqrt()


def spectral_loss(made: Tensor, real: Tensor, sizes: Sequence[int]) -> Tensor:
    """Distance of log-magnitudes plus spectral convergence, the mean over window sizes.

    Args:
        made: Audio, (B, N).
        real: What it should be, (B, N).
        sizes: Windows in samples, each with a hop of a quarter. Sizes drawn anew every step leave no seam
            between bands and frames in which an artefact could hide.
    """
    losses = []
    for size in sizes:
        a, b = magnitude(made, size, size // 4), magnitude(real, size, size // 4)
        floor = MAGNITUDE_FLOOR * size**0.5
        log_distance = F.l1_loss((a + floor).log(), (b + floor).log())
        losses.append(log_distance + (a - b).norm() / (b.norm() + 1e-3))
    return torch.stack(losses).mean()


def random_sizes(generator: torch.Generator) -> tuple[int, int, int]:
    """A long window for pitch, a middle one, and a short one for onsets; of lengths that transform fast."""
    draw = torch.rand(2, generator=generator, device=generator.device).tolist()
    return 2048, 700 + 20 * int(26 * draw[0]), 160 + 20 * int(14 * draw[1])


def real_loss(scores: Sequence[Tensor]) -> Tensor:
    """Least-squares distance of the discriminators' scores from "real"."""
    return torch.stack([(score.float() - 1).square().mean() for score in scores]).mean()


def fake_loss(scores: Sequence[Tensor]) -> Tensor:
    """Least-squares distance of the discriminators' scores from "made"."""
    return torch.stack([score.float().square().mean() for score in scores]).mean()


def feature_loss(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """How differently the discriminators' layers see two recordings."""
    return torch.stack(
        [F.l1_loss(a.float(), b.float().detach()) for a, b in zip(made, real, strict=True)]
    ).mean()


RESOLUTIONS = ((1024, 256), (400, 120))  # window and hop in samples
SLOPE = 0.1


class SpectrogramDiscriminator(nn.Module):
    """Strided convolutions over (frequency, time) of one resolution's log-magnitudes."""

    def __init__(self, fft_samples: int, hop_samples: int, channels: int) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        widths = (1, channels, 2 * channels, 3 * channels, 4 * channels)
        shapes = (((7, 3), (3, 1)), ((5, 3), (2, 2)), ((5, 3), (2, 1)), ((3, 3), (2, 1)))
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(
                nn.Conv2d(before, after, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2))
            )
            for before, after, (kernel, stride) in zip(widths[:-1], widths[1:], shapes, strict=True)
        )
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge audio, (B, N): a map of scores (1 = real), and the layers' outputs."""
        h = ((magnitude(wav, self.fft_samples, self.hop_samples) + 1e-3).log()[:, None] + 1.5) / 2
        seen = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            seen.append(h)
        return self.score(h), seen


class SmallDiscriminators(nn.Module):
    """One discriminator a resolution."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.parts = nn.ModuleList(SpectrogramDiscriminator(fft, hop, channels) for fft, hop in RESOLUTIONS)

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Judge audio, (B, N): score maps, and all layers' outputs in one list."""
        return gather([part(wav) for part in self.parts])


def gather(judged: list[tuple[Tensor, list[Tensor]]]) -> tuple[list[Tensor], list[Tensor]]:
    """Turn (score, layers) pairs into a list of scores and one list of all layers."""
    return [score for score, _ in judged], [layer for _, layers in judged for layer in layers]


def crop_in_time(wavs: tuple[Tensor, ...], samples: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Cut the same random stretch from each of several batches, (B, N) -> (B, samples)."""
    room = max(0, wavs[0].shape[1] - samples)
    start = int(torch.randint(room + 1, (1,), generator=generator, device=generator.device))
    return tuple(wav[:, start : start + samples] for wav in wavs)

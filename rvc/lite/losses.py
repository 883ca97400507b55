"""What the built-in synthesizer learns from: spectra at several resolutions, and discriminators' opinion.

The small discriminators look at log-magnitude spectrograms at two resolutions and suit two CPU cores. They
ship with the base synthesizer, so that a voice's few minutes of training need not begin with judges that know
nothing of speech. The recipe of the base (`rvc.pretrain`) uses the same losses, weights and steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.optim import Optimizer

MAGNITUDE_FLOOR = 1e-4
SPECTRAL_WEIGHT, ADVERSARIAL_WEIGHT, FEATURE_WEIGHT = 2.0, 0.5, 1.0
JUDGED_SAMPLES = 12_000  # what the discriminators see of each example
RESOLUTIONS = ((1024, 256), (400, 120))  # window and hop in samples
SLOPE = 0.1


def magnitude(wav: Tensor, fft_samples: int, hop_samples: int) -> Tensor:
    """Magnitudes of whole windows only, (B, N) -> (B, fft_samples // 2 + 1, frames)."""
    return (whole_windows(wav, fft_samples, hop_samples).square().sum(-1) + 1e-12).sqrt()


def whole_windows(wav: Tensor, fft_samples: int, hop_samples: int) -> Tensor:
    """Short-time spectrum of whole windows only, (B, N) -> (B, bins, frames, real and imaginary part)."""
    window = torch.hann_window(fft_samples, device=wav.device)
    return torch.view_as_real(
        torch.stft(wav, fft_samples, hop_samples, fft_samples, window, center=False, return_complex=True)
    )


def spectral_loss(made: Tensor, real: Tensor, sizes: Sequence[int]) -> Tensor:
    """Distance of log-magnitudes plus spectral convergence, the mean over window sizes; both (B, N)."""
    losses = []
    for size in sizes:
        a, b = magnitude(made, size, size // 4), magnitude(real, size, size // 4)
        floor = MAGNITUDE_FLOOR * size**0.5
        log_distance = F.l1_loss((a + floor).log(), (b + floor).log())
        losses.append(log_distance + (a - b).norm() / (b.norm() + 1e-3))
    return torch.stack(losses).mean()


def random_sizes(generator: torch.Generator) -> tuple[int, int, int]:
    """A long, a middle and a short window, drawn anew so that an artefact has no seam to hide in."""
    draw = torch.rand(2, generator=generator, device=generator.device).tolist()
    return 2048, 700 + 20 * int(26 * draw[0]), 160 + 20 * int(14 * draw[1])


def score_loss(scores: Sequence[Tensor], wanted: float) -> Tensor:
    """Least-squares distance of the discriminators' scores from what is wanted: 1 is real, 0 is made."""
    return torch.stack([(score.float() - wanted).square().mean() for score in scores]).mean()


def feature_loss(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """How differently the discriminators' layers see two recordings."""
    return torch.stack(
        [F.l1_loss(a.float(), b.float().detach()) for a, b in zip(made, real, strict=True)]
    ).mean()


class Discriminator(nn.Module):
    """Strided convolutions over a picture of audio, and a map of scores."""

    layers: nn.ModuleList
    score: nn.Module

    def picture(self, wav: Tensor) -> Tensor:
        """Turn audio, (B, N), into what the layers see."""
        raise NotImplementedError

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge audio, (B, N): a map of scores (1 = real), and the layers' outputs."""
        h, seen = self.picture(wav), []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            seen.append(h)
        return self.score(h), seen


class SpectrogramDiscriminator(Discriminator):
    """Looks at one resolution's log-magnitudes, over (frequency, time)."""

    def __init__(self, fft_samples: int, hop_samples: int, channels: int) -> None:
        super().__init__()
        self.fft_samples, self.hop_samples = fft_samples, hop_samples
        widths = (1, channels, 2 * channels, 3 * channels, 4 * channels)
        shapes = (((7, 3), (3, 1)), ((5, 3), (2, 2)), ((5, 3), (2, 1)), ((3, 3), (2, 1)))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2)))
            for (a, b), (kernel, stride) in zip(pairwise(widths), shapes, strict=True)
        )
        self.score = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def picture(self, wav: Tensor) -> Tensor:
        return ((magnitude(wav, self.fft_samples, self.hop_samples) + 1e-3).log()[:, None] + 1.5) / 2


class Discriminators(nn.Module):
    """Several that judge the same audio, (B, N): their score maps, and all their layers' outputs."""

    def __init__(self, parts: Iterable[Discriminator]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, wav: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        judged = [part(wav) for part in self.parts]
        return [score for score, _ in judged], [layer for _, layers in judged for layer in layers]


class SmallDiscriminators(Discriminators):
    """One discriminator a resolution."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__(SpectrogramDiscriminator(fft, hop, channels) for fft, hop in RESOLUTIONS)


def adversarial_loss(
    judges: Sequence[nn.Module], optimizer: Optimizer, wavs: tuple[Tensor, Tensor], *, bfloat16: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Teach discriminators, then ask them about (made, real): what to add to the loss, its parts."""
    made, real = wavs
    precision = torch.autocast(made.device.type, torch.bfloat16, enabled=bfloat16)
    with precision:
        caught = torch.stack(
            [score_loss(part(real)[0], 1) + score_loss(part(made.detach())[0], 0) for part in judges]
        ).sum()
    optimizer.zero_grad(set_to_none=True)
    caught.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    fooled = alike = torch.zeros((), device=made.device)
    with precision:
        for part in judges:
            scores, seen = part(made)
            with torch.no_grad():
                _, expected = part(real)
            fooled, alike = fooled + score_loss(scores, 1), alike + feature_loss(seen, expected)
    losses = {"discriminator": caught.detach(), "adversarial": fooled.detach(), "features": alike.detach()}
    return ADVERSARIAL_WEIGHT * fooled + FEATURE_WEIGHT * alike, losses


def crop_in_time(
    made: Tensor, real: Tensor, samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut the same random stretch from two batches, (B, N) -> (B, samples)."""
    room = max(0, made.shape[1] - samples)
    start = int(torch.randint(room + 1, (1,), generator=generator, device=generator.device))
    return made[:, start : start + samples], real[:, start : start + samples]


def adam(network: nn.Module) -> Optimizer:
    """The optimizer of a network that is trained against another."""
    return torch.optim.AdamW(network.parameters(), 1e-3, betas=(0.8, 0.99), fused=True)


def rate_at(step: int, steps: int, peak: float, warmup_steps: int, last: float) -> float:
    """Learning rate: linear warm-up, then half a cosine down to `last` times the peak."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return peak * min(1.0, (step + 1) / warmup_steps) * (last + (1 - last) * cosine)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def descend(loss: Tensor, optimizer: Optimizer, longest: float) -> None:
    """Take a step down the loss, with a gradient no longer than `longest`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], longest)
    optimizer.step()

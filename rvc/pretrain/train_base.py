"""Training of the base synthesizer: many voices, one network, from which each new voice starts.

The content comes from a perturbed view of the recording, so that the synthesizer cannot read the voice from
it and must take it from the voice embedding; row 0 of the embedding is nobody in particular and stands in for
a share of the crops: it is where a new voice begins. Recordings of 16 kHz are compared below 7.6 kHz only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from rvc.audio.level import FRAMES_PER_S
from rvc.lite.encoder import ContentEncoder
from rvc.lite.losses import (
    JUDGED_SAMPLES,
    SPECTRAL_WEIGHT,
    Discriminator,
    Discriminators,
    SmallDiscriminators,
    adam,
    adversarial_loss,
    crop_in_time,
    descend,
    random_sizes,
    rate_at,
    set_rate,
    spectral_loss,
    whole_windows,
)
from rvc.lite.perturb import Perturbation
from rvc.lite.synthesizer import LiteFrames, LiteSynthesizer, LiteSynthesizerConfig, random_source
from rvc.pretrain.dataset import SpeechStore
from rvc.pretrain.train_encoder import LAST_RATE, Stateful

CONTEXT_FRAMES = 40  # of audio on either side of a crop, for the encoder
NARROW_BAND_HZ, NARROW_BAND = 7600.0, ("librispeech", "an4", "picovoice")
DISCRIMINATOR_RATE = 3e-4  # at its peak
ANONYMOUS_SHARE, PLAIN_SHARE = 0.15, 0.2
# Of the large discriminators.
CHANNELS, PERIODS = 24, (2, 3, 5, 7, 11)
RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128))  # window and hop in samples


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


@dataclass(frozen=True, kw_only=True)
class BaseTraining:
    """Settings of one training of the base synthesizer; a batch is `batch` crops of `frames` 10 ms frames."""

    large: bool = False  # adds the large discriminators
    steps: int = 10_000
    batch: int = 6
    frames: int = 100
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    adversarial_from: int = 5_000
    judged_samples: int = JUDGED_SAMPLES


def low_pass(wav: Tensor, hz: float, sample_rate_hz: int, which: Tensor) -> Tensor:
    """Cut everything above `hz` in the rows that `which` marks; (B, N), (B,)."""
    spectrum = torch.fft.rfft(wav)
    frequency = torch.linspace(0, sample_rate_hz / 2, spectrum.shape[1], device=wav.device)
    keep = ((frequency < hz) | ~which[:, None]).float()
    return torch.fft.irfft(spectrum * keep, wav.shape[1])


class BaseTrainer:
    """Synthesizer and discriminators; `stores` hold the same recordings at 16 kHz and at its rate."""

    name = "base"

    def __init__(
        self, encoder: ContentEncoder, stores: tuple[SpeechStore, SpeechStore], config: LiteSynthesizerConfig,
        settings: BaseTraining,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        self.low, self.store, self.settings, self.steps = *stores, settings, settings.steps
        self.device = self.store.device
        self.encoder = encoder.eval().requires_grad_(requires_grad=False).to(self.device)
        self.synthesizer = LiteSynthesizer(config).to(self.device)
        sets = [SmallDiscriminators(), *([LargeDiscriminators()] if settings.large else [])]
        self.judges = nn.ModuleList(sets).to(self.device)
        self.perturbation = Perturbation(self.device)
        narrow = [r.utterance.collection in NARROW_BAND for r in self.store.recordings]
        self.narrow = torch.tensor(narrow, device=self.device)
        self.optimizer, self.judge_optimizer = adam(self.synthesizer), adam(self.judges)
        self.modules: dict[str, Stateful] = {
            "synthesizer": self.synthesizer, "judges": self.judges,
            "optimizer": self.optimizer, "judge_optimizer": self.judge_optimizer,
        }  # fmt: skip

    def step(self, number: int) -> dict[str, Tensor]:
        """One step of the synthesizer and, once it is their turn, of the discriminators."""
        settings, on_gpu = self.settings, self.device.type == "cuda"
        generator = torch.Generator(self.device).manual_seed(number)
        peaks = {self.optimizer: settings.learning_rate, self.judge_optimizer: DISCRIMINATOR_RATE}
        for optimizer, peak in peaks.items():
            set_rate(optimizer, rate_at(number, settings.steps, peak, settings.warmup_steps, LAST_RATE))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu):
            made, real = self._make(generator)
        spectral = spectral_loss(made, real, random_sizes(generator))
        losses, total = {"spectral": spectral.detach()}, SPECTRAL_WEIGHT * spectral
        if number >= settings.adversarial_from:
            judged = crop_in_time(made, real, settings.judged_samples, generator)
            adversarial, named = adversarial_loss(
                list(self.judges), self.judge_optimizer, judged, bfloat16=on_gpu
            )
            losses |= named
            total = total + min(1.0, (number - settings.adversarial_from) / 300) * adversarial
        descend(total, self.optimizer, 2.0)
        return losses

    def _make(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw crops and speak them: made and real audio without the outermost windows, (B, N)."""
        batch, frames, rate_hz = self.settings.batch, self.settings.frames, self.store.rate_hz
        wide = frames + 2 * CONTEXT_FRAMES
        low = self.low.sample(batch, wide, generator)
        crops = self.store.crop(low.recording, low.start, wide)
        inner = slice(CONTEXT_FRAMES, CONTEXT_FRAMES + frames)
        with torch.no_grad():
            every = torch.arange(wide, device=self.device).expand(batch, -1)
            view = self.perturbation.speaker_view(low.audio, every, PLAIN_SHARE, generator)
            rows = LiteFrames(
                content=self.encoder.from_mel(view)[:, inner].float(),
                f0_hz=crops.f0_hz[:, inner],
                voiced=crops.voiced[:, inner],
                level=crops.level[:, inner],
            )
            source = random_source(rows.f0_hz, rows.voiced, rate_hz, generator)
        anonymous = torch.rand(batch, generator=generator, device=self.device) < ANONYMOUS_SHARE
        made = self.synthesizer(rows, torch.where(anonymous, 0, crops.speaker + 1), source).float()
        per_frame = rate_hz // FRAMES_PER_S
        real = crops.audio[:, inner.start * per_frame : inner.stop * per_frame]
        narrow, edge = self.narrow[low.recording], self.synthesizer.config.fft_samples
        made, real = (low_pass(wav, NARROW_BAND_HZ, rate_hz, narrow)[:, edge:-edge] for wav in (made, real))
        return made, real

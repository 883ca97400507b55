"""Training of the base synthesizer: many voices, one network, from which each new voice starts.

The content comes from a perturbed view of the recording, so that the synthesizer cannot read the voice from
it and must take it from the voice embedding; row 0 of the embedding is nobody in particular and stands in for
a share of the crops: it is where a new voice begins. Recordings of 16 kHz are compared below 7.6 kHz only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from rvc.lite.encoder import ContentEncoder
from rvc.lite.losses import (
    SmallDiscriminators,
    crop_in_time,
    fake_loss,
    feature_loss,
    random_sizes,
    real_loss,
    spectral_loss,
)
from rvc.lite.perturb import Perturbation
from rvc.lite.synthesizer import Frames, Synthesizer, SynthesizerConfig, frame_phase, pulse_train
from rvc.pretrain.dataset import SpeechStore
from rvc.pretrain.networks import LargeDiscriminators
from rvc.pretrain.train_encoder import Run, Stateful, learning_rate, run

CONTEXT_FRAMES = 40  # of audio on either side of a crop, for the encoder
NARROW_BAND_HZ = 7600.0
NARROW_BAND = ("librispeech", "an4", "picovoice")


@dataclass(frozen=True, kw_only=True)
class BaseTraining:
    """Settings of one training of the base synthesizer; a batch is `batch` crops of `frames` 10 ms frames.

    `large` adds the large discriminators, which only a GPU can afford.
    """

    large: bool = False
    steps: int = 10_000
    batch: int = 6
    frames: int = 100
    learning_rate: float = 1e-3
    discriminator_rate: float = 3e-4
    warmup_steps: int = 100
    adversarial_from: int = 5_000
    judged_samples: int = 12_000
    spectral_weight: float = 2.0
    adversarial_weight: float = 0.5
    feature_weight: float = 1.0
    anonymous_share: float = 0.15
    plain_share: float = 0.2
    seed: int = 0
    save_every: int = 500


def low_pass(wav: Tensor, hz: float, sample_rate_hz: int, which: Tensor) -> Tensor:
    """Cut everything above `hz` in the rows that `which` marks; (B, N), (B,)."""
    spectrum = torch.fft.rfft(wav)
    frequency = torch.linspace(0, sample_rate_hz / 2, spectrum.shape[1], device=wav.device)
    keep = ((frequency < hz) | ~which[:, None]).float()
    return torch.fft.irfft(spectrum * keep, wav.shape[1])


class BaseTrainer:
    """Synthesizer, discriminators, their optimizers; one `step` at a time.

    Args:
        encoder: Trained content encoder; stays as it is.
        stores: The same recordings at 16 kHz and at the synthesizer's rate.
        config: Sizes; `voices` must be one more than the stores' speakers.
    """

    def __init__(
        self, encoder: ContentEncoder, stores: tuple[SpeechStore, SpeechStore], config: SynthesizerConfig,
        settings: BaseTraining,
    ) -> None:  # fmt: skip
        torch.manual_seed(settings.seed)
        self.low, self.store, self.settings = *stores, settings
        self.device = self.store.device
        self.encoder = encoder.eval().requires_grad_(requires_grad=False).to(self.device)
        self.synthesizer = Synthesizer(config).to(self.device)
        self.small = SmallDiscriminators().to(self.device)
        self.judges = nn.ModuleList(
            [self.small, *([LargeDiscriminators().to(self.device)] if settings.large else [])]
        )
        self.perturbation = Perturbation(self.device)
        self.narrow = torch.tensor(
            [r.utterance.collection in NARROW_BAND for r in self.store.recordings], device=self.device
        )
        betas = (0.8, 0.99)
        self.optimizer = torch.optim.AdamW(self.synthesizer.parameters(), 1e-3, betas=betas, fused=True)
        self.judge_optimizer = torch.optim.AdamW(self.judges.parameters(), 1e-3, betas=betas, fused=True)

    def modules(self) -> dict[str, Stateful]:
        """Everything that a checkpoint holds."""
        return {
            "synthesizer": self.synthesizer, "judges": self.judges,
            "optimizer": self.optimizer, "judge_optimizer": self.judge_optimizer,
        }  # fmt: skip

    def step(self, number: int) -> dict[str, Tensor]:
        """One step of the synthesizer and, once it is their turn, of the discriminators."""
        settings = self.settings
        generator = torch.Generator(self.device).manual_seed(settings.seed * 1_000_003 + number)
        for optimizer, peak in (
            (self.optimizer, settings.learning_rate),
            (self.judge_optimizer, settings.discriminator_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(number, settings.steps, peak, settings.warmup_steps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            made, real = self._make(generator)
        spectral = spectral_loss(made, real, random_sizes(generator))
        losses, total = {"spectral": spectral.detach()}, settings.spectral_weight * spectral
        if number >= settings.adversarial_from:
            judged = crop_in_time((made, real), settings.judged_samples, generator)
            adversarial, named = self._judge(*judged)
            losses |= named
            ramp = min(1.0, (number - settings.adversarial_from) / 300)
            total = total + ramp * adversarial
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.synthesizer.parameters(), 2.0)
        self.optimizer.step()
        return losses

    def _make(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw crops and speak them: made and real audio without the outermost windows, (B, N)."""
        settings, frames = self.settings, self.settings.frames
        wide = frames + 2 * CONTEXT_FRAMES
        low = self.low.sample(settings.batch, wide, generator)
        crops = self.store.crop(low.recording, low.start, wide)
        inner = slice(CONTEXT_FRAMES, CONTEXT_FRAMES + frames)
        with torch.no_grad():
            every = torch.arange(wide, device=self.device).expand(settings.batch, -1)
            view = self.perturbation.speaker_view(low.audio, every, settings.plain_share, generator)
            content = self.encoder.from_mel(view)[:, inner].float()
            f0 = crops.f0_hz[:, inner]
            start = torch.rand(len(f0), 1, generator=generator, device=self.device, dtype=torch.float64)
            phase = frame_phase(f0) + start
            pulses = pulse_train(f0, phase, crops.voiced[:, inner], self.store.rate_hz)
            noise = torch.randn(pulses.shape, generator=generator, device=self.device)
        anonymous = (
            torch.rand(settings.batch, generator=generator, device=self.device) < settings.anonymous_share
        )
        voice = torch.where(anonymous, 0, crops.speaker + 1)
        rows = Frames(content=content, f0_hz=f0, voiced=crops.voiced[:, inner], level=crops.level[:, inner])
        made = self.synthesizer(rows, voice, (pulses, noise)).float()
        per_frame = self.store.rate_hz // 100
        real = crops.audio[:, inner.start * per_frame : inner.stop * per_frame]
        narrow = self.narrow[low.recording]
        both = (low_pass(wav, NARROW_BAND_HZ, self.store.rate_hz, narrow) for wav in (made, real))
        edge = self.synthesizer.config.fft_samples
        made, real = (wav[:, edge:-edge] for wav in both)
        return made, real

    def _judge(self, made: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Teach the discriminators, then ask them: the synthesizer's adversarial loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            caught = torch.stack(
                [real_loss(part(real)[0]) + fake_loss(part(made.detach())[0]) for part in self.judges]
            ).sum()
        self.judge_optimizer.zero_grad(set_to_none=True)
        caught.backward()  # type: ignore[no-untyped-call]
        self.judge_optimizer.step()
        fooled = alike = torch.zeros((), device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            for part in self.judges:
                scores, seen = part(made)
                with torch.no_grad():
                    _, expected = part(real)
                fooled, alike = fooled + real_loss(scores), alike + feature_loss(seen, expected)
        loss = self.settings.adversarial_weight * fooled + self.settings.feature_weight * alike
        return loss, {"judges": caught.detach(), "fooled": fooled.detach(), "features": alike.detach()}


def train_base(trainer: BaseTrainer, checkpoint: Path, seconds: float = math.inf) -> None:
    """Run the training."""
    settings = trainer.settings
    training = Run(
        name="base",
        step=trainer.step,
        modules=trainer.modules(),
        steps=settings.steps,
        save_every=settings.save_every,
    )
    run(training, checkpoint, seconds)

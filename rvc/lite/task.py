"""Training one voice on the built-in engine: from the shipped base to a synthesizer of this voice.

The content of each slice is taken once as it is and a few times with another vocal tract and tone, so that
the synthesizer learns to take the voice from its own weights and not from what is left of it in the content.
The loss is spectral at three resolutions, finished by the small discriminators that ship with the base.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rvc.audio.level import level_contour, normalisation_gain
from rvc.audio.reader import resample
from rvc.lite.encoder import RATE_HZ, ContentEncoder
from rvc.lite.losses import (
    SmallDiscriminators,
    crop_in_time,
    fake_loss,
    feature_loss,
    random_sizes,
    real_loss,
    spectral_loss,
)
from rvc.lite.perturb import OtherSpeakers, Perturbation, load_others
from rvc.lite.synthesizer import Frames, Synthesizer, frame_phase, pulse_train
from rvc.lite.tone import mean_tone
from rvc.lite.weights import (
    BASE_FILE,
    CONTENT_ENCODER_NAME,
    ENCODER_FILE,
    load_encoder,
    load_part,
    load_synthesizer,
    save_parts,
)
from rvc.noise import placed_noise
from rvc.pitch.f0 import interpolate_unvoiced
from rvc.pitch.praat import PraatF0
from rvc.training.task import Features, Task


@dataclass(frozen=True, kw_only=True)
class LiteTraining:
    """How a voice is trained.

    Attributes:
        crop_frames: Length of each example, in 10 ms frames.
        versions: Contents of each slice: one plain, the others perturbed.
        other_versions: Further contents of each slice, as other speakers would have them.
        learning_rate: Peak of the synthesizer's rate.
        discriminator_rate: Peak of the discriminators' rate.
        adversarial_every: Steps from one with the discriminators to the next; they cost more than all the
            rest.
        judged_items: How many examples of a batch the discriminators see.
        judged_samples: What they see of each.
    """

    crop_frames: int = 100
    versions: int = 3
    other_versions: int = 3
    learning_rate: float = 6e-4
    discriminator_rate: float = 2e-4
    warmup_steps: int = 30
    spectral_weight: float = 2.0
    adversarial_weight: float = 0.5
    feature_weight: float = 1.0
    adversarial_every: int = 3
    judged_items: int = 4
    judged_samples: int = 12_000


def rate_at(step: int, total_steps: int, peak: float, warmup_steps: int) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps)))
    return peak * min(1.0, (step + 1) / warmup_steps) * (0.02 + 0.98 * cosine)


class LiteTask(Task):
    """One voice in training (see `rvc.training.task.Task`).

    Args:
        encoder: Content encoder; stays as it is.
        synthesizer: Where the voice starts.
        discriminators: Where its judges start.
        others: Content of other speakers.
        features_key: Names the encoder, so that cached features of another are not used.
        settings: How to train.
    """

    def __init__(  # noqa: PLR0913 -- the parts of a training, each named
        self, encoder: ContentEncoder, synthesizer: Synthesizer, discriminators: SmallDiscriminators,
        others: OtherSpeakers, features_key: str, settings: LiteTraining | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings or LiteTraining()
        self.epoch = 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder = encoder.to(self.device).eval().requires_grad_(requires_grad=False)
        self.synthesizer = synthesizer.to(self.device).train()
        self.discriminators = discriminators.to(self.device).train()
        self.sample_rate_hz = synthesizer.config.sample_rate_hz
        self.others = others
        self.features_key = f"{features_key}-v{self.settings.versions}-{self.settings.other_versions}-2"
        self.perturbation = Perturbation(self.device)
        self.optimizer = torch.optim.AdamW(self.synthesizer.parameters(), 1e-3, betas=(0.8, 0.99), fused=True)
        self.judge_optimizer = torch.optim.AdamW(
            self.discriminators.parameters(), 1e-3, betas=(0.8, 0.99), fused=True
        )

    def default_steps(self, seconds_of_audio: float) -> int:
        """More audio takes more steps, up to what two cores do in a few minutes."""
        return int(min(1000, max(450, 400 + 2 * seconds_of_audio)))

    @torch.no_grad()
    def extract(self, wav: NDArray[np.float32], rate_hz: int, seed: int) -> dict[str, Tensor]:
        """Content in several versions, contours and audio of one slice, all (T, ...) with T 10 ms frames."""
        wav16 = resample(wav, rate_hz, RATE_HZ)
        gain = np.float32(normalisation_gain(wav16))
        wav16 = wav16 * gain
        frames = len(wav16) // (RATE_HZ // 100)
        f0 = PraatF0()(wav16)[:frames]
        samples = frames * self.synthesizer.config.frame_samples
        audio = resample(wav, rate_hz, self.sample_rate_hz) * gain
        audio = np.pad(audio, (0, max(0, samples - len(audio))))[:samples]
        return {
            "content": self._contents(torch.from_numpy(wav16).to(self.device), frames, seed).half().cpu(),
            "f0_hz": torch.from_numpy(interpolate_unvoiced(f0).astype(np.float32)),
            "voiced": torch.from_numpy((f0 > 0).astype(np.float32)),
            "level": torch.from_numpy(level_contour(wav16, frames).astype(np.float32)),
            "audio": torch.from_numpy(audio.astype(np.float32)),
        }

    def _contents(self, wav16: Tensor, frames: int, seed: int) -> Tensor:
        """Content of the slice as it is, perturbed, and by others, (all versions, T, content_dim)."""
        generator = torch.Generator(self.device).manual_seed(seed)
        every = torch.arange(frames, device=self.device).expand(1, -1)
        plain = self.perturbation.speaker_view(wav16[None], every, 1.0, generator)
        perturbed = [
            self.perturbation.speaker_view(wav16[None], every, 0.0, generator)
            for _ in range(self.settings.versions - 1)
        ]
        own = self.encoder.from_mel(torch.cat([plain, *perturbed]))
        theirs = [self.others.say(own[0], generator) for _ in range(self.settings.other_versions)]
        return torch.stack([*own, *theirs])

    def batch(self, items: Sequence[Features], generator: torch.Generator) -> dict[str, Tensor]:
        """Cut one crop from each slice, in one of its versions."""
        length = min(self.settings.crop_frames, min(len(item["level"]) for item in items))
        per_frame = self.synthesizer.config.frame_samples
        rows: dict[str, list[Tensor]] = {
            name: [] for name in ("content", "f0_hz", "voiced", "level", "audio")
        }
        for item in items:
            draws = torch.rand(2, generator=generator)
            start = int(draws[0] * (len(item["level"]) - length + 1))
            version = int(draws[1] * len(item["content"]))
            rows["content"].append(item["content"][version, start : start + length].float())
            for name in ("f0_hz", "voiced", "level"):
                rows[name].append(item[name][start : start + length])
            rows["audio"].append(item["audio"][start * per_frame : (start + length) * per_frame])
        return {name: torch.stack(parts) for name, parts in rows.items()}

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        """One step of the synthesizer, at every `adversarial_every`-th also of the discriminators."""
        settings = self.settings
        for optimizer, peak in (
            (self.optimizer, settings.learning_rate), (self.judge_optimizer, settings.discriminator_rate),
        ):  # fmt: skip
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, total_steps, peak, settings.warmup_steps)
        made, real = self._make({name: rows.to(self.device) for name, rows in batch.items()}, generator)
        spectral = spectral_loss(made, real, random_sizes(generator))
        losses, total = {"spectral": spectral}, settings.spectral_weight * spectral
        if step % settings.adversarial_every == 0:
            few = settings.judged_items
            judged = crop_in_time((made[:few], real[:few]), settings.judged_samples, generator)
            adversarial, named = self._judge(*judged)
            losses |= named
            total = total + adversarial
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.synthesizer.parameters(), 2.0)
        self.optimizer.step()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _make(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Speak the crops: made and real audio without the outermost windows, (B, N)."""
        start = torch.rand(
            len(batch["f0_hz"]), 1, generator=generator, device=self.device, dtype=torch.float64
        )
        phase = frame_phase(batch["f0_hz"]) + start
        pulses = pulse_train(batch["f0_hz"], phase, batch["voiced"], self.sample_rate_hz)
        noise = torch.randn(pulses.shape, generator=generator, device=self.device)
        made = self._speak(batch, (pulses, noise))
        edge = self.synthesizer.config.fft_samples
        return made[:, edge:-edge], batch["audio"][:, edge:-edge]

    def _speak(self, rows: Features, source: tuple[Tensor, Tensor]) -> Tensor:
        voice = torch.zeros(len(rows["f0_hz"]), dtype=torch.long, device=self.device)
        frames = Frames(**{name: rows[name] for name in ("content", "f0_hz", "voiced", "level")})
        return self.synthesizer(frames, voice, source)

    def _judge(self, made: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Teach the discriminators, then ask them: the synthesizer's adversarial loss."""
        caught = real_loss(self.discriminators(real)[0]) + fake_loss(self.discriminators(made.detach())[0])
        self.judge_optimizer.zero_grad(set_to_none=True)
        caught.backward()  # type: ignore[no-untyped-call]
        self.judge_optimizer.step()
        scores, seen = self.discriminators(made)
        with torch.no_grad():
            _, expected = self.discriminators(real)
        fooled, alike = real_loss(scores), feature_loss(seen, expected)
        loss = self.settings.adversarial_weight * fooled + self.settings.feature_weight * alike
        return loss, {"discriminator": caught, "adversarial": fooled, "features": alike}

    @torch.no_grad()
    def render(self, item: Features) -> NDArray[np.float32]:
        """Speak a slice in the voice as it is now, as another speaker would say it: so it will be used.

        From its own content a voice is soon as good as it gets; from others' it gets better for long.
        """
        rows = {name: item[name][None].to(self.device) for name in ("f0_hz", "voiced", "level")}
        rows["content"] = item["content"][-1:].float().to(self.device)
        pulses = pulse_train(rows["f0_hz"], frame_phase(rows["f0_hz"]), rows["voiced"], self.sample_rate_hz)
        noise = placed_noise(0, rows["f0_hz"].shape[1], self.synthesizer.config.frame_samples).to(self.device)
        return self._speak(rows, (pulses, noise))[0].cpu().numpy()

    def reference(self, item: Features) -> NDArray[np.float32]:
        """The slice itself, at the level that training sees."""
        return item["audio"].numpy()

    def f0(self, item: Features) -> NDArray[np.float64]:
        """The slice's pitch in Hz, 0 where unvoiced."""
        return (item["f0_hz"] * item["voiced"]).double().numpy()

    def content(self, item: Features) -> NDArray[np.float32]:
        """The slice's unperturbed content, (T, content_dim)."""
        return item["content"][0].float().numpy()

    def describe(self, items: Iterable[Features]) -> dict[str, Any]:
        """Measure the tone of the voice's recordings, in which others are heard when they are converted."""
        heard = (resample(item["audio"].numpy(), self.sample_rate_hz, RATE_HZ) for item in items)
        tone = mean_tone(heard)
        return {"tone_db": [round(level, 2) for level in tone.tolist()]}

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimizers."""
        return {
            "synthesizer": self.synthesizer.state_dict(), "discriminators": self.discriminators.state_dict(),
            "optimizer": self.optimizer.state_dict(), "judge_optimizer": self.judge_optimizer.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        for name in ("synthesizer", "discriminators", "optimizer", "judge_optimizer"):
            getattr(self, name).load_state_dict(state[name])

    def export(self, folder: Path) -> dict[str, Any]:
        """Write `model.safetensors` in half precision."""
        parts = {"synthesizer": self.synthesizer.state_dict()}
        save_parts(
            folder / "model.safetensors", parts, {"synthesizer": self.synthesizer.config}, torch.float16
        )
        return {
            "engine": "lite",
            "sample_rate_hz": self.sample_rate_hz,
            "content_encoder": CONTENT_ENCODER_NAME,
            "content_dim": self.synthesizer.config.content_dim,
        }


def build_task() -> LiteTask:
    """Make the task of a new voice from the shipped encoder and base."""
    _, judges = load_part(BASE_FILE, "discriminators")
    discriminators = SmallDiscriminators()
    discriminators.load_state_dict(judges)
    key = hashlib.sha256(ENCODER_FILE.read_bytes()).hexdigest()[:16]
    return LiteTask(load_encoder(), load_synthesizer(BASE_FILE), discriminators, load_others(), f"lite-{key}")

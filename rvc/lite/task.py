"""Training one voice on the built-in engine: from the shipped base to a synthesizer of this voice.

The content of each slice is taken once as it is and a few times with another vocal tract and tone, so that
the synthesizer learns to take the voice from its own weights and not from what is left of it in the content.
The loss is spectral at three resolutions, finished by the small discriminators that ship with the base.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.audio.level import HOP_16K, RATE_16K_HZ, level_contour, normalisation_gain
from rvc.audio.resampling import resample
from rvc.engine.interface import placed_noise
from rvc.engine.options import LITE_DEFAULTS
from rvc.lite.encoder import ContentEncoder
from rvc.lite.losses import (
    JUDGED_SAMPLES,
    SPECTRAL_WEIGHT,
    SmallDiscriminators,
    adam,
    adversarial_loss,
    crop_in_time,
    descend,
    random_sizes,
    rate_at,
    set_rate,
    spectral_loss,
)
from rvc.lite.perturb import ContentBank, Perturbation, load_others
from rvc.lite.synthesizer import LiteFrames, LiteSynthesizer, frame_phase, pulse_train, random_source
from rvc.lite.tone import mean_tone
from rvc.lite.weights import (
    BASE_FILE,
    ENCODER_FILE,
    load_encoder,
    load_part,
    load_synthesizer,
    save_voice,
)
from rvc.pitch.f0 import interpolate_unvoiced
from rvc.pitch.praat import PraatF0
from rvc.training.task import Features, Task

CROP_FRAMES = 100  # length of each example
VERSIONS = 3  # contents of each slice: one plain, the others perturbed
OTHER_VERSIONS = 3  # further contents of each slice, as other speakers would have them
LEARNING_RATE, DISCRIMINATOR_RATE = 6e-4, 2e-4  # at their peak
WARMUP_STEPS = 30
LAST_RATE = 0.02  # over the peak
ADVERSARIAL_EVERY = 3  # steps; those with the discriminators cost more than all the rest
JUDGED_ITEMS = 4  # of a batch
# Of a voice that is made without training, from some seconds of it.
FIT_STEPS, FIT_ITEMS, FIT_RATE, FIT_WARMUP_STEPS = 20, 8, 1e-3, 5
CONTOURS = ("f0_hz", "voiced", "level")
TRAINED = ("synthesizer", "discriminators", "optimizer", "judge_optimizer")


class LiteTask(Task):
    """One voice in training: a fixed content encoder, and where its synthesizer and discriminators start."""

    def __init__(
        self, encoder: ContentEncoder, synthesizer: LiteSynthesizer, discriminators: SmallDiscriminators,
        others: ContentBank, encoder_key: str,
    ) -> None:  # fmt: skip
        self.epoch = 0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder = encoder.to(self.device).eval().requires_grad_(requires_grad=False)
        self.synthesizer = synthesizer.to(self.device).train()
        self.discriminators = discriminators.to(self.device).train()
        self.sample_rate_hz = synthesizer.config.sample_rate_hz
        self.others = others
        self.features_key = f"{encoder_key}-v{VERSIONS}-{OTHER_VERSIONS}-2"
        self.perturbation = Perturbation(self.device)
        self.optimizer, self.judge_optimizer = adam(self.synthesizer), adam(self.discriminators)

    def default_steps(self, seconds_of_audio: float) -> int:
        return LITE_DEFAULTS.training_steps(seconds_of_audio)

    @torch.no_grad()
    def extract(self, wav: NDArray[np.float32], rate_hz: int, seed: int) -> dict[str, Tensor]:
        """Content in several versions, contours and audio of one slice, all (T, ...) with T 10 ms frames."""
        wav16 = resample(wav, rate_hz, RATE_16K_HZ)
        gain = np.float32(normalisation_gain(wav16))
        wav16 = wav16 * gain
        frames = len(wav16) // HOP_16K
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
            self.perturbation.speaker_view(wav16[None], every, 0.0, generator) for _ in range(VERSIONS - 1)
        ]
        own = self.encoder.from_mel(torch.cat([plain, *perturbed]))
        theirs = [self.others.augment(own[0], generator) for _ in range(OTHER_VERSIONS)]
        return torch.stack([*own, *theirs])

    def fit(self, items: Sequence[Features], seed: int) -> Generator[float, None, None]:
        """Take some dozen steps down the spectral loss alone, by an optimizer that is then forgotten."""
        optimizer = adam(self.synthesizer)
        lengths = torch.tensor([float(len(item["level"])) for item in items])
        for step in range(FIT_STEPS):
            drawn = torch.Generator().manual_seed(seed + step)
            chosen = torch.multinomial(lengths, FIT_ITEMS, replacement=True, generator=drawn).tolist()
            batch = self.batch([items[number] for number in chosen], drawn)
            generator = torch.Generator(self.device).manual_seed(seed + step)
            made, real = self._learned(batch, generator)
            set_rate(optimizer, rate_at(step, FIT_STEPS, FIT_RATE, FIT_WARMUP_STEPS, LAST_RATE))
            descend(spectral_loss(made, real, random_sizes(generator)), optimizer, 2.0)
            yield (step + 1) / FIT_STEPS

    def batch(self, items: Sequence[Features], generator: torch.Generator) -> dict[str, Tensor]:
        """Cut one crop from each slice, in one of its versions."""
        length = min(CROP_FRAMES, min(len(item["level"]) for item in items))
        per_frame = self.synthesizer.config.frame_samples
        crops = []
        for item in items:
            draws = torch.rand(2, generator=generator)
            start = int(draws[0] * (len(item["level"]) - length + 1))
            stop, version = start + length, int(draws[1] * len(item["content"]))
            crop = {name: item[name][start:stop] for name in CONTOURS}
            crop["content"] = item["content"][version, start:stop].float()
            crop["audio"] = item["audio"][start * per_frame : stop * per_frame]
            crops.append(crop)
        return {name: torch.stack([crop[name] for crop in crops]) for name in crops[0]}

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        """One step of the synthesizer, at every third also of the discriminators."""
        for optimizer, peak in ((self.optimizer, LEARNING_RATE), (self.judge_optimizer, DISCRIMINATOR_RATE)):
            set_rate(optimizer, rate_at(step, total_steps, peak, WARMUP_STEPS, LAST_RATE))
        made, real = self._learned(batch, generator)
        spectral = spectral_loss(made, real, random_sizes(generator))
        losses, total = {"spectral": spectral}, SPECTRAL_WEIGHT * spectral
        if step % ADVERSARIAL_EVERY == 0:
            judged = crop_in_time(made[:JUDGED_ITEMS], real[:JUDGED_ITEMS], JUDGED_SAMPLES, generator)
            adversarial, named = adversarial_loss([self.discriminators], self.judge_optimizer, judged)
            losses |= named
            total = total + adversarial
        descend(total, self.optimizer, 2.0)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _learned(self, batch: Features, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Speak a batch: made and real audio without the outermost windows, which lack overlap, (B, N)."""
        rows = {name: row.to(self.device) for name, row in batch.items()}
        source = random_source(rows["f0_hz"], rows["voiced"], self.sample_rate_hz, generator)
        inner = slice(self.synthesizer.config.fft_samples, -self.synthesizer.config.fft_samples)
        return self._speak(rows, source)[:, inner], rows["audio"][:, inner]

    def _speak(self, rows: Features, source: tuple[Tensor, Tensor]) -> Tensor:
        voice = torch.zeros(len(rows["f0_hz"]), dtype=torch.long, device=self.device)
        frames = LiteFrames(**{name: rows[name] for name in ("content", *CONTOURS)})
        return self.synthesizer(frames, voice, source)

    @torch.no_grad()
    def render(self, item: Features) -> NDArray[np.float32]:
        """Speak a slice as another speaker would say it: for long, only that gets better by training."""
        rows = {name: item[name][None].to(self.device) for name in CONTOURS}
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
        heard = (resample(item["audio"].numpy(), self.sample_rate_hz, RATE_16K_HZ) for item in items)
        return {"tone_db": [round(level, 2) for level in mean_tone(heard).tolist()]}

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimizers."""
        return {name: getattr(self, name).state_dict() for name in TRAINED}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        for name in TRAINED:
            getattr(self, name).load_state_dict(state[name])

    def export(self, folder: Path) -> dict[str, Any]:
        """Write `model.safetensors`."""
        weights, sizes = self.synthesizer.state_dict(), self.synthesizer.config
        return save_voice(folder / "model.safetensors", weights, sizes)


def build_task() -> LiteTask:
    """Make the task of a new voice from the shipped encoder and base."""
    _, judges = load_part(BASE_FILE, "discriminators")
    discriminators = SmallDiscriminators()
    discriminators.load_state_dict(judges)
    key = hashlib.sha256(ENCODER_FILE.read_bytes()).hexdigest()[:16]
    return LiteTask(load_encoder(), load_synthesizer(BASE_FILE), discriminators, load_others(), f"lite-{key}")

"""Training of the content encoder; and how a pretraining runs: step by step, saved, resumed when cut off.

Four tasks pull at one content vector: say which phone this is; be the same under another voice, room and
microphone, and different from other frames of the recording; hold what rebuilds the clean spectrogram when
pitch, level and voice are given, which phones alone would lose; and hide who speaks (reversed gradient).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.files import atomic_write
from rvc.lite.encoder import MEL_BANDS, ContentEncoder, ConvNeXtBlock, EncoderConfig, log_mel, power_spectrum
from rvc.lite.losses import descend, rate_at, set_rate
from rvc.pretrain.dataset import Crops, Recording, RoughPerturbation, SpeechStore
from rvc.pretrain.labels import PHONES

logger = logging.getLogger(__name__)
Stateful = nn.Module | torch.optim.Optimizer
LOG_EVERY, SAVE_EVERY = 100, 500  # steps
LAST_RATE = 0.01  # learning rate at the end, over its peak
WEIGHTS = {"phone": 1.0, "rebuild": 1.0, "contrast": 0.15, "speaker": 0.1}
CONTENT_NOISE, VOICE_DIM = 0.15, 48


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
    likeness = (a @ b.transpose(1, 2) / temperature).masked_fill(~heard[:, None, :], -1e4)  # (B, T, T)
    target = torch.where(heard, torch.arange(a.shape[1], device=a.device), -100)
    loss = F.cross_entropy(likeness.flatten(0, 1), target.flatten(), ignore_index=-100)
    found = (likeness.argmax(-1) == target).sum() / heard.sum().clamp(min=1)
    return loss, found


class Trainer(Protocol):
    """One pretraining: all that changes, by the name under which it is saved, and the step of a number."""

    name: str
    steps: int
    modules: dict[str, Stateful]

    def step(self, number: int) -> Mapping[str, Tensor]: ...


def save_state(path: Path, modules: Mapping[str, Stateful], step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        torch.save({"step": step, **{name: module.state_dict() for name, module in modules.items()}}, beside)


def load_state(path: Path, modules: Mapping[str, Stateful]) -> int:
    """Load the state into the modules; returns the step to go on from, 0 where there is no file."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state[name])
    return int(state["step"])


def run(
    trainer: Trainer, checkpoint: Path, seconds: float = math.inf, judge: Callable[[int], None] | None = None
) -> None:
    """Go on from the checkpoint, if any, and stop early after `seconds`; `judge` is called at each save."""
    start = load_state(checkpoint, trainer.modules)
    began = time.monotonic()
    mean: dict[str, Tensor] = {}
    for number in range(start, trainer.steps):
        for name, value in trainer.step(number).items():
            mean[name] = mean[name] * 0.99 + value * 0.01 if name in mean else value
        done, last = number + 1, number + 1 == trainer.steps
        late = time.monotonic() - began > seconds
        if done % LOG_EVERY == 0 or last:
            rate = (done - start) / (time.monotonic() - began)
            shown = " ".join(f"{name} {float(value):.3f}" for name, value in mean.items())
            logger.info("%s step %d, %.1f a second: %s", trainer.name, done, rate, shown)
        if done % SAVE_EVERY == 0 or last or late:
            save_state(checkpoint, trainer.modules, done)
            if judge is not None:
                judge(done)
        if late:
            return


@dataclass(frozen=True, kw_only=True)
class EncoderTraining:
    """Settings of one training of the encoder; a batch is `batch` crops of `frames` 10 ms frames."""

    steps: int = 12_000
    views: int = 1  # with two the contrast task is on, at twice the cost: for a GPU
    batch: int = 12
    frames: int = 200
    learning_rate: float = 1.6e-3
    warmup_steps: int = 100


def contours(crops: Crops) -> Tensor:
    """Pitch, voicing and level in the scale that the networks see, (B, T, 3)."""
    return torch.stack([(crops.f0_hz.log() - 5.1) * 2, crops.voiced, (crops.level + 4) / 2], -1)


class EncoderTrainer:
    """Encoder, heads, optimizer; one `step` at a time."""

    name = "encoder"

    def __init__(self, store: SpeechStore, config: EncoderConfig, settings: EncoderTraining) -> None:
        torch.manual_seed(0)
        self.store, self.settings, self.device, self.steps = store, settings, store.device, settings.steps
        self.encoder = ContentEncoder(config).to(self.device)
        self.heads = Heads(config.content_dim, max(1, len(store.speakers))).to(self.device)
        self.perturbation = RoughPerturbation(self.device)
        weights = [*self.encoder.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(weights, 1e-3, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
        self.modules: dict[str, Stateful] = {
            "encoder": self.encoder, "heads": self.heads, "optimizer": self.optimizer,
        }  # fmt: skip

    def step(self, number: int) -> dict[str, Tensor]:
        """One optimizer step; everything random in it follows from its number."""
        settings = self.settings
        generator = torch.Generator(self.device).manual_seed(number)
        torch.manual_seed(number)
        rate = rate_at(number, settings.steps, settings.learning_rate, settings.warmup_steps, LAST_RATE)
        set_rate(self.optimizer, rate)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            losses = self._losses(number, generator)
        weighted = [weight * losses[name] for name, weight in WEIGHTS.items() if name in losses]
        descend(torch.stack(weighted).sum(), self.optimizer, 1.0)
        return {name: value.detach() for name, value in losses.items()}

    def _losses(self, number: int, generator: torch.Generator) -> dict[str, Tensor]:
        settings, store = self.settings, self.store
        crops = store.sample(settings.batch, settings.frames * 5 // 4, generator)
        stretch = torch.rand(settings.batch, 1, generator=generator, device=self.device) * 0.4 + 0.84
        frame = (torch.arange(settings.frames, device=self.device) * stretch).long()
        with torch.no_grad():
            perturbed = [self.perturbation.view(crops.audio, frame, generator) for _ in range(settings.views)]
            clean = log_mel(power_spectrum(crops.audio), self.perturbation.plain).float()
            target = clean.gather(1, frame[..., None].expand(-1, -1, clean.shape[-1]))
            inside = crops.inside.gather(1, frame)
            labels = crops.labels.gather(1, frame)
            outside = contours(crops).gather(1, frame[..., None].expand(-1, -1, 3))
            elsewhere = store.sample_like(crops.recording, 100, generator)
            reference = log_mel(power_spectrum(elsewhere.audio), self.perturbation.plain).float()
            heard = inside & (crops.level.gather(1, frame) > crops.level.amax(1, keepdim=True) - 4.5)
        content = self.encoder.from_mel(torch.cat([view.float() for view in perturbed]))
        noisy = F.dropout(content, 0.1) + CONTENT_NOISE * torch.randn_like(content)
        each = (settings.views, 1, 1)
        voice = self.heads.voice(reference).repeat(settings.views, 1)
        rebuilt = self.heads.decoder(noisy, outside.repeat(each), voice).float()
        difference = rebuilt - target.repeat(each)
        error = difference.abs().mean(-1)
        # How the spectrum moves is what tells consonants apart, and a mean over frames hardly sees it.
        error = error + F.pad(difference.diff(dim=1), (0, 0, 1, 0)).abs().mean(-1)
        inside = inside.repeat(settings.views, 1)
        keep = inside * (0.3 + 0.7 * heard.repeat(settings.views, 1))
        labels = labels.repeat(settings.views, 1).flatten()
        speaker = crops.speaker.repeat(settings.views)
        logits = self.heads.phones(F.dropout(content, 0.1)).float().flatten(0, 1)
        guesses = self.heads.speaker_logits(content, inside, min(1.0, number / 1000)).float()
        losses = {
            "phone": labelled_cross_entropy(logits, labels, smoothing=0.08),
            "rebuild": (error * keep).sum() / keep.sum().clamp(min=1),
            "speaker": labelled_cross_entropy(guesses, speaker),
            "phone_accuracy": (logits.argmax(-1) == labels).sum() / (labels >= 0).sum().clamp(min=1),
            "speaker_accuracy": (guesses.argmax(-1) == speaker).float().mean(),
        }
        if settings.views == 2:
            stride = slice(number % 3, None, 3)  # neighbours sound alike and would be punished for it
            first, second = content[:, stride].chunk(2)
            losses["contrast"], losses["found"] = contrast(first, second, heard[:, stride])
        return losses


@torch.no_grad()
def hear(encoder: ContentEncoder, recording: Recording) -> tuple[Tensor, Tensor]:
    """Content (T, C) and log-mel (T, 80) of one recording at 16 kHz."""
    wav = torch.from_numpy(recording.audio).to(encoder.mel_filters.device).float()[None] / 32768
    mel = log_mel(power_spectrum(wav), encoder.mel_filters)[:, : len(recording.labels)]
    return encoder.from_mel(mel)[0], mel[0]


@torch.no_grad()
def evaluate(
    encoder: ContentEncoder, heads: Heads, recordings: Sequence[Recording], most: int = 40
) -> dict[str, float]:
    """Accuracy over all frames and over those of speech, on at most about `most` whole recordings."""
    encoder.eval()
    some = recordings[:: max(1, len(recordings) // most)]
    guess = torch.cat([heads.phones(hear(encoder, recording)[0]).argmax(-1) for recording in some]).cpu()
    labels = torch.from_numpy(np.concatenate([recording.labels for recording in some]))
    encoder.train()
    masks = {"all": labels >= 0, "speech": labels > 0}
    return {name: int((guess == labels)[of].sum()) / max(1, int(of.sum())) for name, of in masks.items()}


def train_encoder(
    trainer: EncoderTrainer, judged: Mapping[str, Sequence[Recording]], checkpoint: Path, seconds: float
) -> None:
    """Run the training; at each checkpoint the log says how well it does on what it has not heard."""

    def judge(done: int) -> None:
        for name, recordings in judged.items():
            scores = evaluate(trainer.encoder, trainer.heads, recordings)
            logger.info("encoder step %d, %s: %.3f of frames, %.3f of speech", done, name, *scores.values())

    run(trainer, checkpoint, seconds, judge)

"""Training of the content encoder.

Four tasks pull at one content vector: say which phone this is (cross-entropy on aligned labels); be the same
under another voice, room and microphone, and different from other frames of the recording (contrast between
two views); hold what is needed to rebuild the clean spectrogram when pitch, level and voice are given from
outside (reconstruction); and hide who speaks (a speaker classifier whose gradient is reversed). The first
makes content independent of the voice, the third keeps what phones alone would lose, which is where words are
lost.

How a pretraining runs: step by step, logged, saved now and then, gone on with where it was cut off.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.lite.encoder import ContentEncoder, EncoderConfig, log_mel, power_spectrum
from rvc.lite.perturb import Perturbation
from rvc.pretrain.dataset import Crops, SpeechStore
from rvc.pretrain.networks import Heads, contrast, labelled_cross_entropy

logger = logging.getLogger(__name__)
Stateful = nn.Module | torch.optim.Optimizer
LOG_EVERY = 100


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training to be run.

    Attributes:
        name: What it is called in the log.
        step: Does the step of that number; returns losses by name.
        modules: All that changes, by the name under which it is saved.
        steps: How many steps there are.
        save_every: Steps between two checkpoints.
        judge: Called at each checkpoint with the number of steps done.
    """

    name: str
    step: Callable[[int], Mapping[str, Tensor]]
    modules: Mapping[str, Stateful]
    steps: int
    save_every: int
    judge: Callable[[int], None] | None = None


def save_state(path: Path, modules: Mapping[str, Stateful], step: int) -> None:
    """Write the state beside its place, then put it there: a cut-off run leaves the last one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    torch.save({"step": step, **{name: module.state_dict() for name, module in modules.items()}}, beside)
    beside.replace(path)


def load_state(path: Path, modules: Mapping[str, Stateful]) -> int:
    """Load the state into the modules; returns the step to go on from, 0 where there is no file."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state[name])
    return int(state["step"])


def run(training: Run, checkpoint: Path, seconds: float = math.inf) -> None:
    """Run a training, from its checkpoint if there is one; stops early, resumable, after `seconds`."""
    start = load_state(checkpoint, training.modules)
    began = time.monotonic()
    mean: dict[str, Tensor] = {}
    for number in range(start, training.steps):
        for name, value in training.step(number).items():
            mean[name] = mean[name] * 0.99 + value * 0.01 if name in mean else value
        done, last = number + 1, number + 1 == training.steps
        late = time.monotonic() - began > seconds
        if done % LOG_EVERY == 0 or last:
            rate = (done - start) / (time.monotonic() - began)
            shown = " ".join(f"{name} {float(value):.3f}" for name, value in mean.items())
            logger.info("%s step %d, %.1f a second: %s", training.name, done, rate, shown)
        if done % training.save_every == 0 or last or late:
            save_state(checkpoint, training.modules, done)
            if training.judge is not None:
                training.judge(done)
        if late:
            return


@dataclass(frozen=True, kw_only=True)
class EncoderTraining:
    """Settings of one training of the encoder; a batch is `batch` crops of `frames` 10 ms frames.

    With two `views` the contrast task is on, at twice the cost: for a GPU.
    """

    steps: int = 12_000
    views: int = 1
    batch: int = 12
    frames: int = 200
    learning_rate: float = 1.6e-3
    warmup_steps: int = 100
    seed: int = 0
    phone_weight: float = 1.0
    rebuild_weight: float = 1.0
    contrast_weight: float = 0.15
    speaker_weight: float = 0.1
    content_noise: float = 0.15
    dropout: float = 0.0
    save_every: int = 500


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    done = min(1.0, step / steps)
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def contours(crops: Crops) -> Tensor:
    """Pitch, voicing and level in the scale that the networks see, (B, T, 3)."""
    return torch.stack([(crops.f0_hz.log() - 5.1) * 2, crops.voiced, (crops.level + 4) / 2], -1)


class EncoderTrainer:
    """Encoder, heads, optimizer; one `step` at a time."""

    def __init__(self, store: SpeechStore, config: EncoderConfig, settings: EncoderTraining) -> None:
        torch.manual_seed(settings.seed)
        self.store, self.settings, self.device = store, settings, store.device
        self.encoder = ContentEncoder(config, dropout=settings.dropout).to(self.device)
        self.heads = Heads(config.content_dim, max(1, len(store.speakers))).to(self.device)
        self.perturbation = Perturbation(self.device)
        self.parameters = [*self.encoder.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, 1e-3, betas=(0.9, 0.98), weight_decay=0.02, fused=True
        )

    def modules(self) -> dict[str, Stateful]:
        """Everything that a checkpoint holds."""
        return {"encoder": self.encoder, "heads": self.heads, "optimizer": self.optimizer}

    def step(self, number: int) -> dict[str, Tensor]:
        """One optimizer step; everything random in it follows from the seed and the step's number."""
        settings = self.settings
        generator = torch.Generator(self.device).manual_seed(settings.seed * 1_000_003 + number)
        torch.manual_seed(settings.seed * 1_000_003 + number)
        rate = learning_rate(number, settings.steps, settings.learning_rate, settings.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            losses = self._losses(number, generator)
        weights = {
            "phone": settings.phone_weight, "rebuild": settings.rebuild_weight,
            "contrast": settings.contrast_weight, "speaker": settings.speaker_weight,
        }  # fmt: skip
        total = torch.stack(
            [weight * losses[name] for name, weight in weights.items() if name in losses]
        ).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return {name: value.detach() for name, value in losses.items()}

    def _losses(self, number: int, generator: torch.Generator) -> dict[str, Tensor]:
        settings, store = self.settings, self.store
        crops = store.sample(settings.batch, settings.frames * 5 // 4, generator)
        stretch = torch.rand(settings.batch, 1, generator=generator, device=self.device) * 0.4 + 0.84
        frame = (torch.arange(settings.frames, device=self.device) * stretch).long()
        with torch.no_grad():
            views = [
                self.perturbation.view(crops.audio, frame, generator).float() for _ in range(settings.views)
            ]
            clean = log_mel(power_spectrum(crops.audio), self.perturbation.plain).float()
            target = clean.gather(1, frame[..., None].expand(-1, -1, clean.shape[-1]))
            inside = crops.inside.gather(1, frame)
            labels = crops.labels.gather(1, frame)
            outside = contours(crops).gather(1, frame[..., None].expand(-1, -1, 3))
            elsewhere = store.sample_like(crops.recording, 100, generator)
            reference = log_mel(power_spectrum(elsewhere.audio), self.perturbation.plain).float()
            heard = inside & (crops.level.gather(1, frame) > crops.level.amax(1, keepdim=True) - 4.5)
        content = self.encoder.from_mel(torch.cat(views))
        noisy = F.dropout(content, 0.1) + settings.content_noise * torch.randn_like(content)
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
        reverse = min(1.0, number / 1000)
        guesses = self.heads.speaker_logits(content, inside, reverse).float()
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
def evaluate(encoder: ContentEncoder, heads: Heads, store: SpeechStore, most: int = 40) -> dict[str, float]:
    """Frame accuracy on clean recordings, over all frames and over those of speech.

    The recordings are whole; `most` bounds how many are taken, evenly spread over the store.
    """
    encoder.eval()
    hits = {"all": [0, 0], "speech": [0, 0]}
    count = len(store.recordings)
    plain = encoder.mel_filters
    for number in range(0, count, max(1, count // most)):
        one = torch.tensor([number], device=store.device)
        crop = store.crop(one, torch.zeros_like(one), int(store.lengths[number]))
        content = encoder.from_mel(log_mel(power_spectrum(crop.audio), plain)[:, : crop.labels.shape[1]])
        guess = heads.phones(content).argmax(-1)
        for name, mask in (("all", crop.labels >= 0), ("speech", crop.labels > 0)):
            hits[name][0] += int((guess == crop.labels)[mask].sum())
            hits[name][1] += int(mask.sum())
    encoder.train()
    return {name: right / max(1, total) for name, (right, total) in hits.items()}


def train_encoder(
    trainer: EncoderTrainer, judged: dict[str, SpeechStore], checkpoint: Path, seconds: float = math.inf
) -> None:
    """Run the training; at each checkpoint the log says how well it does on what it has not heard."""

    def judge(done: int) -> None:
        for name, store in judged.items():
            scores = evaluate(trainer.encoder, trainer.heads, store)
            logger.info("encoder step %d, %s: %.3f of frames, %.3f of speech", done, name, *scores.values())

    settings = trainer.settings
    training = Run(
        name="encoder",
        step=trainer.step,
        modules=trainer.modules(),
        steps=settings.steps,
        save_every=settings.save_every,
        judge=judge,
    )
    run(training, checkpoint, seconds)

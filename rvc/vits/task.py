"""Training one voice on RVC's engine (see `rvc.training.task.Task`): the voice that other RVC programs make.

First weights are those of published pretrained files where there are any; otherwise they are drawn anew,
which takes hours of recordings and days of a GPU to become a voice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.engine.options import RVC_DEFAULTS
from rvc.pitch.estimators import f0_estimator
from rvc.pitch.f0 import F0Estimator
from rvc.torch_file import load_published_state
from rvc.training.group import Group
from rvc.training.task import Features, Task
from rvc.vits.config import SynthesizerConfig, Version, published_config
from rvc.vits.content_encoder import BASE, HubertSizes
from rvc.vits.discriminator import Discriminators
from rvc.vits.features import (
    FeatureExtractor,
    SpectrogramConfig,
    batch_of,
    published_spectrogram,
    whole_frames,
)
from rvc.vits.step import Precision, Trainer, TrainingBatch
from rvc.vits.synthesizer import Noise, VitsFrames, VitsSynthesizer
from rvc.vits.voice_model import (
    CONTENT_ENCODER,
    VoiceModel,
    card_of,
    read_discriminators,
    read_generator,
    save_voice_file,
    write_training_checkpoint,
)

SEGMENT_FRAMES = {  # how many frames of each slice are spoken at a step
    ("v1", 32_000): 40, ("v1", 40_000): 32, ("v1", 48_000): 24,
    ("v2", 32_000): 40, ("v2", 40_000): 32, ("v2", 48_000): 36,
}  # fmt: skip
FIRST_LEARNING_RATE, EPOCH_DECAY = 1e-4, 0.999875


@dataclass(frozen=True, kw_only=True)
class RvcSizes:
    """Sizes of everything that takes part."""

    synthesizer: SynthesizerConfig
    spectrogram: SpectrogramConfig
    segment_frames: int  # how many frames of each slice are spoken at a step
    encoder: HubertSizes = BASE
    narrowing: int = 1  # of the discriminators


def published_sizes(version: str, sample_rate_hz: int, *, uses_f0: bool) -> RvcSizes:
    """Give the sizes that every RVC program trains with."""
    return RvcSizes(
        synthesizer=published_config(cast(Version, version), sample_rate_hz, uses_f0=uses_f0),
        spectrogram=published_spectrogram(sample_rate_hz),
        segment_frames=SEGMENT_FRAMES[version, sample_rate_hz],
    )


@dataclass(frozen=True, kw_only=True)
class RvcFiles:
    """The files that a training begins with."""

    encoder: Path
    estimator_name: str = "praat"  # who finds the melody
    estimator: Path | None = None  # weights of who does; None for one that needs none
    generator: Path | None = None  # pretrained; None draws new weights
    discriminators: Path | None = None

    def key(self) -> str:
        """Name what features depend on: the encoder's bytes and who finds the melody."""
        with self.encoder.open("rb") as file:
            return f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}-{self.estimator_name}"

    def build_estimator(self, device: torch.device) -> F0Estimator:
        if self.estimator is None:
            return f0_estimator(self.estimator_name)
        return f0_estimator(self.estimator_name, weights=self.estimator, device=str(device))


def first_networks(sizes: RvcSizes, files: RvcFiles) -> tuple[VitsSynthesizer, Discriminators]:
    """Make the networks, on the CPU; new weights come from torch's global generator."""
    config, version = sizes.synthesizer, sizes.synthesizer.version
    if files.generator is None or files.discriminators is None:
        return VitsSynthesizer(config), Discriminators(version, sizes.narrowing)
    config, of_generator = read_generator(files.generator, config)
    of_judges = read_discriminators(files.discriminators, version, sizes.narrowing)
    networks = VitsSynthesizer(config), Discriminators(version, sizes.narrowing)
    for network, weights in zip(networks, (of_generator, of_judges), strict=True):
        load_published_state(network, weights)
    return networks


class RvcTask(Task):
    """One voice in training; `gradient_checkpointing` saves memory by computing twice."""

    def __init__(
        self,
        sizes: RvcSizes,
        files: RvcFiles,
        group: Group | None = None,
        *,
        precision: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.group = group or Group.single()
        self.device = self.group.device
        self.sizes, self.epoch = sizes, 0
        config = sizes.synthesizer
        self.sample_rate_hz = config.sample_rate_hz
        kind = f"{config.version}-{config.sample_rate_hz}-{'f0' if config.uses_f0 else 'plain'}"
        self.features_key = f"rvc-1-{kind}-{files.key()}"
        estimator = files.build_estimator(self.device)
        self.extractor = FeatureExtractor(
            files.encoder, sizes.encoder, config.version, sizes.spectrogram, estimator, self.device
        )
        synthesizer, discriminators = first_networks(sizes, files)
        synthesizer.dec.gradient_checkpointing = gradient_checkpointing
        self.trainer = Trainer(
            synthesizer.to(self.device),
            discriminators.to(self.device),
            sizes.spectrogram,
            sizes.segment_frames,
            Precision.best(precision, self.device),
            self.group,
        )
        start = "pretrained" if files.generator and files.discriminators else "random"
        self._taken: dict[str, Any] = {"steps": 0, "epoch": 0, "start": start}

    def default_steps(self, seconds_of_audio: float) -> int:
        return RVC_DEFAULTS.training_steps(seconds_of_audio)

    def extract(self, wav: NDArray[np.float32], rate_hz: int, seed: int) -> dict[str, Tensor]:
        """Content, melody, spectrogram and audio of one slice; nothing here is random."""
        del seed
        return self.extractor.extract(wav, rate_hz)

    def batch(self, items: Sequence[Features], generator: torch.Generator) -> dict[str, Tensor]:
        self.extractor.release()
        rows = batch_of(items, generator, self.sizes.spectrogram.hop_samples)
        on_gpu = self.device.type == "cuda"
        return {name: row.pin_memory() for name, row in rows.items()} if on_gpu else rows

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        del total_steps
        items, frames = batch["f0_hz"].shape
        noise = self._noise(items, frames, generator)
        rate = FIRST_LEARNING_RATE * EPOCH_DECAY**self.epoch
        losses = self.trainer.step(self._passage(batch), noise, rate)
        self._taken |= {"steps": step + 1, "epoch": self.epoch}
        # In one piece, because each look at a number waits for the GPU.
        return dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))

    def skipped_step(self) -> bool:
        return self.trainer.skipped_step()

    def _noise(self, items: int, frames: int, generator: torch.Generator) -> Noise:
        """Draw for the whole batch, and keep what is this process's."""

        def own(draw: Callable[..., Tensor], *shape: int) -> Tensor:
            return self.group.share_noise(draw(shape, generator=generator, device=self.device))

        return Noise(
            latent=own(torch.randn, items, self.sizes.synthesizer.latent_channels, frames),
            starts=own(torch.rand, items),
            source=own(torch.randn, items, 1, self.sizes.segment_frames * self.sizes.spectrogram.hop_samples),
        )

    def _passage(self, batch: dict[str, Tensor]) -> TrainingBatch:
        """Put this process's part of a batch on its device."""
        lengths = batch["lengths"]
        own = self.group.shard(len(lengths))
        rows = {name: row[own].to(self.device, non_blocking=True) for name, row in batch.items()}
        said = (rows[name] for name in ("content", "lengths", "pitch", "f0_hz"))
        return TrainingBatch(
            frames=VitsFrames.of_one_speaker(self.sizes.synthesizer, *said),
            spectrogram=rows["spectrogram"].float(),
            wave=rows["audio"],
            frame_share=self.group.size * int(lengths[own].sum()) / int(lengths.sum()),
        )

    @torch.no_grad()
    def render(self, item: Features) -> NDArray[np.float32]:
        """Speak a slice in the voice as it is now, with noise by its place."""
        synthesizer, config = self.trainer.synthesizer, self.sizes.synthesizer
        frames = len(item["f0_hz"])
        said = VitsFrames.of_one_speaker(
            config,
            whole_frames(item)[None].to(self.device),
            torch.tensor([frames], device=self.device),
            item["pitch"][None].to(self.device),
            item["f0_hz"][None].to(self.device),
        )
        synthesizer.eval()
        try:
            with self.trainer.precision.networks():
                made = synthesizer.infer(said, Noise.placed(config, 0, frames, self.device))
            return made.audio[0, 0].float().cpu().numpy()
        finally:
            synthesizer.train()

    def reference(self, item: Features) -> NDArray[np.float32]:
        return item["audio"].numpy()

    def f0(self, item: Features) -> NDArray[np.float64]:
        return item["f0_hz"].double().numpy()

    def content(self, item: Features) -> NDArray[np.float32]:
        """The slice's content vectors, 50 a second, as published indexes hold them."""
        return item["content"].float().numpy()

    def state_dict(self) -> dict[str, Any]:
        return {"taken": dict(self._taken), **self.trainer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._taken = dict(state["taken"])
        self.trainer.load_state_dict(state)

    def export(self, folder: Path) -> dict[str, Any]:
        """Write the voice as every RVC program has it: half precision, without the posterior encoder."""
        steps, epoch = self._taken["steps"], self._taken["epoch"]
        facts = {"embedder_model": CONTENT_ENCODER, "epoch": epoch, "step": steps, "speakers_id": 1}
        model = VoiceModel.of(self.trainer.synthesizer, f"{epoch}epoch", **facts)
        save_voice_file(folder / "model.safetensors", model)
        return card_of(model) | {"start": self._taken["start"]}

    def write_checkpoints(self, folder: Path) -> list[Path]:
        """Write G_<step>.pth and D_<step>.pth, from which RVC programs train on, in place of older ones."""
        for old in (*folder.glob("G_*.pth"), *folder.glob("D_*.pth")):
            old.unlink()
        # Other programs count passes from 1, and cannot go on from one before the first.
        trainer, steps, epoch = self.trainer, self._taken["steps"], max(self._taken["epoch"], 1)
        paths = [folder / f"{letter}_{steps}.pth" for letter in "GD"]
        networks = (trainer.synthesizer, trainer.optimizer), (trainer.discriminators, trainer.judge_optimizer)
        for path, (network, optimizer) in zip(paths, networks, strict=True):
            write_training_checkpoint(path, network, optimizer, epoch, FIRST_LEARNING_RATE)
        return paths

"""One step of RVC's training: first the discriminators learn to tell real from made, then who makes.

Order and weights of losses are RVC's own, which published weights were trained with. Two savings change no
number: the discriminators get no gradients while the synthesizer learns, and judge real audio without any.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from rvc.training.group import Group
from rvc.vits.discriminator import (
    KL_WEIGHT,
    DiscriminatorOutput,
    Discriminators,
    discriminator_loss,
    feature_loss,
    generator_loss,
    kl_loss,
    mel_loss,
)
from rvc.vits.features import SpectrogramConfig, mel_of_linear, mel_spectrogram
from rvc.vits.prior_encoder import segments
from rvc.vits.synthesizer import Noise, Target, TrainingOutput, VitsFrames, VitsSynthesizer, supports_fp16

PARTS = ("synthesizer", "discriminators", "optimizer", "judge_optimizer", "scaler")
# A scale that has been halved to this leaves nothing to lower: what overflows still is no matter of it.
LOWEST_SCALE = 1.0


@dataclass(frozen=True)
class Precision:
    """How the networks compute on a device.

    float32    everything
    tf32       float32, multiplied by the GPU's tensor cores with 10 bits of mantissa
    bfloat16   the networks by autocast; weights, losses, spectrograms and optimizers in float32
    float16    the same, with losses scaled so that small gradients are not lost; a step that overflows is
               left out, and the scale halved
    """

    name: str
    device: torch.device

    @staticmethod
    def best(asked: str | None, device: torch.device) -> Precision:
        """Take what is asked for, else the fastest that is known to train well on the device."""
        if asked is None and supports_fp16(device):
            asked = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        return Precision(asked or "float32", device)

    def networks(self) -> torch.autocast:
        """Make the context in which networks are run; losses are computed outside of it."""
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.name)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def scaler(self) -> GradScaler:
        """Make what scales losses; it does nothing where nothing is lost."""
        return GradScaler(self.device.type, enabled=self.name == "float16")

    @contextmanager
    def multiplication(self) -> Iterator[None]:
        """Hold the GPU to how float32 is multiplied; what was set before comes back."""
        if self.device.type != "cuda":
            yield
            return
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = self.name == "tf32"
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """A batch of recordings on the device."""

    frames: VitsFrames  # what is said in them, T frames
    spectrogram: Tensor  # linear magnitudes, zero in the padding, (B, bins, T)
    wave: Tensor  # (B, 1, T * hop)
    frame_share: float = 1.0  # how many times more frames than the average process's part of the batch


@dataclass(eq=False)
class Trainer:
    """A synthesizer and its discriminators in training, both on the group's device."""

    synthesizer: VitsSynthesizer  # with posterior encoder, not folded
    discriminators: Discriminators
    spectrogram: SpectrogramConfig  # what the mel loss compares
    segment_frames: int  # how many frames of each item are spoken and judged
    precision: Precision
    group: Group

    def __post_init__(self) -> None:
        self.optimizer = _optimizer(self.synthesizer.train())
        self.judge_optimizer = _optimizer(self.discriminators.train())
        self.scaler = self.precision.scaler()  # one for both, as published programs have it

    def step(self, passage: TrainingBatch, noise: Noise, learning_rate: float) -> dict[str, Tensor]:
        """Take one step of both; return the losses, weighted, detached, by name."""
        for optimizer in (self.optimizer, self.judge_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        lengths, segment = passage.frames.lengths, self.segment_frames
        target = Target(spectrogram=passage.spectrogram, lengths=lengths, segment_frames=segment)
        with self.precision.multiplication():
            with self.precision.networks():
                made = self.synthesizer(passage.frames, target, noise)
            made = replace(made, audio=made.audio.float())
            hop = self.spectrogram.hop_samples
            real = segments(passage.wave, made.starts * hop, segment * hop)
            with self.precision.networks():
                of_both = self.discriminators(torch.cat([real, made.audio.detach()]))
            losses = {"discriminator": discriminator_loss(*_halves(of_both))}
            self._learn(losses["discriminator"], self.judge_optimizer, self.discriminators)
            losses |= self._teach_synthesizer(passage, made, real)
            self.scaler.update()
        return {name: loss.detach() for name, loss in losses.items()}

    def _teach_synthesizer(
        self, passage: TrainingBatch, made: TrainingOutput, real: Tensor
    ) -> dict[str, Tensor]:
        config, length = self.spectrogram, self.segment_frames
        self.discriminators.requires_grad_(requires_grad=False)
        try:
            with self.precision.networks():
                of_made = self.discriminators(made.audio)
                with torch.no_grad():
                    of_real = self.discriminators(real)
        finally:
            # Also where memory is full: a smaller batch is tried next.
            self.discriminators.requires_grad_(requires_grad=True)
        real_mel = mel_of_linear(segments(passage.spectrogram, made.starts, length), config)
        losses = {
            "adversarial": generator_loss(of_made),
            "features": feature_loss(of_real, of_made),
            "mel": mel_loss(mel_spectrogram(made.audio[:, 0], config), real_mel),
            "kl": KL_WEIGHT * passage.frame_share * kl_loss(made),
        }
        self._learn(torch.stack(list(losses.values())).sum(), self.optimizer, self.synthesizer)
        return losses

    def _learn(self, loss: Tensor, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
        optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():
            # The scaler looks at gradients alone: a loss that is no number shall have none that are.
            loss = loss * (1.0 + (loss - loss).detach())
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(network.parameters())
        self.scaler.step(optimizer)

    def skipped_step(self) -> bool:
        """Say whether a step whose losses overflowed was left out, and the scale can still be lowered."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= LOWEST_SCALE

    def state_dict(self) -> dict[str, Any]:
        """Give networks, optimizers and the scale of the losses."""
        return {name: getattr(self, name).state_dict() for name in PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave, also in the middle of a step that failed."""
        # A scaler remembers which optimizers have stepped, and refuses them until the step is over.
        self.scaler = self.precision.scaler()
        for name in PARTS:
            # Without scaling there is nothing to load, and torch refuses to load nothing.
            if state[name]:
                getattr(self, name).load_state_dict(state[name])


def _optimizer(network: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        network.parameters(), 1e-4, betas=(0.8, 0.99), eps=1e-9, weight_decay=0.01, fused=True
    )


def _halves(of_both: list[DiscriminatorOutput]) -> Iterator[tuple[DiscriminatorOutput, ...]]:
    """Part what was judged of real and of made audio side by side."""
    parted = []
    for judged in of_both:
        parts = zip(judged.score.chunk(2), *(layer.chunk(2) for layer in judged.layers), strict=True)
        parted.append([DiscriminatorOutput(score=score, layers=layers) for score, *layers in parts])
    return zip(*parted, strict=True)

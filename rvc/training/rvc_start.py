"""Where the training of an RVC voice begins: sizes, files, and networks with their first weights.

Weights are those of published pretrained files where there are any; otherwise they are drawn anew, which
takes hours of recordings and days of a GPU to become a voice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch

from rvc.checkpoint_training import read_discriminators, read_generator
from rvc.content_encoder import HubertSizes
from rvc.f0 import F0_ESTIMATORS, F0Estimator
from rvc.nn.config import SynthesizerConfig, Version, published_config
from rvc.nn.discriminator import Discriminators
from rvc.nn.weight_norm import load_published_state
from rvc.spectrogram import SpectrogramConfig, published_spectrogram
from rvc.synthesizer import Synthesizer

SEGMENT_FRAMES = {
    ("v1", 32_000): 40,
    ("v1", 40_000): 32,
    ("v1", 48_000): 24,
    ("v2", 32_000): 40,
    ("v2", 40_000): 32,
    ("v2", 48_000): 36,
}
"""By version and rate: how many frames of each slice are spoken at a step."""

RANDOM, PRETRAINED = "random", "pretrained"
"""What a voice's first weights were, as its card says it."""


@dataclass(frozen=True, kw_only=True)
class RvcSizes:
    """Sizes of everything that takes part.

    Attributes:
        synthesizer: Of the voice.
        spectrogram: Of what it learns from.
        segment_frames: How many frames of each slice are spoken at a step.
        encoder: Of the content encoder.
        narrowing: Of the discriminators.
    """

    synthesizer: SynthesizerConfig
    spectrogram: SpectrogramConfig
    segment_frames: int
    encoder: HubertSizes = field(default_factory=HubertSizes)
    narrowing: int = 1


def published_sizes(version: str, sample_rate_hz: int, *, uses_f0: bool) -> RvcSizes:
    """Give the sizes that every RVC program trains with.

    Args:
        version: "v1" or "v2".
        sample_rate_hz: 32000, 40000 or 48000.
        uses_f0: Whether the voice is told the melody.

    Raises:
        ConfigError: No model of that version and rate was published.
    """
    return RvcSizes(
        synthesizer=published_config(cast(Version, version), sample_rate_hz, uses_f0=uses_f0),
        spectrogram=published_spectrogram(sample_rate_hz),
        segment_frames=SEGMENT_FRAMES[version, sample_rate_hz],
    )


@dataclass(frozen=True, kw_only=True)
class RvcFiles:
    """The files that a training begins with.

    Attributes:
        encoder: The content encoder's weights.
        estimator_name: Who finds the melody.
        estimator: The weights of who does; None for one that needs none.
        generator, discriminators: Pretrained weights; None draws new ones.
    """

    encoder: Path
    estimator_name: str = "praat"
    estimator: Path | None = None
    generator: Path | None = None
    discriminators: Path | None = None

    @property
    def start(self) -> str:
        """What the first weights are: "pretrained" or "random"."""
        return PRETRAINED if self.generator and self.discriminators else RANDOM

    def key(self) -> str:
        """Name what features depend on: the encoder's bytes and who finds the melody."""
        with self.encoder.open("rb") as file:
            return f"{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}-{self.estimator_name}"

    def build_estimator(self, device: torch.device) -> F0Estimator:
        """Make who finds the melody.

        Raises:
            CheckpointError: Its weights cannot be read.
        """
        if self.estimator is None:
            return F0_ESTIMATORS.build(self.estimator_name)
        return F0_ESTIMATORS.build(self.estimator_name, weights=self.estimator, device=str(device))


def first_networks(sizes: RvcSizes, files: RvcFiles) -> tuple[Synthesizer, Discriminators]:
    """Make the networks, on the CPU; new weights come from torch's global generator.

    Args:
        sizes: Theirs.
        files: With the weights that they get, if any.

    Raises:
        CheckpointError: Pretrained weights are there, but not those of these networks.
    """
    config = sizes.synthesizer
    if files.generator is None or files.discriminators is None:
        return Synthesizer(config), Discriminators(config.version, sizes.narrowing)
    config, of_generator = read_generator(files.generator, config)
    of_judges = read_discriminators(files.discriminators, config.version, sizes.narrowing)
    synthesizer, discriminators = Synthesizer(config), Discriminators(config.version, sizes.narrowing)
    load_published_state(synthesizer, of_generator.weights)
    load_published_state(discriminators, of_judges.weights)
    return synthesizer, discriminators

"""Training on RVC's engine at toy size: real networks, features of tones, one content encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from rvc.training.dataset import TrainingSet, extract_features
from rvc.training.group import Group
from rvc.vits.features import SpectrogramConfig
from rvc.vits.task import RvcFiles, RvcSizes, RvcTask
from tests.tiny_rvc import tiny_config
from tests.tiny_rvc_voice import TOY_HUBERT, encoder_file
from tests.tiny_task import drain, write_tones

SEGMENT_FRAMES = 8


def tiny_sizes(version: str = "v1", sample_rate_hz: int = 40_000, *, uses_f0: bool = True) -> RvcSizes:
    """Sizes of a voice that a step takes a moment for; only v1 suits the toy encoder."""
    assert (version, sample_rate_hz) == ("v1", 40_000)
    config = tiny_config("v1", uses_f0=uses_f0)
    return RvcSizes(
        synthesizer=replace(config, spectrogram_bins=257),
        spectrogram=SpectrogramConfig(sample_rate_hz=40_000, fft_samples=512, hop_samples=400, mel_bands=40),
        segment_frames=SEGMENT_FRAMES,
        encoder=TOY_HUBERT,
        narrowing=16,
    )


def tiny_files(folder: Path, generator: Path | None = None, discriminators: Path | None = None) -> RvcFiles:
    encoder = encoder_file(folder / "encoder.bin")
    return RvcFiles(encoder=encoder, generator=generator, discriminators=discriminators)


def write_pretrained(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights alone, in half precision, as published ones are."""
    torch.save({"model": {name: tensor.half().contiguous() for name, tensor in weights.items()}}, path)


def tiny_rvc_task(
    folder: Path,
    *,
    seed: int = 0,
    uses_f0: bool = True,
    group: Group | None = None,
    **settings: Any,  # noqa: ANN401 -- passed on
) -> RvcTask:
    torch.manual_seed(seed)
    return RvcTask(tiny_sizes(uses_f0=uses_f0), tiny_files(folder), group, **settings)


def tiny_data(task: RvcTask, folder: Path) -> TrainingSet:
    """Three tones with their features, one of them held out."""
    lengths_s = (0.6, 0.8, 0.5)
    paths = write_tones(folder / "slices", lengths_s)
    slices = [SimpleNamespace(path=path, seconds=s) for path, s in zip(paths, lengths_s, strict=True)]
    _, found = drain(extract_features(task, slices, folder / "features", seed=0))
    return TrainingSet.divide(found)

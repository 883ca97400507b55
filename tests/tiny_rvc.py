"""A real RVC synthesizer at toy size, and something for it to say."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rvc.vits.config import SynthesizerConfig, Version
from rvc.vits.synthesizer import Noise, VitsFrames, VitsSynthesizer
from rvc.vits.voice_model import VoiceModel


def tiny_config(version: Version = "v2", *, uses_f0: bool = True, speakers: int = 3) -> SynthesizerConfig:
    """Sizes of every kind of model, small; 40 kHz."""
    return SynthesizerConfig(
        version=version,
        uses_f0=uses_f0,
        spectrogram_bins=33,
        latent_channels=8,
        hidden_channels=8,
        ffn_channels=16,
        encoder_layers=2,
        resblock_kernels=(3, 5),
        resblock_dilations=((1, 3), (1, 3)),
        upsample_channels=16,
        speakers=speakers,
        speaker_channels=4,
    )


def tiny_synthesizer(
    version: Version = "v2", *, uses_f0: bool = True, speakers: int = 3, seed: int = 0
) -> VitsSynthesizer:
    """New weights, none of them zero, so that every part is heard."""
    torch.manual_seed(seed)
    synthesizer = VitsSynthesizer(tiny_config(version, uses_f0=uses_f0, speakers=speakers))
    with torch.no_grad():
        for parameter in synthesizer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return synthesizer


def tiny_frames(config: SynthesizerConfig, frames: int = 30, *, seed: int = 1) -> VitsFrames:
    """One item: a gliding tone with a gap, said by the speaker 1."""
    draws = torch.Generator().manual_seed(seed)
    said = VitsFrames(
        content=torch.randn(1, frames, config.content_dim, generator=draws),
        lengths=torch.tensor([frames]),
        speaker=torch.tensor([1]),
    )
    if not config.uses_f0:
        return said
    f0_hz = torch.linspace(120.0, 240.0, frames)[None].clone()
    f0_hz[:, frames // 3 : frames // 2] = 0.0
    return replace(said, pitch=torch.randint(1, 256, (1, frames), generator=draws), f0_hz=f0_hz)


def sound(model: VoiceModel) -> Tensor:
    """What a voice model makes of `tiny_frames`, without noise."""
    synthesizer = VitsSynthesizer.for_inference(model.config, model.weights)
    frames = tiny_frames(model.config)
    batch, length = frames.content.shape[:2]
    silence = Noise(
        latent=torch.zeros(batch, model.config.latent_channels, length),
        source=torch.zeros(batch, 1, length * model.config.hop_samples),
    )
    return synthesizer.infer(frames, silence).audio

"""The RVC synthesizer: content, melody and speaker -> audio; v1 and v2, with and without F0, at any rate.

Shapes:  B = batch, T = frames of 10 ms, C = latent channels, G = speaker channels, N = T * hop samples.
Units:   F0 in Hz with 0 where unvoiced, pitch in coarse bins 1..255, audio within -1..1.
Source:  VITS (Kim et al. 2021) with content vectors for text, as RVC has it.
Names:   the parts' attributes are the first word of entries in published files: `enc_p` prior encoder, `dec`
         generator, `enc_q` posterior encoder (training only), `flow`, `emb_g` speaker table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from rvc.engine.interface import placed_noise
from rvc.errors import ConfigError
from rvc.torch_file import load_published_state
from rvc.vits.config import SynthesizerConfig
from rvc.vits.flow import CONTEXT_FRAMES, Flow, PosteriorEncoder
from rvc.vits.generator import Generator
from rvc.vits.prior_encoder import PriorEncoder, frame_mask, random_starts, segments
from rvc.vits.tiles import TiledGenerator

NOISE_SCALE = 0.66666  # how much of the prior's deviation is used when speaking; less is duller and steadier
LATENT_NOISE, SOURCE_NOISE = 1, 2  # streams of placed noise
NoiseSource = Callable[[int, int, int, int], Tensor]  # `placed_noise` or its like


def supports_fp16(device: torch.device) -> bool:
    """Tell whether networks shall compute in half precision on a device, as RVC's own programs choose.

    GPUs without tensor cores are far slower with it, and the GTX 16 series is known to give NaN.
    """
    if device.type != "cuda":
        return False
    major, _ = torch.cuda.get_device_capability(device)
    return major >= 7 and "GTX 16" not in torch.cuda.get_device_name(device)


@dataclass(frozen=True, kw_only=True)
class VitsFrames:
    """What is to be said, every 10 ms; models without F0 take neither pitch nor F0."""

    content: Tensor  # (B, T, content_dim)
    lengths: Tensor  # frames of each item, the rest is padding, (B,)
    speaker: Tensor  # row of the speaker table, (B,)
    pitch: Tensor | None = None  # coarse bins, (B, T)
    f0_hz: Tensor | None = None  # (B, T)

    @staticmethod
    def of_one_speaker(
        config: SynthesizerConfig, content: Tensor, lengths: Tensor, pitch: Tensor, f0_hz: Tensor
    ) -> VitsFrames:
        """What the only speaker of a voice says; the melody is left out where it is not taken."""
        return VitsFrames(
            content=content.float(),
            lengths=lengths,
            speaker=torch.zeros_like(lengths),
            pitch=pitch.long() if config.uses_f0 else None,
            f0_hz=f0_hz if config.uses_f0 else None,
        )


@dataclass(frozen=True, kw_only=True)
class Target:
    """What it sounded like, to be trained on."""

    spectrogram: Tensor  # linear magnitudes, (B, bins, T)
    lengths: Tensor  # frames of each item, (B,)
    segment_frames: int  # how many frames of each item are spoken


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The random draws; what is None is drawn anew from torch's global generator."""

    latent: Tensor | None = None  # normal, (B, C, T), where T leaves out a window's dropped frames
    source: Tensor | None = None  # normal, (B, 1, N) of the frames that are spoken
    first_phase: Tensor | None = None  # cycles of the source before the first spoken sample, (B,); None is 0
    starts: Tensor | None = None  # numbers in 0..1 that place the training segments, (B,)

    @staticmethod
    def placed(
        config: SynthesizerConfig, first_frame: int, frames: int, device: torch.device,
        draw: NoiseSource = placed_noise,
    ) -> Noise:  # fmt: skip
        """Draw for one item by its place in the recording, so that a conversion can be repeated."""
        channels = config.latent_channels
        latent = draw(first_frame, frames, channels, LATENT_NOISE).reshape(1, frames, channels)
        source = None
        if config.uses_f0:
            source = draw(first_frame, frames, config.hop_samples, SOURCE_NOISE)[:, None].to(device)
        return Noise(latent=latent.transpose(1, 2).to(device), source=source)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The stretch of a longer context that is spoken: upstream's real-time use, for golden tests only."""

    skipped_frames: int  # where it begins; what lies before serves as context only
    frames: int
    stretched_frames: int | None = None  # its length after stretching latent and source in time


@dataclass(frozen=True, kw_only=True)
class InferenceOutput:
    """Audio and what led to it; the prior's parts are (B, C, T'), where T' is T and a window's context."""

    audio: Tensor  # (B, 1, N)
    mask: Tensor  # of the frames that are spoken, (B, 1, T)
    latent: Tensor  # what the generator spoke, (B, C, T), unstretched; training: drawn from the posterior
    prior_latent: Tensor  # on the flow's other side
    prior_mean: Tensor
    prior_log_deviation: Tensor


@dataclass(frozen=True, kw_only=True)
class TrainingOutput(InferenceOutput):
    """Everything that the losses look at; the audio is that of the segments."""

    starts: Tensor  # first frame of each segment, (B,)
    posterior_mean: Tensor  # (B, C, T)
    posterior_log_deviation: Tensor  # (B, C, T)


class VitsSynthesizer(nn.Module):
    """All networks of one voice model; only training needs the posterior encoder."""

    def __init__(self, config: SynthesizerConfig, *, with_posterior: bool = True) -> None:
        super().__init__()
        self.config = config
        self.in_tiles = True  # on a CPU, `speak` gives the generator short tiles of time
        # In this order optimizer states of other programs number the weights.
        self.enc_p = PriorEncoder(config)
        self.dec = Generator(config)
        self.enc_q = PosteriorEncoder(config) if with_posterior else None
        self.flow = Flow(config)
        self.emb_g = nn.Embedding(config.speakers, config.speaker_channels)

    @classmethod
    def for_inference(cls, config: SynthesizerConfig, weights: Mapping[str, Tensor]) -> VitsSynthesizer:
        """Build one that only speaks, of a voice model's weights: float32, folded, no gradients."""
        with torch.device("meta"):
            synthesizer = cls(config, with_posterior=False)
        # A copy, since folding must not reach the caller's tensors; float32 before weights are multiplied.
        copies = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in weights.items()}
        load_published_state(synthesizer, copies, assign=True)
        for layer in list(synthesizer.modules()):
            if parametrize.is_parametrized(layer, "weight"):
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        return synthesizer.eval().requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def infer(
        self, frames: VitsFrames, noise: Noise | None = None, window: Window | None = None
    ) -> InferenceOutput:
        """Speak the frames, or a window of them."""
        noise = noise or Noise()
        window = window or Window(skipped_frames=0, frames=frames.content.shape[1])
        first, last = window.skipped_frames, window.skipped_frames + window.frames
        self._check(frames, first, last)
        # What the flow can reach from the window; the prior encoder before it sees everything.
        dropped = max(first - CONTEXT_FRAMES, 0)
        speaker = self.emb_g(frames.speaker)[..., None]
        made = self._prior(frames, speaker, noise, dropped)
        latent, mask = (signal[..., first - dropped : last - dropped] for signal in (made.latent, made.mask))
        f0_hz = None if frames.f0_hz is None else frames.f0_hz[:, first:last]
        said, excitation = latent * mask, self._source_signal(f0_hz, noise)
        if window.stretched_frames is not None and window.stretched_frames != window.frames:
            said = F.interpolate(said, window.stretched_frames, mode="linear")
            if excitation is not None:
                samples = window.stretched_frames * self.config.hop_samples
                excitation = F.interpolate(excitation, samples, mode="linear")
        return replace(made, audio=self.dec(said, speaker, excitation), mask=mask, latent=latent)

    def speak(
        self, frames: VitsFrames, noise: Noise | None = None, spoken: tuple[int, int] | None = None
    ) -> Iterator[Tensor]:
        """Speak one item in passages of a second, (n,) each: what `infer` says without a window, in float32.

        On a GPU it is all one passage, where that is fast in half precision but for the phase of the source.
        `spoken` is the first frame that is spoken and the one after the last; the others serve as context.
        """
        noise = noise or Noise()
        first, last = spoken or (0, frames.content.shape[1])
        self._check(frames, first, last)
        device = frames.content.device
        # Contexts end before each yield: what is done between two passages is the caller's.
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.float16, enabled=supports_fp16(device)),
        ):
            speaker = self.emb_g(frames.speaker)[..., None]
            made = self._prior(frames, speaker, noise, 0)
            latent = made.latent * made.mask
            excitation = self._source_signal(frames.f0_hz, noise)
            tiled = device.type == "cpu" and self.in_tiles
            audio = None if tiled else self.dec(latent, speaker, excitation)[0, 0].float()
        if audio is not None:
            yield audio[first * self.config.hop_samples : last * self.config.hop_samples]
            return
        heard = None if excitation is None else excitation[0, 0]
        yield from TiledGenerator(self.dec).passages(latent[0], speaker[0], heard, (first, last))

    def forward(self, frames: VitsFrames, target: Target, noise: Noise | None = None) -> TrainingOutput:
        """Take the training path: posterior, flow, and the generator on a random segment of each item."""
        noise = noise or Noise()
        self._check(frames, 0, frames.content.shape[1])
        if self.enc_q is None:
            raise ConfigError("This voice model was made for conversion; train from a training checkpoint.")
        speaker = self.emb_g(frames.speaker)[..., None]
        prior_mean, prior_log_deviation, _ = self.enc_p(frames.content, frames.lengths, frames.pitch)
        mask = frame_mask(target.lengths, target.spectrogram.shape[-1])
        mean, log_deviation = self.enc_q(target.spectrogram, mask, speaker)
        latent_noise = torch.randn_like(mean) if noise.latent is None else noise.latent
        latent = (mean + latent_noise * log_deviation.exp()) * mask
        prior_latent = self.flow(latent, mask, speaker)
        length = target.segment_frames
        starts = random_starts(target.lengths, length, noise.starts)
        f0_hz = None if frames.f0_hz is None else segments(frames.f0_hz[:, None], starts, length)[:, 0]
        spoken = segments(latent, starts, length)
        return TrainingOutput(
            audio=self.dec(spoken, speaker, self._source_signal(f0_hz, noise)),
            starts=starts,
            mask=mask,
            latent=latent,
            prior_latent=prior_latent,
            prior_mean=prior_mean,
            prior_log_deviation=prior_log_deviation,
            posterior_mean=mean,
            posterior_log_deviation=log_deviation,
        )

    def _check(self, frames: VitsFrames, first: int, last: int) -> None:
        if {frames.pitch is not None, frames.f0_hz is not None} != {self.config.uses_f0}:
            raise ConfigError("A voice model with F0 takes pitch and an F0 contour, one without takes none.")
        _, length, channels = frames.content.shape
        if channels != self.config.content_dim:
            raise ConfigError(
                f"A {self.config.version} voice model takes content vectors of {self.config.content_dim} "
                f"numbers, not {channels}."
            )
        if not 0 <= first < last <= length:
            raise ConfigError(f"A window of frames {first}..{last} is not within {length} frames.")

    def _prior(self, frames: VitsFrames, speaker: Tensor, noise: Noise, dropped: int) -> InferenceOutput:
        """What the generator shall speak from frame `dropped` on, without audio yet."""
        mean, log_deviation, mask = self.enc_p(frames.content, frames.lengths, frames.pitch, dropped)
        latent_noise = torch.randn_like(mean) if noise.latent is None else noise.latent
        prior_latent = (mean + log_deviation.exp() * latent_noise * NOISE_SCALE) * mask
        return InferenceOutput(
            audio=mean.new_empty(mean.shape[0], 1, 0),
            mask=mask,
            latent=self.flow.inverse(prior_latent, mask, speaker),
            prior_latent=prior_latent,
            prior_mean=mean,
            prior_log_deviation=log_deviation,
        )

    def _source_signal(self, f0_hz: Tensor | None, noise: Noise) -> Tensor | None:
        if self.dec.m_source is None or f0_hz is None:
            return None
        return self.dec.m_source(f0_hz, noise.source, noise.first_phase)

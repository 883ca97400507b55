"""The RVC synthesizer: content, melody and speaker -> audio; v1 and v2, with and without F0, at any rate.

Shapes:  B = batch, T = frames of 10 ms, C = latent channels, G = speaker channels, N = T * hop samples.
Units:   F0 in Hz with 0 where unvoiced, pitch in coarse bins 1..255, audio within -1..1.
Source:  VITS (Kim et al. 2021) with content vectors for text, as RVC has it.
Names:   the parts' attributes are the first word of entries in published files: `enc_p` prior encoder, `dec`
         generator, `enc_q` posterior encoder (training only), `flow`, `emb_g` speaker table.
Not here: files (checkpoint.py), losses (losses.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.errors import ConfigError
from rvc.vits.config import SynthesizerConfig, Version, published_config
from rvc.vits.flow import CONTEXT_FRAMES, Flow, PosteriorEncoder
from rvc.vits.generator import Generator
from rvc.vits.prior_encoder import PriorEncoder, frame_mask, random_starts, segments
from rvc.vits.tiles import Performance, Tiles, speak_in_tiles
from rvc.vits.weight_norm import fold_weight_norm, halves, load_published_state

__all__ = ["Frames", "Made", "Noise", "Synthesizer", "SynthesizerConfig", "Target", "Trained", "Version",
           "Window", "published_config"]  # fmt: skip

NOISE_SCALE = 0.66666
"""How much of the prior's deviation is used when speaking; less is duller and steadier."""


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What is to be said, every 10 ms.

    Attributes:
        content: Content vectors, (B, T, content_dim).
        lengths: Frames of each item, the rest is padding, (B,).
        speaker: Row of the speaker table, (B,).
        pitch: Coarse bins, (B, T); None for models without F0.
        f0_hz: (B, T); None for models without F0.
    """

    content: Tensor
    lengths: Tensor
    speaker: Tensor
    pitch: Tensor | None = None
    f0_hz: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What it sounded like, to be trained on.

    Attributes:
        spectrogram: Linear magnitudes, (B, bins, T).
        lengths: Frames of each item, (B,).
        segment_frames: How many frames of each item are spoken.
    """

    spectrogram: Tensor
    lengths: Tensor
    segment_frames: int


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The random draws; what is None is drawn anew from torch's global generator.

    Attributes:
        latent: Standard normal; speaking: (B, C, T) or T after a window's dropped frames; training: (B, C, T)
            for the posterior.
        source: Standard normal, (B, 1, N) with N the samples of the frames that are spoken.
        first_phase: Cycles that the source has passed before the first spoken sample, (B,); None is 0.
        starts: Numbers in 0..1 that place the training segments, (B,).
    """

    latent: Tensor | None = None
    source: Tensor | None = None
    first_phase: Tensor | None = None
    starts: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Window:
    """The stretch of a longer context that is spoken, as in real-time use.

    Attributes:
        skipped_frames: Where it begins; what lies before serves as context only.
        frames: How long it is.
        stretched_frames: Its length after stretching the latent and the source in time, which moves the
            formants once the audio is resampled back; None leaves it as it is.
    """

    skipped_frames: int
    frames: int
    stretched_frames: int | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """Audio and what led to it.

    Attributes:
        audio: (B, 1, N).
        mask: Of the frames that are spoken, (B, 1, T).
        latent: What the generator spoke, (B, C, T), unstretched.
        prior_latent: Before the flow, (B, C, T'); T' is T and the window's context.
        prior_mean, prior_log_deviation: (B, C, T').
    """

    audio: Tensor
    mask: Tensor
    latent: Tensor
    prior_latent: Tensor
    prior_mean: Tensor
    prior_log_deviation: Tensor


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Everything that the losses look at.

    Attributes:
        audio: The segments, (B, 1, segment samples).
        starts: First frame of each segment, (B,).
        mask: Of the target's frames, (B, 1, T).
        latent: Drawn from the posterior, (B, C, T).
        prior_latent: The same through the flow, (B, C, T).
        prior_mean, prior_log_deviation, posterior_mean, posterior_log_deviation: (B, C, T).
    """

    audio: Tensor
    starts: Tensor
    mask: Tensor
    latent: Tensor
    prior_latent: Tensor
    prior_mean: Tensor
    prior_log_deviation: Tensor
    posterior_mean: Tensor
    posterior_log_deviation: Tensor


class Synthesizer(nn.Module):
    """All networks of one voice model.

    Args:
        config: Sizes.
        with_posterior: Whether it has the posterior encoder, which only training needs.

    Attributes:
        tiles: How `infer` cuts time for the generator on a CPU, where that is faster, takes less memory and
            gives the same samples; None gives it all at once, as on other devices.
    """

    def __init__(self, config: SynthesizerConfig, *, with_posterior: bool = True) -> None:
        super().__init__()
        self.config = config
        self.tiles: Tiles | None = Tiles()
        # In this order optimizer states of other programs number the weights.
        self.enc_p = PriorEncoder(config)
        self.dec = Generator(config)
        self.enc_q = PosteriorEncoder(config) if with_posterior else None
        self.flow = Flow(config)
        self.emb_g = nn.Embedding(config.speakers, config.speaker_channels)

    @classmethod
    def for_inference(cls, config: SynthesizerConfig, weights: Mapping[str, Tensor]) -> Synthesizer:
        """Build a synthesizer that only speaks: float32, weight norm multiplied out, no gradients.

        Args:
            config: Sizes.
            weights: Under published names, without the posterior encoder's, as `checkpoint` gives them.

        Raises:
            RuntimeError: The weights do not fit the sizes.
        """
        with torch.device("meta"):
            synthesizer = cls(config, with_posterior=False)
        # A copy, since folding must not reach the caller's tensors; float32 before weights are multiplied.
        copies = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in weights.items()}
        load_published_state(synthesizer, copies, assign=True)
        fold_weight_norm(synthesizer)
        return synthesizer.eval().requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def infer(self, frames: Frames, noise: Noise | None = None, window: Window | None = None) -> Made:
        """Speak.

        Args:
            frames: T frames.
            noise: Random draws to be used instead of new ones.
            window: The stretch that is spoken; all of it if None.

        Returns:
            Audio of the window's frames, and what led to it.

        Raises:
            ConfigError: The contours are not those that the model takes, the window is not within the frames,
                or a speaker is not in the table.
        """
        noise = noise or Noise()
        self._check(frames)
        if window is None:
            window = Window(skipped_frames=0, frames=frames.content.shape[1])
        first, last = window.skipped_frames, window.skipped_frames + window.frames
        _require_within(first, last, frames)
        # What the flow can reach from the window; the prior encoder before it sees everything.
        dropped = max(first - CONTEXT_FRAMES, 0)
        speaker = self.emb_g(frames.speaker)[..., None]
        made = self._foretold(frames, speaker, noise, dropped)
        latent, mask = (signal[..., first - dropped : last - dropped] for signal in (made.latent, made.mask))
        f0_hz = None if frames.f0_hz is None else frames.f0_hz[:, first:last]
        audio = self._speak(latent * mask, speaker, self._excite(f0_hz, noise), window.stretched_frames)
        return replace(made, audio=audio, mask=mask, latent=latent)

    def speak(
        self, frames: Frames, noise: Noise | None = None, spoken: tuple[int, int] | None = None
    ) -> Iterator[Tensor]:
        """Speak one item in passages of a second: what `infer` says without a window, in float32.

        A passage is a good moment to look whether anybody still waits for it. On a GPU it is all one passage,
        where that is fast in half precision but for the phase of the source.

        Args:
            frames: T frames of one item.
            noise: Random draws to be used instead of new ones.
            spoken: First frame that is spoken and the one after the last; the others serve as context, and
                cost little. All if None.

        Yields:
            The next samples, (n,); all together the spoken frames' audio.

        Raises:
            ConfigError: As `infer`.
        """
        noise = noise or Noise()
        self._check(frames)
        first, last = spoken or (0, frames.content.shape[1])
        _require_within(first, last, frames)
        device = frames.content.device
        # Contexts end before each yield: what is done between two passages is the caller's.
        with torch.inference_mode(), _half(device):
            speaker = self.emb_g(frames.speaker)[..., None]
            made = self._foretold(frames, speaker, noise, 0)
            latent = made.latent * made.mask
            excitation = self._excite(frames.f0_hz, noise)
            hop = self.config.hop_samples
            audio = None
            if self.tiles is None or device.type != "cpu":
                audio = self.dec(latent, speaker, excitation)[0, 0, first * hop : last * hop].float()
        if audio is not None:
            yield audio
            return
        heard = None if excitation is None else excitation[0, 0]
        yield from Performance(self.dec, self.tiles).passages(latent[0], speaker[0], heard, (first, last))

    def forward(self, frames: Frames, target: Target, noise: Noise | None = None) -> Trained:
        """Take the training path: posterior, flow, and the generator on a random segment of each item.

        Args:
            frames: T frames.
            target: What they sounded like, T frames.
            noise: Random draws to be used instead of new ones.

        Raises:
            ConfigError: The contours are not those that the model takes, the items are shorter than a
                segment, or the model has no posterior encoder.
        """
        noise = noise or Noise()
        self._check(frames)
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
        return Trained(
            audio=self.dec(spoken, speaker, self._excite(f0_hz, noise)),
            starts=starts,
            mask=mask,
            latent=latent,
            prior_latent=prior_latent,
            prior_mean=prior_mean,
            prior_log_deviation=prior_log_deviation,
            posterior_mean=mean,
            posterior_log_deviation=log_deviation,
        )

    def _check(self, frames: Frames) -> None:
        given = {frames.pitch is not None, frames.f0_hz is not None}
        if given != {self.config.uses_f0}:
            raise ConfigError("A voice model with F0 takes pitch and an F0 contour, one without takes none.")
        if frames.content.shape[-1] != self.config.content_dim:
            raise ConfigError(
                f"A {self.config.version} voice model takes content vectors of {self.config.content_dim} "
                f"numbers, not {frames.content.shape[-1]}."
            )

    def _foretold(self, frames: Frames, speaker: Tensor, noise: Noise, dropped: int) -> Made:
        """What the generator shall speak from frame `dropped` on, without audio yet."""
        mean, log_deviation, mask = self.enc_p(frames.content, frames.lengths, frames.pitch, dropped)
        latent_noise = torch.randn_like(mean) if noise.latent is None else noise.latent
        prior_latent = (mean + log_deviation.exp() * latent_noise * NOISE_SCALE) * mask
        return Made(
            audio=mean.new_empty(mean.shape[0], 1, 0),
            mask=mask,
            latent=self.flow.inverse(prior_latent, mask, speaker),
            prior_latent=prior_latent,
            prior_mean=mean,
            prior_log_deviation=log_deviation,
        )

    def _excite(self, f0_hz: Tensor | None, noise: Noise) -> Tensor | None:
        if self.dec.m_source is None or f0_hz is None:
            return None
        return self.dec.m_source(f0_hz, noise.source, noise.first_phase)

    def _speak(
        self, latent: Tensor, speaker: Tensor, excitation: Tensor | None, stretched_frames: int | None
    ) -> Tensor:
        if stretched_frames is not None and stretched_frames != latent.shape[-1]:
            latent = F.interpolate(latent, stretched_frames, mode="linear")
            if excitation is not None:
                samples = stretched_frames * self.config.hop_samples
                excitation = F.interpolate(excitation, samples, mode="linear")
        if self.tiles is None or latent.device.type != "cpu":
            return self.dec(latent, speaker, excitation)
        return speak_in_tiles(self.dec, latent, speaker, excitation, self.tiles)


def _require_within(first: int, last: int, frames: Frames) -> None:
    if not 0 <= first < last <= frames.content.shape[1]:
        raise ConfigError(
            f"A window of frames {first}..{last} is not within {frames.content.shape[1]} frames."
        )


def _half(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.float16, enabled=halves(device))

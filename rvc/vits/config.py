"""Sizes of one RVC synthesizer, and the sizes that published models have.

A voice model is a stranger's file, and its sizes become memory and time: each has a limit far above what
published models use. Frames are 10 ms, so the product of the upsample rates is a hundredth of the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from rvc.audio.level import FRAMES_PER_S
from rvc.errors import ConfigError

Version = Literal["v1", "v2"]
CONTENT_DIMS: dict[str, int] = {"v1": 256, "v2": 768}
PITCH_BINS = 256

_LIMITS = {
    "sample_rate_hz": (8_000, 96_000), "spectrogram_bins": (2, 4_097), "latent_channels": (2, 1_024),
    "hidden_channels": (1, 1_024), "ffn_channels": (1, 4_096), "attention_heads": (1, 64),
    "encoder_layers": (1, 32), "ffn_kernel": (1, 31), "upsample_channels": (2, 2_048),
    "speakers": (1, 100_000), "speaker_channels": (1, 1_024),
}  # fmt: skip
_MOST_STAGES, _LARGEST_KERNEL, _LARGEST_DILATION = 8, 127, 64
_PUBLISHED = {  # bins, upsample rates, upsample kernels
    ("v1", 32_000): (513, (10, 4, 2, 2, 2), (16, 16, 4, 4, 4)),
    ("v1", 40_000): (1_025, (10, 10, 2, 2), (16, 16, 4, 4)),
    ("v1", 48_000): (1_025, (10, 6, 2, 2, 2), (16, 16, 4, 4, 4)),
    ("v2", 32_000): (513, (10, 8, 2, 2), (20, 16, 4, 4)),
    ("v2", 40_000): (1_025, (10, 10, 2, 2), (16, 16, 4, 4)),
    ("v2", 48_000): (1_025, (12, 10, 2, 2), (24, 20, 4, 4)),
}
PUBLISHED_RATES_HZ = tuple(sorted({rate_hz for _, rate_hz in _PUBLISHED}))


@dataclass(frozen=True, kw_only=True)
class SynthesizerConfig:
    """Sizes of one synthesizer, as its voice model says them. The defaults are v2 at 40 kHz."""

    version: Version = "v2"  # content vectors of 256 numbers (v1) or 768 (v2)
    uses_f0: bool = True  # whether it is told the melody; without, it takes it from the content
    sample_rate_hz: int = 40_000
    spectrogram_bins: int = 1_025  # of what the posterior encoder sees
    latent_channels: int = 192  # even
    hidden_channels: int = 192
    ffn_channels: int = 768
    attention_heads: int = 2  # they divide `hidden_channels`
    encoder_layers: int = 6
    ffn_kernel: int = 3
    dropout: float = 0.0  # in every published model
    resblock_type: Literal["1", "2"] = "1"  # "1": pairs of convolutions, "2": single ones
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    upsample_rates: tuple[int, ...] = (10, 10, 2, 2)  # even
    upsample_channels: int = 512  # before the first upsampling; each one halves them
    upsample_kernels: tuple[int, ...] = (16, 16, 4, 4)
    speakers: int = 109
    speaker_channels: int = 256

    def __post_init__(self) -> None:
        _require(self.version in CONTENT_DIMS, f"The version {self.version!r} is neither v1 nor v2.")
        kind = self.resblock_type
        _require(kind in ("1", "2"), f"The residual block type {kind!r} is neither 1 nor 2.")
        for name, (low, high) in _LIMITS.items():
            _require_whole(name, getattr(self, name), low, high)
        share = isinstance(self.dropout, int | float) and 0 <= self.dropout < 1
        _require(share, f"A dropout of {self.dropout!r} is not within 0..1.")
        latent, hidden, heads = self.latent_channels, self.hidden_channels, self.attention_heads
        _require(latent % 2 == 0, f"{latent} latent channels cannot be split into two halves.")
        _require(hidden % heads == 0, f"{heads} heads do not divide {hidden} hidden channels.")
        self._check_upsampling()
        self._check_resblocks()

    def _check_upsampling(self) -> None:
        stages, kernels = len(self.upsample_rates), len(self.upsample_kernels)
        fits = 1 <= stages <= _MOST_STAGES and stages == kernels
        _require(fits, f"{stages} upsample rates and {kernels} kernels do not make a generator.")
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels, strict=True):
            _require_whole("upsample_rates", rate, 2, 64)
            _require_whole("upsample_kernels", kernel, rate, _LARGEST_KERNEL)
            # Otherwise a stage gives more or fewer samples than frames times rate.
            even = rate % 2 == 0 and kernel % 2 == 0
            _require(even, f"An upsample rate of {rate} with kernel {kernel} is not even.")
        width, hop, rate_hz = self.upsample_channels, self.hop_samples, self.sample_rate_hz
        _require(width % 2**stages == 0, f"{width} channels cannot be halved {stages} times.")
        whole = hop * FRAMES_PER_S == rate_hz
        _require(whole, f"A hop of {hop} samples is not 10 ms at {rate_hz} Hz.")

    def _check_resblocks(self) -> None:
        blocks, lists = len(self.resblock_kernels), len(self.resblock_dilations)
        fits = 1 <= blocks <= _MOST_STAGES and blocks == lists
        _require(fits, f"{blocks} residual kernels do not match {lists} lists of dilations.")
        for kernel, dilations in zip(self.resblock_kernels, self.resblock_dilations, strict=True):
            _require_whole("resblock_kernels", kernel, 1, _LARGEST_KERNEL)
            _require(kernel % 2 == 1, f"A residual kernel of {kernel} is not odd.")
            count = len(dilations)
            _require(1 <= count <= _MOST_STAGES, f"A residual block with {count} dilations is none.")
            for dilation in dilations:
                _require_whole("resblock_dilations", dilation, 1, _LARGEST_DILATION)

    @property
    def content_dim(self) -> int:
        return CONTENT_DIMS[self.version]

    @property
    def hop_samples(self) -> int:
        return prod(self.upsample_rates)


def published_config(
    version: Version, sample_rate_hz: int, *, uses_f0: bool = True, speakers: int = 109
) -> SynthesizerConfig:
    """Give the sizes that every published model of a version and rate has."""
    if (version, sample_rate_hz) not in _PUBLISHED:
        raise ConfigError(
            f"There is no {version} model at {sample_rate_hz} Hz; "
            "choose v1 or v2 at 32000, 40000 or 48000 Hz."
        )
    bins, rates, kernels = _PUBLISHED[version, sample_rate_hz]
    return SynthesizerConfig(
        version=version,
        uses_f0=uses_f0,
        sample_rate_hz=sample_rate_hz,
        spectrogram_bins=bins,
        upsample_rates=rates,
        upsample_kernels=kernels,
        speakers=speakers,
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ConfigError(otherwise)


def _require_whole(name: str, size: object, low: int, high: int) -> None:
    # bool is an int in Python, but never a size.
    if isinstance(size, bool) or not isinstance(size, int) or not low <= size <= high:
        raise ConfigError(f"A {name} of {size!r} is not a whole number within {low}..{high}.")

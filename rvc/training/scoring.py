"""How far a reconstruction is from its recording: log-mel spectrograms at several resolutions, and melody.

The training loss would not do: it falls on what it is computed on long after the voice has stopped getting
better on other slices. N = samples, T = frames (100 per second), F0 is 0 where unvoiced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.audio.level import RATE_16K_HZ
from rvc.audio.resampling import resample

RESOLUTIONS = ((2048, 128), (1024, 80), (512, 40))  # FFT size in samples, mel bands; the hop is a quarter
FLOOR_DB = 60.0  # quieter than this below the loudest band of the recording, nothing is compared
SEMITONE_DB = 1.0  # what an error of one semitone costs, in dB of mel distance
VOICING_DB = 10.0  # what voicing every frame wrongly would cost
MAX_SEMITONES = 12.0  # an estimator's slip of two octaves says no more than one of one

Wave = NDArray[np.float32]
Melody = NDArray[np.float64]
EstimateF0 = Callable[[Wave], Melody]  # 16 kHz audio, (N,) -> F0 in Hz, (N // 160 + 1,)


@dataclass(frozen=True, kw_only=True)
class Score:
    """How far from the recording; lower is better, 0 is equal."""

    mel_db: float
    f0_semitones: float  # mean of the frames that are voiced in both, 12 at most
    voicing_error: float  # share of the frames that are voiced in one and not in the other, 0..1

    @property
    def total(self) -> float:
        """The one number by which states are compared; infinite if the audio was not finite."""
        total = self.mel_db + SEMITONE_DB * self.f0_semitones + VOICING_DB * self.voicing_error
        return total if math.isfinite(total) else math.inf

    def as_dict(self) -> dict[str, float | None]:
        """Give the parts and the total, None where infinite, which JSON cannot say."""
        parts = {**asdict(self), "total": self.total}
        return {name: value if math.isfinite(value) else None for name, value in parts.items()}


# What audio gets that has samples which are no numbers.
WORST = Score(mel_db=math.inf, f0_semitones=MAX_SEMITONES, voicing_error=1.0)


def mean_score(scores: Sequence[Score]) -> Score:
    """Average at least one score part by part."""
    parts = [asdict(score) for score in scores]
    return Score(**{name: float(np.mean([part[name] for part in parts])) for name in parts[0]})


def score_slice(
    rendered: Wave, reference: Wave, f0_hz: Melody, rate_hz: int, estimate_f0: EstimateF0
) -> Score:
    """Compare two recordings, (N,), the longer cut; `WORST` if the first is not finite.

    `f0_hz`, (T,), is what the same estimator finds in the second, see `melody_of`: two of them disagree.
    """
    length = min(rendered.size, reference.size)
    if not length or not np.isfinite(rendered).all():
        return WORST
    rendered, reference = rendered[:length], reference[:length]
    f0_semitones, voicing_error = f0_error(melody_of(rendered, rate_hz, estimate_f0), f0_hz)
    mel_db = mel_distance_db(rendered, reference, rate_hz)
    return Score(mel_db=mel_db, f0_semitones=f0_semitones, voicing_error=voicing_error)


def melody_of(wav: Wave, rate_hz: int, estimate_f0: EstimateF0) -> Melody:
    """Find the F0 of a recording of any rate, (N,) -> (T,)."""
    return estimate_f0(resample(wav, rate_hz, RATE_16K_HZ) if rate_hz != RATE_16K_HZ else wav)


def mel_distance_db(rendered: Wave, reference: Wave, rate_hz: int) -> float:
    """Mean absolute difference of the log-mel spectrograms over three resolutions; both (N,)."""
    distances = []
    pair = torch.from_numpy(np.stack([rendered, reference])).float()
    for fft_samples, bands in RESOLUTIONS:
        mel = _mel_power(pair, fft_samples, _mel_bank(rate_hz, fft_samples, bands))
        floor = mel[1].max().clamp(min=1e-12) * 10 ** (-FLOOR_DB / 10)
        log_mel = 10.0 * mel.clamp(min=float(floor)).log10()
        distances.append(float((log_mel[0] - log_mel[1]).abs().mean()))
    return sum(distances) / len(distances)


def f0_error(rendered_hz: Melody, reference_hz: Melody) -> tuple[float, float]:
    """Mean error in semitones where both are voiced (12 if nowhere), and share voiced in only one; (T,)."""
    frames = min(rendered_hz.size, reference_hz.size)
    rendered_hz, reference_hz = rendered_hz[:frames], reference_hz[:frames]
    both = (rendered_hz > 0) & (reference_hz > 0)
    voicing_error = float(np.mean((rendered_hz > 0) != (reference_hz > 0))) if frames else 0.0
    if both.any():
        semitones = np.abs(12.0 * np.log2(rendered_hz[both] / reference_hz[both]))
        return float(np.minimum(semitones, MAX_SEMITONES).mean()), voicing_error
    return (MAX_SEMITONES if (reference_hz > 0).any() else 0.0), voicing_error


def _mel_power(wav: Tensor, fft_samples: int, bank: Tensor) -> Tensor:
    """Power in mel bands, (B, N) -> (B, bands, frames); beyond the ends all is zero."""
    window = torch.hann_window(fft_samples)
    spectrum = torch.stft(
        wav, fft_samples, fft_samples // 4, window=window, pad_mode="constant", return_complex=True
    )
    return bank @ torch.view_as_real(spectrum).square().sum(-1)


@lru_cache(maxsize=16)
def _mel_bank(rate_hz: int, fft_samples: int, bands: int) -> Tensor:
    """Triangles spaced evenly in mel from 40 Hz to the top, (bands, bins), widened so that none is empty."""
    top = 2595.0 * math.log10(1.0 + rate_hz / 2 / 700.0)
    low = 2595.0 * math.log10(1.0 + 40.0 / 700.0)
    edges = 700.0 * (10.0 ** (torch.linspace(low, top, bands + 2, dtype=torch.float64) / 2595.0) - 1.0)
    bin_hz = rate_hz / fft_samples
    centres = edges[1:-1, None]
    rising = (centres - edges[:-2, None]).clamp(min=bin_hz)
    falling = (edges[2:, None] - centres).clamp(min=bin_hz)
    distance = torch.arange(fft_samples // 2 + 1, dtype=torch.float64) * bin_hz - centres
    bank = torch.minimum(1.0 + distance / rising, 1.0 - distance / falling).clamp(min=0.0)
    return (bank / bank.sum(1, keepdim=True)).float()

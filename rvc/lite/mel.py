"""Log-mel spectrogram at 16 kHz: what the content encoder sees.

Shapes:  power (B, T, 257), mel (B, T, 80); T = N // 160 + 1 frames, frame i centred at sample 160 * i.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE_HZ = 16_000
HOP_SAMPLES = 160
WINDOW_SAMPLES = 400
FFT_SAMPLES = 512
MEL_BANDS = 80
LOW_HZ, HIGH_HZ = 40.0, 7600.0
POWER_FLOOR = 1e-7


def power_spectrum(wav: Tensor) -> Tensor:
    """Short-time power of 16 kHz audio, (B, N) -> (B, T, 257); outside the recording is silence."""
    window = torch.hann_window(WINDOW_SAMPLES, device=wav.device)
    spectrum = torch.stft(
        wav,
        FFT_SAMPLES,
        HOP_SAMPLES,
        WINDOW_SAMPLES,
        window,
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)


def band_edges_hz() -> Tensor:
    """Where the bands begin, peak and end, (82,): each begins at the peak of the one before it."""

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    points = torch.linspace(mel(LOW_HZ), mel(HIGH_HZ), MEL_BANDS + 2, dtype=torch.float64)
    return 700 * (10 ** (points / 2595) - 1)


def mel_bank(warp: float = 1.0) -> Tensor:
    """Triangular mel filters of unit sum, (80, 257).

    Args:
        warp: Reads every band from `warp` times its frequency, as a vocal tract shorter (>1) or longer (<1)
            by that factor would sound; frequencies near the top of the band are bent to stay inside it.
    """
    edges = band_edges_hz() * warp
    knee, top = 6000.0, 7900.0
    if warp > 1:
        bent = knee + (edges - knee) * (top - knee) / max(float(edges[-1]) - knee, 1.0)
        edges = torch.where(edges > knee, torch.minimum(edges, bent), edges)
    hz = torch.linspace(0, RATE_HZ / 2, FFT_SAMPLES // 2 + 1, dtype=torch.float64)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (hz - low) / (centre - low).clamp(min=1e-9)
    falling = (high - hz) / (high - centre).clamp(min=1e-9)
    bank = torch.minimum(rising, falling).clamp(min=0) + 1e-6
    return (bank / bank.sum(1, keepdim=True)).float()


def log_mel(power: Tensor, bank: Tensor) -> Tensor:
    """Natural logarithm of band power: (B, T, 257) and (80, 257) or (B, 80, 257) -> (B, T, 80)."""
    return (power @ bank.transpose(-1, -2) + POWER_FLOOR).log()

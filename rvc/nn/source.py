"""What excites the generator: a sine that follows F0, a little noise, and only noise where unvoiced.

Shapes:  B = batch, T = frames of 10 ms, N = T * hop samples.
Units:   F0 in Hz, 0 where unvoiced; phase in cycles.
Source:  neural source-filter model (Wang et al. 2019) without harmonics.
Names:   attributes are the entries of published files (`m_source`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SINE_AMPLITUDE = 0.1
VOICED_NOISE = 0.003
UNVOICED_NOISE = SINE_AMPLITUDE / 3


class HarmonicSource(nn.Module):
    """F0 -> excitation.

    Args:
        sample_rate_hz: Rate of the audio.
        hop_samples: Samples per frame.
    """

    def __init__(self, sample_rate_hz: int, hop_samples: int) -> None:
        super().__init__()
        self.sample_rate_hz, self.hop_samples = sample_rate_hz, hop_samples
        self.l_linear = nn.Linear(1, 1)

    def forward(
        self, f0_hz: Tensor, noise: Tensor | None = None, first_phase: Tensor | None = None
    ) -> Tensor:
        """Make the excitation.

        Args:
            f0_hz: (B, T).
            noise: White, of unit RMS, (B, 1, N); drawn here if None.
            first_phase: Cycles passed before the first sample, (B,), so that a later piece of a recording
                goes on where the one before it ended; 0 if None.

        Returns:
            Within -1..1, (B, 1, N).
        """
        f0 = f0_hz.float()
        sine = torch.sin(self._phase(f0, first_phase))
        voiced = (f0 > 0).float().repeat_interleave(self.hop_samples, dim=1)
        if noise is None:
            noise = torch.randn_like(sine)[:, None]
        strength = UNVOICED_NOISE + (VOICED_NOISE - UNVOICED_NOISE) * voiced
        excitation = SINE_AMPLITUDE * sine * voiced + strength * noise[:, 0]
        # Written out: half precision, which autocast would choose for a linear layer, is audible here.
        return torch.tanh(self.l_linear.weight * excitation + self.l_linear.bias)[:, None]

    def _phase(self, f0: Tensor, first_phase: Tensor | None) -> Tensor:
        """Radians at every sample, (B, T) -> (B, N).

        Summed over frames in float64 and wrapped there: a float32 sum over samples drifts within a minute.
        """
        step = f0.double() / self.sample_rate_hz  # cycles per sample
        passed = (step * self.hop_samples).cumsum(1)
        before = torch.cat([torch.zeros_like(passed[:, :1]), passed[:, :-1]], dim=1)
        if first_phase is not None:
            before = before + first_phase.double()[:, None]
        inside = torch.arange(1, self.hop_samples + 1, device=f0.device)
        cycles = before.frac().float()[..., None] + step.float()[..., None] * inside
        return (2 * math.pi * cycles).flatten(1)

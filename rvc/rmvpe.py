"""RMVPE: the F0 of a recording by a network, steadier than autocorrelation in noise and under music.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames, frame i centred at sample i * 160.
Units:   F0 in Hz, 0 where unvoiced; salience 0..1 for 360 pitches, 20 cents apart from 31.7 Hz up.
Source:  Wei et al. 2023, "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music"; front end
         and decoding as RVC has them, because its voices were trained on this F0.
Weights: rmvpe.pt as published. They are passed in; where they come from is not decided here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from rvc.errors import ConfigError
from rvc.f0 import F0Estimator
from rvc.level import HOP_16K, RATE_16K_HZ
from rvc.nn.rmvpe import GRID_FRAMES, MEL_BANDS, PITCHES, STAGES, RmvpeNetwork
from rvc.steps import result_of
from rvc.weights_file import fill, read_state

WINDOW_SAMPLES = 1024
LOW_HZ, HIGH_HZ = 30.0, 8000.0
MEL_FLOOR = 1e-5
VOICING_THRESHOLD = 0.03
"""Salience up to which a frame is unvoiced."""

FIRST_CENTS = 1997.3794084376191
"""The lowest pitch in cents above 10 Hz: 31.7 Hz."""

STEP_CENTS = 20.0
REACH = 4
"""Pitches on either side of the strongest that have a say in where it lies."""

INSTEAD = "use the published rmvpe.pt"


@dataclass(frozen=True, kw_only=True)
class RmvpeOptions:
    """How it is used.

    Attributes:
        voicing_threshold: Salience (0..1) that the strongest pitch of a voiced frame exceeds.
        chunk_frames: Frames computed at once, a multiple of 32 so that every chunk lies on the U-Net's grid.
        overlap_frames: Frames computed on either side of a chunk and thrown away, likewise.
    """

    voicing_threshold: float = VOICING_THRESHOLD
    chunk_frames: int = 2016
    overlap_frames: int = 128

    def __post_init__(self) -> None:
        if not 0.0 <= self.voicing_threshold < 1.0:
            raise ConfigError(
                f"RMVPE's voicing threshold is {self.voicing_threshold:g}; choose 0 or more and less than 1."
            )
        if self.chunk_frames < 1 or self.chunk_frames % GRID_FRAMES or self.overlap_frames % GRID_FRAMES:
            raise ConfigError(f"RMVPE's chunks and their overlap are multiples of {GRID_FRAMES} frames.")


class RmvpeF0(F0Estimator):
    """F0 by RMVPE.

    Args:
        network: With its weights; it is moved to the device and set to evaluation.
        options: How it is used; the defaults are RVC's.
        device: Where it computes ("cpu", "cuda").
    """

    def __init__(
        self, network: RmvpeNetwork, options: RmvpeOptions | None = None, device: str = "cpu"
    ) -> None:
        self.options = options or RmvpeOptions()
        self._network = network.to(device).eval().requires_grad_(requires_grad=False)
        self._device = torch.device(device)
        self.on_device = self._device.type != "cpu"
        self.cost_s = 0.15

    @staticmethod
    def load(weights: Path, device: str = "cpu") -> RmvpeF0:
        """Read the published weights.

        Raises:
            CheckpointError: The file is missing, damaged, or holds another network.
        """
        with torch.device("meta"):
            network = RmvpeNetwork()
        fill(network, read_state(weights, INSTEAD), weights, INSTEAD)
        return RmvpeF0(network, device=device)

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        """Estimate F0 in steps; see `F0Estimator`."""
        salience = yield from self.salience(wav16k)
        return decode(salience, self.options.voicing_threshold)

    def salience(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float32]]:
        """Tell how strong each pitch is in each frame.

        Args:
            wav16k: The whole recording, shape (N,), 16 kHz.

        Yields:
            The share that is done, 0..1.

        Returns:
            Salience, shape (T, 360), 0..1. A recording of up to a chunk is computed as a whole.
        """
        frames = wav16k.size // HOP_16K + 1
        salience = np.zeros((frames, PITCHES), np.float32)
        if not wav16k.size:
            return salience
        # Mirrored at its ends, as a centred STFT does it, but once: chunks see their true neighbours.
        mirrored = np.pad(wav16k, WINDOW_SAMPLES // 2, mode="reflect")
        for start, stop, first, last in self._chunks(frames):
            samples = mirrored[first * HOP_16K : (last - 1) * HOP_16K + WINDOW_SAMPLES]
            # Contexts of torch are the thread's, so none may be open while this generator waits.
            with torch.inference_mode():
                mel = log_mel(torch.from_numpy(np.ascontiguousarray(samples)).to(self._device))
                stages = self._network.stages(_on_grid(mel)[None])
            for stage in range(STAGES):
                with torch.inference_mode():
                    next(stages)
                yield (start + (stop - start) * stage / STAGES) / frames
            with torch.inference_mode():
                found = result_of(stages)[0].cpu().numpy()
            salience[start:stop] = found[start - first : stop - first]
        return salience

    def _chunks(self, frames: int) -> Iterator[tuple[int, int, int, int]]:
        """List start and stop of each chunk without and with its overlap, in frames."""
        chunk, overlap = self.options.chunk_frames, self.options.overlap_frames
        for start in range(0, frames, chunk):
            stop = min(start + chunk, frames)
            yield start, stop, max(start - overlap, 0), min(stop + overlap, frames)


def log_mel(mirrored: Tensor) -> Tensor:
    """Compute what the network sees.

    Args:
        mirrored: Audio at 16 kHz with 512 samples more at either end, shape (N + 1024,).

    Returns:
        Natural logarithm of the mel magnitudes, shape (128, N // 160 + 1), not below log(1e-5).
    """
    window = torch.hann_window(WINDOW_SAMPLES, device=mirrored.device)
    spectrum = torch.stft(mirrored, WINDOW_SAMPLES, HOP_16K, window=window, center=False, return_complex=True)
    bank = melscale_fbanks(
        WINDOW_SAMPLES // 2 + 1, LOW_HZ, HIGH_HZ, MEL_BANDS, RATE_16K_HZ, norm="slaney", mel_scale="htk"
    )
    return (bank.T.to(mirrored.device) @ spectrum.abs()).clamp(min=MEL_FLOOR).log()


def decode(
    salience: NDArray[np.float32], voicing_threshold: float = VOICING_THRESHOLD
) -> NDArray[np.float64]:
    """Read the F0 off the salience: the strongest pitch, made finer by its neighbours' weighted mean.

    Args:
        salience: Shape (T, 360), 0..1.
        voicing_threshold: Frames whose strongest pitch does not exceed it are unvoiced.

    Returns:
        F0 in Hz, shape (T,), 0 where unvoiced.
    """
    cents = FIRST_CENTS + STEP_CENTS * np.arange(PITCHES)
    # Beyond the lowest and the highest pitch nothing weighs anything.
    weights = np.pad(salience.astype(np.float64), ((0, 0), (REACH, REACH)))
    strongest = salience.argmax(axis=1)
    around = strongest[:, None] + np.arange(2 * REACH + 1)
    weight = np.take_along_axis(weights, around, axis=1)
    total = weight.sum(axis=1)
    mean = (weight * np.pad(cents, REACH)[around]).sum(axis=1) / np.where(total > 0, total, 1.0)
    voiced = salience.max(axis=1) > voicing_threshold
    return np.where(voiced, 10.0 * 2.0 ** (mean / 1200.0), 0.0)


def _on_grid(mel: Tensor) -> Tensor:
    """Fill up to a multiple of 32 frames, with the value 0 that the weights know (it is no silence)."""
    return torch.nn.functional.pad(mel, (0, -mel.shape[1] % GRID_FRAMES))

"""RMVPE: the F0 of a recording by a network, steadier than autocorrelation in noise and under music.

Shapes:  N = samples at 16 kHz, T = N // 160 + 1 frames, frame i centred at sample i * 160.
Units:   F0 in Hz, 0 where unvoiced; salience 0..1 for 360 pitches, 20 cents apart from 31.7 Hz up.
Source:  Wei et al. 2023, "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music"; front end
         and decoding as RVC has them, because its voices were trained on this F0.
Weights: rmvpe.pt as published. They are passed in; where they come from is not decided here.
Network: a U-Net over the log-mel (B, 128, F), F a multiple of 32, then a bidirectional GRU. Attributes are
         named as the keys of the published weights (741 of them).
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from rvc.audio.level import HOP_16K, RATE_16K_HZ
from rvc.audio.resampling import resample
from rvc.pitch.f0 import OCTAVE_TOLERANCE, F0Estimator, chunks
from rvc.steps import relay, result_of
from rvc.torch_file import fill, read_state

MEL_BANDS = 128
PITCHES = 360
LEVELS = 5
GRID_FRAMES = 2**LEVELS  # the U-Net halves the time that often; its input is a whole number of these
GROUPS = 4  # of residual blocks at the bottom
STAGES = 2 * LEVELS + GROUPS  # how often `RmvpeNetwork.stages` yields

WINDOW_SAMPLES = 1024
LOW_HZ, HIGH_HZ = 30.0, 8000.0
MEL_FLOOR = 1e-5
VOICING_THRESHOLD = 0.03  # salience up to which a frame is unvoiced
FIRST_CENTS = 1997.3794084376191  # the lowest pitch in cents above 10 Hz: 31.7 Hz
STEP_CENTS = 20.0
REACH = 4  # pitches on either side of the strongest that have a say in where it lies
# Computed at once, and on either side besides and thrown away: multiples of 32, on the U-Net's grid.
CHUNK_FRAMES, OVERLAP_FRAMES = 2016, 128
# Notes above about 1,040 Hz are read an octave low, with certainty; an octave down they are read right.
SUSPECT_HZ = 500.0
AROUND_FRAMES = 32  # heard before and behind what is checked
CHECKING_SHARE = 0.3  # of the time
INSTEAD = "use the published rmvpe.pt"


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )
        if channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, F, M) -> (B, C_out, F, M)."""
        beside = self.shortcut(x) if hasattr(self, "shortcut") else x
        return self.conv(x) + beside


def _blocks(channels_in: int, channels_out: int, count: int) -> nn.ModuleList:
    rest = [ResidualBlock(channels_out, channels_out) for _ in range(count - 1)]
    return nn.ModuleList([ResidualBlock(channels_in, channels_out), *rest])


class Group(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, blocks: int) -> None:
        super().__init__()
        self.conv = _blocks(channels_in, channels_out, blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, F, M) -> (B, C_out, F, M)."""
        for block in self.conv:
            x = block(x)
        return x


class UpGroup(nn.Module):
    """Doubles time and frequency, joins what the encoder saw there, then residual blocks."""

    def __init__(self, channels_in: int, blocks: int) -> None:
        super().__init__()
        channels_out = channels_in // 2
        self.conv1 = nn.Sequential(
            nn.ConvTranspose2d(
                channels_in, channels_out, 3, stride=2, padding=1, output_padding=1, bias=False
            ),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )
        self.conv2 = _blocks(channels_in, channels_out, blocks)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, F, M) and (B, C / 2, 2 F, 2 M) -> (B, C / 2, 2 F, 2 M)."""
        x = torch.cat([self.conv1(x), skip], dim=1)
        for block in self.conv2:
            x = block(x)
        return x


class Encoder(nn.Module):
    """The way down: each level doubles the channels; its output is halved on the way to the next."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(1)
        widths = [1, *(channels * 2**level for level in range(LEVELS))]
        self.layers = nn.ModuleList(Group(narrow, wide, blocks) for narrow, wide in pairwise(widths))
        self.pool = nn.AvgPool2d(2)


class Intermediate(nn.Module):
    """The bottom, at a 32nd of the time and frequency."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        first = Group(channels, 2 * channels, blocks)
        rest = [Group(2 * channels, 2 * channels, blocks) for _ in range(GROUPS - 1)]
        self.layers = nn.ModuleList([first, *rest])


class Decoder(nn.Module):
    """The way up: each level halves the channels."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(UpGroup(channels // 2**level, blocks) for level in range(LEVELS))


class UNet(nn.Module):
    """Encoder, bottom and decoder; `RmvpeNetwork` goes through them."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        bottom = channels * 2 ** (LEVELS - 1)
        self.encoder = Encoder(channels, blocks)
        self.intermediate = Intermediate(bottom, blocks)
        self.decoder = Decoder(2 * bottom, blocks)


class BiGRU(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, hidden, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, C) -> (B, F, 2 * hidden)."""
        return self.gru(x)[0]


class RmvpeNetwork(nn.Module):
    """Log-mel -> salience. The defaults are the published sizes."""

    def __init__(self, channels: int = 16, blocks: int = 4, hidden: int = 256) -> None:
        super().__init__()
        self.unet = UNet(channels, blocks)
        self.cnn = nn.Conv2d(channels, 3, 3, padding=1)
        self.fc = nn.Sequential(
            BiGRU(3 * MEL_BANDS, hidden), nn.Linear(2 * hidden, PITCHES), nn.Dropout(0.25), nn.Sigmoid()
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel (B, 128, F), F a multiple of 32 -> salience (B, F, 360)."""
        return result_of(self.stages(mel))

    def stages(self, mel: Tensor) -> Generator[None, None, Tensor]:
        """Compute the same level by level, so that the caller may do other things in between."""
        unet = self.unet
        x = unet.encoder.bn(mel.transpose(1, 2)[:, None])  # (B, 1, F, 128)
        skips: list[Tensor] = []
        for group in unet.encoder.layers:
            skips.append(group(x))
            x = unet.encoder.pool(skips[-1])
            yield
        for group in unet.intermediate.layers:
            x = group(x)
            yield
        for group in unet.decoder.layers:
            x = group(x, skips.pop())
            yield
        x = self.cnn(x).transpose(1, 2).flatten(2)  # (B, F, 3 * 128)
        return self.fc(x)


class RmvpeF0(F0Estimator):
    def __init__(
        self, network: RmvpeNetwork, device: str = "cpu", *, chunk_frames: int = CHUNK_FRAMES
    ) -> None:
        self._network = network.to(device).eval().requires_grad_(requires_grad=False)
        self._device = torch.device(device)
        self._chunk_frames = chunk_frames
        self.on_device = self._device.type != "cpu"
        self.cost_s = 0.15

    @staticmethod
    def load(weights: Path, device: str = "cpu") -> RmvpeF0:
        with torch.device("meta"):
            network = RmvpeNetwork()
        fill(network, read_state(weights, INSTEAD), weights, INSTEAD)
        return RmvpeF0(network, device)

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        salience = yield from relay(self.salience(wav16k), lambda share: (1 - CHECKING_SHARE) * share)
        f0_hz = decode(salience)
        suspects = _suspects(f0_hz)
        for start, stop in suspects:
            # At half the speed all is an octave lower, and a frame is two.
            slowed = resample(wav16k[start * HOP_16K : stop * HOP_16K], RATE_16K_HZ, 2 * RATE_16K_HZ)
            since = 1 - CHECKING_SHARE * (1 - start / f0_hz.size)
            length = CHECKING_SHARE * (stop - start) / f0_hz.size
            checked = yield from relay(self.salience(slowed), partial(_within, since, length))
            part, twice = f0_hz[start:stop], 2.0 * decode(checked)[: 2 * (stop - start) : 2]
            low = (part > SUSPECT_HZ) & (np.abs(twice / np.maximum(part, 1.0) - 2.0) < OCTAVE_TOLERANCE)
            part[low] = twice[low]
        return f0_hz

    def salience(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float32]]:
        """Tell how strong each pitch is in each frame, (N,) -> (T, 360); yields the share that is done."""
        frames = wav16k.size // HOP_16K + 1
        salience = np.zeros((frames, PITCHES), np.float32)
        if not wav16k.size:
            return salience
        # Mirrored at its ends, as a centred STFT does it, but once: chunks see their true neighbours.
        mirrored = np.pad(wav16k, WINDOW_SAMPLES // 2, mode="reflect")
        for start, stop, first, last in chunks(frames, self._chunk_frames, OVERLAP_FRAMES):
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


def _suspects(f0_hz: NDArray[np.float64]) -> list[tuple[int, int]]:
    """List from where to where notes are so high that they may be higher, with what is around them."""
    near = maximum_filter1d(f0_hz > SUSPECT_HZ, 2 * AROUND_FRAMES + 1, mode="constant")
    borders = np.flatnonzero(np.diff(near, prepend=False, append=False))
    return [(start, stop) for start, stop in borders.reshape(-1, 2).tolist()]


def _within(since: float, length: float, share: float) -> float:
    return since + length * share


def log_mel(mirrored: Tensor) -> Tensor:
    """Compute what the network sees: audio with 512 samples more at either end -> (128, N // 160 + 1)."""
    window = torch.hann_window(WINDOW_SAMPLES, device=mirrored.device)
    spectrum = torch.stft(mirrored, WINDOW_SAMPLES, HOP_16K, window=window, center=False, return_complex=True)
    bank = melscale_fbanks(
        WINDOW_SAMPLES // 2 + 1, LOW_HZ, HIGH_HZ, MEL_BANDS, RATE_16K_HZ, norm="slaney", mel_scale="htk"
    )
    return (bank.T.to(mirrored.device) @ spectrum.abs()).clamp(min=MEL_FLOOR).log()


def decode(
    salience: NDArray[np.float32], voicing_threshold: float = VOICING_THRESHOLD
) -> NDArray[np.float64]:
    """Read the F0 off the salience: the strongest pitch, made finer by its neighbours' weighted mean."""
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

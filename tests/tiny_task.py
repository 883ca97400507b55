"""A real engine at toy size: an additive synthesizer that learns the timbre of tones.

Shapes:  T = frames (100 per second), N = T * 160 samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from pipelines.events import Progress
from rvc.audio.resampling import resample
from rvc.audio.writer import save
from rvc.pitch.praat import PraatF0
from rvc.training.dataset import TrainingSet, extract_features
from rvc.training.group import Group
from rvc.training.settings import TrainSettings
from rvc.training.task import Features, Task, TaskBuilder

Y = TypeVar("Y")
R = TypeVar("R")

RATE_HZ = 16_000
HOP = 160
CROP_FRAMES = 24
HARMONICS = 4
BANDS = 6


def sung_tone(f0_hz: float, seconds: float, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A sawtooth-like tone with vibrato, a swelling level and a pause at its end, shape (N,)."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * f0_hz * (time_s + 0.002 * np.sin(2 * np.pi * 5 * time_s))
    tone = sum(np.sin(k * phase) / k for k in range(1, HARMONICS + 1))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * time_s / 0.7)
    return (0.15 * tone * swell * (time_s < 0.9 * seconds)).astype(np.float32)


def write_tones(folder: Path, lengths_s: Sequence[float], rate_hz: int = RATE_HZ) -> list[Path]:
    """Write one FLAC file per length, each of another pitch; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, seconds in enumerate(lengths_s):
        path = folder / f"{number:03d}.flac"
        save(path, sung_tone(150.0 * 1.1**number, seconds, rate_hz), rate_hz, bits=24)
        paths.append(path)
    return paths


class TinySynthesizer(nn.Module):
    """Band levels and F0 of each frame -> amplitudes of the harmonics of a sine bank."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(BANDS + 1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv1d(16, HARMONICS, 3, padding=1),
        )

    def forward(self, bands: Tensor, f0_hz: Tensor, phase: Tensor) -> Tensor:
        """Speak, (B, T, bands), (B, T) and a start phase (B, 1) in cycles -> (B, T * 160)."""
        frames = torch.cat([bands, f0_hz[..., None] / 400], dim=-1).transpose(1, 2)
        amplitudes = functional.softplus(self.layers(frames) - 3).repeat_interleave(HOP, dim=2)
        cycles = torch.cumsum(f0_hz.repeat_interleave(HOP, dim=1) / RATE_HZ, dim=1) + phase
        number = torch.arange(1, HARMONICS + 1)[None, :, None]
        voiced = (f0_hz > 0).float().repeat_interleave(HOP, dim=1)
        return (amplitudes * torch.sin(2 * torch.pi * number * cycles[:, None])).sum(1) * voiced


class TinyTask(Task):
    """The smallest task that has all that a real one has: crops, noise, dropout, Adam, a schedule.

    Args:
        explode_at: The step whose loss is not a number, if any.
        unlearn_from: The step from which it walks up the loss instead of down, if any.
    """

    sample_rate_hz = RATE_HZ
    features_key = "tiny 1"
    device = torch.device("cpu")
    epoch = 0

    def __init__(self, explode_at: int | None = None, unlearn_from: int | None = None) -> None:
        self.network = TinySynthesizer()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-2)
        self.explode_at = explode_at
        self.unlearn_from = unlearn_from
        self.extracted = 0

    def default_steps(self, seconds_of_audio: float) -> int:
        return 10 + round(seconds_of_audio / 10)

    def extract(self, wav: NDArray[np.float32], rate_hz: int, seed: int) -> dict[str, Tensor]:
        self.extracted += 1
        wav = resample(wav, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else wav
        frames = len(wav) // HOP
        wav = wav[: frames * HOP]
        f0_hz = PraatF0()(wav)[:frames]
        spectrum = torch.from_numpy(wav).reshape(frames, HOP).to(torch.float64)
        power = torch.fft.rfft(spectrum).abs()[:, : BANDS * 4].reshape(frames, BANDS, 4).mean(2)
        jitter = torch.randn(BANDS, generator=torch.Generator().manual_seed(seed))
        return {
            "bands": (power + 1e-3).log().float() + 0.01 * jitter,
            "f0": torch.from_numpy(f0_hz).float(),
            "wav": torch.from_numpy(wav.copy()),
        }

    def batch(self, items: Sequence[Features], generator: torch.Generator) -> dict[str, Tensor]:
        bands, f0_hz, wav = [], [], []
        for item in items:
            start = int(torch.randint(len(item["f0"]) - CROP_FRAMES, (1,), generator=generator))
            stop = start + CROP_FRAMES
            bands.append(item["bands"][start:stop])
            f0_hz.append(item["f0"][start:stop])
            wav.append(item["wav"][start * HOP : stop * HOP])
        return {"bands": torch.stack(bands), "f0": torch.stack(f0_hz), "wav": torch.stack(wav)}

    def step(
        self, batch: dict[str, Tensor], step: int, total_steps: int, generator: torch.Generator
    ) -> dict[str, float]:
        self.optimizer.param_groups[0]["lr"] = 1e-2 * (1 - 0.9 * step / total_steps)
        phase = torch.rand(len(batch["f0"]), 1, generator=generator, device=self.device)
        spoken = self.network(batch["bands"], batch["f0"], phase)
        loss = (_log_spectrum(spoken) - _log_spectrum(batch["wav"])).abs().mean()
        self.optimizer.zero_grad()
        unlearns = self.unlearn_from is not None and step >= self.unlearn_from
        torch.autograd.backward(-loss if unlearns else loss)
        self.optimizer.step()
        return {"spectrum": float("nan") if step == self.explode_at else float(loss.detach())}

    def render(self, item: Features) -> NDArray[np.float32]:
        was_training = self.network.training
        self.network.eval()
        spoken = self.network(item["bands"][None], item["f0"][None], torch.zeros(1, 1))[0]
        self.network.train(was_training)
        return spoken.numpy()

    def reference(self, item: Features) -> NDArray[np.float32]:
        return item["wav"].numpy()

    def f0(self, item: Features) -> NDArray[np.float64]:
        return item["f0"].double().numpy()

    def content(self, item: Features) -> NDArray[np.float32]:
        return item["bands"].numpy()

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(self, folder: Path) -> dict[str, Any]:
        save_file(self.network.state_dict(), folder / "model.safetensors")
        return {
            "engine": "tiny",
            "sample_rate_hz": RATE_HZ,
            "content_encoder": "bands",
            "content_dim": BANDS,
        }


def _log_spectrum(wav: Tensor) -> Tensor:
    window = torch.hann_window(512)
    spectrum = torch.stft(wav, 512, 128, window=window, center=False, return_complex=True)
    return (spectrum.abs() + 1e-2).log()


def build_tiny_task() -> TinyTask:
    """Build as an engine does: without arguments, weights from torch's global generator."""
    return TinyTask()


def start_tiny(
    settings: TrainSettings, group: Group, build: TaskBuilder = build_tiny_task
) -> Generator[Progress, None, TaskBuilder]:
    """How a training of this engine begins; see `pipelines.training.train.STARTS`."""
    yield from ()
    return build


def drain(steps: Generator[Y, None, R]) -> tuple[list[Y], R]:
    """Run a generator to its end; return what it yielded and what it returned."""
    yielded: list[Y] = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as stop:
            return yielded, stop.value


def tiny_training_set(folder: Path, lengths_s: Sequence[float] = (1.0, 1.2, 2.3, 1.4)) -> TrainingSet:
    """Tones of these lengths with their features, divided."""
    paths = write_tones(folder / "slices", lengths_s)
    slices = [SimpleNamespace(path=path, seconds=s) for path, s in zip(paths, lengths_s, strict=True)]
    _, found = drain(extract_features(TinyTask(), slices, folder / "features", seed=0))
    return TrainingSet.divide(found)

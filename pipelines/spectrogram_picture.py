"""The child that draws spectrograms above each other: `python -m pipelines.spectrogram_picture ORDER`.

recordings: two sound files; titles: what stands above each
->  picture: a PNG of 1200 x 800, their melodies drawn over the first 20 s of both, on the same axes
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rvc.audio.level import HOP_16K, RATE_16K_HZ
from rvc.audio.reader import blocks
from rvc.errors import AudioError
from rvc.pitch.praat import PraatF0
from rvc.sandbox import Order, serve

MAX_SECONDS = 20.0
RANGE_DB = 70.0
WINDOW = 640  # 40 ms, so that harmonics can be told apart
_TOP_HZ = 8_000
_TICKS_HZ = (100, 200, 500, 1_000, 2_000, 4_000, 8_000)


def draw(order: Order) -> None:
    """Draw what is ordered."""
    # Not pyplot: it keeps figures alive.
    figure = Figure(figsize=(12, 8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    rows: Any = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, path, title in zip(rows, order["recordings"], order["titles"], strict=True):
        wav = _beginning(Path(path))
        f0_hz = PraatF0()(wav)
        voiced = f0_hz[f0_hz > 0]
        median = f"median pitch {np.median(voiced):.0f} Hz" if voiced.size else "no pitch found"
        image = _draw(axes, wav, f0_hz)
        axes.set_title(f"{title} ({median})", loc="left", parse_math=False)  # a name is no formula
    rows[0].legend(loc="upper right")
    rows[1].set_xlabel("Time (s)")
    figure.colorbar(image, ax=list(rows), label="Level (dB below the loudest)", pad=0.01)
    figure.savefig(order["picture"], format="png")


def spectrogram_db(wav: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the level of each bin of 16 kHz audio (N,) in dB relative to the loudest, -70..0.

    Shape (321, N // 160 + 1); column i is centred at sample i * 160, row k lies at k * 25 Hz.
    """
    padded = np.pad(wav, WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP_16K]
    magnitude = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), axis=1)).T
    loudest = float(magnitude.max(initial=0.0))
    level = 20.0 * np.log10(np.maximum(magnitude, 1e-9) / max(loudest, 1e-4))
    return np.clip(level, -RANGE_DB, 0.0)


def _draw(axes: Axes, wav: NDArray[np.float32], f0_hz: NDArray[np.float64]) -> Any:  # noqa: ANN401 -- matplotlib's
    level = spectrogram_db(wav)
    time_s = np.arange(level.shape[1]) * HOP_16K / RATE_16K_HZ
    hz = np.arange(level.shape[0]) * RATE_16K_HZ / WINDOW
    image = axes.pcolormesh(
        time_s, hz[2:], level[2:], cmap="magma", vmin=-RANGE_DB, vmax=0.0, shading="nearest", rasterized=True
    )
    melody = np.where(f0_hz > 0, f0_hz, np.nan)[: time_s.size]
    axes.plot(time_s[: melody.size], melody, color="#39e6ff", linewidth=2.0, label="Pitch (F0)")
    axes.set_yscale("log")
    axes.set_ylim(60, _TOP_HZ)
    axes.set_yticks(_TICKS_HZ, [f"{tick:,}" for tick in _TICKS_HZ])
    axes.minorticks_off()
    axes.set_ylabel("Frequency (Hz)")
    return image


def _beginning(path: Path) -> NDArray[np.float32]:
    """Read the first seconds of a recording, mono at 16 kHz."""
    first = next(blocks(path, rate_hz=RATE_16K_HZ, block_s=MAX_SECONDS), None)
    if first is None:
        raise AudioError(f"{path.name} holds no sound, so there is nothing to draw.")
    return first


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], draw))

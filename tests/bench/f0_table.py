"""How well F0 is found in noise, from a folder of speech: `python -m tests.bench.f0_table --speech FOLDER`.

Truth is what Praat and the network of "swift" both say of the clean recording: a pitch, within 50 cents, or
that there is no voice. Printed for each: recall (voiced frames found), right (within 50 cents), gross errors
(20 % and more of what was found) and false voicing, in percent. Sung tones from 55 to 1,050 Hz have their
own truth.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvc.audio.level import RATE_16K_HZ, loud_rms
from rvc.audio.reader import blocks
from rvc.pitch.estimators import f0_estimator
from rvc.pitch.swift import LEVEL, VOICED, SwiftF0
from rvc.steps import result_of

ENDINGS = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
LONGEST_S = 8
LEVELS_DB = (20, 10, 5, 0)
BABBLERS = 6
Wave = NDArray[np.float32]


def speech(folder: Path, each: int) -> list[Wave]:
    """Take some recordings of each folder that holds any, the same ones every time."""
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in ENDINGS:
            by_folder.setdefault(path.relative_to(folder).parents[-2], []).append(path)
    chosen = [
        path for paths in by_folder.values() for path in random.Random(3).sample(paths, min(each, len(paths)))
    ]
    return [next(blocks(path, rate_hz=RATE_16K_HZ, block_s=LONGEST_S, name=path.name)) for path in chosen]


def noises(waves: list[Wave]) -> dict[str, Callable[[int], NDArray[np.float64]]]:
    """Return by kind what makes the noise for the recording of this number."""

    def white(number: int) -> NDArray[np.float64]:
        return np.random.default_rng(number).standard_normal(waves[number].size)

    def pink(number: int) -> NDArray[np.float64]:
        spectrum = np.fft.rfft(white(number))
        return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 1)), waves[number].size)

    def babble(number: int) -> NDArray[np.float64]:
        others = [waves[(number + away) % len(waves)] for away in range(1, BABBLERS + 1)]
        parts = [np.resize(other, waves[number].size) / other.std() for other in others]
        return np.sum(parts, axis=0, dtype=np.float64)

    return {"white": white, "pink": pink, "babble": babble}


def true_of(wave: Wave) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the pitch of a clean recording where two hear the same, else 0, and where neither hears any."""
    praat_hz = f0_estimator("praat")(wave)
    heard = SwiftF0().by_network(wave * np.float32(LEVEL / loud_rms(wave)))
    network_hz, confidence = result_of(heard)
    voiced = (praat_hz > 0) & (confidence >= VOICED)
    alike = np.abs(np.log2(np.where(voiced, praat_hz, 1.0) / network_hz)) < 50 / 1200
    return np.where(voiced & alike, praat_hz, 0.0), (praat_hz == 0) & (confidence < VOICED)


def compared(
    found_hz: NDArray[np.float64], true_hz: NDArray[np.float64], silent: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Count voiced, found, right and grossly wrong frames, unvoiced ones, and those called voiced."""
    voiced, heard = true_hz > 0, found_hz > 0
    both = voiced & heard
    cents = 1200 * np.abs(np.log2(found_hz[both] / true_hz[both]))
    return np.array(
        [
            voiced.sum(),
            both.sum(),
            (cents < 50).sum(),
            (cents > 316).sum(),
            silent.sum(),
            (silent & heard).sum(),
        ]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--each", type=int, default=4, help="recordings of each folder")
    parser.add_argument("--estimators", nargs="+", default=["praat", "swift"])
    asked = parser.parse_args()
    estimators = {name: f0_estimator(name) for name in asked.estimators}
    waves = speech(asked.speech, asked.each)
    truth = [true_of(wave) for wave in waves]
    _say("noise", "dB", *(f"{name}: recall/right/gross/false" for name in estimators))
    for kind, noise in noises(waves).items():
        for level_db in LEVELS_DB:
            counts = {name: np.zeros(6, np.int64) for name in estimators}
            for number, wave in enumerate(waves):
                added = noise(number)
                added *= wave.std() / added.std() * 10 ** (-level_db / 20)
                for name, estimate in estimators.items():
                    counts[name] += compared(estimate((wave + added).astype(np.float32)), *truth[number])
            _say(kind, str(level_db), *map(_percent, counts.values()))
    for low_hz, high_hz in ((55, 110), (110, 440), (440, 1050)):
        wave, true_hz = _sung(low_hz, high_hz)
        silent = np.zeros(true_hz.size, bool)
        _say(
            "sung",
            f"{low_hz}-{high_hz} Hz",
            *(_percent(compared(e(wave), true_hz, silent)) for e in estimators.values()),
        )


def _sung(low_hz: float, high_hz: float) -> tuple[Wave, NDArray[np.float64]]:
    """Ten seconds of a voice-like tone that glides up with vibrato, and its F0."""
    time_s = np.arange(10 * RATE_16K_HZ) / RATE_16K_HZ
    f0_hz = np.geomspace(low_hz, high_hz, time_s.size) * 2 ** (0.5 / 12 * np.sin(2 * np.pi * 5.5 * time_s))
    cycles = np.cumsum(f0_hz) / RATE_16K_HZ
    wave = sum(np.sin(2 * np.pi * n * cycles) / n * (n * f0_hz < 7_000) for n in range(1, 40))
    return (0.05 * np.asarray(wave)).astype(np.float32), np.append(f0_hz[::160], f0_hz[-1])


def _percent(counts: NDArray[np.int64]) -> str:
    voiced, found, right, gross, silent, false = counts.tolist()
    shares = (found / voiced, right / voiced, gross / max(found, 1), false / max(silent, 1))
    return "/".join(f"{100 * share:.1f}" for share in shares)


def _say(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

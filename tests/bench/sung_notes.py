"""Sung notes in the voices that ship: in tune, and how clean.

    python -m tests.bench.sung_notes --speech FOLDER

FOLDER holds sung notes, one an Opus file: each is converted as a recording is by default, and in its own key
(`transpose_semitones` 0). Printed for each voice and octave: the share of the frames whose pitch is that of
the note, within 25 cents and up to whole octaves, by Praat; and by how much the harmonics are stronger than
all between them below 5 kHz, in the median frame, in dB, beside that of the recordings themselves.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import parselmouth
from numpy.typing import NDArray

from pipelines.conversion.convert import convert
from pipelines.events import finish
from pipelines.voices.library import BUILTIN_VOICES
from rvc.audio.reader import load_mono
from rvc.engine.options import ConvertOptions
from rvc.voice import Voice

LOWEST_HZ, HIGHEST_HZ = 50, 1300
OCTAVES_HZ = ((80, 262), (262, 523), (523, 1100))  # by what is sung
IN_TUNE_CENTS, EDGE_FRAMES = 25, 5
WINDOW_S, UP_TO_HZ = 0.06, 5_000
KEYS = {"default": None, "own key": 0.0}
Numbers = NDArray[np.float64]


def pitch(wav: NDArray[np.float32], rate_hz: int) -> tuple[Numbers, Numbers]:
    """When in seconds, and F0, 0 where there is none, each (T,)."""
    sound = parselmouth.Sound(wav.astype(np.float64), rate_hz)
    found = sound.to_pitch_ac(time_step=0.01, pitch_floor=LOWEST_HZ, pitch_ceiling=HIGHEST_HZ)
    return found.xs(), found.selected_array["frequency"]


def cleanness_db(wav: NDArray[np.float32], rate_hz: int, at_s: float, f0_hz: float) -> float:
    """Harmonics over the rest around a moment, by least squares."""
    size = round(WINDOW_S * rate_hz)
    first = min(max(round(at_s * rate_hz) - size // 2, 0), len(wav) - size)
    window = np.hanning(size)
    angle = 2 * np.pi * f0_hz * (np.arange(size) - size / 2)[:, None] / rate_hz
    angle = angle * np.arange(1, int(UP_TO_HZ / f0_hz) + 1)
    basis = np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * window[:, None]
    heard = wav[first : first + size].astype(np.float64) * window
    harmonic = basis @ np.linalg.lstsq(basis, heard, rcond=None)[0]
    below = np.fft.rfftfreq(size, 1 / rate_hz) < UP_TO_HZ
    powers = [np.sum(np.abs(np.fft.rfft(one)[below]) ** 2) for one in (harmonic, heard - harmonic)]
    return float(10 * np.log10(powers[0] / max(powers[1], 1e-20)))


def judged(note: Path, made: Path) -> tuple[float, float, float, float]:
    """The note in Hz, the share in tune, and the cleanness of result and recording in dB."""
    source, source_rate_hz = load_mono(note)
    result, rate_hz = load_mono(made)
    times_s, sung_hz = pitch(source, source_rate_hz)
    result_times_s, result_hz = pitch(result, rate_hz)
    held = (sung_hz > 0) & (np.roll(sung_hz, EDGE_FRAMES) > 0) & (np.roll(sung_hz, -EDGE_FRAMES) > 0)
    times_s, sung_hz = times_s[held], sung_hz[held]
    made_hz = result_hz[np.abs(result_times_s[None] - times_s[:, None]).argmin(axis=1)]
    cents = 1200 * np.log2(np.maximum(made_hz, 1) / sung_hz)
    in_tune = (made_hz > 0) & (np.abs((cents + 600) % 1200 - 600) <= IN_TUNE_CENTS)
    some = np.flatnonzero(in_tune)[::EDGE_FRAMES]
    clean = [cleanness_db(result, rate_hz, times_s[one], made_hz[one]) for one in some]
    own = [cleanness_db(source, source_rate_hz, times_s[one], sung_hz[one]) for one in some]
    return float(np.median(sung_hz)), float(in_tune.mean()), float(np.nanmedian(clean)), float(np.median(own))


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, required=True)
    notes = sorted(parser.parse_args().speech.rglob("*.opus"))
    sys.stdout.write("| voice | key | notes | in tune (least) | clean, dB (least) | recordings, dB |\n")
    sys.stdout.write("|---" * 6 + "|\n")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.wav"
        for home in sorted(BUILTIN_VOICES.iterdir()):
            voice = Voice.load(home)
            for key, semitones in KEYS.items():
                scores = []
                for note in notes:
                    options = ConvertOptions(format="wav", transpose_semitones=semitones)
                    finish(convert(note, made, voice, options))
                    scores.append(judged(note, made))
                for low_hz, high_hz in OCTAVES_HZ:
                    of = np.array([one for one in scores if low_hz <= one[0] < high_hz]).reshape(-1, 4)
                    if not len(of):
                        continue
                    tune, clean, own = of[:, 1], of[:, 2], of[:, 3]  # nan of a note that is never in tune
                    sys.stdout.write(
                        f"| {home.name} | {key} | {len(of)} of {low_hz} to {high_hz} Hz "
                        f"| {tune.mean():.1%} ({tune.min():.1%}) "
                        f"| {np.nanmedian(clean):.1f} ({np.nanmin(clean):.1f}) | {np.nanmedian(own):.1f} |\n"
                    )


if __name__ == "__main__":
    main()

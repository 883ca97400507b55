"""Cases of sound: notes outside the voice, what lies below hearing, channels that cancel, soft speech."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from rvc.audio.resampling import resample
from rvc.pitch.praat import PraatF0
from tests.cases.case import App, Row, judged
from tests.cases.sounds import RATE_HZ, note, syllables

HIGH_HZ, LOW_HZ = (330, 392, 440, 523, 659, 784, 988), (55, 58, 65, 73, 82)
EDGE = 20


def cases(app: App, folder: Path) -> Iterator[Row]:
    yield from _notes(app, folder)
    yield from _below_hearing(app, folder)
    yield from _channels(app, folder)
    yield from _soft(app, folder)


def _notes(app: App, folder: Path) -> Iterator[Row]:
    for hz in (*LOW_HZ, *HIGH_HZ):
        sf.write(folder / f"note{hz}.wav", note(hz), RATE_HZ)
        for voice in app.voices:

            def sung(hz: int = hz, voice: str = voice) -> tuple[str, bool]:
                wav, rate_hz = app.converted(folder / f"note{hz}.wav", voice, transpose_semitones=0)
                share, clear_db = _on_pitch(wav, rate_hz, hz), _harmonics_over_rest_db(wav, rate_hz, hz)
                return f"{share:.0%}, {clear_db:.1f} dB", share >= 0.95 and (clear_db >= 10 or hz > 784)

            wanted = ">= 95 % on pitch" + (", >= 10 dB" if hz <= 784 else "")
            yield judged("note", f"{hz} Hz into {voice}", wanted, sung)


def _below_hearing(app: App, folder: Path) -> Iterator[Row]:
    wav, voice = syllables(8.0), next(iter(app.voices))
    time_s = np.arange(wav.size) / RATE_HZ
    extras = {
        "offset of 0.3": 0.3 + 0 * time_s,
        "offset of -0.05": -0.05 + 0 * time_s,
        "15 Hz": 0.3 * np.sin(2 * np.pi * 15 * time_s),
        "30 Hz": 0.3 * np.sin(2 * np.pi * 30 * time_s),
        "drift": np.linspace(-0.3, 0.3, time_s.size),
    }
    for name, extra in extras.items():
        yield _as_loud(app, folder, ("below hearing", name), wav + extra)
    pause = np.concatenate([wav[: 3 * RATE_HZ], np.zeros(RATE_HZ * 3 // 2), wav[3 * RATE_HZ : 6 * RATE_HZ]])
    sf.write(folder / "pause.wav", pause + 0.05, RATE_HZ)

    def silent() -> tuple[str, bool]:
        made, rate_hz = app.converted(folder / "pause.wav", voice)
        pause_db = _level_db(made[round(3.25 * rate_hz) : round(4.25 * rate_hz)])
        return f"{pause_db:.0f} dBFS", pause_db < -70

    yield judged("below hearing", "pause on an offset", "below -70 dBFS", silent)


def _channels(app: App, folder: Path) -> Iterator[Row]:
    wav = syllables(8.0)
    late = np.concatenate([np.zeros(round(0.012 * RATE_HZ)), wav])[: wav.size]
    none = 0 * wav
    sets = {
        "both alike": (wav, wav),
        "one turned over": (wav, -wav),
        "one turned over, softer": (wav, -0.9 * wav),
        "left only": (wav, none),
        "right only": (none, wav),
        "right 12 ms late": (wav, late),
        "four, one speaks": (none, none, wav, none),
        "six, in the middle": (none, none, wav, none, none, none),
        "eight alike": (wav,) * 8,
    }
    for name, channels in sets.items():
        yield _as_loud(app, folder, ("channels", name), np.stack(channels, 1))


def _soft(app: App, folder: Path) -> Iterator[Row]:
    wav = syllables(8.0)
    for peak_db in (-62, -75):
        gain = 10 ** (peak_db / 20) / np.abs(wav).max()
        yield _as_loud(app, folder, ("soft", f"peak {peak_db} dBFS"), gain * wav, 20 * np.log10(gain))


def _as_loud(
    app: App, folder: Path, case: tuple[str, str], wav: NDArray[np.float64], gain_db: float = 0.0
) -> Row:
    """Compare the loudness of what is made of a recording with that of what is made of the plain one."""
    voice = next(iter(app.voices))
    sf.write(folder / "case.wav", wav, RATE_HZ, subtype="FLOAT")
    sf.write(folder / "plain.wav", syllables(8.0), RATE_HZ, subtype="FLOAT")

    def compared() -> tuple[str, bool]:
        made, plain = (
            app.converted(folder / name, voice, format="flac")[0] for name in ("case.wav", "plain.wav")
        )
        off_db = _level_db(made) - _level_db(plain) - gain_db
        return f"{off_db:+.2f} dB", abs(off_db) <= 1

    return judged(*case, "as loud as plain within 1 dB", compared)


def _on_pitch(wav: NDArray[np.float64], rate_hz: int, hz: float) -> float:
    f0 = PraatF0()(resample(wav.astype(np.float32), rate_hz, 16_000))[EDGE:-EDGE]
    return float((np.abs(1200 * np.log2(np.maximum(f0, 1.0) / hz)) < 50).mean())


def _harmonics_over_rest_db(wav: NDArray[np.float64], rate_hz: int, hz: float) -> float:
    """Compare what lies near a harmonic, which vibrato widens, with the rest up to 7 kHz."""
    power = np.abs(np.fft.rfft(wav[rate_hz // 2 : 3 * rate_hz // 2] * np.hanning(rate_hz))) ** 2
    place = np.arange(power.size) / hz
    number = np.maximum(np.round(place), 1)
    near = np.abs(place - number) < 0.01 * number + 12 / hz
    heard = slice(round(hz / 2), 7_000)
    return float(10 * np.log10(power[heard][near[heard]].sum() / power[heard][~near[heard]].sum()))


def _level_db(wav: NDArray[np.float64]) -> float:
    return float(10 * np.log10(np.mean(np.square(wav)) + 1e-12))

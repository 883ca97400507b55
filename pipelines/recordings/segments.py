"""From a place in a recording to a slice on disk: cleaned, joined, at an even loudness.

Order: high-pass, joining of stretches, noise reduction (if asked for), resampling, gain, fades. A slice is
filtered with some of the sound around it, so that no filter is heard to start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipelines.job_spec import PrepareSettings
from rvc.analysis.noise import without_noise
from rvc.analysis.quality import high_passed
from rvc.analysis.slicing import Cut
from rvc.audio.level import FRAMES_PER_S
from rvc.audio.resampling import resample
from rvc.errors import AudioError

Wave = NDArray[np.float32]

MAX_RATE_HZ = 48_000
CEILING = 0.97
# How far a slice may differ from its recording in loudness and still be made even: a pause that was taken for
# speech shall not come out as loud noise.
EVENED_DB = 6.0
_CONTEXT_S = 0.25
_JOIN_S = 0.01
_FADE_S = 0.005


@dataclass(frozen=True, kw_only=True)
class SliceRef:
    """One slice on disk: FLAC, mono, 24 bits."""

    path: Path
    seconds: float
    source_name: str  # what the recording it was cut from is called
    start_s: float  # where in that recording it begins


@dataclass(frozen=True, kw_only=True)
class SliceRendering:
    settings: PrepareSettings
    noise: Wave | None  # from `noise_of`, to be taken out; empty if it is not known; None if the noise stays
    recording_db: float  # level of the speech in the whole recording, dBFS


class Recording:
    """One decoded recording, read in pieces from anywhere: the file is our own, mono float WAV."""

    def __init__(self, path: Path, name: str) -> None:
        try:
            self._file = sf.SoundFile(path)
        except sf.LibsndfileError as error:
            raise AudioError(f"{name} is no longer there; upload it again.") from error
        self.rate_hz: int = self._file.samplerate
        self.samples: int = self._file.frames

    def close(self) -> None:
        self._file.close()

    def read(self, start_s: float, stop_s: float) -> Wave:
        start = min(max(round(start_s * self.rate_hz), 0), self.samples)
        stop = min(max(round(stop_s * self.rate_hz), start), self.samples)
        self._file.seek(start)
        wav: Wave = self._file.read(stop - start, dtype="float32")
        return wav

    def filtered(self, start_s: float, stop_s: float, highpass_hz: float) -> Wave:
        before = min(_CONTEXT_S, start_s)
        wav = self.read(start_s - before, stop_s + _CONTEXT_S)
        first = round(start_s * self.rate_hz) - round((start_s - before) * self.rate_hz)
        length = min(round(stop_s * self.rate_hz), self.samples) - round(start_s * self.rate_hz)
        return high_passed(wav, self.rate_hz, highpass_hz)[first : first + length]


def rate_of(recorded_hz: int) -> int:
    """Return the sample rate of a recording's slices: its own, but at most 48 kHz."""
    return min(recorded_hz, MAX_RATE_HZ)


def render(recording: Recording, cut: Cut, slice_db: float, rendering: SliceRendering) -> tuple[Wave, int]:
    """Make one slice, whose speech has the level `slice_db` now; return it and its rate (`rate_of`)."""
    settings = rendering.settings
    parts = [
        recording.filtered(start / FRAMES_PER_S, stop / FRAMES_PER_S, settings.highpass_hz)
        for start, stop in cut
    ]
    wav = _joined(parts, recording.rate_hz)
    if rendering.noise is not None:
        wav = without_noise(wav, recording.rate_hz, rendering.noise)
    rate_hz = rate_of(recording.rate_hz)
    wav = resample(wav, recording.rate_hz, rate_hz)
    low, high = rendering.recording_db - EVENED_DB, rendering.recording_db + EVENED_DB
    gain = 10 ** ((settings.slice_level_db - float(np.clip(slice_db, low, high))) / 20)
    gain = min(gain, CEILING / max(float(np.abs(wav).max(initial=0.0)), 1e-6))
    wav = wav * np.float32(gain)
    fade = min(round(_FADE_S * rate_hz), wav.size // 2)
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        wav[:fade] *= ramp
        wav[-fade:] *= ramp[::-1]
    wanted = min(settings.shortest_slice_s, sum(stop - start for start, stop in cut) / FRAMES_PER_S)
    missing = round(wanted * rate_hz) - wav.size  # what the joints have taken
    return (np.pad(wav, (0, missing)) if missing > 0 else wav), rate_hz


def _joined(parts: list[Wave], rate_hz: int) -> Wave:
    wav = np.empty(0, dtype=np.float32)
    for part in parts:
        fade = min(round(_JOIN_S * rate_hz), wav.size, part.size)
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        middle = wav[wav.size - fade :] * (1 - ramp) + part[:fade] * ramp
        wav = np.concatenate([wav[: wav.size - fade], middle, part[fade:]])
    return wav

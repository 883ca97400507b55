"""What a conversion knows of the whole recording, here of a speaker who has only begun, and then followed.

Level, tone, pitch range, transposition, and how far the content lies from the voice's own: measured on the
last half minute of speech, ten times a second until 1.5 s of it were heard, twice a second afterwards. Frames
without a voice near them are no speech: nothing is learned from the noise of a room.

Shapes:  T = frames (100 per second), C = content channels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from rvc.audio.level import SILENCE_RMS, TARGET_RMS, loud_of
from rvc.engine.interface import Engine
from rvc.lite.tone import DB_PER_NEPER, band_centres_hz, correction_db, equaliser, tone_of
from rvc.pitch.f0 import F0Statistics
from rvc.pitch.praat import CEILING_HZ, FLOOR_HZ, SILENCE_THRESHOLD, search_range
from rvc.pitch.transposition import automatic_transposition
from rvc.voice import CAUTIOUS_FRAMES, SPEECH_RANGE

HELD_FRAMES = 3_000  # of speech that are remembered
CALIBRATED_FRAMES = 150
EARLY_FRAMES, LATER_FRAMES = 10, 50  # between two looks
FEWEST_SPOKEN = 30  # frames, before which the voice is taken to speak as loud as it has learned
BEFORE_FRAMES, AFTER_FRAMES = 8, 20  # around a voiced frame that are speech too

Wave = NDArray[np.float32]
Contour = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What holds for a speaker; nobody has spoken yet while `source_loud` is 0."""

    offset: Wave  # from the content that is heard to the voice's own, (C,)
    source_loud: float = 0.0  # loud RMS of what is heard, before anything is done to it
    spoken_loud: float = TARGET_RMS  # and of what the voice speaks
    taps: Wave | None = None  # of the equaliser
    gain: float = 1.0  # brings what is heard, equalised, to the level that networks know
    silence: float = 0.0  # at 8 kHz, in the band of speech: below it a frame is likely unvoiced
    range_hz: tuple[float, float] = (FLOOR_HZ, CEILING_HZ)  # where the pitch is searched
    semitones: float = 0.0


@dataclass(kw_only=True, eq=False)
class Heard:
    """What was measured of some frames of a speaker."""

    rms: Contour  # as it came, (T,)
    band_rms: Contour  # of the band of speech, (T,)
    tone: Wave  # levels of the bands of a tone, as it came, (T, 20)
    f0_hz: Contour  # not transposed, 0 where unvoiced, (T,)
    strength: Contour  # how periodic, (T,)
    level: Wave  # natural logarithm of the RMS that networks heard, (T,)
    away: Wave  # from their content to the voice's own, (T, C)
    spoken: Contour  # RMS of what the voice made of them, (T,)

    def of(self, which: NDArray[np.bool_] | slice) -> Heard:
        return Heard(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def and_then(self, later: Heard) -> Heard:
        joined = {
            f.name: np.concatenate([getattr(self, f.name), getattr(later, f.name)]) for f in fields(self)
        }
        return Heard(**joined).of(slice(-HELD_FRAMES, None))


class Calibrator:
    """Listens along, and says what holds by now; or what is given, which then holds for good."""

    def __init__(self, engine: Engine, f0: F0Statistics | None, given: Calibration | None = None) -> None:
        self._tone_db, self._f0, self._fixed = engine.tone_db, f0, given is not None
        self._asked: float | None = None
        self.now = given or Calibration(offset=np.zeros(engine.content_dim, np.float32))
        self._heard: Heard | None = None
        self._since_look = 0

    @property
    def speech_frames(self) -> int:
        return 0 if self._heard is None else self._heard.rms.size

    @property
    def calibrated(self) -> bool:
        return self.speech_frames >= CALIBRATED_FRAMES

    def ask(self, semitones: float | None) -> None:
        """Set the transposition, at once; None moves the speaker to where the voice lies."""
        self._asked = semitones
        self.now = replace(self.now, semitones=self._transposition() if semitones is None else semitones)

    def take_over(self, other: Calibrator) -> None:
        """Know the speaker whom another voice has heard; how far that one was away tells nothing."""
        if other._heard is not None:
            frames, content_dim = other._heard.rms.size, self.now.offset.size
            away = np.full((frames, content_dim), np.nan, np.float32)
            self._heard = replace(other._heard, away=away, spoken=np.zeros(frames))
            self.now = self._measured(self._heard, in_pause=True)

    def learn(self, heard: Heard, voiced: NDArray[np.bool_]) -> None:
        """Take in some frames. `voiced` tells of these, of 20 frames before and of 8 behind them."""
        if self._fixed:
            return
        near = np.convolve(voiced, np.ones(BEFORE_FRAMES + AFTER_FRAMES + 1), mode="valid") > 0
        speech = heard.of(near & (heard.rms > SILENCE_RMS))
        self._heard = speech if self._heard is None else self._heard.and_then(speech)
        self._since_look += near.size
        if self.speech_frames and self._since_look >= (LATER_FRAMES if self.calibrated else EARLY_FRAMES):
            self._since_look = 0
            self.now = self._measured(self._heard, in_pause=not voiced[-1 - AFTER_FRAMES :].any())

    def _measured(self, heard: Heard, *, in_pause: bool) -> Calibration:
        taps, rms = None, heard.rms
        if self._tone_db is not None:
            lacking_db = correction_db(tone_of(heard.tone), self._tone_db)
            taps, rms = equaliser(lacking_db), rms * _louder_by(lacking_db, heard.tone)
        spoken = heard.spoken[heard.spoken > 0.0]
        semitones = self.now.semitones
        # A word is not moved while it is said.
        if self._asked is None and (in_pause or not self.calibrated):
            semitones = self._transposition()
        return Calibration(
            offset=_offset(heard),
            source_loud=loud_of(heard.rms),
            spoken_loud=loud_of(spoken) if spoken.size >= FEWEST_SPOKEN else TARGET_RMS,
            taps=taps,
            gain=TARGET_RMS / max(loud_of(rms), SILENCE_RMS),
            silence=SILENCE_THRESHOLD * loud_of(heard.band_rms),
            range_hz=search_range(heard.f0_hz, heard.strength, (FLOOR_HZ, CEILING_HZ)),
            semitones=semitones,
        )

    def _transposition(self) -> float:
        return 0.0 if self._heard is None else automatic_transposition(self._heard.f0_hz, self._f0)


def _offset(heard: Heard) -> Wave:
    known = ~np.isnan(heard.away[:, 0])
    away = heard.away[known & (heard.level > heard.level.max() - SPEECH_RANGE)]
    return (away.sum(axis=0) / (len(away) + CAUTIOUS_FRAMES)).astype(np.float32)


def _louder_by(gain_db: Contour, tone: Wave) -> Contour:
    """Estimate what an equaliser makes of the RMS of frames, by the power in their bands, (T,)."""
    centres_hz = band_centres_hz()
    power = np.exp(tone.astype(np.float64)) * np.gradient(centres_hz)
    gained = power * np.exp(gain_db / DB_PER_NEPER)
    return np.sqrt(gained.sum(axis=1) / np.maximum(power.sum(axis=1), 1e-30))

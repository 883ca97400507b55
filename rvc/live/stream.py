"""A voice that speaks along: 16 kHz samples in, the voice's samples out, block by block.

The same networks, pitch and loudness as of a recording, in a window that moves. What a frame of the result
needs of its future, the look-ahead, is all the delay that there is beside the block: the synthesizer sees so
much of the content behind a frame, and the encoder hears so much behind that. Phase goes on and noise depends
on its place, so that neighbouring blocks agree; a fade of 10 ms hides what the next block knows better.

Shapes:  frames of 10 ms; frame i is centred at sample 160 * i of the source and starts at sample i * hop of
         the result, as in a conversion. Places count from the stream's first sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from rvc.audio.level import HOP_16K, TARGET_RMS, frame_rms
from rvc.audio.loudness import FrameLoudness, KnotGain, gain_contour, measure_frames
from rvc.engine.interface import Piece, Source
from rvc.engine.options import ConvertOptions
from rvc.lite.tone import band_levels
from rvc.live.calibration import AFTER_FRAMES, BEFORE_FRAMES, Calibration, Calibrator, Heard
from rvc.live.melody import Melody, MelodyFollower
from rvc.pitch.f0 import shift_semitones
from rvc.steps import result_of
from rvc.voice import Voice

CONTEXT_FRAMES = 40  # of the past that the encoder hears; more made nothing better and everything later
SPOKEN_CONTEXT = 24  # of the past that the synthesizer sees
LOUD_FRAMES = 30  # of what was spoken, over which loudness is smoothed
FADE_FRAMES = 1
TONE_MARGIN = 2  # frames on either side, so that a frame's spectrum is its own

Wave = NDArray[np.float32]
Contour = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How much is computed at once, and how much of the future each network hears; frames of 10 ms."""

    block: int = 6
    encoder_ahead: int = 8
    # At least 4: the outermost of its windows lack overlap; filters of high notes average over what there is.
    synthesizer_ahead: int = 4

    @property
    def ahead(self) -> int:
        return self.encoder_ahead + self.synthesizer_ahead


class LiveStream:
    """One voice that speaks along; `pace` may be changed between two pushes.

    Without a given calibration the speaker is listened to, and nothing sounds until somebody has spoken.
    """

    def __init__(
        self,
        voice: Voice,
        options: ConvertOptions | None = None,
        pace: Pace | None = None,
        calibration: Calibration | None = None,
        context: int = CONTEXT_FRAMES,
    ) -> None:
        self.voice, self._engine = voice, voice.engine
        self._chosen = voice.engine.defaults.with_asked(options or ConvertOptions())
        self._hop, self._context = voice.sample_rate_hz // 100, context
        self.pace = pace or Pace()
        self.calibrator = Calibrator(voice.engine, voice.card.f0, calibration)
        if calibration is None:
            self.calibrator.ask(self._chosen.transpose_semitones)
        self.done = 0  # frames that were given back
        self._place = 0  # the frame that the window begins with
        self._wav = np.empty(0, np.float32)  # the window, and what has come behind it
        self._follower = MelodyFollower()
        # Of the window's frames that the synthesizer has seen: what is not changed any more.
        self._f0_hz, self._voiced, self._phase = np.empty(0), np.empty(0, np.float32), 0.0
        self._content = np.empty((0, voice.engine.content_dim), np.float32)  # of the frames before `done`
        self._spoken = FrameLoudness(rms=np.empty(0), peak=np.empty(0))  # likewise
        self._tail = np.zeros(FADE_FRAMES * self._hop, np.float32)

    def take_over(self, other: LiveStream) -> None:
        """Go on where another voice stands, with what is known of the speaker."""
        self.done, self._place, self._wav = other.done, other._place, other._wav
        self._follower, self._phase = other._follower, other._phase
        self._f0_hz, self._voiced = other._f0_hz, other._voiced
        self.calibrator.take_over(other.calibrator)
        if other._hop == self._hop:
            self._tail = other._tail

    def push(self, wav16k: Wave) -> Iterator[Wave]:
        """Take the next samples, any number, and speak the blocks that they complete."""
        self._wav = np.concatenate([self._wav, wav16k.astype(np.float32, copy=False)])
        while self._place + self._wav.size // HOP_16K >= self.done + self.pace.block + self.pace.ahead:
            yield self._speak(self.done + self.pace.block)

    def _speak(self, stop: int) -> Wave:
        """Speak the frames from `done` to `stop`."""
        start, place, last = self.done, self._place, stop + self.pace.synthesizer_ahead
        window = self._wav[: (stop + self.pace.ahead - place) * HOP_16K]
        known = self.calibrator.now
        melody = self._follower.follow(window, place, last, known.range_hz, known.silence)
        source = self._source(window, melody, known)
        first, end = max(start - SPOKEN_CONTEXT, place), max(last - 2, stop + FADE_FRAMES)
        piece = Piece(start=start - place, stop=end - place, first=first - place, last=last - place)
        content, away = self._heard_content(source, piece, known)
        wav = result_of(self._engine.speak(content, source, piece))
        spoken = measure_frames(wav, self._hop)
        made = self._faded(wav, self._gain(source, piece, spoken, known), stop - start)
        block = slice(start - place, stop - place)
        measured = _measured(window, melody, source, block, known)
        self.calibrator.learn(
            Heard(**measured, away=away[: stop - start], spoken=spoken.rms[: stop - start]),
            _around(source.voiced, block, AFTER_FRAMES, BEFORE_FRAMES),
        )
        self._keep(source, content[start - first :], spoken, stop, last)
        return made

    def _source(self, window: Wave, melody: Melody, known: Calibration) -> Source:
        """Put together what the engine needs; what was decided of the window's frames stays as it was."""
        heard = window
        if known.taps is not None:
            half = known.taps.size // 2
            heard = oaconvolve(window, known.taps)[half : half + window.size]
        decided = self._f0_hz.size
        fresh_hz = shift_semitones(melody.f0_hz[decided:], known.semitones)
        # The frame behind the last sample has nothing of its own.
        f0_hz = np.concatenate([self._f0_hz, fresh_hz, [0.0]])
        source = self._engine.contours((known.gain * heard).astype(np.float32), f0_hz)
        voiced = np.concatenate([self._voiced, source.voiced[decided:]])
        phase = (source.phase - source.phase[0] + self._phase) % 1.0
        return replace(source, voiced=voiced, phase=phase, place=self._place)

    def _heard_content(self, source: Source, piece: Piece, known: Calibration) -> tuple[Wave, Wave]:
        """Give the content of a piece drawn to the voice's own, and of new frames how far that was away."""
        engine, index = self._engine, self.voice.index
        missing = piece.start - piece.first - len(self._content)
        since = piece.start if engine.reuses_content and missing <= 0 else piece.first
        # The encoder hears all of the window, but what it says of the last frames is too bad to be spoken.
        heard = replace(piece, last=source.frames)
        fresh = engine.content(source, heard, since)[: piece.last - since]
        asked, away = fresh + known.offset, np.zeros_like(fresh)
        if index is not None and self._chosen.index_rate > 0:
            found = index.blend(asked, 1.0)
            shares = engine.retrieval_weights(
                source.voiced[since : piece.last], self._chosen.index_rate, self._chosen.protect
            )
            away = found - fresh if self._chosen.align_content else away
            asked += shares[:, None] * (found - asked)
        reused = self._content[len(self._content) - (since - piece.first) :]
        return np.concatenate([reused, asked]), away[piece.start - since :]

    def _gain(self, source: Source, piece: Piece, spoken: FrameLoudness, known: Calibration) -> KnotGain:
        """Make what is spoken as loud as the speaker, who was heard in the voice's tone."""
        before = self._spoken.rms.size
        part = slice(piece.start - before, piece.stop)
        rms = frame_rms(source.wav16k)[part] * (known.source_loud / TARGET_RMS)
        most = self._engine.most_correction(source)
        knots = gain_contour(
            rms,
            FrameLoudness(
                rms=np.concatenate([self._spoken.rms, spoken.rms]),
                peak=np.concatenate([self._spoken.peak, spoken.peak]),
            ),
            self._chosen.follow_loudness,
            most if isinstance(most, float) else most[part],
            (known.source_loud, known.spoken_loud),
        )
        return KnotGain(knots=knots[before:], hop=self._hop)

    def _faded(self, wav: Wave, gain: KnotGain, frames: int) -> Wave:
        """Go over from what the last block knew of these samples; keep what the next one will know better."""
        made = np.clip(gain.apply(wav[: (frames + FADE_FRAMES) * self._hop], 0), -1.0, 1.0)
        rise = np.arange(self._tail.size, dtype=np.float32) / self._tail.size
        given = made[: frames * self._hop].copy()
        given[: rise.size] += (1.0 - rise) * (self._tail - given[: rise.size])
        self._tail = made[frames * self._hop :]
        return given

    def _keep(self, source: Source, content: Wave, spoken: FrameLoudness, stop: int, last: int) -> None:
        """Move the window on; the encoder takes frames in pairs, so it begins with an even one."""
        frames, place = stop - self.done, max(stop - self._context, 0) // 2 * 2
        moved = place - self._place
        self._f0_hz = source.f0_hz[moved : last - self._place].astype(np.float64)
        self._voiced = source.voiced[moved : last - self._place]
        self._phase = float(source.phase[moved])
        self._content = np.concatenate([self._content, content[:frames]])[-SPOKEN_CONTEXT:]
        self._spoken = FrameLoudness(
            rms=np.concatenate([self._spoken.rms, spoken.rms[:frames]])[-LOUD_FRAMES:],
            peak=np.concatenate([self._spoken.peak, spoken.peak[:frames]])[-LOUD_FRAMES:],
        )
        self._wav = self._wav[moved * HOP_16K :]
        self._place, self.done = place, stop


def _measured(
    window: Wave, melody: Melody, source: Source, block: slice, known: Calibration
) -> dict[str, Any]:
    """Measure what a calibration wants to know of a block of the window."""
    begin = max(block.start - TONE_MARGIN, 0)
    around = window[begin * HOP_16K : (block.stop + TONE_MARGIN) * HOP_16K]
    tone = band_levels(known.gain * around)[block.start - begin :][: block.stop - block.start]
    return {
        "rms": frame_rms(window)[block],
        "band_rms": melody.band_rms[block],
        "tone": tone - np.float32(2 * np.log(known.gain)),
        "f0_hz": melody.f0_hz[block],
        "strength": melody.strength[block],
        "level": source.level[block],
    }


def _around(row: Wave, block: slice, before: int, after: int) -> NDArray[np.bool_]:
    """Tell of a stretch with so many frames on either side which are above 0."""
    padded = np.pad(row, (before, after))
    return padded[block.start : block.stop + before + after] > 0

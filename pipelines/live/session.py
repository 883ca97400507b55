"""Somebody speaks into a microphone and hears a voice: sound in, as much sound out, a little later.

What comes back has the places of what came: sample n is what the voice makes of sample n. So bypass is the
microphone at the same place, and a recording of both is aligned. When computing does not keep up, blocks
become longer, which takes less work for each second; when it has been easy for a while, shorter again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from rvc.audio.level import HOP_16K, RATE_16K_HZ
from rvc.audio.resampling import PromptResampler
from rvc.audio.watermark import Marker
from rvc.engine.options import ConvertOptions
from rvc.errors import ConfigError
from rvc.live.stream import LiveStream, Pace
from rvc.voice import Voice

Wave = NDArray[np.float32]

BLOCKS = (4, 6, 8, 10, 14, 20)  # frames of 10 ms
PACES = {
    "default": Pace(block=6, encoder_ahead=8, synthesizer_ahead=4),
    "low": Pace(block=4, encoder_ahead=5, synthesizer_ahead=4),
}
BUSY, AT_LEISURE = 0.85, 0.5  # share of a block's time that it takes to compute
JUDGED_BLOCKS = 8
LEISURE_S = 30.0
LOST_S = 1.5  # of sound that may wait to be computed; what comes then is lost
TRIAL_S, TRIALS = 1.5, 4
RUMBLE = butter(2, 40.0, btype="high", fs=RATE_16K_HZ, output="sos")
SWITCH_S = 0.01


def trial_pace(voice: Voice, wanted: Pace) -> Pace:
    """Measure what a block takes here, and choose the shortest, from the wanted one on, that is in time.

    Raises:
        ConfigError: The voice is too slow to speak along on this machine.
    """
    hum = 0.05 * np.sign(np.sin(2 * np.pi * 120 * np.arange(round(TRIAL_S * RATE_16K_HZ)) / RATE_16K_HZ))
    took_s = 0.0
    for block in [frames for frames in BLOCKS if frames >= wanted.block]:
        pace = replace(wanted, block=block)
        stream = LiveStream(voice, pace=pace)
        for _ in stream.push(hum.astype(np.float32)):  # what is done for the first time takes longer
            pass
        samples = block * HOP_16K
        times = []
        for number in range(TRIALS):
            began = time.perf_counter()
            for _ in stream.push(hum[number * samples : (number + 1) * samples].astype(np.float32)):
                pass
            times.append(time.perf_counter() - began)
        took_s = min(times)  # what this machine can do; what else runs just now may end
        if took_s < BUSY * block / 100:
            return pace
    raise ConfigError(
        f"{voice.card.name} takes {took_s * 1000:.0f} ms to speak {BLOCKS[-1] * 10} ms on this machine, "
        "which is too slow to speak along; choose a voice of the built-in engine, or convert a recording."
    )


@dataclass(kw_only=True)
class Meter:
    """The largest sample since it was read."""

    peak: float = 0.0

    def see(self, wav: Wave) -> Wave:
        self.peak = max(self.peak, float(np.abs(wav).max(initial=0.0)))
        return wav

    def read_db(self) -> float:
        peak, self.peak = self.peak, 0.0
        return round(20 * float(np.log10(max(peak, 1e-5))), 1)


@dataclass(kw_only=True)
class Load:
    """How hard it is to keep up, and since when it was easy."""

    shares: deque[float] = field(default_factory=lambda: deque(maxlen=JUDGED_BLOCKS))
    easy_since_s: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float:
        return float(np.mean(self.shares)) if self.shares else 0.0


class Session:
    """One speaker at a rate, and the voice that speaks along."""

    def __init__(
        self,
        voice: Voice,
        pace: Pace,
        rate_hz: int,
        semitones: float | None = None,
        *,
        marks: bool = False,
    ) -> None:
        self.rate_hz, self._wanted = rate_hz, pace
        self._marker = Marker(voice.sample_rate_hz) if marks else None
        self.stream = LiveStream(voice, ConvertOptions(transpose_semitones=semitones), pace)
        self.bypass, self.talks = False, True
        self.microphone, self.sounding = Meter(), Meter()
        self.load, self.behind = Load(), False
        self.lost_samples = 0
        self._down = PromptResampler(rate_hz, RATE_16K_HZ)
        self._up = PromptResampler(voice.sample_rate_hz, rate_hz)
        self._rumble = np.zeros((RUMBLE.shape[0], 2))
        self._waiting: deque[Wave] = deque()  # at 16 kHz, what was not computed yet
        self._raw = np.empty(0, np.float32)  # of the microphone, from the next sample that is given on
        self._mixed = 0.0  # how much of the microphone is heard, 0..1

    @property
    def delay_s(self) -> float:
        """From a sample to what becomes of it, when a block is computed in no time."""
        return (self.stream.pace.block + self.stream.pace.ahead) / 100

    def speak_with(self, voice: Voice, pace: Pace, semitones: float | None) -> None:
        """Go on in another voice."""
        stream = LiveStream(voice, ConvertOptions(transpose_semitones=semitones), pace)
        stream.take_over(self.stream)
        if voice.sample_rate_hz != self.stream.voice.sample_rate_hz:
            self._up = PromptResampler(voice.sample_rate_hz, self.rate_hz)
            self._marker = self._marker and Marker(voice.sample_rate_hz)
        self.stream, self._wanted = stream, pace

    def hear(self, pcm: bytes) -> Wave:
        """Take in what was said and return it as it is heard; nothing while too much of it waits already."""
        wav = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)
        self.microphone.see(wav)
        if sum(part.size for part in self._waiting) > LOST_S * RATE_16K_HZ:
            self.lost_samples += wav.size
            return wav[:0]
        if not self.talks:
            wav = np.zeros_like(wav)
        self._raw = np.concatenate([self._raw, wav])
        slow = self._down.push(wav)
        filtered, self._rumble = sosfilt(RUMBLE, slow, zi=self._rumble)
        self._waiting.append(filtered.astype(np.float32))
        return wav

    def speak(self) -> Iterator[Wave]:
        """Give what can be said by now, block by block, in the rate of who speaks."""
        while self._waiting:
            heard = np.concatenate(list(self._waiting))
            self._waiting.clear()
            began = time.perf_counter()
            for wav in self.stream.push(heard):
                block_s = wav.size / self.stream.voice.sample_rate_hz
                # What the microphone says is not marked. Blocks are whole steps, so nothing waits here.
                made = wav if self._marker is None else self._marker.push(wav)
                yield self._given(self._up.push(made))
                moment = time.perf_counter()
                self.load.shares.append((moment - began) / block_s)
                began = moment
            self._choose_block()

    def finish(self) -> Iterator[Wave]:
        """Give what is still to come of what was said."""
        silence = np.zeros(round((self.delay_s + 0.05) * self.rate_hz), "<i2")
        rest = self._raw.size
        self.hear(silence.tobytes())
        for wav in self.speak():
            yield wav[:rest]
            rest -= min(wav.size, rest)

    def _given(self, wav: Wave) -> Wave:
        """Mix what the voice made with the microphone at the same place, as bypass wants it."""
        raw, self._raw = self._raw[: wav.size], self._raw[wav.size :]
        step = np.sign(float(self.bypass) - self._mixed) / (SWITCH_S * self.rate_hz)
        mixed = np.clip(self._mixed + step * np.arange(1, wav.size + 1), 0.0, 1.0)
        if wav.size:
            self._mixed = float(mixed[-1])
        return self.sounding.see(((1.0 - mixed) * wav + mixed * raw).astype(np.float32))

    def _choose_block(self) -> None:
        """Take longer blocks while computing does not keep up, shorter ones again after half a minute."""
        load, pace, moment_s = self.load, self.stream.pace, time.monotonic()
        if len(load.shares) < JUDGED_BLOCKS:
            return
        rung = BLOCKS.index(pace.block)
        self.behind = load.share > BUSY
        if load.share > AT_LEISURE:
            load.easy_since_s = moment_s
        step = 0
        if self.behind and rung + 1 < len(BLOCKS):
            step = 1
        elif pace.block > self._wanted.block and moment_s - load.easy_since_s > LEISURE_S:
            step = -1
        if step:
            self.stream.pace = replace(pace, block=BLOCKS[rung + step])
            self.load = Load()

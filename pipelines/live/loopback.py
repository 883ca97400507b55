"""Speak a recording to a server's Live as a microphone would, and measure what comes back, and when.

The recording is fed in real time over a real socket; what comes back is played out as the page does it, by
`PlayOut`. The delay is found by comparing how loudness goes in both: of what is heard at a time, when was it
said? Device buffers, which no socket has, are counted with 20 ms each on the way in and out.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from pipelines.live.wire import DEVICE_S
from rvc.errors import ConfigError

Wave = NDArray[np.float32]

PORTION_S = 0.01  # of sound in a message
SLACK_S = {"default": 0.03, "low": 0.006}  # that the page keeps, for what comes late
JUDGED_S, SURPLUS_S = 2.0, 0.008  # how long, and from what on, more sound waits than is needed
STEP_S = 0.001
LONGEST_DELAY_S = 2.0
END_SILENCE_S = 1.0
END_S = 15.0  # until the recordings are closed
READY_S = 120.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Loopback:
    """What was measured; seconds."""

    delay_s: float  # from mouth to ear
    devices_s: float  # of it, counted for the devices
    gaps_at_s: list[float]  # monotonic times by which there was nothing to play
    gap_s: float  # and for how long in all
    drift_s: float  # by how much the delay of the last third is larger than that of the first
    block_ms: int  # the longest
    busy: float  # largest share of the time that computing took
    behind: bool  # whether the server said that it did not keep up
    heard: Wave  # what was played, from the beginning of the recording on
    sent: Wave
    rate_hz: int
    job_id: str | None  # of the take

    @property
    def gaps(self) -> int:
        return len(self.gaps_at_s)


@dataclass(kw_only=True)
class PlayOut:
    """What a listener of the page hears, as ui/look/live_worklet.js plays it.

    It begins a little (slack) after the first sound came and needs each sample in time; after a gap it begins
    again in the same way. What waited for two seconds without being needed is left out.
    """

    rate_hz: int
    slack_s: float
    played: list[Wave] = field(default_factory=list)
    begun_s: float | None = None
    samples: int = 0
    gaps_at_s: list[float] = field(default_factory=list)
    gap_samples: int = 0
    least: float = np.inf  # samples that waited, since `judged_s`
    judged_s: float = -np.inf

    def take(self, wav: Wave, now_s: float) -> None:
        """Take sound that has come at a time; what was due before it came is a gap."""
        if self.begun_s is None:
            self.begun_s = self.judged_s = now_s + self.slack_s
        waiting = self.samples - round((now_s - self.begun_s) * self.rate_hz)
        if waiting < 0:
            missing = round(self.slack_s * self.rate_hz) - waiting
            self.gaps_at_s.append(now_s)
            self.gap_samples += missing
            self._play(np.zeros(missing, np.float32))
        self.least = min(self.least, waiting)
        if now_s - self.judged_s > JUDGED_S:
            surplus = round(self.least - self.slack_s * self.rate_hz)
            if surplus > SURPLUS_S * self.rate_hz:
                wav = wav[surplus:]
            self.least, self.judged_s = np.inf, now_s
        self._play(wav)

    def _play(self, wav: Wave) -> None:
        self.played.append(wav)
        self.samples += wav.size


def measure(  # noqa: PLR0913  # where, who, what, how
    url: str,
    model_id: str,
    wav: Wave,
    rate_hz: int,
    *,
    delay: str = "default",
    headers: Mapping[str, str] | None = None,
    semitones: float | None = None,
) -> Loopback:
    """Speak a recording, shape (N,), to the server at `url` (http or https), in a voice.

    Raises:
        ConfigError: The server refuses, or ends the session; its sentence.
        OSError: Nobody answers there.
    """
    address = url.rstrip("/").replace("http", "ws", 1) + "/live"
    with connect(address, additional_headers=dict(headers or {}), max_size=None, proxy=None) as socket:
        start = {
            "do": "start",
            "model_id": model_id,
            "rate_hz": rate_hz,
            "delay": delay,
            "semitones": semitones,
        }
        socket.send(json.dumps(start))
        _ready(socket)
        listener = _Listener(socket, PlayOut(rate_hz=rate_hz, slack_s=SLACK_S[delay]))
        thread = threading.Thread(target=listener.run, daemon=True)
        thread.start()
        began_s = _feed(socket, wav, rate_hz, listener)
        thread.join(END_S)
    return listener.result(wav, rate_hz, began_s)


def _ready(socket: ClientConnection) -> None:
    while True:
        event = json.loads(socket.recv(timeout=READY_S))
        if event["event"] == "ready":
            return
        if event["event"] in ("refused", "over"):
            raise ConfigError(str(event.get("message", "Live has ended before it began; start it again.")))


def _feed(socket: ClientConnection, wav: Wave, rate_hz: int, listener: _Listener) -> float:
    """Send portions when a microphone would have them; return when its first sample was spoken."""
    # Silence behind it: what is still to come of the last words comes in time.
    with_end = np.concatenate([wav, np.zeros(round(END_SILENCE_S * rate_hz), np.float32)])
    samples = np.clip(np.rint(with_end * 32_767), -32_768, 32_767).astype("<i2")
    portion = round(PORTION_S * rate_hz)
    began_s = time.monotonic()
    for at in range(0, samples.size, portion):
        time.sleep(max(began_s + (at + portion) / rate_hz - time.monotonic(), 0.0))
        if listener.over is not None:
            break
        try:
            socket.send(samples[at : at + portion].tobytes())
        except ConnectionClosed:
            break
    else:
        socket.send(json.dumps({"do": "stop"}))
    return began_s


class _Listener:
    def __init__(self, socket: ClientConnection, out: PlayOut) -> None:
        self._socket, self._out = socket, out
        self.over: dict[str, Any] | None = None
        self._states: list[dict[str, Any]] = []

    def run(self) -> None:
        try:
            for message in self._socket:
                if isinstance(message, bytes):
                    wav = np.frombuffer(message, "<i2").astype(np.float32) / np.float32(32_768)
                    self._out.take(wav, time.monotonic())
                    continue
                event = json.loads(message)
                if event["event"] == "state":
                    self._states.append(event)
                elif event["event"] in ("over", "refused"):
                    self.over = event
        except ConnectionClosed:
            self.over = self.over or {"event": "refused", "message": "The server has closed the connection."}

    def result(self, wav: Wave, rate_hz: int, began_s: float) -> Loopback:
        over = self.over or {"event": "refused", "message": "The server does not end the session."}
        if over["event"] == "refused" or self._out.begun_s is None:
            raise ConfigError(str(over.get("message", "Nothing came back; speak for longer.")))
        out = self._out
        waited = round((out.begun_s - began_s) * rate_hz) if out.begun_s is not None else 0
        heard = np.concatenate([np.zeros(max(waited, 0), np.float32), *out.played])
        parts = [delay_between(wav, heard, rate_hz, share) for share in ((0, 1), (0, 1 / 3), (2 / 3, 1))]
        return Loopback(
            delay_s=parts[0] + 2 * DEVICE_S,
            devices_s=2 * DEVICE_S,
            gaps_at_s=out.gaps_at_s,
            gap_s=out.gap_samples / rate_hz,
            drift_s=parts[2] - parts[1],
            block_ms=max((state["block_ms"] for state in self._states), default=0),
            busy=max((state["busy"] for state in self._states), default=0.0),
            behind=any(state["behind"] for state in self._states),
            heard=heard,
            sent=wav,
            rate_hz=rate_hz,
            job_id=over.get("job_id"),
        )


def delay_between(said: Wave, heard: Wave, rate_hz: int, part: tuple[float, float] = (0, 1)) -> float:
    """Find by how many seconds `heard` is later than `said`, in steps of 1 ms, for a part of it, 0..1."""
    envelopes = [_envelope(wav, rate_hz) for wav in (said, heard)]
    size = max(envelope.size for envelope in envelopes)
    first, last = round(part[0] * envelopes[0].size), round(part[1] * envelopes[0].size)
    spoken = np.zeros(size)
    spoken[first:last] = envelopes[0][first:last] - envelopes[0][first:last].mean()
    listened = np.zeros(size)
    listened[: envelopes[1].size] = envelopes[1] - envelopes[1].mean()
    spectra = [np.fft.rfft(row, 2 * size) for row in (spoken, listened)]
    likeness = np.fft.irfft(np.conj(spectra[0]) * spectra[1])[: round(LONGEST_DELAY_S / STEP_S)]
    return float(np.argmax(likeness)) * STEP_S


def _envelope(wav: Wave, rate_hz: int) -> NDArray[np.float64]:
    """Measure how loud each millisecond is, over 20 ms around it, as a logarithm."""
    step = round(STEP_S * rate_hz)
    power = np.square(wav[: wav.size // step * step].astype(np.float64)).reshape(-1, step).mean(axis=1)
    smooth = np.convolve(power, np.hanning(21) / np.hanning(21).sum(), mode="same")
    return np.log(smooth + 1e-6)

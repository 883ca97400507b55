"""A session of Live without its process: what comes back where, and what happens when it is late."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.live import session as sessions
from pipelines.live.loopback import PlayOut
from pipelines.live.session import BLOCKS, PACES, Session, trial_pace
from pipelines.live.wire import SOUND, WORDS, Unpacker, packed, words
from rvc.audio.resampling import resample
from rvc.errors import ConfigError
from rvc.live.stream import Pace
from rvc.voice import Voice
from tests.tiny import song, toy_voice

RATE_HZ = 48_000
Wave = NDArray[np.float32]


@pytest.fixture
def voice(tmp_path: Path) -> Voice:
    return toy_voice(tmp_path)


def pcm(wav16k: Wave, rate_hz: int = RATE_HZ) -> bytes:
    return bytes((resample(wav16k, 16_000, rate_hz) * 32_767).astype("<i2").tobytes())


def spoken(session: Session, sound: bytes, portion: int = 960) -> Wave:
    made = []
    for at in range(0, len(sound), portion):
        session.hear(sound[at : at + portion])
        made += list(session.speak())
    return np.concatenate([*made, *session.finish()])


@pytest.fixture
def a_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A clock that goes on by `step_s` each time somebody looks at it."""
    clock = SimpleNamespace(step_s=0.0, now_s=0.0)

    def look() -> float:
        clock.now_s += clock.step_s
        return float(clock.now_s)

    monkeypatch.setattr(sessions, "time", SimpleNamespace(perf_counter=look, monotonic=look))
    yield clock


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_as_much_comes_back_as_came(voice: Voice, rate_hz: int) -> None:
    sound = pcm(song(2.0), rate_hz)
    made = spoken(Session(voice, Pace(), rate_hz), sound)
    assert made.size == len(sound) // 2
    assert np.abs(made).max() > 0.01


def test_bypass_is_the_microphone_at_the_same_place(voice: Voice) -> None:
    session, sound = Session(voice, Pace(), RATE_HZ), pcm(song(2.0))
    session.bypass = True
    faded = round(sessions.SWITCH_S * RATE_HZ)
    said = np.frombuffer(sound, "<i2")[faded:] / 32_768
    np.testing.assert_allclose(spoken(session, sound)[faded:], said, atol=1e-6)


def test_who_does_not_talk_is_not_heard(voice: Voice) -> None:
    session = Session(voice, Pace(), RATE_HZ)
    session.talks = False
    assert not spoken(session, pcm(song(2.0))).any()
    assert session.microphone.read_db() > -20  # the meter tells that it works
    assert session.microphone.read_db() == -100


def test_a_voice_that_is_not_in_time_is_refused_with_the_figures(
    voice: Voice, a_clock: SimpleNamespace
) -> None:
    assert trial_pace(voice, PACES["low"]) == PACES["low"]
    a_clock.step_s = 0.055
    assert trial_pace(voice, PACES["low"]).block == 8
    a_clock.step_s = 0.3
    with pytest.raises(ConfigError, match="Hum takes 300 ms to speak 200 ms on this machine"):
        trial_pace(voice, PACES["default"])


def test_blocks_become_longer_while_it_is_late_and_shorter_when_it_is_easy(
    voice: Voice, a_clock: SimpleNamespace
) -> None:
    session, sound = Session(voice, PACES["default"], RATE_HZ), pcm(song(4.0))
    a_clock.step_s = 0.18
    spoken(session, sound)
    assert session.behind
    assert session.stream.pace.block > PACES["default"].block
    assert session.stream.pace.block in BLOCKS
    slow, a_clock.step_s = session.stream.pace.block, 0.01
    for _ in range(2):
        spoken(session, sound)
        a_clock.now_s += sessions.LEISURE_S
    assert session.stream.pace.block < slow
    assert not session.behind


def test_what_waits_for_too_long_is_not_followed_by_more(voice: Voice) -> None:
    session = Session(voice, Pace(), RATE_HZ)
    for _ in range(10):
        session.hear(bytes(RATE_HZ))  # half a second
    assert 2.5 * RATE_HZ <= session.lost_samples <= 3.5 * RATE_HZ
    assert sum(wav.size for wav in session.speak()) < 2.5 * RATE_HZ


def test_messages_are_put_together_from_any_portions() -> None:
    sent = [(SOUND, b"\1\2\3"), (WORDS, b'{"do": "stop"}'), (SOUND, b"")]
    stream = b"".join(packed(*message) for message in sent)
    assert words(do="stop") == packed(*sent[1])
    for size in (1, 4, 100):
        unpacker = Unpacker()
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert [message for part in parts for message in unpacker.push(part)] == sent
    for wrong in (b"X\0\0\0\1x", b"A\xff\0\0\0"):
        with pytest.raises(ValueError, match="no message"):
            list(Unpacker().push(wrong))


def test_a_listener_hears_a_gap_where_sound_comes_late() -> None:
    out, second = PlayOut(rate_hz=1_000, slack_s=0.02), np.ones(100, np.float32)
    for late_s, number in zip((0.0, 0.015, 0.01, 0.05, 0.05), count()):
        out.take(second, 5.0 + 0.1 * number + late_s)
    assert (len(out.gaps_at_s), out.gap_samples) == (1, 50), "20 of them because it begins again as it began"
    assert np.concatenate(out.played).size == 550


def test_a_listener_does_not_keep_the_delay_of_what_came_late_once() -> None:
    """A first sound that comes late makes all that follows wait; after some seconds that is left out."""
    out, part = PlayOut(rate_hz=1_000, slack_s=0.02), np.ones(100, np.float32)
    for late_s, number in zip([0.06, *[0.0] * 59], count()):
        out.take(part, 5.0 + 0.1 * number + late_s)
    assert (out.gaps_at_s, np.concatenate(out.played).size) == ([], 60 * 100 - 60)
    assert np.concatenate(out.played[:20]).size == 2_000

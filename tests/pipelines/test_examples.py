"""What ships to be heard at once: judged by numbers, and made again by its script."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.examples import HEARD, KINDS, TUNE_HZ, make_examples, note_lengths_s
from pipelines.marks.inspection import inspect
from pipelines.voices.bundle import SAMPLE
from pipelines.voices.library import BUILTIN_VOICES
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.pitch.praat import PraatF0

VOICES = sorted(folder.name for folder in BUILTIN_VOICES.iterdir())
SHIPPED = [HEARD / f"{kind}{of}.mp3" for kind in KINDS for of in ("", *(f"-{voice}" for voice in VOICES))]
SAMPLES = [BUILTIN_VOICES / voice / SAMPLE for voice in VOICES]


def heard(path: Path) -> NDArray[np.float32]:
    wav, rate_hz = load_mono(path)
    return resample(wav, rate_hz, 16_000)


def voiced(path: Path) -> float:
    return float((PraatF0()(heard(path)) > 0).mean())


@pytest.mark.parametrize("path", [*SHIPPED, *SAMPLES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_lasts_some_seconds_and_is_neither_silent_nor_clipped(path: Path) -> None:
    wav = heard(path)
    assert 2 <= wav.size / 16_000 <= (3 if path.name == SAMPLE else 5)
    assert 0.2 < np.abs(wav).max() < 0.95


def test_all_of_them_are_small_and_nothing_else_lies_there() -> None:
    assert set(HEARD.iterdir()) == set(SHIPPED)
    assert sum(path.stat().st_size for path in [*SHIPPED, *SAMPLES]) < 600_000


@pytest.mark.parametrize("voice", ["", *VOICES])
def test_the_song_follows_its_notes(voice: str) -> None:
    f0_hz = PraatF0()(heard(HEARD / (f"song-{voice}.mp3" if voice else "song.mp3")))
    starts_s = np.concatenate([[0.0], np.cumsum(note_lengths_s())])
    for note_hz, start, stop in zip(TUNE_HZ, starts_s[:-1], starts_s[1:], strict=True):
        sung = f0_hz[round(100 * (start + 0.12)) : round(100 * (stop - 0.05))]
        assert abs(1200 * np.log2(np.median(sung[sung > 0]) / note_hz)) < 30


@pytest.mark.parametrize("voice", VOICES)
def test_the_whisper_stays_one_and_speech_does_not_become_one(voice: str) -> None:
    assert voiced(HEARD / f"whisper-{voice}.mp3") < 0.15
    assert voiced(HEARD / f"speech-{voice}.mp3") > 0.5


@pytest.mark.parametrize("path", [*SHIPPED, *SAMPLES], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_voice_made_is_marked_and_what_it_was_made_of_is_not(path: Path) -> None:
    found = inspect(path, path.name)
    converted = path.stem not in KINDS
    assert found["watermark"]["found"] is converted
    assert bool(found["tags"]["record"]) is converted


def test_the_script_makes_them_again(tmp_path: Path) -> None:
    voice = tmp_path / "voices" / "kathleen"
    shutil.copytree(BUILTIN_VOICES / "kathleen", voice)
    (voice / SAMPLE).unlink()
    made = make_examples(tmp_path / "heard", tmp_path / "voices")
    assert {path.name for path in made} == {
        *(f"{kind}{of}.mp3" for kind in KINDS for of in ("", "-kathleen")),
        SAMPLE,
    }
    for path in made:
        shipped = BUILTIN_VOICES / "kathleen" / SAMPLE if path.name == SAMPLE else HEARD / path.name
        assert heard(path).size == heard(shipped).size

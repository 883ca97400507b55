"""Guided reading: what is said of each take, and which sentence comes next."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import soundfile as sf

from tests.sounds import tone
from tests.ui.visitor import sent
from ui.look.language import LANGUAGE
from ui.server.reading import sentences
from ui.tabs.guided_reading import FREELY, GuidedReading, header_of, seconds_of

RATE_HZ = 48_000


@pytest.fixture
def reading(page_cache: Path) -> GuidedReading:
    with gr.Blocks():
        return GuidedReading()


def take(folder: Path, level: float, seconds: float = 3.0) -> str:
    """A recording as a browser sends it, whose peaks are at a level."""
    folder.mkdir(exist_ok=True)
    wav = np.asarray(tone(seconds, RATE_HZ))
    path = folder / "audio.wav"
    sf.write(path, np.clip(wav / np.abs(wav).max() * level, -1, 1), RATE_HZ, subtype="PCM_16")
    return sent(path)


@pytest.mark.parametrize(
    ("level", "seconds", "said"),
    [
        (0.5, 3.0, "is good (3.0 s)"),
        (4.0, 3.0, "Too loud"),
        (0.004, 3.0, "Too quiet"),
        (0.5, 0.3, "too short"),
    ],
)
def test_each_take_is_judged_at_once_and_a_good_one_leads_to_the_next_sentence(
    reading: GuidedReading, tmp_path: Path, level: float, seconds: float, said: str
) -> None:
    listed, answer = reading.add_take(take(tmp_path / "takes", level, seconds), None, "de", 4)
    assert said in answer[reading.verdict]
    good = "is good" in said
    assert (answer.get(reading.number) == 5) == good
    assert (sentences("de")[4] in answer.get(reading.sentence, "")) == good
    assert [Path(file).stem for file in listed] == ([] if seconds < 0.5 else ["Sentence 04 de"])


def test_a_sentence_that_is_read_again_takes_the_place_of_its_first_take(
    reading: GuidedReading, tmp_path: Path
) -> None:
    listed, _ = reading.add_take(take(tmp_path / "a", 4.0), None, "en", 1)
    listed, _ = reading.add_take(take(tmp_path / "b", 0.5), listed, "en", 2)
    listed, _ = reading.add_take(take(tmp_path / "c", 0.5, 2.0), listed, "en", 1)
    assert [Path(file).stem for file in listed] == ["Sentence 02 en", "Sentence 01 en"]
    assert seconds_of(listed) == pytest.approx(5.0, abs=0.01)
    listed, answer = reading.add_take(take(tmp_path / "d", 0.5), listed, FREELY, 1)
    assert Path(listed[-1]).stem == "Recording 1"
    assert reading.number not in answer


def test_a_bad_take_takes_no_place_and_a_take_only_that_of_its_own_sentence(
    reading: GuidedReading, tmp_path: Path
) -> None:
    own = tmp_path / "uploads" / "Sentence 01 en.wav"
    own.parent.mkdir()
    own.write_bytes(Path(take(tmp_path / "own", 0.5)).read_bytes())
    listed, _ = reading.add_take(take(tmp_path / "a", 0.5), [str(own)], "en", 1)
    listed, _ = reading.add_take(take(tmp_path / "b", 0.5, 2.0), listed, "de", 1)
    good = [str(own), *listed[1:]]
    assert [Path(file).stem for file in listed] == ["Sentence 01 en", "Sentence 01 en", "Sentence 01 de"]
    for level in (4.0, 0.004):
        listed, answer = reading.add_take(take(tmp_path / "c", level), listed, "en", 1)
        assert listed == good
        assert "that was there before stays" in answer[reading.verdict]
    listed, _ = reading.add_take(take(tmp_path / "d", 0.5), listed, "en", 1)
    assert [Path(file).stem for file in listed] == ["Sentence 01 en", "Sentence 01 de", "Sentence 01 en"]
    assert listed[0] == str(own)


def test_a_sentence_of_minutes_is_refused_and_no_file_is_ever_read_as_a_whole(
    reading: GuidedReading, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    with sf.SoundFile(path, "w", RATE_HZ, 2, subtype="PCM_16") as file:
        for _ in range(300):
            file.write(np.full((RATE_HZ, 2), 0.2, np.float32))
    long = sent(path)
    tracemalloc.start()
    listed, answer = reading.add_take(long, None, "en", 1)
    assert listed == []
    assert "longer than two minutes" in answer[reading.verdict]
    listed, answer = reading.add_take(long, None, FREELY, 1)
    assert "is good (5 min" in answer[reading.verdict]
    assert seconds_of(listed) == pytest.approx(300.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20e6


def test_the_list_is_measured_by_headers_alone(tmp_path: Path, page_cache: Path) -> None:
    path = Path(take(tmp_path / "a", 0.5, 3.0))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(44 + RATE_HZ * 2)
    assert path.stat().st_size < size
    assert seconds_of([str(path)]) == pytest.approx(1.0), "what is not there does not count"


@pytest.mark.parametrize(
    ("language", "number", "said"),
    [
        *((language, 1, "Unknown language") for language in (["en"], None, "tlh", 3)),
        *(("en", number, "no such sentence") for number in (0, 21, True, None, "x", 1e308, 10**30)),
    ],
)
def test_no_sentence_and_no_language_are_refused_in_a_sentence(
    reading: GuidedReading, tmp_path: Path, language: object, number: object, said: str
) -> None:
    with pytest.raises(gr.Error, match=said):
        reading.turn(language, number, by=1)  # type: ignore[arg-type]
    with pytest.raises(gr.Error, match=said):
        reading.add_take(take(tmp_path / "a", 0.5), None, language, number)  # type: ignore[arg-type]


def test_the_sentences_go_round_and_are_in_the_language_of_the_page(reading: GuidedReading) -> None:
    assert reading.turn("en", 20, by=1)[reading.number] == 1
    assert reading.turn("en", 1, by=-1)[reading.number] == 20
    token = LANGUAGE.set("ar")
    try:
        shown = reading.opened()
    finally:
        LANGUAGE.reset(token)
    assert shown[reading.language] == "ar"
    assert 'lang="ar" dir="rtl"' in shown[reading.sentence]
    assert sentences("ar")[0] in shown[reading.sentence]
    assert "Two minutes" in reading.turn(FREELY, 7)[reading.sentence]


def test_what_is_no_wav_of_a_browser_is_taken_without_a_judgement(
    reading: GuidedReading, tmp_path: Path
) -> None:
    (tmp_path / "audio.webm").write_bytes(b"\x1aE\xdf\xa3 and more")
    assert header_of(tmp_path / "audio.webm") is None
    listed, answer = reading.add_take(sent(tmp_path / "audio.webm"), None, "en", 3)
    assert [Path(file).name for file in listed] == ["Sentence 03 en.webm"]
    assert "is there" in answer[reading.verdict]
    sf.write(tmp_path / "odd.wav", np.zeros((100, 2)), 8_000, subtype="PCM_24")
    assert header_of(tmp_path / "odd.wav") is None

"""A text read aloud, by the synthesiser that is installed with the program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipelines.events import Done, Progress, finish
from pipelines.job_spec import SYNTHESISERS, SpeechOptions
from pipelines.speech import espeak, speak, synthesisers
from pipelines.speech.espeak import Espeak
from pipelines.speech.kokoro import load_kokoro
from pipelines.speech.synthesisers import KINDS, Kind, languages, speakers
from pipelines.weights import WeightStore
from rvc.errors import ConfigError, DownloadError, TextError, UnknownNameError

PAGE_LANGUAGES = ("ar", "de", "en", "es", "fr", "nl", "pt-BR", "zh-Hans")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    speak._gave_up_s.clear()


@pytest.fixture
def store(tmp_path: Path) -> WeightStore:
    return WeightStore(tmp_path / "weights", offline=True)


def read_aloud(
    tmp_path: Path, store: WeightStore, text: str, **asked: object
) -> tuple[NDArray[np.float32], speak.Spoken]:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    out = tmp_path / "spoken" / "text.flac"
    options = SpeechOptions(**asked)  # type: ignore[arg-type]
    spoken: speak.Spoken = finish(speak.speak(tmp_path / "text.txt", out, options, store))
    return sf.read(out, dtype="float32")[0], spoken


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
def test_every_language_of_the_page_is_spoken(language: str) -> None:
    first = (Path("assets/reading") / f"{language}.txt").read_text(encoding="utf-8").strip().splitlines()[0]
    name, tag = next(iter(speakers(SpeechOptions(language=language, synthesiser="espeak-ng")).items()))
    assert tag.split("-")[0] == language.split("-")[0]
    wav = Espeak(tag, 1.0).say(first)
    assert name == "espeak-ng"
    assert wav.size > 0.03 * len(first) * espeak.RATE_HZ
    assert 0.1 < np.abs(wav).max() <= 1.0


def test_a_sentence_sounds_the_same_whatever_was_said_before() -> None:
    voice = Espeak("en-us", 1.0)
    first = voice.say("She sells sea shells.")
    voice.say("Something else.")
    np.testing.assert_array_equal(voice.say("She sells sea shells."), first)


def test_faster_is_shorter() -> None:
    slow, usual, fast = (Espeak("en-us", speed).say("One two three four.").size for speed in (0.5, 1.0, 2.0))
    assert slow > 1.4 * usual > 1.4 * 1.4 * fast


def test_numbers_and_pictures_are_words_to_it_and_commands_of_its_own_are_not() -> None:
    voice = Espeak("en-us", 1.0)
    assert voice.say("42").size > 0
    assert voice.say("😀").size > 0
    plain = voice.say("slash slash")
    assert voice.say('<audio src="/etc/passwd"/> <break time="90s"/>').size < 60 * plain.size


def test_what_breaks_the_library_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = Espeak("en-us", 1.0)
    voice._order = {**voice._order, "voice": "no/such"}
    with pytest.raises(TextError, match=r"'Hello' cannot be spoken; leave it out"):
        voice.say("Hello")


def test_sentences_are_joined_by_one_pause_and_the_ends_are_quiet(tmp_path: Path, store: WeightStore) -> None:
    one, _ = read_aloud(tmp_path, store, "Hello there.")
    two, spoken = read_aloud(tmp_path, store, "Hello there.  \n\nHello there.")
    assert (spoken.synthesiser, spoken.language) == ("espeak-ng", "en-us")
    rate = espeak.RATE_HZ
    ends, pause = 2 * round(speak.EDGE_S * rate), round(speak.PAUSE_S * rate)
    assert two.size == 2 * (one.size - ends) + ends + pause
    assert not two[: round(speak.EDGE_S * rate)].any()
    assert not two[-round(speak.EDGE_S * rate) :].any()


def test_progress_rises_with_every_sentence(tmp_path: Path, store: WeightStore) -> None:
    (tmp_path / "t.txt").write_text("One. Two. Three.")
    events = list(speak.speak(tmp_path / "t.txt", tmp_path / "o.flac", SpeechOptions(), store))
    signs = [event for event in events if isinstance(event, Progress)]
    assert [sign.message for sign in signs] == ["1 of 3", "2 of 3", "3 of 3"]
    fractions = [sign.fraction for sign in signs]
    assert fractions == sorted(fractions)
    assert isinstance(events[-1], Done)


def test_stopping_leaves_nothing(tmp_path: Path, store: WeightStore) -> None:
    (tmp_path / "t.txt").write_text("One. Two. Three.")
    (tmp_path / "out").mkdir()
    work = speak.speak(tmp_path / "t.txt", tmp_path / "out" / "o.flac", SpeechOptions(), store)
    next(work)
    next(work)
    work.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_languages_are_listed_with_who_speaks_them() -> None:
    rows = {row["language"]: row for row in languages()}
    assert len(rows) > 100
    assert {"ar", "de", "en-gb", "en-us", "es", "fr-fr", "nl", "pt-br", "zh"} <= rows.keys()
    assert all(row["name"] and set(row["synthesisers"]) <= set(SYNTHESISERS) for row in rows.values())
    for tag in rows:
        assert tag in speakers(SpeechOptions(language=tag)).values()


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ("en", "en-us"),
        ("EN-gb", "en-gb"),
        ("fr", "fr-fr"),
        ("de-AT", "de"),
        ("zh-Hans-CN", "zh"),
        ("pt", "pt"),
    ],
)
def test_a_language_is_found_by_any_tag_of_it(asked: str, taken: str) -> None:
    assert speakers(SpeechOptions(language=asked))["espeak-ng"] == taken


def test_an_unknown_language_a_missing_synthesiser_and_none_at_all_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnknownNameError, match="no language 'tlh'; choose one that speech_languages"):
        speakers(SpeechOptions(language="tlh"))
    with pytest.raises(ConfigError, match="'language' is \"Klingon!\""):
        SpeechOptions(language="Klingon!")
    monkeypatch.setattr(synthesisers, "KINDS", {**KINDS, "kokoro": nobody()})
    with pytest.raises(ConfigError, match="kokoro is not installed on this server; leave it out"):
        speakers(SpeechOptions(synthesiser="kokoro"))
    monkeypatch.setattr(synthesisers, "KINDS", dict.fromkeys(KINDS, nobody()))
    with pytest.raises(ConfigError, match="No speech synthesiser is installed on this server"):
        speakers(SpeechOptions())
    assert languages() == []


def nobody() -> Kind:
    return Kind(languages=dict, load=load_kokoro)


@pytest.fixture
def kokoro_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kokoro as it is where its package is installed; whether it is does not matter before it has weights."""
    kind = Kind(languages=lambda: {"en-us": "English"}, load=load_kokoro, downloads=True)
    for module in (synthesisers, speak):
        monkeypatch.setattr(module, "KINDS", {**KINDS, "kokoro": kind})


@pytest.mark.usefixtures("kokoro_without_weights")
def test_a_synthesiser_that_cannot_be_had_is_done_without_but_not_if_it_was_asked_for(
    tmp_path: Path, store: WeightStore
) -> None:
    assert list(speakers(SpeechOptions())) == ["kokoro", "espeak-ng"]
    _, spoken = read_aloud(tmp_path, store, "Hello.")
    assert spoken.synthesiser == "espeak-ng"
    with pytest.raises(DownloadError, match=r"Kokoro.*int8\.onnx.*save it as"):
        read_aloud(tmp_path, store, "Hello.", synthesiser="kokoro")


def test_kokoro_speaks_the_same_text_the_same_way(tmp_path: Path) -> None:
    pytest.importorskip("kokoro_onnx", reason="requirements-text.txt is not installed")
    from pipelines.weights import weight_store

    if weight_store().find("kokoro") is None or weight_store().find("kokoro-voices") is None:
        pytest.skip("the weights of Kokoro are not here")
    first, spoken = read_aloud(tmp_path, weight_store(), "Hello there. How are you?")
    again, _ = read_aloud(tmp_path, weight_store(), "Hello there. How are you?")
    assert spoken.synthesiser == "kokoro"
    np.testing.assert_array_equal(first, again)
    assert first.size > 1.5 * 24_000

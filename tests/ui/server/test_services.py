"""What comes in from outside, and what goes out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pipelines.store.records import COMMAND_LINE, new_job
from rvc.engine.options import ENGINES, ConvertOptions
from rvc.errors import AudioError, ConfigError, NotAllowedError
from tests.toy_worker import write_voice
from tests.ui.launched import VOICE_FILES
from tests.ui.visitor import request
from ui.server.published import publish_file
from ui.server.services import Services, as_gr_error, throttle, uploaded_files, validate_id
from ui.tabs.conversion_settings import ConversionSettings


@pytest.fixture(autouse=True)
def cache(page_cache: Path) -> Path:
    (page_cache / "abc").mkdir(parents=True)
    return page_cache


def test_files_are_taken_from_the_upload_folder_only(cache: Path, tmp_path: Path) -> None:
    sent = cache / "abc" / "a voice.wav"
    sent.touch()
    (tmp_path / "secret.wav").touch()
    assert uploaded_files(str(sent)) == [(sent, "a voice.wav")]
    assert uploaded_files([{"path": str(sent), "orig_name": "stimme.wav"}]) == [(sent, "stimme.wav")]
    assert uploaded_files(None) == []
    for path in (tmp_path / "secret.wav", cache / ".." / "secret.wav", "relative.wav"):
        with pytest.raises(AudioError):
            uploaded_files([str(path)])
    for nothing in ({"path": None}, {"url": "http://127.0.0.1/x"}, 3):
        with pytest.raises(AudioError):
            uploaded_files([nothing])


def test_what_is_handed_out_has_a_name_that_nobody_guesses_and_outlives_the_cache(
    cache: Path, tmp_path: Path
) -> None:
    original = tmp_path / "result.wav"
    original.write_bytes(b"sound")
    first, second = (Path(publish_file(original, "../Anna & Bob: 1/2")) for _ in range(2))
    assert first.is_relative_to(cache)
    assert first.parent != second.parent
    assert first.suffix == ".wav"
    assert first.read_bytes() == b"sound"
    assert "Anna" in first.name
    assert "/" not in first.name
    first.unlink()
    assert original.exists()


@pytest.mark.parametrize("text", ["", "../x", "a/b", "x" * 65, None, 7, {"$ne": 1}])
def test_an_id_has_only_the_characters_of_one(text: object) -> None:
    with pytest.raises(NotAllowedError):
        validate_id(text, "job")


def test_changes_of_state_always_reach_the_page() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for n in range(100):
            yield {"status": "converting", "n": n}
        yield {"status": "completed", "n": 100}

    passed = list(throttle(rows(), every_s=60.0))
    assert [row["n"] for row in passed] == [0, 100]


@pytest.fixture
def expert() -> ConversionSettings:
    with gr.Blocks():
        return ConversionSettings()


def values_of(expert: ConversionSettings) -> dict[Any, Any]:
    return {component: component.value for component in expert.inputs}


def test_the_pitch_is_automatic_until_it_is_set_by_hand(expert: ConversionSettings) -> None:
    values = values_of(expert) | {expert.semitones: 5, expert.format: "flac"}
    assert values[expert.automatic] is True
    assert expert.settings(values)["transpose_semitones"] is None
    by_hand = expert.settings(values | {expert.automatic: False})
    assert by_hand["transpose_semitones"] == 5.0
    assert by_hand["format"] == "flac"


def test_a_setting_of_another_kind_is_refused_in_words(expert: ConversionSettings) -> None:
    with pytest.raises(ConfigError, match="One of the settings is no number"):
        expert.settings(values_of(expert) | {expert.index_rate: "much"})
    with pytest.raises(ConfigError, match="One of the settings is no number"):
        expert.settings(values_of(expert) | {expert.index_rate: 10**400})


def test_an_emptied_number_means_the_default(expert: ConversionSettings) -> None:
    emptied = dict.fromkeys((expert.index_rate, expert.protect, expert.loudness, expert.semitones))
    settings = expert.settings(values_of(expert) | emptied | {expert.automatic: False})
    assert ConvertOptions(**settings) == ConvertOptions()


def test_the_page_s_own_defaults_are_those_of_the_voice_s_engine(expert: ConversionSettings) -> None:

    shown = values_of(expert)
    for engine, defaults in ENGINES.items():
        updates = expert.suited_to({"engine": engine, "f0": {}}, "another", automatic=True, semitones=0)
        assert set(updates) == set(expert.suited)
        shown |= {part: update.value for part, update in updates.items() if part != expert.said}
        options = ConvertOptions(**expert.settings(shown))
        assert defaults.with_asked(options) == defaults
        assert options.follow_loudness == defaults.follow_loudness
        assert (options.transpose_semitones, options.f0_estimator) == (None, None)


def test_what_a_person_set_stays_until_a_voice_of_another_engine_is_chosen(
    expert: ConversionSettings,
) -> None:
    for f0, told in (({"median_hz": 200.0}, "where the voice usually speaks"), ({}, "is not known")):
        updates = expert.suited_to({"f0": f0, "engine": "rvc"}, "rvc", automatic=True, semitones=0)
        assert set(updates) == {expert.said}
        assert told in updates[expert.said]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_a_sentence_and_logged(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(gr.Error, match="disk is full, so nothing was kept"), as_gr_error():
        raise OSError(number, os.strerror(number), "/a/path/of/the/server")
    assert os.strerror(number) in caplog.text


def test_any_other_fault_of_the_machine_stays_a_fault() -> None:
    with pytest.raises(PermissionError), as_gr_error():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("preprocessing", "highpass_hz"), ("training", "seed"), ("conversion", "protect"), ("batch", "chunk_s")],
)
def test_what_is_no_number_is_refused_before_json_makes_it_a_default(
    services: Services, kind: str, name: str, value: float
) -> None:
    caller = services.caller(request())
    files = [(path, path.name) for path in VOICE_FILES[:1]]
    settings = {name: value} | ({"consent": True} if kind == "training" else {})
    with pytest.raises(ConfigError, match=f"'{name}' is (NaN|Infinity); give a"):
        services.send_and_submit(caller, files, kind, settings, model_id="x")
    assert services.jobs.list(caller) == []


def test_who_sits_at_this_machine_sees_what_its_command_line_made_and_nobody_else(
    services: Services, tmp_path: Path
) -> None:
    job = new_job(COMMAND_LINE, "training", status="completed", seq=0, model_name="Toy", upload_id="u")
    services.library.adopt(job, write_voice(tmp_path / "bundle"))

    def names(asking: Any, of: Services = services) -> set[str]:  # noqa: ANN401
        return {row["model_name"] for row in of.library.list(of.caller(asking))}

    assert "Toy" in names(request())
    assert "Toy" not in names(request(peer="192.0.2.7"))
    assert "Toy" not in names(request(x_forwarded_for="192.0.2.7"))
    assert "Toy" not in names(request(), replace(services, shared=True))

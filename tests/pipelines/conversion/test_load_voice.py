"""Getting a voice ready: weights are found or refused beforehand; the melody is found as well as it can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf

from pipelines.conversion import load_voice as loading
from pipelines.conversion.load_voice import LoadedVoice, load_voice
from pipelines.events import Done, Progress, finish
from pipelines.job_spec import JobSpec
from pipelines.recordings.uploads import receive
from pipelines.settings import get_settings
from pipelines.worker_tasks import TASKS
from rvc.audio.reader import load_mono
from rvc.errors import CheckpointError, DownloadError, UnknownNameError
from rvc.pitch.praat import PraatF0
from tests.tiny import song, toy_bundle
from tests.tiny_rvc_voice import rvc_bundle, weights_at


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nothing is loaded, and nothing was given up, before or after a test."""

    def forget() -> None:
        loading._gave_up_s.clear()
        loading._voice.cache_clear()
        loading._estimator.cache_clear()

    forget()
    yield
    forget()


def test_what_is_here_is_loaded_and_stays_loaded(tmp_path: Path) -> None:
    bundle, store = rvc_bundle(tmp_path / "voice"), weights_at(tmp_path / "weights", "rmvpe")
    ready: LoadedVoice = finish(load_voice(bundle, "praat", store))
    assert (ready.voice.card.name, ready.estimator_name, ready.share) == ("Tiny", "praat", 0.0)
    assert isinstance(ready.estimator, PraatF0)
    again: LoadedVoice = finish(load_voice(bundle, "praat", store))
    assert again.voice is ready.voice
    assert again.estimator is ready.estimator


def test_a_melody_finder_that_cannot_be_had_is_done_without_but_not_if_it_was_asked_for(
    tmp_path: Path,
) -> None:
    bundle, store = rvc_bundle(tmp_path / "voice"), weights_at(tmp_path / "weights", "rmvpe")
    events = list(load_voice(bundle, None, store))
    (done,) = (event for event in events if isinstance(event, Done))
    assert done.result.estimator_name == "swift"
    signs = [event for event in events if isinstance(event, Progress)]
    assert any("without rmvpe" in sign.message for sign in signs)
    fractions = [sign.fraction for sign in signs]
    assert fractions == sorted(fractions)
    assert fractions[-1] == done.result.share
    asked_again = [event for event in load_voice(bundle, None, store) if isinstance(event, Progress)]
    assert not any("rmvpe" in sign.message for sign in asked_again)
    with pytest.raises(DownloadError, match=r"rmvpe\.bin is needed.*save it as"):
        finish(load_voice(bundle, "rmvpe", store))


def test_without_its_content_encoder_a_voice_is_not_loaded(tmp_path: Path) -> None:
    store = weights_at(tmp_path / "weights", "rmvpe")
    (tmp_path / "weights" / "contentvec.bin").unlink()
    with pytest.raises(DownloadError, match=r"contentvec\.bin is needed.*save it as"):
        finish(load_voice(rvc_bundle(tmp_path / "voice"), "praat", store))


def test_a_voice_of_an_encoder_that_is_not_known_is_refused_before_anything_is_downloaded(
    tmp_path: Path,
) -> None:
    store = weights_at(tmp_path / "weights")
    (tmp_path / "weights" / "contentvec.bin").unlink()
    with pytest.raises(CheckpointError, match="'spin'"):
        finish(load_voice(rvc_bundle(tmp_path / "voice", content_encoder="spin"), None, store))


def test_a_voice_without_f0_needs_nobody_to_find_the_melody(tmp_path: Path) -> None:
    store = weights_at(tmp_path / "weights")
    ready: LoadedVoice = finish(load_voice(rvc_bundle(tmp_path / "voice", uses_f0=False), None, store))
    assert (ready.estimator, ready.estimator_name) == (None, None)


def test_voices_of_other_engines_need_no_weights(tmp_path: Path) -> None:
    store = weights_at(tmp_path / "weights")
    ready: LoadedVoice = finish(load_voice(toy_bundle(tmp_path / "voice"), None, store))
    assert (ready.voice.card.name, ready.estimator_name) == ("Hum", "swift")
    with pytest.raises(UnknownNameError, match="guess"):
        finish(load_voice(tmp_path / "voice", "guess", store))


def conversion_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSpec:
    """A conversion of a second and a half into a toy voice, whose weights are all found."""
    store = weights_at(tmp_path / "weights", "rmvpe")
    monkeypatch.setattr("pipelines.weights.weight_store", lambda: store)
    sf.write(tmp_path / "source.wav", song(1.5), 16_000)
    stored = receive([(tmp_path / "source.wav", "source.wav")], tmp_path / "upload", get_settings())
    (tmp_path / "job").mkdir()
    return JobSpec(
        id="job",
        type="conversion",
        folder=tmp_path / "job",
        upload_folder=tmp_path / "upload",
        files=[file.to_json() | {"upload_id": "upload", "status": "waiting"} for file in stored],
        model_name="Wren",
        model_folder=rvc_bundle(tmp_path / "voice"),
        device_lock=tmp_path / "lock",
    )


@pytest.mark.parametrize("kind", ["conversion", "batch"])
@pytest.mark.parametrize("missing", ["card.json", "model.safetensors"])
def test_a_voice_that_is_deleted_before_it_is_loaded_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, missing: str
) -> None:
    spec = conversion_of(tmp_path, monkeypatch)
    (tmp_path / "voice" / missing).unlink()
    with pytest.raises(UnknownNameError, match=r"^The voice Wren was deleted; choose another\.$"):
        list(TASKS[kind](spec))


def test_a_pitch_that_is_set_is_that_of_the_next_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the voice stays loaded."""
    spec = conversion_of(tmp_path, monkeypatch)

    def moved() -> float:
        (done,) = (event for event in TASKS["conversion"](spec) if isinstance(event, Done))
        return float(done.result["transpose_semitones"])

    assert moved() == 0.0
    card = json.loads((tmp_path / "voice" / "card.json").read_text(encoding="utf-8"))
    ways = []
    for median_hz in (75.0, 300.0):
        card["f0"] = {"median_hz": median_hz, "low_hz": 0.7 * median_hz, "high_hz": 1.5 * median_hz}
        (tmp_path / "voice" / "card.json").write_text(json.dumps(card), encoding="utf-8")
        ways.append(moved())
    assert ways[1] - ways[0] >= 12.0


def test_a_conversion_job_says_who_found_the_melody_and_keeps_its_progress_rising(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = conversion_of(tmp_path, monkeypatch)
    events = list(TASKS["conversion"](spec))
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert isinstance(events[-1], Done)
    result = events[-1].result
    assert result["f0_estimator"] == "swift"
    assert load_mono(spec.folder / result["path"])[0].size == 60_000

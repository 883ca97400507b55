"""A song in another voice, by the real task: in its key, in three stages, each of which is done once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.cover import separating
from pipelines.events import Done, Progress
from pipelines.job_spec import JobSpec
from pipelines.recordings.songs import receive_song
from pipelines.settings import get_settings
from pipelines.weights import SEPARATOR, Weight, WeightStore
from pipelines.worker_tasks import TASKS
from rvc.audio.resampling import resample
from rvc.errors import AudioError, ConfigError, DownloadError
from tests.tiny import toy_bundle
from tests.tiny_separator import NEEDS_PACKAGE, RATE, HalfOfAll, band, vocals, weights_file

Wave = NDArray[np.float32]
Cover = Callable[..., JobSpec]
SECONDS = 2.0


@pytest.fixture
def cover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cover:
    """Makes a cover of files that are sent in; `have`: whether the separator's weights are here."""
    bundle = toy_bundle(tmp_path / "voice")

    def make(
        files: dict[str, Wave], *, have: bool = True, folder: Path = bundle, **settings: object
    ) -> JobSpec:
        sent = []
        for name, sound in files.items():
            sf.write(tmp_path / name, sound, RATE, subtype="FLOAT")
            sent.append((tmp_path / name, name))
        stored = receive_song(sent, tmp_path / "upload", get_settings())
        (tmp_path / "job").mkdir()
        entry = {"file": "toy.th", "url": "https://example.org/toy.th", "bytes": None, "sha256": "0" * 64}
        weight = Weight(**entry, licence="none", used_by="taking vocals out of a song")  # type: ignore[arg-type]
        if have:
            weights_file(tmp_path / "own" / "toy.th")
        store = WeightStore(
            tmp_path / "weights",
            tmp_path / "own",
            offline=True,
            unverified=True,
            manifest={SEPARATOR: weight},
        )
        monkeypatch.setattr("pipelines.weights.weight_store", lambda: store)
        return JobSpec(
            id="job",
            type="cover",
            folder=tmp_path / "job",
            upload_folder=tmp_path / "upload",
            files=[file.to_json() for file in stored],
            settings=settings,
            model_name="Hum",
            model_folder=folder,
            device_lock=tmp_path / "lock",
        )

    return make


def song(*, sings: bool = True) -> Wave:
    return (band(SECONDS) + (vocals(SECONDS) if sings else 0.0)).astype(np.float32)


def two() -> dict[str, Wave]:
    return {"vocals.wav": vocals(SECONDS), "backing.wav": band(SECONDS)}


def end_of(spec: JobSpec) -> tuple[dict[str, Any], list[Progress]]:
    *signs, last = TASKS["cover"](spec)
    assert isinstance(last, Done)
    return last.result, [sign for sign in signs if isinstance(sign, Progress)]


def sound_of(path: Path) -> Wave:
    sound: Wave = sf.read(path, dtype="float32", always_2d=True)[0]
    return sound


def test_a_song_is_separated_converted_and_mixed_in_its_own_form(cover: Cover) -> None:
    pytest.importorskip("demucs_infer", reason=NEEDS_PACKAGE)
    spec = cover({"song.wav": song()})
    result, signs = end_of(spec)
    mix = spec.folder / result["path"]
    assert (sf.info(mix).samplerate, sf.info(mix).channels, sf.info(mix).frames) == (RATE, 2, 2 * RATE)
    assert (result["seconds"], result["sample_rate_hz"], result["channels"]) == (SECONDS, RATE, 2)
    stems = {name: sound_of(spec.work_folder / f"{name}.wav") for name in ("vocals", "backing")}
    np.testing.assert_allclose(stems["vocals"] + stems["backing"], song(), atol=1e-6)
    assert [path.name for path in spec.result_folder.iterdir()] == [mix.name]
    assert {path.name for path in spec.work_folder.iterdir()} == {
        "vocals.wav", "backing.wav", "voice.flac", "voice.json",
    }  # fmt: skip
    fractions = [sign.fraction for sign in signs]
    assert fractions == sorted(fractions)
    stages = list(dict.fromkeys(sign.stage for sign in signs))
    assert [name for name in stages if name in ("Separating", "Speaking", "Mixing")] == [
        "Separating", "Speaking", "Mixing",
    ]  # fmt: skip
    assert not any(sign.needs_device for sign in signs if sign.stage == "Mixing")
    with sf.SoundFile(mix) as file:
        said = json.loads(file.comment)
    assert said["statement"] == "synthetic speech"
    assert {"voice_gain_db", "backing_gain_db", "reverb", "transpose_semitones"} <= said["settings"].keys()


def test_two_files_need_neither_package_nor_weights(cover: Cover, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.weights.find_spec", lambda _: None)
    spec = cover(two(), have=False, backing_gain_db=-3.0)
    result, _ = end_of(spec)
    mix = sound_of(spec.folder / result["path"])
    voice = sound_of(spec.work_folder / "voice.flac")
    assert len(voice) == 24_000 * SECONDS
    assert np.abs(voice).max() > 0.01
    expected = 10**-0.15 * band(SECONDS) + resample(voice[:, 0], 24_000, RATE)[:, None]
    np.testing.assert_allclose(mix, expected, atol=1e-4)


def test_it_moves_by_whole_octaves_or_not_at_all_however_it_is_sung(cover: Cover, tmp_path: Path) -> None:
    """The vocals glide all the time, as in speech, which would be moved to the voice's median."""
    high = toy_bundle(tmp_path / "high", f0={"median_hz": 400.0, "low_hz": 330.0, "high_hz": 500.0})
    result, _ = end_of(cover(two(), folder=high))
    assert result["transpose_semitones"] in (12.0, 24.0)


def test_a_pitch_that_is_set_is_kept(cover: Cover) -> None:
    assert end_of(cover(two(), transpose_semitones=3))[0]["transpose_semitones"] == 3.0


def test_rvc_voices_sing_too(cover: Cover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tiny_rvc_voice import rvc_bundle, weights_at

    spec = cover(two(), folder=rvc_bundle(tmp_path / "rvc"), f0_estimator="praat")
    store = weights_at(tmp_path / "weights")
    monkeypatch.setattr("pipelines.weights.weight_store", lambda: store)
    result, _ = end_of(spec)
    assert sf.info(spec.work_folder / "voice.flac").samplerate == 40_000
    assert sf.info(spec.folder / result["path"]).samplerate == RATE


def test_each_stage_is_done_once_also_when_it_is_stopped_in_between(
    cover: Cover, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("demucs_infer", reason=NEEDS_PACKAGE)
    separator = HalfOfAll()
    monkeypatch.setattr("pipelines.worker_tasks._separator", lambda _: separator)
    spec = cover({"song.wav": song()})
    windows = len(separating.window_starts(2 * RATE, separator.window))
    for stage in ("Separating", "Speaking", "Mixing"):
        work = TASKS["cover"](spec)
        for sign in work:
            if isinstance(sign, Progress) and sign.stage == stage and sign.fraction > 0.3:
                break
        work.close()
        assert not list(spec.folder.glob("*/.*"))
        assert not list(spec.folder.glob("result/*"))
    assert windows <= separator.heard <= windows + 3
    before = {path: path.stat().st_mtime_ns for path in spec.work_folder.iterdir()}
    result, signs = end_of(spec)
    assert {path: path.stat().st_mtime_ns for path in spec.work_folder.iterdir()} == before
    assert "Separating" not in {sign.stage for sign in signs}
    assert (spec.folder / result["path"]).is_file()


def test_what_a_killed_try_was_writing_is_removed(cover: Cover) -> None:
    spec = cover(two())
    for folder in (spec.work_folder, spec.result_folder):
        folder.mkdir()
        (folder / ".x.wav.1234.part").write_bytes(b"half")
    end_of(spec)
    assert not list(spec.folder.glob("*/.*"))


def refusal(spec: JobSpec, kind: type[Exception]) -> str:
    with pytest.raises(kind) as error:
        list(TASKS["cover"](spec))
    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)
    assert not [path for path in spec.folder.rglob("*") if path.is_file()]
    return str(error.value)


def test_without_the_package_or_the_weights_it_is_said_how_else(
    cover: Cover, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = cover({"song.wav": song()}, have=False)
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.weights.find_spec", lambda _: None)
        said = refusal(spec, ConfigError)
        assert "requirements-songs.txt" in said
        assert "vocals and its backing as two files" in said
    monkeypatch.setattr("pipelines.weights.find_spec", lambda _: True)
    said = refusal(spec, DownloadError)
    assert "toy.th is needed" in said
    assert "vocals and its backing as two files" in said


def test_a_song_in_which_nobody_sings_leaves_nothing(cover: Cover, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("demucs_infer", reason=NEEDS_PACKAGE)
    monkeypatch.setattr("pipelines.worker_tasks._separator", lambda _: HalfOfAll(share=1e-4))
    assert refusal(cover({"song.wav": song(sings=False)}), AudioError).startswith("Nobody sings in song.wav")

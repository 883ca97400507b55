"""A voice of RVC's engine by way of jobs: training, conversion, RVC's own files out and in again."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from pipelines.job_spec import check_training
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.training.train import TrainRequest
from pipelines.weights import fetch_pretrained, weight_store
from rvc.audio.reader import load_mono
from rvc.errors import NotAllowedError, RvcError, UnknownNameError
from rvc.files import ROOT
from rvc.steps import result_of
from rvc.training.settings import TrainSettings
from rvc.vits.voice_model import read_discriminators, read_generator, read_voice_model
from tests.pipelines.jobs.toy_jobs import ME, OTHER, end_of
from tests.pipelines.toy_rvc import SETTINGS, WORKER, weights_folder
from tests.tiny_rvc_training import tiny_sizes

SPEECH = ROOT / "assets" / "examples" / "voice" / "wren-1.ogg"


@pytest.fixture
def jobs(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Jobs whose children know RVC's engine at toy size, and find its encoder in a person's folder."""
    monkeypatch.setenv("WEIGHTS_DIR", str(weights_folder(tmp_path / "weights")))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    jobs = Jobs(Settings(data_dir=data_dir), worker_command=WORKER, retry_pauses_s=())
    jobs.start()
    yield jobs
    jobs.close()


def speech(folder: Path, seconds: float) -> Path:
    wav, rate_hz = sf.read(SPEECH, stop=round(seconds * 16_000))
    path = folder / f"{seconds:g}.wav"
    sf.write(path, wav, rate_hz)
    return path


def spoken(jobs: Jobs, upload_id: str, model_id: str) -> np.ndarray[Any, Any]:
    """A recording in a voice, as it was sung: an imported voice does not know where it lies."""
    settings = {"transpose_semitones": 0.0, "index_rate": 0.0}
    job = jobs.submit(ME, "conversion", upload_id, model_id=model_id, settings=settings)
    end_of(jobs, job["id"])
    return load_mono(jobs.files.result_path(ME, job["id"]))[0]


@pytest.mark.timeout(900)  # several processes load torch, maybe beside other work
def spoken_in_a_batch(
    jobs: Jobs, paths: list[Path], target_id: str, model_id: str, folder: Path
) -> list[np.ndarray[Any, Any]]:
    """Recordings that came for a batch, and one that came by itself, in a voice."""
    upload = jobs.upload(ME, [(path, path.name) for path in paths], "batch")["id"]
    settings = {"transpose_semitones": 0.0, "index_rate": 0.0}
    row = jobs.submit_batch(ME, [upload, target_id], model_id=model_id, settings=settings)
    done = end_of(jobs, row["id"])
    with zipfile.ZipFile(jobs.files.result_path(ME, row["id"])) as archive:
        archive.extractall(folder)
    return [load_mono(folder / file["output"])[0] for file in done["files"]]


def test_a_voice_is_trained_speaks_leaves_and_comes_back_the_same(
    jobs: Jobs, data_dir: Path, tmp_path: Path
) -> None:
    upload = jobs.upload(ME, [(speech(tmp_path, 13.0), "me.wav")], "training")["id"]
    check = jobs.submit(ME, "preprocessing", upload)["id"]
    assert end_of(jobs, check)["quality_snr"] is not None
    report = jobs.files.report(ME, check)
    assert report is not None
    assert [file["name"] for file in report["files"]] == ["me.wav"]
    job = jobs.submit(ME, "training", check, model_name="Me", settings=dict(SETTINGS))
    row = end_of(jobs, job["id"])
    note = "It begins with random weights and takes far longer."
    assert row["result"]["note"] == note
    assert any(event["message"].endswith(note) for event in jobs.events(ME, job["id"]))
    losses = [event["data"]["losses"] for event in jobs.events(ME, job["id"]) if event["data"].get("losses")]
    assert {"mel", "kl"} < set(losses[-1])
    voice = jobs.library.get(ME, row["model_id"])
    assert (voice["engine"], voice["sample_rate_hz"]) == ("rvc", 40_000)
    assert 80 < voice["f0"]["median_hz"] < 400

    target = jobs.upload(ME, [(speech(tmp_path, 2.0), "song.wav")], "target")["id"]
    first = spoken(jobs, target, voice["id"])
    assert first.size == 2 * 40_000
    assert np.abs(first).max() > 0.0

    songs = [speech(tmp_path, 2.0), speech(tmp_path, 1.5)]
    many = spoken_in_a_batch(jobs, songs, target, voice["id"], tmp_path / "many")
    assert [wav.size for wav in many] == [2 * 40_000, 1.5 * 40_000, 2 * 40_000]
    for again in (many[0], many[2]):
        np.testing.assert_allclose(again, first, atol=2e-4)

    with zipfile.ZipFile(jobs.library.export_rvc(ME, voice["id"])) as archive:
        archive.extractall(tmp_path / "out")
    model, index = sorted((tmp_path / "out").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (model.name, index.name.startswith("added_IVF")) == ("Me.pth", True)
    sizes = tiny_sizes().synthesizer
    assert read_voice_model(model).config == sizes
    back = jobs.library.import_voice(ME, [model, index], "Again")
    np.testing.assert_allclose(spoken(jobs, target, back["id"]), first, atol=2e-4)

    work = data_dir / "jobs" / job["id"] / "work"
    (generator,), (judges,) = work.glob("G_*.pth"), work.glob("D_*.pth")
    assert read_generator(generator, sizes)[1]
    assert read_discriminators(judges, "v1", narrowing=16)
    assert all(torch.load(path, weights_only=True)["optimizer"] for path in (generator, judges))
    assert jobs.files.training_checkpoints(ME, job["id"]) == [generator, judges]
    for caller, its, error in ((OTHER, job["id"], UnknownNameError), (ME, check, NotAllowedError)):
        with pytest.raises(error):
            jobs.files.training_checkpoints(caller, its)


def test_without_pretrained_weights_a_training_is_refused_before_anything_is_done(
    jobs: Jobs, data_dir: Path, tmp_path: Path
) -> None:
    upload = jobs.upload(ME, [(speech(tmp_path, 13.0), "me.wav")], "training")["id"]
    settings = {name: value for name, value in SETTINGS.items() if name != "from_scratch"}
    row = end_of(
        jobs, jobs.submit(ME, "training", upload, model_name="Me", settings=settings)["id"], "failed"
    )
    said = row["error_message"]
    for part in (
        "pretrained/f0G40k.pth is needed",
        "likewise pretrained/f0D40k.pth",
        "https://",
        "from_scratch",
    ):
        assert part in said
    assert "hours of recordings and days of a GPU" in said
    assert row["attempts"] == 1
    assert not (data_dir / "jobs" / upload / "prepared").exists()
    assert not (data_dir / "jobs" / row["id"] / "work").exists()


def test_a_training_that_goes_on_needs_no_first_weights(tmp_path: Path) -> None:
    settings = TrainSettings.from_json({"engine": "rvc"})
    work = tmp_path / "work"
    request = TrainRequest(
        prepared_folder=tmp_path, work_dir=work, bundle_dir=tmp_path / "voice", name="Me", settings=settings
    )
    assert not request.first_settings.from_scratch
    (work / "checkpoints").mkdir(parents=True)
    (work / "checkpoints" / "step-00000002.ckpt").touch()
    assert request.first_settings.from_scratch
    assert result_of(fetch_pretrained(request.first_settings, weight_store())) == ()
    assert not request.note, "what it began with is not known"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"sample_rate_hz": 44_100}, "'sample_rate_hz' is 44100; give one of: 32000, 40000, 48000"),
        ({"version": "v3"}, "'version' is 'v3'; give one of"),
        ({"f0": "yes"}, "'f0' is 'yes'; give one of: true, false"),
        ({"engine": "lite"}, "'version' is for the engine 'rvc' alone"),
        ({"from_scratch": "yes"}, "'from_scratch' is 'yes'; give one of: false, true"),
        ({"engine": "lite", "from_scratch": True}, "for the engine 'rvc' alone"),
        ({"precision": "int8"}, "'precision' is 'int8'; give one of: none,"),
        ({"longest_slice_s": 99}, "'longest_slice_s' is 99"),
    ],
)
def test_wrong_settings_are_refused_in_a_sentence(wrong: dict[str, object], sentence: str) -> None:
    check_training(SETTINGS)
    with pytest.raises(RvcError, match=sentence):
        check_training(SETTINGS | wrong)

"""A voice of RVC's engine through a launched page: from the upload of recordings to a converted file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import soundfile as sf
import torch
from gradio_client import handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from pipelines.job_spec import check_training
from rvc.errors import ConfigError
from tests.pipelines.toy_rvc import SETTINGS, WORKER, weights_folder
from tests.ui.launched import VOICE_FILES, Launched, client_to, launched
from ui.tabs.clone_naming import TrainingSettings


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    monkeypatch.setenv("WEIGHTS_DIR", str(weights_folder(tmp_path / "weights")))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    with launched(tmp_path / "app", worker=WORKER) as page:
        yield page


@pytest.mark.timeout(900)  # several processes load torch, maybe beside other work
def test_an_rvc_voice_from_upload_over_its_states_to_conversion(page: Launched, tmp_path: Path) -> None:
    client = client_to(page)
    wav, rate_hz = sf.read(VOICE_FILES[0])
    for name, seconds in (("voice", 12.5), ("song", 1.5)):
        sf.write(tmp_path / f"{name}.wav", wav[: round(seconds * rate_hz)], rate_hz)
    upload = client.predict([handle_file(tmp_path / "voice.wav")], api_name="/upload_training_audio")
    settings = SETTINGS | {"consent": True}

    def start(**changes: object) -> dict[str, str]:
        row: dict[str, str] = client.predict(
            upload["job_id"], "Me", settings | changes, api_name="/start_training"
        )
        return row

    for changes, sentence in (
        ({"version": "v3"}, "'version' is 'v3'; give one of"),
        ({"engine": "big"}, "'version' is for the engine 'rvc' alone"),
        ({"batch_size": 0}, "'batch_size' is 0"),
        ({"from_scratch": False}, "f0G40k.pth is needed .* or set from_scratch to begin with random"),
    ):
        with pytest.raises(AppError, match=sentence):
            start(**changes)
    row = client.submit(start()["id"], api_name="/follow_job").result()
    assert row["status"] == "completed", row
    files = [Path(path) for path in client.predict(row["id"], api_name="/export_training")]
    assert [path.name for path in files] == ["G_2.pth", "D_2.pth"]
    assert all(torch.load(path, weights_only=True)["optimizer"] for path in files)
    voice = row["model"]
    assert (voice["engine"], voice["sample_rate_hz"]) == ("rvc", 40_000)
    (heard,) = client.predict(row["id"], api_name="/list_samples")
    assert (heard["step"], heard["best"], heard["newest"], heard["kept"]) == (2, True, True, True)
    row = client.predict(row["id"], 2, api_name="/train_on")
    row = client.submit(row["id"], api_name="/follow_job").result()
    assert (row["status"], row["result"]["steps"]) == ("completed", 4), row
    assert [one["step"] for one in client.predict(row["id"], api_name="/list_samples")] == [2, 4]
    sounds = [sf.read(client.predict(row["id"], step, api_name="/download_sample")) for step in (0, 2, 4)]
    assert len({sound.size for sound, _ in sounds}) == 1
    assert not np.array_equal(sounds[1][0], sounds[2][0])
    other = 6 - row["result"]["best_step"]
    assert client.predict(row["id"], other, api_name="/keep_checkpoint")["id"] == voice["id"]
    kept = [one["step"] for one in client.predict(row["id"], api_name="/list_samples") if one["kept"]]
    assert kept == [other]
    converted = client.submit(
        handle_file(tmp_path / "song.wav"), voice["id"], {"transpose_semitones": 0}, api_name="/convert_voice"
    ).result()
    assert converted["status"] == "completed", converted
    heard, rate_hz = sf.read(client.predict(converted["id"], api_name="/download_audio"))
    assert (rate_hz, heard.size) == (40_000, 60_000)
    assert np.abs(heard).max() > 0.0


def test_the_page_s_own_settings_are_taken_by_a_training() -> None:
    with gr.Blocks():
        expert = TrainingSettings(trains_rvc=True)
    shown = {component: component.value for component in expert.inputs}
    assert expert.settings(shown) == {}
    of_rvc = {expert.engine: "rvc", expert.version: "v1", expert.rate: 48_000, expert.f0: False}
    alone = of_rvc | {expert.from_scratch: True}
    for changes, expected in (
        ({expert.reduce_noise: True, expert.steps: 300}, {"reduce_noise": True, "total_steps": 300}),
        (of_rvc, {"engine": "rvc", "version": "v1", "sample_rate_hz": 48_000, "f0": False}),
        (
            alone,
            {"engine": "rvc", "version": "v1", "sample_rate_hz": 48_000, "f0": False, "from_scratch": True},
        ),
    ):
        settings = expert.settings(shown | changes)
        assert settings == expected
        check_training(settings)
    for empty in (None, "", " "):
        assert expert.settings(shown | {expert.steps: empty}) == {}
        assert "gpus" not in expert.settings(shown | of_rvc | {expert.gpus: empty})
    assert expert.settings(shown | of_rvc | {expert.gpus: "4"})["gpus"] == 4
    assert expert.settings(shown | {expert.gpus: "4"}) == {}, "what is hidden is not meant"
    with pytest.raises(ConfigError, match="no number"):
        expert.settings(shown | {expert.steps: "many"})

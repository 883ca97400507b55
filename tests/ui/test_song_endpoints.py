"""What a program does with songs: send one in or two files, cover it, take the mix and the stems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from tests.tiny_separator import RATE, band, vocals
from tests.ui.launched import RECORDING, Launched, client_to, launched

VOICE = "builtin-kathleen"
BOTH = ("vocals", "backing")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE")  # else a song in one file is refused for want of weights
        with launched(tmp_path_factory.mktemp("songs"), steps=1) as page:
            yield page


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    sounds = {"vocals": vocals(1.0), "backing": band(1.0), "song": band(1.0) + vocals(1.0), "mine": band(1.0)}
    for name, sound in sounds.items():
        sf.write(folder / f"{name}.wav", sound, RATE)
    return {name: folder / f"{name}.wav" for name in sounds}


def sent(files: dict[str, Path], *names: str) -> list[object]:
    return [handle_file(files[name]) for name in names]


def nothing_is_left(page: Launched, before: set[str]) -> bool:
    return {path.name for path in (page.data_dir / "jobs").iterdir()} == before


def test_two_files_are_covered_and_their_parts_are_had(client: Client, files: dict[str, Path]) -> None:
    uploaded = client.predict(sent(files, "backing", "vocals"), api_name="/upload_song")
    assert [(file["name"], file["part"]) for file in uploaded["files"]] == [
        ("vocals.wav", "vocals"),
        ("backing.wav", "backing"),
    ]
    row = client.predict(uploaded["job_id"], VOICE, {"voice_gain_db": -2}, api_name="/start_cover")
    assert (row["type"], row["settings"]) == ("cover", {"voice_gain_db": -2})
    assert client.submit(row["id"], api_name="/follow_job").result()["status"] == "completed"
    assert Path(client.predict(row["id"], api_name="/download_audio")).is_file()
    channels = {
        stem: sf.info(client.predict(row["id"], stem, api_name="/download_stem")).channels
        for stem in ("vocals", "backing")
    }
    assert channels == {"vocals": 1, "backing": 2}
    assert Path(client.predict(row["id"], "voice", api_name="/download_stem")).name == "voice.flac"
    assert client.predict(row["id"], api_name="/pitch_contours")["job_id"] == row["id"]
    with pytest.raises(AppError, match=r"has no stem 'drums'; a cover has: vocals, backing, voice\."):
        client.predict(row["id"], "drums", api_name="/download_stem")
    assert row["id"] in {one["id"] for one in client.predict(type="cover", api_name="/list_jobs")}


def test_one_call_covers_a_song(client: Client, files: dict[str, Path]) -> None:
    pytest.importorskip("demucs_infer", reason="without it, a song in one file is refused")
    row = client.submit(sent(files, "song"), VOICE, {"reverb": 0.5}, api_name="/cover_song").result()
    assert row["status"] == "completed"
    assert Path(row["audio"]).is_file()


def test_a_song_is_no_recording_and_a_recording_no_song(client: Client, files: dict[str, Path]) -> None:
    song = client.predict(sent(files, "song"), api_name="/upload_song")["job_id"]
    pair = client.predict(sent(files, "vocals", "backing"), api_name="/upload_song")["job_id"]
    recording = client.predict(handle_file(RECORDING), api_name="/upload_target_audio")["job_id"]
    for source in (song, pair):
        with pytest.raises(AppError, match="were sent in for a cover; upload them again for this"):
            client.predict(source, VOICE, {}, api_name="/start_conversion")
    with pytest.raises(AppError, match="were sent in for a conversion; upload them again for this"):
        client.predict(recording, VOICE, {}, api_name="/start_cover")
    row = client.submit(handle_file(RECORDING), VOICE, {}, api_name="/convert_voice").result()
    with pytest.raises(AppError, match="has no stem 'voice'"):
        client.predict(row["id"], "voice", api_name="/download_stem")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((("mine", "song"), {}), "do not say which is which"),
        ((("mine", "song", "vocals"), {}), "one file, or its vocals and its backing as two"),
        ((BOTH, {"reverb": 2}), "'reverb' is 2; give a number from 0 to 1"),
        ((BOTH, {"voice_gain_db": "loud"}), "give a number from -30 to 12"),
        ((BOTH, {"gain": 1}), "no setting 'gain'; choose from: .*backing_gain_db"),
        ((BOTH, {"index_rate": 9}), "'index_rate' is 9; give a number from 0 to 1"),
    ],
)
def test_what_cannot_be_covered_is_refused_and_leaves_nothing(
    client: Client, page: Launched, files: dict[str, Path], asked: tuple[tuple[str, ...], Any], said: str
) -> None:
    names, settings = asked
    before = {path.name for path in (page.data_dir / "jobs").iterdir()}
    with pytest.raises(AppError, match=said):
        client.submit(sent(files, *names), VOICE, settings, api_name="/cover_song").result()
    with pytest.raises(AppError, match="There is no voice"):
        client.submit(sent(files, "vocals", "backing"), "nobody", {}, api_name="/cover_song").result()
    assert nothing_is_left(page, before)


def test_without_the_package_a_song_in_one_file_is_refused_at_once(
    client: Client, page: Launched, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = client.predict(sent(files, "song"), api_name="/upload_song")["job_id"]
    before = {path.name for path in (page.data_dir / "jobs").iterdir()}
    monkeypatch.setattr("pipelines.weights.find_spec", lambda _: None)
    said = r"requirements-songs\.txt is missing; send in its vocals and its backing as two files\.$"
    with pytest.raises(AppError, match=said):
        client.submit(sent(files, "song"), VOICE, {}, api_name="/cover_song").result()
    with pytest.raises(AppError, match=said):
        client.predict(source, VOICE, {}, api_name="/start_cover")
    assert nothing_is_left(page, before)
    row = client.submit(sent(files, "vocals", "backing"), VOICE, {}, api_name="/cover_song").result()
    assert row["status"] == "completed"

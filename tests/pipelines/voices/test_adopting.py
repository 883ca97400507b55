"""A training's voice takes its place in the library, once, and is never lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.store.records import Caller, Row, new_job
from pipelines.voices.library import Library
from rvc.errors import CheckpointError
from tests.toy_worker import write_voice

ME = Caller("me")


def training() -> Row:
    about = {"model_name": "Mine", "upload_id": "u", "quality_snr": 30.0}
    return new_job("me", "training", status="training", seq=1, **about)


def test_a_trained_voice_is_adopted_once_however_often_it_is_tried(library: Library, tmp_path: Path) -> None:
    job = training()
    bundle = write_voice(tmp_path / "bundle")
    first = library.adopt(job, bundle)
    assert not bundle.exists()
    again = library.adopt(job, bundle)  # the server died before it had noted the first
    assert first["id"] == again["id"] == job["id"]
    (row, _) = library.list(ME)
    assert (row["model_name"], row["quality_snr"], row["training_job_id"]) == ("Mine", 30.0, job["id"])
    card = json.loads((library.folder(ME, row["id"]) / "card.json").read_text())
    assert card["name"] == "Mine"
    with pytest.raises(CheckpointError):
        library.adopt(job | {"id": "other"}, tmp_path / "nothing")


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("how", ["the disk refuses", "the power fails"])
def test_a_voice_is_there_whatever_ends_its_replacement(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    job = training()
    library.adopt(job, write_voice(tmp_path / "bundle"))
    models = tmp_path / "data" / "models"
    better, replace = write_voice(tmp_path / "better"), Path.replace

    def refused(path: Path, target: Path) -> Path:
        if path == better:
            raise OSError("no room") if how == "the disk refuses" else KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched, pytest.raises((OSError, KeyboardInterrupt)):
        patched.setattr(Path, "replace", refused)
        library.adopt(job, better)
    if how == "the power fails":
        assert names_in(models) == [f".deleted-{job['id']}"]
        library.recover()
    assert names_in(models) == [job["id"]]
    assert (library.folder(ME, job["id"]) / "card.json").exists()
    library.delete(ME, job["id"], purge=True)
    (models / f".deleted-{job['id']}").mkdir()
    library.recover()
    assert names_in(models) == []

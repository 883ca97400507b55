"""Cases of voices and settings: zips and files as people share them, pitch, deletion, words for numbers."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile as sf
import torch

from tests.cases.case import App, Row
from tests.cases.sounds import RATE_HZ, syllables
from tests.golden_files import golden_path

SETTINGS: tuple[tuple[dict[str, object], bool], ...] = (
    ({"transpose_semitones": "3"}, True),
    ({"transpose_semitones": "-2.5"}, True),
    ({"transpose_semitones": "three"}, False),
    ({"transpose_semitones": [3]}, False),
    ({"index_rate": True}, False),
    ({"protect": "0.3"}, True),
    ({"format": 3}, False),
)


def cases(app: App, folder: Path) -> Iterator[Row]:
    yield from _zips(app, folder)
    yield from _files(app, folder)
    yield from _settings(app, folder)
    yield from _deletion(app)


def _zips(app: App, folder: Path) -> Iterator[Row]:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("voice.pth", b"x")
    without = {
        "only an index": {"added_IVF8_Flat_nprobe_1_v_v2.index": b"IwFl" + bytes(90)},
        "only a text": {"readme.txt": b"hello"},
        "a zip in a zip": {"inner.zip": inner.getvalue()},
    }
    for name, items in without.items():
        refused = app.refusal("import_model", [app.file(_zipped(folder, items))], "")
        yield Row("zip", name, "says that no .pth is in it", refused, ".pth" in refused)
    voice = golden_path("tiny_v2_40k_f0.pth").read_bytes()
    items = {"logs/voice.pth": voice, "logs/G_100.pth": b"G" * 99, "logs/D_100.pth": b"D" * 99, "a.png": b"p"}
    yield _imported(app, "zip", "a voice beside G_ and D_", _zipped(folder, items))


def _files(app: App, folder: Path) -> Iterator[Row]:
    document: dict[str, Any] = torch.load(golden_path("tiny_v2_40k_f0.pth"), weights_only=True)
    weight = document["weight"]
    kinds = {
        "as it is": document,
        "posterior encoder left in": document
        | {"weight": weight | {"enc_q.pre.weight": torch.zeros(8, 33, 1)}},
        "a weight more": document | {"weight": weight | {"extra.weight": torch.zeros(3)}},
        "module. before all": document
        | {"weight": {f"module.{key}": value for key, value in weight.items()}},
        "f0 is text": document | {"f0": "1"},
        "f0 is 1.0": document | {"f0": 1.0},
        "version is V2": document | {"version": "V2"},
        "version is 2": document | {"version": 2},
    }
    for name, content in kinds.items():
        path = folder / "voice.pth"
        torch.save(content, path)
        yield _imported(app, ".pth", name, path)


def _imported(app: App, kind: str, name: str, path: Path) -> Row:
    refused = app.refusal("import_model", [app.file(path)], name)
    return Row(kind, name, "taken", refused or "taken", not refused)


def _settings(app: App, folder: Path) -> Iterator[Row]:
    sf.write(folder / "speech.wav", syllables(3.0), RATE_HZ)
    upload, voice = app.upload(folder / "speech.wav"), next(iter(app.voices.values()))
    for settings, right in SETTINGS:
        ((name, value),) = settings.items()
        refused = app.refusal("start_conversion", upload["job_id"], voice, settings)
        expected = "taken" if right else f"refused, names {name}"
        yield Row(
            "setting",
            f"{name}: {value!r}",
            expected,
            refused or "taken",
            (not refused) if right else name in refused,
        )


def _deletion(app: App) -> Iterator[Row]:
    imported = app.ask("import_model", [app.file(golden_path("tiny_v2_40k_f0.pth"))], "For the bin")
    row = app.ask("set_voice_pitch", imported["id"], "low")
    yield Row("voice", "its pitch is set", "known", str(row["f0"]), bool(row["f0"]))
    app.ask("delete_model", imported["id"])
    gone = imported["id"] not in {row["id"] for row in app.ask("list_models")}
    app.ask("restore_model", imported["id"])
    back = imported["id"] in {row["id"] for row in app.ask("list_models")}
    yield Row("voice", "deleted and restored", "gone, then back", f"gone {gone}, back {back}", gone and back)


def _zipped(folder: Path, items: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(folder / "voice.zip", "w") as archive:
        for name, content in items.items():
            archive.writestr(name, content)
    return folder / "voice.zip"

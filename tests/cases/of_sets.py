"""Cases of a voice's recordings: lines of a game, bad ones among them, zips, hundreds of clips."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf

from tests.cases.case import App, Row
from tests.cases.sounds import RATE_HZ, syllables

LINES, GRUNTS_S = 39, (0.1, 0.3, 0.42)
CLIPS = 600


def cases(app: App, folder: Path) -> Iterator[Row]:
    lines = [_written(folder / f"line_{n:02d}.wav", syllables(1.0, seed=n)) for n in range(LINES)]
    bad = [_written(folder / f"grunt_{n}.wav", syllables(s, seed=99)) for n, s in enumerate(GRUNTS_S)]
    bad.append(_written(folder / "breath.wav", np.zeros(RATE_HZ)))
    (folder / "notes.txt").write_text("lines of the second act\n", encoding="utf-8")
    bad.append(folder / "notes.txt")
    answer = app.ask("upload_training_audio", [app.file(path) for path in lines + bad])
    got = (len(answer["files"]), len({row["name"] for row in answer["refused"]}))
    yield Row(
        "set",
        "lines of a game",
        f"{LINES} taken, {len(bad)} refused",
        f"{got[0]} taken, {got[1]} refused",
        got == (LINES, len(bad)),
    )
    yield from _prepared(app, answer["job_id"], "lines of a game", 0.5 * LINES)

    with zipfile.ZipFile(folder / "lines.zip", "w") as archive:
        for path in lines:
            archive.write(path, f"voice/act 2/{path.name}")
    answer = app.ask("upload_training_audio", [app.file(folder / "lines.zip")])
    yield Row(
        "set",
        "a zip of them",
        f"{LINES} taken",
        f"{len(answer['files'])} taken",
        len(answer["files"]) == LINES,
    )

    with zipfile.ZipFile(folder / "many.zip", "w") as archive:
        for number in range(CLIPS):
            archive.write(lines[number % LINES], f"{number}.wav")
    answer = app.ask("upload_training_audio", [app.file(folder / "many.zip")])
    yield Row(
        "set",
        f"{CLIPS} clips",
        f"{CLIPS} taken",
        f"{len(answer['files'])} taken",
        len(answer["files"]) == CLIPS,
    )

    reports = {}
    for name, offset in (("plain", 0.0), ("an offset of 0.3", 0.3)):
        files = [_written(folder / f"{name}_{n}.wav", offset + syllables(12.0, seed=n)) for n in range(2)]
        answer = app.ask("upload_training_audio", [app.file(path) for path in files])
        app.finished(app.ask("prepare_voice", answer["job_id"])["id"])
        reports[name] = app.ask("dataset_report", answer["job_id"])
    told = [
        (report["speech_s"], max(row["clipping_fraction"] for row in report["files"]))
        for report in reports.values()
    ]
    alike = abs(told[1][0] - told[0][0]) <= 0.1 * told[0][0]
    yield Row(
        "set", "an offset of 0.3", "as much speech as without", f"{told[1][0]} s, {told[0][0]} s", alike
    )
    yield Row("set", "an offset of 0.3", "no clipping", f"{told[1][1]:.2%} clipped", told[1][1] == 0)
    refused = app.refusal("upload_training_audio", [app.file(path) for path in bad])
    named = all(path.name in refused for path in bad)
    yield Row("set", "only bad ones", "refused, each is named", refused, named)


def _prepared(app: App, job_id: str, name: str, least_s: float) -> Iterator[Row]:
    row = app.finished(app.ask("prepare_voice", job_id)["id"])
    report = app.ask("dataset_report", job_id)
    speech_s = report["speech_s"] if row["status"] == "completed" else 0.0
    yield Row(
        "set", f"{name}, prepared", f"> {least_s:.0f} s of speech", f"{speech_s:.1f} s", speech_s > least_s
    )


def _written(path: Path, wav: np.ndarray) -> Path:
    sf.write(path, wav, RATE_HZ)
    return path

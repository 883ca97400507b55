"""Work for the children of a test's dispatcher: events, files and results like the real ones.

A training speaks a sine as its sample, a conversion gives the recording back, half as loud. How long each
takes is set by TOY_STEPS (steps of 20 ms).
"""

from __future__ import annotations

import json
import math
import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from pipelines.conversion.batch import convert_all
from pipelines.events import Done, Events, Progress
from pipelines.job_spec import JobSpec
from pipelines.recordings.uploads import decode
from rvc.errors import AudioError

STEP_S = 0.02


def steps() -> int:
    """How many steps everything takes."""
    return int(os.environ.get("TOY_STEPS", "10"))


def preparation(spec: JobSpec) -> Events[dict[str, Any]]:
    """Report on the files as they were described at the upload."""
    for number in range(steps()):
        time.sleep(STEP_S)
        yield Progress(stage="Listening", fraction=number / steps(), message="Listening to the recordings")
    folder = spec.upload_folder / "prepared"
    folder.mkdir(exist_ok=True)
    report = json.loads((Path(__file__).parent / "report.json").read_text(encoding="utf-8"))
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    yield Done(result={"quality_snr": 31.0})


def training(spec: JobSpec) -> Events[dict[str, Any]]:
    """Give losses that fall, a sample at each scoring, and a bundle."""
    if spec.settings.get("total_steps") == 13:
        raise AudioError("There are only 4 s of speech in these recordings; add at least 30 s more.")
    saved = spec.work_folder / "step"
    saved.parent.mkdir(exist_ok=True)
    first = int(saved.read_text()) if saved.exists() else 0
    total = steps()
    try:
        for step in range(first, total):
            time.sleep(STEP_S)
            yield _report(spec, step, total)
            first = step
    except GeneratorExit:
        saved.write_text(str(first))
        raise
    _bundle(spec.bundle_folder, spec.settings.get("consent"))
    yield Done(result={"best_step": total, "quality_snr": 31.0})


def conversion(spec: JobSpec) -> Events[dict[str, Any]]:
    """Give the recording back, half as loud."""
    for number in range(steps()):
        time.sleep(STEP_S)
        yield Progress(stage="Converting", fraction=number / steps(), eta_s=STEP_S * (steps() - number))
    wav, rate_hz = sf.read(spec.upload_folder / spec.files[0]["audio"], dtype="float32")
    spec.result_folder.mkdir(exist_ok=True)
    form = spec.settings.get("format", "wav")
    sf.write(spec.result_folder / f"converted.{form}", 0.5 * wav, rate_hz)
    yield Done(
        result={
            "path": f"result/converted.{form}",
            "seconds": len(wav) / rate_hz,
            "transpose_semitones": spec.settings.get("transpose_semitones") or 3.2,
        }
    )


def batch(spec: JobSpec) -> Events[dict[str, Any]]:
    """Give the recordings back, half as loud."""
    form = spec.settings.get("format", "wav")

    def convert(row: dict[str, Any], destination: Path) -> Events[float]:
        for number in range(steps()):
            time.sleep(STEP_S)
            yield Progress(stage="Converting", fraction=number / steps(), needs_device=True)
        original = spec.folder.parent / row["upload_id"] / row["original"]
        decoded = spec.work_folder / "decoded.wav"
        seconds = list(decode(original, decoded, row["name"], 60.0))[-1]
        wav, rate_hz = sf.read(decoded, dtype="float32")
        sf.write(destination, 0.5 * wav, rate_hz, format=form.upper())
        yield Done(result=seconds)

    for event in convert_all(spec.files, spec.folder, form, convert, attempt=spec.attempt):
        yield Done(result=vars(event.result)) if isinstance(event, Done) else event


TASKS = {"preprocessing": preparation, "training": training, "conversion": conversion, "batch": batch}


def _report(spec: JobSpec, step: int, total: int) -> Progress:
    data: dict[str, Any] = {
        "step": 10 * step,
        "total_steps": 10 * total,
        "losses": {
            "spectrum": 0.6 + math.exp(-4 * step / total),
            "realism": 0.9 + 0.2 * math.exp(-2 * step / total),
        },
        "steps_per_s": 500.0,
    }
    if step % max(1, total // 5) == max(1, total // 5) - 1:
        data["score"] = {"total": 5 + 3 * math.exp(-3 * step / total), "step": 10 * step}
        data["sample"] = f"samples/{10 * step:06d}.wav"
        folder = spec.work_folder / "samples"
        folder.mkdir(exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(24_000) / 24_000)
        for path in (folder / "reference.wav", spec.work_folder / data["sample"]):
            sf.write(path, tone, 24_000)
    return Progress(
        stage="Training",
        fraction=step / total,
        message=f"Step {10 * step} of {10 * total}",
        eta_s=STEP_S * (total - step),
        data=data,
    )


def _bundle(folder: Path, consent: object) -> None:
    folder.mkdir(exist_ok=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    card = {
        "format_version": 1,
        "engine": "lite",
        "name": "toy",
        "created_at": "2026-01-02T03:04:05.000+00:00",
        "sample_rate_hz": 24_000,
        "content_encoder": "toy",
        "content_dim": 64,
        "f0": {"median_hz": 190.0, "low_hz": 130.0, "high_hz": 260.0},
        "training": {"seconds_of_audio": 95.0, "scores": []},
        "consent": consent,
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")

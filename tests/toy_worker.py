"""Toy work in real children, for every test with a dispatcher: events, files and results like the real ones.

Settings of the job steer it:

steps, step_s    how many steps, and how many seconds each takes (else TOY_STEPS and TOY_STEP_S of the
                 environment, else 3 and 0)
needs_device     whether the steps compute on the device; every step then notes (begin, end, job) in
                 <data folder>/device.log, so that a test sees who computed when
fault            "input" | "internal" | "memory" | "die" at the first step; of a batch, at the recording
                 whose name it is in
deaf             ignore SIGTERM, and never come back from the first step
once             the fault happens in the first try only
chatty           say something past Python's own stdout

With total_steps 0 a training makes its voice at once. While TOY_WORSE is set, no state is called the best.
TOY_SNR_DB is how far the noise of what is converted lies below the voice.
While the file that TOY_HOLD names is there, a job does not go past its last step but one.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import struct
import sys
import time
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.conversion.batch import convert_all
from pipelines.events import Done, Events, Progress
from pipelines.job_spec import JobSpec
from pipelines.recordings.pieces import Piece, file_id_of, save_pieces
from pipelines.store.records import SINGLE, STEMS, TEXT, spoken_path
from pipelines.voices.bundle import SAMPLE
from pipelines.voices.snapshots import Snapshots
from rvc.errors import AudioError
from rvc.files import ROOT

TOY_WORKER = (sys.executable, "-m", "pipelines.worker", "--tasks", "tests.toy_worker")
REPORT = ROOT / "tests" / "ui" / "report.json"


def write_voice(folder: Path, name: str = "Toy", **fields: object) -> Path:
    """Write a bundle that is a voice in form: a card and a safetensors file of four numbers."""
    folder.mkdir(parents=True)
    card: dict[str, Any] = {"format_version": 1, "engine": "toy", "name": name, "sample_rate_hz": 24_000}
    card |= {"content_encoder": "toy", "content_dim": 4, "training": {"seconds_of_audio": 1.5}}
    card |= {"f0": {"median_hz": 110.0, "low_hz": 90.0, "high_hz": 140.0}} | fields
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    return folder


def count(spec: JobSpec) -> Events[dict[str, Any]]:
    """Count steps; resume where the last try was closed."""
    wish = spec.settings
    if wish.get("chatty"):
        os.system("echo chatter")  # noqa: S605  # past Python's own stdout, as native code does
    work = spec.work_folder
    work.mkdir(exist_ok=True)
    checkpoint = work / "step.txt"
    step = start = int(checkpoint.read_text()) if checkpoint.exists() else 0
    steps = _steps(wish)
    if spec.type == "training" and not steps:
        _hum(work / "samples" / "reference.wav", 1.0)
    needs_device = bool(wish.get("needs_device", spec.type != "preprocessing"))
    try:
        while step < steps:
            yield Progress(
                stage="Counting",
                fraction=step / steps,
                message=f"Step {step} of {steps}.",
                eta_s=(steps - step) * _step_s(wish),
                needs_device=needs_device,
                data=_curves(work, step, steps) if spec.type == "training" else {"step": step},
            )
            if step == steps - 2 and Path(os.environ.get("TOY_HOLD", "")).is_file():
                time.sleep(0.1)
                continue
            _take_step(spec, step, needs_device=needs_device)
            step += 1
    finally:
        checkpoint.write_text(str(step))
    result = {"start": start, "steps": steps, "pid": os.getpid(), "quality_snr": 20.0}
    yield Done(result=result | _made(spec))


def _made(spec: JobSpec) -> dict[str, Any]:
    """What a job of this type leaves: a report, a voice, or the recording given back."""
    if spec.type == "preprocessing":
        (spec.upload_folder / "prepared").mkdir(exist_ok=True)
        shutil.copyfile(REPORT, spec.upload_folder / "prepared" / "report.json")
        _write_pieces(spec)
    if spec.type == "training":
        write_voice(spec.bundle_folder, consent=spec.settings.get("consent"))
        if spec.settings.get("total_steps") == 0:
            _hum(spec.bundle_folder / SAMPLE, 1.0)
    if spec.type not in SINGLE:
        return {}
    file = spec.files[0]
    path = f"result/toy.{spec.settings.get('format', 'wav')}"
    spec.result_folder.mkdir(exist_ok=True)
    if file.get("codec") == TEXT:
        _hum(spoken_path(spec.folder, path), file["seconds"])
        _hum(spec.folder / path, file["seconds"])
    else:
        _give_back(spec.upload_folder / file["audio"], spec.folder / path)
    transposed = spec.settings.get("transpose_semitones") or 3.2
    if spec.type == "cover":
        _leave_stems(spec)
    heard = {"transpose_semitones": transposed, "source_snr_db": float(os.environ.get("TOY_SNR_DB", "40"))}
    return {"path": path, "seconds": file.get("seconds"), **heard}


def _leave_stems(spec: JobSpec) -> None:
    """Leave the song in the place of each of its parts."""
    for stem in ("voice",) if len(spec.files) == 2 else STEMS:
        _give_back(spec.upload_folder / spec.files[0]["audio"], spec.folder / STEMS[stem])


def _write_pieces(spec: JobSpec) -> None:
    """Cut recordings to pieces of 4 s (or TOY_PIECE_S): the first noisy, the second quiet and low."""
    each_s = float(os.environ.get("TOY_PIECE_S", "4"))
    pieces: list[Piece] = []
    for number, file in enumerate(spec.files):
        folder = spec.upload_folder / "prepared" / "slices" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "0000.flac"
        shutil.copyfile(spec.upload_folder / file["audio"], path)  # all sound alike
        for at in range(max(1, round(file["seconds"] / each_s))):
            reasons = [["noisy"], ["quiet", "low"], []][min(at, 2)]
            piece = Piece(
                id=f"{file_id_of(file['sha256'])}-{round(at * each_s * file['sample_rate_hz'])}",
                file=file["name"],
                file_id=file_id_of(file["sha256"]),
                path=f"{number}/{path.name}",
                start_s=at * each_s,
                end_s=(at + 1) * each_s,
                seconds=each_s,
                rate_hz=file["sample_rate_hz"],
                grade=0,
                level_db=-20.0 - at,
                above_db=0.0,
                snr_db=30.0,
                clipping_fraction=0.0,
                f0_hz=120.0,
                speech_share=0.9,
                voiced_share=0.7,
                peaks=bytes(min(255, 40 + 3 * n) for n in range(80)).hex(),
                doubt=0.3 * len(reasons),
                reasons=reasons,
            )
            pieces.append(piece)
    save_pieces(pieces, spec.upload_folder / "prepared")


def _give_back(source: Path, destination: Path) -> None:
    if source.suffix == destination.suffix:
        shutil.copyfile(source, destination)
        return
    import soundfile as sf  # takes a while; most jobs do without

    sf.write(destination, *sf.read(source, dtype="float32"))


def _hum(destination: Path, seconds: float) -> None:
    """In the place of what is said of a text."""
    import soundfile as sf

    destination.parent.mkdir(parents=True, exist_ok=True)
    sf.write(
        destination,
        [0.3 * math.sin(2 * math.pi * 220 * n / 24_000) for n in range(round(seconds * 24_000))],
        24_000,
    )


def _curves(work: Path, step: int, steps: int) -> dict[str, Any]:
    """Losses that fall, and at every fifth of the way a score and a sample of a sine."""
    data: dict[str, Any] = {"step": step, "total_steps": steps, "losses": {"toy": 1 / (step + 1)}}
    every = steps // 5
    if every and step % every == every - 1:
        data["score"] = {"total": 5 + 3 * math.exp(-3 * step / steps), "step": step}
        data["is_best"] = "TOY_WORSE" not in os.environ
        data["sample"] = f"samples/{step:06d}.wav"
        (work / "samples").mkdir(exist_ok=True)
        sine = [round(9_000 * math.sin(2 * math.pi * 220 * n / 24_000)) for n in range(24_000)]
        _keep_snapshot(work, step, [*kept_scores(work), data["score"]])
        for path in (work / "samples" / "reference.wav", work / data["sample"]):
            with wave.open(str(path), "wb") as sound:
                sound.setparams((1, 2, 24_000, 0, "NONE", "not compressed"))
                sound.writeframes(struct.pack("<24000h", *sine))
    return data


def kept_scores(work: Path) -> list[dict[str, Any]]:
    cards = sorted((work / "snapshots").glob("*/card.json"))
    return json.loads(cards[-1].read_text())["training"]["scores"] if cards else []


def _keep_snapshot(work: Path, step: int, scores: list[dict[str, Any]]) -> None:
    """Keep the voice of a scoring, as a training does; its card tells the step."""
    snapshots = Snapshots(work)
    shutil.rmtree(snapshots.folder(step), ignore_errors=True)
    snapshots.index.parent.mkdir(exist_ok=True)
    snapshots.index.write_bytes(b"an index")
    write_voice(
        snapshots.folder(step), training={"seconds_of_audio": 1.5, "scores": scores, "best_step": step}
    )
    snapshots.thin(min(scores, key=lambda score: score["total"])["step"])


def _take_step(spec: JobSpec, step: int, *, needs_device: bool) -> None:
    wish = spec.settings
    if wish.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (spec.work_folder / "deaf").touch()
        time.sleep(60)
    first_try = not (spec.work_folder / "failed").exists()
    if step == 0 and (first_try or not wish.get("once")):
        _go_wrong(str(wish.get("fault")), spec)
    begin = time.time()
    time.sleep(_step_s(wish))
    if needs_device:
        with (spec.device_lock.parent / "device.log").open("a") as log:
            log.write(f"{begin} {time.time()} {spec.id}\n")


def _steps(wish: Mapping[str, Any]) -> int:
    if "patience_from" in wish or wish.get("total_steps") == 0:  # it is trained on, or not at all
        return int(wish["total_steps"])
    return int(wish.get("steps", os.environ.get("TOY_STEPS", "3")))


def _step_s(wish: Mapping[str, Any]) -> float:
    return float(wish.get("step_s", os.environ.get("TOY_STEP_S", "0")))


def _go_wrong(fault: str, spec: JobSpec) -> None:
    (spec.work_folder / "failed").touch()
    if fault == "input":
        raise AudioError("The recording is not good enough; record it again.")
    if fault == "internal":
        raise ZeroDivisionError("a fault of the program")
    if fault == "memory":
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def batch(spec: JobSpec) -> Events[dict[str, Any]]:
    """Count steps for every recording, and give it back."""
    wish = spec.settings
    form, steps = wish.get("format", "wav"), _steps(wish)

    def convert(row: dict[str, Any], destination: Path) -> Events[float]:
        for step in range(steps):
            yield Progress(stage="Counting", fraction=step / steps, needs_device=True)
            fault = str(wish.get("fault", ""))
            _take_step(spec, 0 if fault and fault in row["name"] else -1, needs_device=True)
        if row["codec"] == TEXT:
            _hum(spoken_path(spec.folder, destination.name), row["seconds"])
            _hum(destination, row["seconds"])
        else:
            _give_back(spec.folder.parent / row["upload_id"] / row["original"], destination)
        yield Done(result=row["seconds"])

    for event in convert_all(spec.files, spec.folder, form, convert, attempt=spec.attempt):
        yield Done(result=vars(event.result)) if isinstance(event, Done) else event


TASKS = {
    "preprocessing": count, "training": count, "conversion": count, "speech": count, "batch": batch,
    "cover": count,
}  # fmt: skip

"""Types of work for tests of the dispatcher: real generators, toy work. Settings steer them.

steps, step_s    how many steps (3), and how many seconds each takes (TOY_STEP_S of the environment, else 0)
needs_device     whether the steps compute on the device; every step then notes (begin, end, job) in
                 <data folder>/device.log, so that a test sees who computed when
fault            "input" | "internal" | "die" | "hang" at step `fault_at`
deaf             ignore SIGTERM, and never come back from the first step
once             the fault happens in the first try only
"""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.conversion.batch import convert_all
from pipelines.events import Done, Events, Progress
from pipelines.job_spec import JobSpec
from rvc.errors import AudioError


def write_voice(folder: Path, name: str = "Toy") -> Path:
    """Write a bundle that is a voice in form: a card and a safetensors file of four numbers."""
    folder.mkdir(parents=True)
    card: dict[str, Any] = {"format_version": 1, "engine": "toy", "name": name, "sample_rate_hz": 24_000}
    card |= {"content_encoder": "toy", "content_dim": 4, "training": {"seconds_of_audio": 1.5}}
    card |= {"f0": {"median_hz": 110.0, "low_hz": 90.0, "high_hz": 140.0}}
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
    steps = int(wish.get("steps", 3))
    needs_device = bool(wish.get("needs_device", spec.type != "preprocessing"))
    try:
        while step < steps:
            yield Progress(
                stage="Counting",
                fraction=step / steps,
                message=f"Step {step} of {steps}",
                eta_s=(steps - step) * _step_s(wish),
                needs_device=needs_device,
                data={"step": step, "losses": {"toy": 1 / (step + 1)}},
            )
            _take_step(spec, step, needs_device=needs_device)
            step += 1
    finally:
        checkpoint.write_text(str(step))
    result: dict[str, Any] = {"start": start, "steps": steps, "pid": os.getpid(), "quality_snr": 20.0}
    if spec.type == "training":
        write_voice(spec.bundle_folder)
    if spec.type == "conversion":
        spec.result_folder.mkdir(exist_ok=True)
        audio = spec.result_folder / "toy.wav"
        audio.write_bytes((spec.upload_folder / spec.files[0]["audio"]).read_bytes())
        result |= {"path": "result/toy.wav", "seconds": 1.5}
    yield Done(result=result)


def _take_step(spec: JobSpec, step: int, *, needs_device: bool) -> None:
    wish = spec.settings
    if wish.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (spec.work_folder / "deaf").touch()
        time.sleep(60)
    first_try = not (spec.work_folder / "failed").exists()
    if step == wish.get("fault_at", 0) and (first_try or not wish.get("once")):
        _go_wrong(str(wish.get("fault")), spec)
    begin = time.time()
    time.sleep(_step_s(wish))
    if needs_device:
        with (spec.device_lock.parent / "device.log").open("a") as log:
            log.write(f"{begin} {time.time()} {spec.id}\n")


def _step_s(wish: Mapping[str, Any]) -> float:
    return float(wish.get("step_s", os.environ.get("TOY_STEP_S", 0.0)))


def _go_wrong(fault: str, spec: JobSpec) -> None:
    (spec.work_folder / "failed").touch()
    if fault == "input":
        raise AudioError("The recording is not good enough; record it again.")
    if fault == "internal":
        raise ZeroDivisionError("a fault of the program")
    if fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang":
        time.sleep(60)
    if fault == "mute":
        os._exit(7)


def batch(spec: JobSpec) -> Events[dict[str, Any]]:
    """Count steps for every recording; `fault` strikes at the recording whose name it is in."""
    wish = spec.settings

    def convert(row: dict[str, Any], destination: Path) -> Events[float]:
        for step in range(int(wish.get("steps", 3))):
            yield Progress(stage="Counting", fraction=step / int(wish.get("steps", 3)), needs_device=True)
            fault = str(wish.get("fault", ""))
            _take_step(spec, 0 if fault and fault in row["name"] else -1, needs_device=True)
        destination.write_bytes(row["name"].encode())
        yield Done(result=row["seconds"])

    for event in convert_all(spec.files, spec.folder, "wav", convert, attempt=spec.attempt):
        yield Done(result=vars(event.result)) if isinstance(event, Done) else event


TASKS = {"preprocessing": count, "training": count, "conversion": count, "batch": batch}

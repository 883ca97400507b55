"""What passes between the registry and a child: its spec before, and what becomes of the job after.

    done                            completed, once its result has been fetched
    stopped, because it was asked   cancelled, failed (its voice was deleted), interrupted (the server leaves)
                                    or, a completed training that was to go on, completed as before
    out of time                     interrupted when it saves its work, else failed
    failed, of the input            failed; trying again would not help
    anything else                   tried again after a pause, in the end failed and marked as dead letter

Anything else is an exception that is no RvcError, and a child that died. Its log stays in the job's folder.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.job_spec import JobSpec, Signing
from pipelines.jobs.job_files import upload_of
from pipelines.marks.provenance import installed
from pipelines.settings import Settings
from pipelines.store.records import CONVERTING, SINGLE, Row, has_made_voice, now, saved_states, voice_deleted
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.engine.options import RVC
from rvc.errors import CheckpointError, ConfigError, NotAllowedError, RvcError

logger = logging.getLogger(__name__)

RESUMABLE = ("training", "batch", "cover")  # types of jobs that save their work as they go
RETRY_PAUSES_S = (5.0, 60.0)  # rest before the second and the third try


@dataclass(kw_only=True)
class JobOutcome:
    last: Row | None = None  # the child's "done", "failed" or "stopped" event; None if it left without a word
    returncode: int | None = None  # the child's exit status; None if it lives on (the converter)
    # Why the server had asked it to stop: "cancel", "deleted" (its voice), "timeout", "shutdown".
    reason: str | None = None
    ran_s: float = 0.0  # of work in this try, without pauses and waiting for the device


def require_training(settings: Settings, engine: object) -> None:
    """Refuse to train, or to train a voice of this engine, where that is not done."""
    if not settings.allow_training:
        raise NotAllowedError(
            "Voices are not trained on this server; train elsewhere and import the voice in the Voices tab."
        )
    if settings.spaces_zero_gpu and engine == RVC:
        raise NotAllowedError(
            "RVC voices are not trained on this Space, which has a GPU for some seconds only; take the "
            "built-in engine, or train elsewhere and import the voice in the Voices tab."
        )


def make_job_spec(
    row: Row, folder: Path, registry: Registry, library: Library, settings: Settings
) -> JobSpec:
    """Put together what the child of a job is told; RvcError if it cannot be done any more."""
    if row["type"] == "training":
        require_training(settings, row["settings"].get("engine"))
    upload = upload_of(registry, row)
    source = registry.get("jobs", row["input_job_id"]) or upload
    return JobSpec(
        **{name: row[name] for name in ("id", "type", "files", "settings", "model_name", "model_id")},
        folder=folder,
        upload_folder=settings.data_dir / "jobs" / upload["id"],
        prepare_settings=source["settings"] if source["type"] == "preprocessing" else {},
        model_folder=library.folder_of_job(row) if row["type"] in CONVERTING else None,
        device_lock=settings.data_dir / "gpu.lock",
        grace_s=settings.cancel_grace_s,
        max_audio_seconds=settings.max_audio_seconds,
        attempt=row["attempts"],
        mark_output=settings.mark_output,
        signing=signing_of(settings),
    )


def signing_of(settings: Settings) -> Signing | None:
    """Return whose key signs the manifests of results; None where they get none."""
    key, certificate = settings.signing_key, settings.signing_certificate
    if (key is None) != (certificate is None):
        raise ConfigError("SIGNING_KEY and SIGNING_CERTIFICATE go together; set both, or neither.")
    if not (settings.sign_output and installed()):
        return None
    return Signing(home=settings.data_dir / "signing", key=key, certificate=certificate)


def resolve(row: Row, outcome: JobOutcome, folder: Path, library: Library, pauses_s: Sequence[float]) -> Row:
    """Fetch a finished job's result, and return the changes that end the job or send it round again.

    When the disk refuses (OSError), asking again is safe.
    """
    changes = _changes(row, outcome, folder, library, pauses_s)
    return changes | {"files": saved_states(row["files"], folder)} if row["type"] == "batch" else changes


def count_use(before: Row, after: Row, library: Library) -> None:
    """Add to the voice's statistics what a job has converted between its start and its end in this try."""
    if after["type"] in SINGLE and after["status"] == "completed":
        library.record_use(after["model_id"], [float(after["result"].get("seconds") or 0.0)])
    elif after["type"] == "batch":
        pairs = zip(before["files"], after["files"], strict=True)
        new = [now for was, now in pairs if now["status"] == "completed" != was["status"]]
        library.record_use(after["model_id"], [float(file["seconds"]) for file in new])


def _changes(row: Row, outcome: JobOutcome, folder: Path, library: Library, pauses_s: Sequence[float]) -> Row:
    last = outcome.last or {}
    if last.get("event") == "done":
        try:
            return _completed(row, dict(last.get("result") or {}), folder, library)
        except RvcError as error:
            logger.exception("its result is unusable")
            return _fault(row, str(error), pauses_s)
    if outcome.reason == "cancel":
        return cancelled(row)
    if outcome.reason == "deleted":
        return ended("failed", error_message=str(voice_deleted(row["model_name"])))
    if outcome.reason == "shutdown":
        return ended("interrupted", message="The server was stopped")
    if outcome.reason == "timeout":
        minutes = f"{outcome.ran_s / 60:.0f} minutes of work, the most that is allowed here"
        said = f"The job was stopped after {minutes}"
        if row["type"] in RESUMABLE:
            return ended("interrupted", message=f"{said} at a stretch")
        return ended("failed", error_message=f"{said}; resume it, or ask for less.")
    if last.get("event") == "failed" and last.get("kind") == "input":
        return ended("failed", error_message=str(last.get("message")))
    if last.get("event") == "stopped":
        return ended("interrupted", message="The worker was stopped from outside")
    return _fault(row, str(last.get("message") or _describe(outcome.returncode)), pauses_s)


def _completed(row: Row, result: Row, folder: Path, library: Library) -> Row:
    measured = result.get("quality_snr")
    snr = row["quality_snr"] if measured is None else measured
    changes = ended("completed", progress=1.0, stage="", quality_snr=snr)
    if row["type"] in SINGLE:
        audio = (folder / str(result.pop("path", ""))).resolve()
        if not audio.is_file() or not audio.is_relative_to(folder.resolve()):
            raise CheckpointError("The conversion left no audio; retry it.")
        changes["output_audio_path"] = str(audio.relative_to(folder.resolve()))
    elif row["type"] == "training":
        changes["model_id"] = library.adopt(row | {"quality_snr": snr}, folder / "bundle")["id"]
    return changes | {"result": result}


def _fault(row: Row, what: str, pauses_s: Sequence[float]) -> Row:
    tries = len(pauses_s) + 1
    if row["attempts"] < tries:
        pause_s = pauses_s[row["attempts"] - 1]
        said = f"A fault; try {row['attempts'] + 1} of {tries} follows in {pause_s:.0f} s"
        again = {"not_before": time.time() + pause_s, "completed_at": None}
        return ended("pending", error_message=what, message=said, **again)
    return ended(
        "failed",
        dead_letter=True,
        error_message=f"The job failed {tries} times through a fault of the program or the machine "
        f"({what.rstrip('.')}); its log is kept; retry it later, or show the log to whoever runs the server.",
    )


def cancelled(row: Row) -> Row:
    """Return the changes that end a job as its owner asked: a training that had made a voice still has it."""
    if has_made_voice(row):
        return ended("completed", progress=1.0, stage="")
    return ended("cancelled", message="Cancelled")


def ended(status: str, **changes: object) -> Row:
    moment = now()
    row: Row = {"status": status, "eta_s": None, "error_message": None, "message": "", "updated_at": moment}
    row["completed_at"] = None if status == "interrupted" else moment
    return row | changes


def _describe(returncode: int | None) -> str:
    if returncode is None:
        return "the worker does not answer"
    if returncode >= 0:
        return f"the worker left with exit status {returncode}"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else f"signal {-returncode}"
    hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
    return f"the worker was ended by {name}{hint}"

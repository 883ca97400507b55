"""What may be fetched of a job: its recordings, its report, its audio, what it made on the way, its log.

Whoever asks is checked first, and an id or a name from outside is looked up or held inside the job's
folder, never trusted as a path.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from pipelines.batch_results import results_zip
from pipelines.registry import Registry
from pipelines.rows import ENDED, Caller, Row, unknown_job
from pipelines.uploads import StoredFile
from pipelines.validation import validate
from rvc.errors import ConfigError, NotAllowedError, UnknownNameError

ARTIFACT_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".png", ".json"})
LOG_TAIL_BYTES = 20_000
REPORT = Path("prepared") / "report.json"


class JobFiles:
    """The files of the jobs of one data folder; the half of Jobs that only reads.

    Args:
        registry: The open registry.
        jobs_dir: Folder of the jobs' folders.

    Attributes:
        registry: The rows.
    """

    def __init__(self, registry: Registry, jobs_dir: Path) -> None:
        self.registry = registry
        self._jobs_dir = jobs_dir

    def report(self, caller: Caller, job_id: str) -> dict[str, Any] | None:
        """Return the report on the data set of an upload, preparation or training; None before it exists.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
        """
        row = self._row(caller, job_id)
        path = self._folder(row["upload_id"] or row["id"]) / REPORT
        return orjson.loads(path.read_bytes()) if path.is_file() else None

    def validate(self, caller: Caller, job_id: str) -> dict[str, Any]:
        """Measure the recordings of an upload, or of the one that a job works on, and judge each.

        Returns:
            job_id, and files with one dict for each; see validation.validate.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
            ConfigError: The upload has expired, or is one of a batch, which is not decoded yet.
        """
        folder, files = self.stored_files(caller, job_id)
        if any(file.audio == file.original for file in files):
            raise ConfigError(
                "The recordings of a batch are only read when they are converted; "
                "upload one by itself to measure it."
            )
        return {"job_id": job_id, "files": [validate(file, folder) for file in files]}

    def log(self, caller: Caller, job_id: str) -> str:
        """Return the end of a job's log, for finding a fault; "" if it never ran.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
        """
        path = self._folder(self._row(caller, job_id)["id"]) / "worker.log"
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")

    def stored_files(self, caller: Caller, job_id: str) -> tuple[Path, list[StoredFile]]:
        """Return the folder of an upload, or of the one a job works on, and what lies in it.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
            ConfigError: The upload has expired.
        """
        upload = self._upload_of(self._row(caller, job_id))
        return self._folder(upload["id"]), [
            StoredFile.from_json(file) for file in upload["files"] if "audio" in file
        ]

    def input_path(self, caller: Caller, job_id: str) -> Path:
        """Return the first file of the upload that a job works on, as it came.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
            ConfigError: The upload has expired, or its file is gone.
        """
        folder, files = self.stored_files(caller, job_id)
        path = folder / files[0].original
        if not path.is_file():
            raise ConfigError("The recording of this job is no longer here; upload it again.")
        return path

    def result_path(self, caller: Caller, job_id: str) -> Path:
        """Return the audio that a conversion made, or a zip of what a batch that has ended made.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
            NotAllowedError: The job has no audio, not yet or no longer.
            AudioError: There is no room for the zip.
        """
        row = self._row(caller, job_id)
        if row["type"] == "batch" and row["status"] in ENDED:
            return results_zip(row, self._folder(row["id"]))
        if row["status"] != "completed" or not row["output_audio_path"]:
            raise NotAllowedError(
                f"This job ({row['type']}, {row['status']}) has no converted audio; "
                "ask for that of a completed conversion."
            )
        path = self._folder(row["id"]) / row["output_audio_path"]
        if not path.is_file():
            raise NotAllowedError("The converted audio of this job is no longer here; convert it again.")
        return path

    def artifact(self, caller: Caller, job_id: str, name: str) -> Path:
        """Return a file that a job made on the way and named in an event, such as a sample of a training.

        Args:
            caller: Who asks.
            job_id: The job.
            name: As the event gives it, relative to the job's work folder.

        Raises:
            UnknownNameError: There is no such job or file, or it is somebody else's.
        """
        row = self._row(caller, job_id)
        work = (self._folder(row["id"]) / "work").resolve()
        plain = isinstance(name, str) and PurePosixPath(name).suffix in ARTIFACT_SUFFIXES and "\0" not in name
        path = (work / name).resolve() if plain else work
        if not path.is_relative_to(work) or not path.is_file():
            raise UnknownNameError(f"This job has no file {str(name)[:64]!r}; its events name those it has.")
        return path

    def _row(self, caller: Caller, job_id: str) -> Row:
        row = self.registry.get("jobs", job_id) if isinstance(job_id, str) else None
        if row is None or not caller.may_see(row):
            raise unknown_job(job_id)
        return row

    def _upload_of(self, row: Row) -> Row:
        """Return the upload that a row is, or works on."""
        upload = row if row["status"] == "uploaded" else self.registry.get("jobs", row["upload_id"])
        if upload is None:
            raise ConfigError("The upload of this job has expired; upload the recording again.")
        return upload

    def _uploads_of(self, row: Row) -> list[Row]:
        """Return the uploads that a row is, or works on: a batch may have several."""
        ids = row.get("upload_ids") or []
        return [self._upload_of(row | {"upload_id": upload_id}) for upload_id in ids] or [
            self._upload_of(row)
        ]

    def _folder(self, job_id: str) -> Path:
        return self._jobs_dir / job_id

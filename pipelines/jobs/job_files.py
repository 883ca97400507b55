"""What may be fetched of a job: its recordings, its report, its audio, what it made on the way, its log.

Whoever asks is checked first, and an id or a name from outside is looked up or held inside the job's
folder, never trusted as a path.

What a batch has made, as one zip: the recordings, and a table of what became of each.

    <name>.wav ...     what was converted; each says in its own tags what it is (run_record.py)
    results.json       voice, settings, program; and per file name, output, status, seconds, reason
    results.csv        the files alone, for a spreadsheet

Packed when somebody asks for it, so that a batch that was stopped gives what it has as well. The zip is kept
until the batch has gone on.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from pipelines.conversion.provenance import RunRecord
from pipelines.recordings.report import validate
from pipelines.recordings.uploads import StoredFile
from pipelines.store.batch_states import RESULTS, STATES
from pipelines.store.records import ENDED, Caller, Row, unknown_job
from pipelines.store.registry import Registry
from pipelines.voices.bundle import pack_files
from rvc.errors import AudioError, ConfigError, NotAllowedError, UnknownNameError

COLUMNS = ("name", "output", "status", "seconds", "reason")
STATEMENT = "Every recording in this zip is synthetic speech."
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ONE_AT_A_TIME = threading.Lock()


def results_zip(row: Row, folder: Path) -> Path:
    """Pack what a batch has made so far, unless that is done already; takes as long as the disk takes.

    Args:
        row: The batch's row; it must have ended.
        folder: Its folder.

    Returns:
        The zip.

    Raises:
        NotAllowedError: It has made nothing.
        AudioError: There is no room for the zip.
    """
    made = [file for file in row["files"] if file["status"] == "completed"]
    if not made:
        raise NotAllowedError(f"This batch ({row['status']}) has converted nothing; resume it, or look why.")
    archive, tables = folder / "work" / "results.zip", folder / "work" / "tables"
    with _ONE_AT_A_TIME:
        if archive.is_file() and archive.stat().st_mtime_ns > (folder / STATES).stat().st_mtime_ns:
            return archive
        try:
            tables.mkdir(exist_ok=True)
            (tables / "results.json").write_text(_as_json(row), encoding="utf-8")
            # The mark tells spreadsheets that it is UTF-8.
            (tables / "results.csv").write_text(_as_csv(row), encoding="utf-8-sig", newline="")
            results = [folder / RESULTS / file["output"] for file in made]
            pack_files([*results, *sorted(tables.iterdir())], archive)
        except OSError as error:
            archive.with_name(archive.name + ".tmp").unlink(missing_ok=True)
            raise AudioError(
                "The server's disk has no room for the zip; delete old jobs, or tell its owner."
            ) from error
        finally:
            shutil.rmtree(tables, ignore_errors=True)
    return archive


def _told(row: Row) -> list[Row]:
    """Return what is told of each file: of one that was not converted, no result's name."""
    files = [{name: file.get(name) for name in COLUMNS} for file in row["files"]]
    return [file if file["status"] == "completed" else file | {"output": None} for file in files]


def _as_json(row: Row) -> str:
    record = RunRecord(
        voice_name=str(row["model_name"]),
        voice_id=str(row["model_id"]),
        settings=row["settings"],
        made_at=row["updated_at"],
    )
    files = _told(row)
    return json.dumps({"about": STATEMENT, **record.document(), "files": files}, indent=1, ensure_ascii=False)


def _as_csv(row: Row) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    table.writerows([_cell(file[name]) for name in COLUMNS] for file in _told(row))
    return text.getvalue()


def _cell(value: object) -> object:
    """Return a value as a spreadsheet may have it: what a stranger wrote must not become a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


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
            job_id, and files with one dict for each; see report.validate.

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

"""What may be fetched of a job: its recordings, its report, its audio, what it made on the way, its log.

Whoever asks is checked first, and an id or a name from outside is looked up or held inside the job's folder,
never trusted as a path. What a batch has made is a zip of its recordings, results.json (voice, settings,
program, and what became of each file) and results.csv (the files alone); packed when somebody asks for it,
so that a batch that was stopped gives what it has as well, and kept until the batch has gone on.
"""

from __future__ import annotations

import csv
import json
import shutil
import threading
from pathlib import Path, PurePosixPath

import orjson

from pipelines.conversion.provenance import Provenance
from pipelines.recordings.report import validate
from pipelines.recordings.uploads import StoredFile
from pipelines.store.records import ENDED, RESULTS, STATES, Caller, Row, Rows, unknown_job
from pipelines.store.registry import Registry
from pipelines.voices.bundle import pack_files
from rvc.errors import AudioError, ConfigError, NotAllowedError, UnknownNameError

COLUMNS = ("name", "output", "status", "seconds", "reason")
STATEMENT = "Every recording in this zip is synthetic speech."
ARTIFACT_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".png", ".json"})
LOG_TAIL_BYTES = 20_000
REPORT = Path("prepared") / "report.json"
# What every browser plays as it came: codecs by the ending that content gave the file.
_PLAYED = {
    ".wav": ("pcm_16", "pcm_24", "pcm_u8", "float"),
    ".mp3": ("mp3",),
    ".flac": ("flac",),
    ".ogg": ("vorbis", "opus"),
    ".m4a": ("aac",),
    ".aac": ("aac",),
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ONE_AT_A_TIME = threading.Lock()


def job_of(registry: Registry, caller: Caller, job_id: str) -> Row:
    """Return a job's row; UnknownNameError if there is none, or it is somebody else's."""
    row = registry.get("jobs", str(job_id))
    if row is None or not caller.may_see(row):
        raise unknown_job(job_id)
    return row


def upload_of(registry: Registry, row: Row) -> Row:
    """Return the upload that a row is, or works on (the first of a batch)."""
    upload = row if row["status"] == "uploaded" else registry.get("jobs", row["upload_id"])
    if upload is None:
        raise ConfigError("The upload of this job has expired; upload the recording again.")
    return upload


def all_uploads_of(registry: Registry, row: Row) -> Rows:
    ids = row.get("upload_ids") or [row["upload_id"]]
    return [upload_of(registry, row | {"upload_id": upload_id}) for upload_id in ids]


class JobFiles:
    def __init__(self, registry: Registry, jobs_dir: Path) -> None:
        self._registry = registry
        self._jobs_dir = jobs_dir

    def report(self, caller: Caller, job_id: str) -> Row | None:
        """Return the report on the data set of an upload, preparation or training; None before it exists.

        "refused" in it lists the files that could not be used, if there are any.
        """
        row = job_of(self._registry, caller, job_id)
        path = self._jobs_dir / (row["upload_id"] or row["id"]) / REPORT
        if not path.is_file():
            return None
        found: Row = orjson.loads(path.read_bytes())
        return found | ({"refused": row["refused"]} if row.get("refused") else {})

    def validate(self, caller: Caller, job_id: str) -> Row:
        """Measure the recordings of an upload, or of the one that a job works on, and judge each."""
        folder, files = self.stored_files(caller, job_id)
        if any(file.audio == file.original for file in files):
            raise ConfigError(
                "The recordings of a batch are only read when they are converted; "
                "upload one by itself to measure it."
            )
        return {"job_id": job_id, "files": [validate(file, folder) for file in files]}

    def log(self, caller: Caller, job_id: str) -> str:
        """Return the end of a job's log, for finding a fault; "" if it never ran."""
        path = self._jobs_dir / job_of(self._registry, caller, job_id)["id"] / "worker.log"
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")

    def stored_files(self, caller: Caller, job_id: str) -> tuple[Path, list[StoredFile]]:
        upload = upload_of(self._registry, job_of(self._registry, caller, job_id))
        files = [StoredFile.from_json(file) for file in upload["files"] if "audio" in file]
        return self._jobs_dir / upload["id"], files

    def input_path(self, caller: Caller, job_id: str, *, decoded: bool = False) -> Path:
        """Return the first file of the upload that a job works on, as it came or as a mono WAV."""
        folder, files = self.stored_files(caller, job_id)
        path = folder / (files[0].audio if decoded else files[0].original)
        if not path.is_file():
            raise ConfigError("The recording of this job is no longer here; upload it again.")
        return path

    def played_path(self, caller: Caller, job_id: str) -> Path:
        """Return what a browser plays of that file: it as it came, or decoded.

        A file that was not read as its header says is decoded too: what shows it would read it otherwise.
        """
        _, files = self.stored_files(caller, job_id)
        plain = files[0].codec in _PLAYED.get(PurePosixPath(files[0].original).suffix, ())
        return self.input_path(caller, job_id, decoded=not plain or files[0].note is not None)

    def result_path(self, caller: Caller, job_id: str) -> Path:
        """Return the audio that a conversion made, or a zip of what a batch that has ended made."""
        row = job_of(self._registry, caller, job_id)
        folder = self._jobs_dir / row["id"]
        if row["type"] == "batch" and row["status"] in ENDED:
            return _results_zip(row, folder)
        if row["status"] != "completed" or not row["output_audio_path"]:
            raise NotAllowedError(
                f"This job ({row['type']}, {row['status']}) has no converted audio; "
                "ask for that of a completed conversion."
            )
        path = folder / row["output_audio_path"]
        if not path.is_file():
            raise NotAllowedError("The converted audio of this job is no longer here; convert it again.")
        return path

    def training_checkpoints(self, caller: Caller, job_id: str) -> list[Path]:
        """Return what other RVC programs train on from: G_<step>.pth and D_<step>.pth of a training."""
        row = job_of(self._registry, caller, job_id)
        work = self._jobs_dir / row["id"] / "work"
        found = [path for letter in "GD" for path in work.glob(f"{letter}_*.pth")]
        if row["type"] != "training" or len(found) != 2:
            raise NotAllowedError(
                f"This job ({row['type']}, {row['status']}) has no training checkpoints of RVC programs; "
                "ask for those of a completed training of the engine rvc."
            )
        return found

    def artifact(self, caller: Caller, job_id: str, name: str) -> Path:
        """Return a file that a job made on the way, such as a sample, by its name in an event."""
        row = job_of(self._registry, caller, job_id)
        work = (self._jobs_dir / row["id"] / "work").resolve()
        plain = isinstance(name, str) and PurePosixPath(name).suffix in ARTIFACT_SUFFIXES and "\0" not in name
        path = (work / name).resolve() if plain else work
        if not path.is_relative_to(work) or not path.is_file():
            raise UnknownNameError(f"This job has no file {str(name)[:64]!r}; its events name those it has.")
        return path


def _results_zip(row: Row, folder: Path) -> Path:
    made = [file for file in row["files"] if file["status"] == "completed"]
    if not made:
        raise NotAllowedError(f"This batch ({row['status']}) has converted nothing; resume it, or look why.")
    archive, tables = folder / "work" / "results.zip", folder / "work" / "tables"
    with _ONE_AT_A_TIME:
        if archive.is_file() and archive.stat().st_mtime_ns > (folder / STATES).stat().st_mtime_ns:
            return archive
        try:
            tables.mkdir(exist_ok=True)
            _write_tables(row, tables)
            results = [folder / RESULTS / file["output"] for file in made]
            pack_files([*results, *sorted(tables.iterdir())], archive)
        except OSError as error:
            raise AudioError(
                "The server's disk has no room for the zip; delete old jobs, or tell its owner."
            ) from error
        finally:
            shutil.rmtree(tables, ignore_errors=True)
    return archive


def _write_tables(row: Row, folder: Path) -> None:
    voice = {"voice_name": str(row["model_name"]), "voice_id": str(row["model_id"])}
    record = Provenance(**voice, settings=row["settings"], made_at=row["updated_at"])
    files = [{name: file.get(name) for name in COLUMNS} for file in row["files"]]
    for file in files:
        if file["status"] != "completed":
            file["output"] = None
    document = {"about": STATEMENT, **record.document(), "files": files}
    (folder / "results.json").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    # The mark tells spreadsheets that it is UTF-8.
    with (folder / "results.csv").open("w", encoding="utf-8-sig", newline="") as text:
        table = csv.writer(text)
        table.writerow(COLUMNS)
        table.writerows([_cell(file[name]) for name in COLUMNS] for file in files)


def _cell(value: object) -> object:
    """Return a value as a spreadsheet may have it: what a stranger wrote must not become a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

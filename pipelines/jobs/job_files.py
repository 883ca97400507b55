"""What may be fetched of a job: its recordings, its report, its audio, what it made on the way, its log.

Whoever asks is checked first, and an id or a name from outside is looked up or held inside the job's folder,
never trusted as a path. What a batch has made is a zip of its recordings, results.json (voice, settings,
program, and what became of each file) and results.csv (the files alone); packed when somebody asks for it,
so that a batch that was stopped gives what it has as well, and kept until the batch has gone on.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import shutil
import threading
from pathlib import Path, PurePosixPath

import orjson

from pipelines.marks.provenance import Provenance
from pipelines.pictures import draw_spectrograms, pitch_contours
from pipelines.recordings.pieces import REJECTED, figures_of
from pipelines.recordings.report import validate
from pipelines.recordings.uploads import StoredFile
from pipelines.store.records import (
    ENDED,
    RESULTS,
    SINGLE,
    STATES,
    STEMS,
    TEXT,
    Caller,
    Row,
    Rows,
    job_deleted,
    saved_states,
    spoken_path,
    unknown_job,
)
from pipelines.store.registry import Registry
from pipelines.users.limits import require_room
from pipelines.voices.bundle import pack_files
from pipelines.voices.library import LOCKED
from rvc.errors import AudioError, ConfigError, NotAllowedError, UnknownNameError
from rvc.files import is_disk_full
from rvc.sandbox import on_behalf_of

logger = logging.getLogger(__name__)
COLUMNS = ("name", "output", "status", "seconds", "reason")
STATEMENT = "Every recording in this zip is synthetic speech."
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
MOST_DECODED_S = 600.0  # of a batch's recording, so that it can be heard; a longer one is heard as it came
_DECODED_BYTES = 100_000  # a second, at the most
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ONE_AT_A_TIME = threading.Lock()


def job_of(registry: Registry, caller: Caller, job_id: str, *, deleted_too: bool = False) -> Row:
    """Return a job's row; UnknownNameError if there is none, or it is somebody else's or in the trash."""
    row = registry.get("jobs", str(job_id))
    if row is None or not caller.may_see(row):
        raise unknown_job(job_id)
    if row.get("deleted_at") and not deleted_too:
        raise job_deleted()
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

        "refused" in it lists the files that could not be used, "rejected" has the figures of what a person
        rejected, if there is any.
        """
        row = job_of(self._registry, caller, job_id)
        folder = self._jobs_dir / (row["upload_id"] or row["id"])
        path = folder / REPORT
        if not path.is_file():
            return None
        try:
            found: Row = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise ConfigError("The report on these recordings is damaged; prepare them again.") from error
        if (folder / REJECTED).is_file() and (out := figures_of(folder))["rejected"]:
            found["rejected"] = out
        return found | ({"refused": row["refused"]} if row.get("refused") else {})

    def validate(self, caller: Caller, job_id: str) -> Row:
        """Measure the recordings of an upload, or of the one that a job works on, and judge each."""
        folder, files = self.stored_files(caller, job_id)
        if any(file.codec == TEXT for file in files):
            raise ConfigError("This is a text, of which there is no recording to measure.")
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
        """Return the first file of the upload that a job works on, as it came or as a mono WAV.

        Of a text that is what its synthesiser said.
        """
        folder, files = self.stored_files(caller, job_id)
        path = folder / (files[0].audio if decoded else files[0].original)
        if decoded and files[0].codec == TEXT:
            row = job_of(self._registry, caller, job_id)
            path = spoken_path(self._jobs_dir / row["id"], str(row["output_audio_path"]))
        if not path.is_file():
            raise ConfigError("The recording of this job is no longer here; upload it again.")
        return path

    def input_paths(self, caller: Caller, job_id: str) -> list[tuple[Path, str]]:
        """Return all files of the upload that a job works on, as they came, and what each was called."""
        self.input_path(caller, job_id)
        folder, files = self.stored_files(caller, job_id)
        return [(folder / file.original, file.name) for file in files]

    def played_path(self, caller: Caller, job_id: str) -> Path:
        """Return what a browser plays of that file: it as it came, or decoded.

        A file that was not read as its header says is decoded too: what shows it would read it otherwise.
        """
        _, files = self.stored_files(caller, job_id)
        file = files[0]
        return self.input_path(caller, job_id, decoded=not _is_played(file.original, file.codec, file.note))

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

    def batch_file(self, caller: Caller, job_id: str, number: int) -> tuple[Path, Path, Row]:
        """Return one of a batch's recordings: as it was sent in, what came of it, and its row.

        `number` is its place among the files of the batch's row, from 1. The others may still be under way.
        """
        row = job_of(self._registry, caller, job_id)
        folder, files = self._jobs_dir / row["id"], row["files"] if row["type"] == "batch" else []
        if not isinstance(number, int) or not 1 <= number <= len(files):
            raise UnknownNameError(
                f"This job ({row['type']}) has no recording number {str(number)[:20]}; "
                f"a batch has those from 1 to the number of its files ({len(files)})."
            )
        file = saved_states(files, folder)[number - 1]
        made = folder / RESULTS / str(file.get("output"))
        if file["status"] != "completed" or not made.is_file():
            raise NotAllowedError(
                f"{file['name']} is not converted ({file['status']}); wait for it, or look why."
            )
        return self._jobs_dir / file["upload_id"] / file["original"], made, file

    def batch_played(self, caller: Caller, job_id: str, number: int) -> tuple[Path, Path, Row]:
        """As `batch_file`; what no browser plays as it came is decoded, once, unless it is long."""
        source, made, file = self.batch_file(caller, job_id, number)
        if file.get("codec") == TEXT:
            return spoken_path(self._jobs_dir / job_id, made.name), made, file
        length_s = float(file.get("seconds") or math.inf)
        if _is_played(source.name, str(file.get("codec")), file.get("note")) or length_s > MOST_DECODED_S:
            return source, made, file
        kept = self._jobs_dir / job_id / "work" / f"played.{number}.flac"
        with _ONE_AT_A_TIME:
            if not kept.is_file():
                require_room(kept.parents[1], round(length_s) * _DECODED_BYTES, str(file["name"]))
                kept.parent.mkdir(exist_ok=True)
                _decode(source, kept, str(file["name"]))
        return kept, made, file

    def stem_path(self, caller: Caller, job_id: str, stem: str) -> Path:
        """Return a part of a song that was covered, one of STEMS; the job may still be under way."""
        row = job_of(self._registry, caller, job_id)
        if row["type"] != "cover" or stem not in STEMS:
            raise UnknownNameError(
                f"This job ({row['type']}) has no stem {str(stem)[:20]!r}; a cover has: {', '.join(STEMS)}."
            )
        path = self._jobs_dir / row["id"] / STEMS[stem]
        for file in row["files"]:
            if file.get("part") == stem:
                path = self._jobs_dir / row["upload_id"] / file["audio"]
        if not path.is_file():
            raise NotAllowedError(
                f"The file of the {stem} is not there ({row['status']}); wait for it, or resume the job."
            )
        return path

    def pitch_contours(self, caller: Caller, job_id: str) -> Row:
        """Return the melodies of a conversion's source and result, as `pipelines.pictures` does."""
        row, (before, after) = self._compared(caller, job_id)
        with on_behalf_of(caller.user_id):
            contours = pitch_contours(before, after, self._jobs_dir / row["id"] / "work" / "pitch.json")
        moved = (row.get("result") or {}).get("transpose_semitones")
        return contours | {"job_id": row["id"], "transpose_semitones": moved}

    def spectrograms(
        self, caller: Caller, job_id: str, against_id: str | None = None
    ) -> tuple[Path, tuple[Path, Path]]:
        """Return a picture of a conversion's result below its source, and the two recordings that it shows.

        against_id: another conversion, whose result takes the place of the source.
        """
        row, (before, after) = self._compared(caller, job_id)
        titles, name = ("Before: the source", f"After: spoken by {row['model_name']}"), "spectrograms.png"
        if against_id:
            other, (_, before) = self._compared(caller, against_id)
            titles, name = (_title(other), _title(row)), f"spectrograms.{other['id']}.png"
        picture = self._jobs_dir / row["id"] / "work" / name
        with on_behalf_of(caller.user_id):
            draw_spectrograms(before, after, picture, titles)
        return picture, (before, after)

    def _compared(self, caller: Caller, job_id: str) -> tuple[Row, tuple[Path, Path]]:
        """Return the row of a completed conversion, its source and its result; of a song without backing."""
        after, before = self.result_path(caller, job_id), self.input_path(caller, job_id, decoded=True)
        row = job_of(self._registry, caller, job_id)
        if row["type"] == "cover":
            before, after = (self.stem_path(caller, job_id, stem) for stem in ("vocals", "voice"))
        elif row["type"] not in SINGLE:
            raise NotAllowedError("Only a conversion of one recording has contours; convert this one alone.")
        return row, (before, after)

    def training_checkpoints(self, caller: Caller, job_id: str) -> list[Path]:
        """Return what other RVC programs train on from: G_<step>.pth and D_<step>.pth of a training."""
        row = job_of(self._registry, caller, job_id)
        voice = self._registry.get("models", str(row["model_id"])) or {}
        if voice.get("locked"):
            raise NotAllowedError(LOCKED.format(name=voice["model_name"]))
        work = self._jobs_dir / row["id"] / "work"
        found = [path for letter in "GD" for path in work.glob(f"{letter}_*.pth")]
        if row["type"] != "training" or len(found) != 2:
            raise NotAllowedError(
                f"This job ({row['type']}, {row['status']}) has no training checkpoints of RVC programs; "
                "ask for those of a completed training of the engine rvc."
            )
        return found


def _title(row: Row) -> str:
    return f"{PurePosixPath(str(row['files'][0]['name'])).stem} in {row['model_name']}"


def _is_played(name: str, codec: str, note: str | None) -> bool:
    """Whether browsers play a file as it came; not what its header says something wrong of."""
    return codec in _PLAYED.get(PurePosixPath(name).suffix, ()) and note is None


def _decode(source: Path, kept: Path, name: str) -> None:
    from rvc.audio.reader import blocks, probe
    from rvc.audio.writer import AudioWriter

    info = probe(source, name=name)
    with AudioWriter(kept, info.sample_rate_hz, "flac", bits=16) as out:
        for block in blocks(source, max_seconds=MOST_DECODED_S + 1.0, name=name, info=info):
            out.write(block)


def _results_zip(row: Row, folder: Path) -> Path:
    made = [file for file in row["files"] if file["status"] == "completed"]
    if not made:
        raise NotAllowedError(f"This batch ({row['status']}) has converted nothing; resume it, or look why.")
    archive, tables = folder / "work" / "results.zip", folder / "work" / "tables"
    with _ONE_AT_A_TIME:
        states = folder / STATES
        if archive.is_file() and states.is_file() and archive.stat().st_mtime_ns > states.stat().st_mtime_ns:
            return archive
        results = [folder / RESULTS / file["output"] for file in made]
        if missing := [path.name for path in results if not path.is_file()]:
            if len(missing) == 1:
                raise NotAllowedError(
                    f"{missing[0]} is no longer on the server, so the zip cannot be made; convert again."
                )
            raise NotAllowedError(
                f"{missing[0]} and {len(missing) - 1} more are no longer on the server, so the zip cannot be "
                "made; convert again."
            )
        try:
            tables.mkdir(parents=True, exist_ok=True)
            _write_tables(row, tables)
            pack_files([*results, *sorted(tables.iterdir())], archive)
        except OSError as error:
            if is_disk_full(error):
                said = "The server's disk has no room for the zip; delete old jobs, or tell its owner."
                raise AudioError(said) from error
            logger.exception("the zip of a batch could not be made")
            raise AudioError(
                f"The zip could not be made on the server ({error.strerror}); tell whoever runs it."
            ) from error
        finally:
            shutil.rmtree(tables, ignore_errors=True)
    return archive


def _write_tables(row: Row, folder: Path) -> None:
    record = Provenance(
        voice_name=str(row["model_name"]),
        voice_id=str(row["model_id"]),
        settings=row["settings"],
        made_at=row["updated_at"],
    )
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

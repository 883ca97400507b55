"""What a batch has made, as one zip: the recordings, and a table of what became of each.

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
from pathlib import Path

from pipelines.batch import RESULTS, STATES
from pipelines.bundles import pack_files
from pipelines.rows import Row
from pipelines.run_record import RunRecord
from rvc.errors import AudioError, NotAllowedError

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

"""Jobs that the clean-up has taken out of the registry: archive/jobs-YYYY-MM-DD.jsonl, a row a line.

Their files are gone; what they were, and what became of them, can still be listed and searched. A file is
read from its end and only as far as rows are wanted, so that years of archives cost nothing until somebody
asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from pipelines.store.records import PUBLIC, Caller, Row, Rows, public_row

MOST_SHOWN = 200
BLOCK_BYTES = 1 << 20
_NEEDED = ("id", "user_id", "type", "status")


class ArchivedJobs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(  # noqa: PLR0913  # as Jobs.list, and what is searched for
        self,
        caller: Caller,
        search: str = "",
        *,
        user_id: str | None = None,
        type: str | None = None,
        status: str | None = None,
        most: int = MOST_SHOWN,
    ) -> Rows:
        """Return the caller's rows, those that were archived last first, at most so many.

        An admin's list holds everybody's, or those of user_id. With a search, those in which all of its words
        occur, in the names of the voice and the recordings or in what was said of how it ended.
        """
        owner = user_id if caller.admin else caller.user_id
        asked = {"user_id": owner, "type": type, "status": status}
        wanted = {name: value for name, value in asked.items() if value}
        words = search.casefold().split()
        # What a line must hold as text, so that few are parsed.
        parts = [orjson.dumps(value) for value in wanted.values()]
        found: Rows = []
        for path in sorted(self._folder.glob("jobs-*.jsonl"), reverse=True):
            for line in lines_from_end(path):
                if not all(part in line for part in parts) or (row := _row(line)) is None:
                    continue
                if all(row[name] == value for name, value in wanted.items()) and _holds(row, words):
                    found.append(public_row({**dict.fromkeys(PUBLIC), "files": [], **row}))
                    if len(found) == most:
                        return found
        return found


def lines_from_end(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, the last one first."""
    with path.open("rb") as file:
        end, rest = file.seek(0, os.SEEK_END), b""
        while end:
            start = max(0, end - BLOCK_BYTES)
            file.seek(start)
            first, *lines = (file.read(end - start) + rest).split(b"\n")
            yield from reversed([line for line in lines if line])
            end, rest = start, first
        if rest:
            yield rest


def _row(line: bytes) -> Row | None:
    """Read a line; None for one that the disk has damaged."""
    try:
        row: Row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and all(name in row for name in _NEEDED) else None


def _holds(row: Row, words: list[str]) -> bool:
    if not words:
        return True
    said = [row["id"], row.get("model_name"), row.get("error_message"), row.get("message")]
    said += [file.get("name") for file in row.get("files") or [] if isinstance(file, dict)]
    text = " ".join(str(one) for one in said if one).casefold()
    return all(word in text for word in words)

"""Jobs that the clean-up has taken out of the registry: archive/jobs-YYYY-MM-DD.jsonl, a row a line.

Their files are gone; what they were, and what became of them, can still be listed and searched. A file is
read from its end and only as far as rows are wanted, so that years of archives cost nothing until somebody
asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from pipelines.store.records import PUBLIC, Caller, Row, Rows, public_row

MOST_SHOWN = 200
BLOCK_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 16  # of a block, which tell what is rare in it
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
        owner, seen = user_id if caller.admin else caller.user_id, set[str]()
        asked = {"user_id": owner, "type": type, "status": status}
        wanted = {name: value for name, value in asked.items() if value}
        words = search.casefold().split()
        # What a line must hold as text, so that few are looked at and fewer parsed.
        parts = [orjson.dumps(value) for value in wanted.values()]
        plain = [word.encode() for word in words if word.isascii() and not {'"', "\\"} & set(word)]
        found: Rows = []
        for path in sorted(self._folder.glob("jobs-*.jsonl"), reverse=True):
            for line in lines_from_end(path, parts, plain):
                if (row := _row(line)) is None or row["id"] in seen:
                    continue  # one that was archived twice, as a crash had kept it among the others
                seen.add(row["id"])
                if all(row[name] == value for name, value in wanted.items()) and _holds(row, words):
                    found.append(public_row({**dict.fromkeys(PUBLIC), "files": [], **row}))
                    if len(found) == most:
                        return found
        return found


def lines_from_end(path: Path, parts: Sequence[bytes] = (), words: Sequence[bytes] = ()) -> Iterator[bytes]:
    """Yield the lines of a file that hold all parts, and words in ASCII in any case; the last first.

    Where a block has other letters too, words are not looked for: some of those become ASCII when folded.
    """
    for block in _blocks_from_end(path):
        folded = block.lower() if words and block.isascii() else b""
        needed = [(block, part) for part in parts] + [(folded, word) for word in words if folded]
        needed.sort(key=lambda one: one[0].count(one[1], 0, SAMPLE_BYTES))  # the rarest first
        if not all(part in text for text, part in needed):
            continue
        lines = _lines_with(block, *needed[0]) if needed else filter(None, reversed(block.split(b"\n")))
        for line in lines:
            low = line.lower() if folded else b""
            if all(one in line for one in parts) and (not folded or all(word in low for word in words)):
                yield line


def _lines_with(block: bytes, text: bytes, part: bytes) -> Iterator[bytes]:
    """Yield the lines of a block at which a part is in its text, the last first."""
    end = len(text)
    while (at := text.rfind(part, 0, end)) >= 0:
        end = text.rfind(b"\n", 0, at) + 1
        stop = text.find(b"\n", at)
        yield block[end : len(text) if stop < 0 else stop]


def _blocks_from_end(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a file in blocks, the last one first."""
    with path.open("rb") as file:
        end, rest = file.seek(0, os.SEEK_END), b""
        while end:
            start = max(0, end - BLOCK_BYTES)
            file.seek(start)
            block = file.read(end - start)
            block = block + rest if rest else block
            if start:
                rest, _, block = block.partition(b"\n")
            yield block
            end = start


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

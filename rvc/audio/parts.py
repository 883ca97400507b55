"""The recordings in a sound file: where each begins and ends, and whether something is missing.

Files are joined (radio captures, the pieces of a lecture); the libraries read the first recording and stop,
or fail at the second. Each is found by the landmarks of its container, and read as a file of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rvc.audio.chunks import CHUNKED, sounds
from rvc.audio.containers import Located, next_start
from rvc.audio.frames import HEADERS, SEARCH_BYTES, walk
from rvc.audio.spans import Span, is_zero, read_at
from rvc.errors import AudioError

PARTS_LIMIT = 500
_PROMISE_S = 0.25  # by which an MP3 may be longer than it says
_PAGES_LIMIT = 1_000_000
_TEARS_LIMIT = 100  # each costs a search
_BOXES_LIMIT = 200_000
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_MKV_SEGMENT = bytes.fromhex("18538067")


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One recording in a file, by its landmarks."""

    span: Span
    seconds: float | None = None  # counted; None where only a decoder can tell
    promised: float | None = None  # by its header, in parts of what is there; 0 where it says nothing


@dataclass(frozen=True, kw_only=True)
class Found:
    stretches: list[Stretch]
    torn: int = 0  # places where a moment is missing
    joined: int = 1  # recordings; fewer than stretches where one is torn
    is_cut: bool = False
    is_damaged: bool = False


def cut_short(name: str) -> AudioError:
    return AudioError(f"{name} is cut short or damaged: its end is missing; upload or export it again.")


def damaged(name: str) -> AudioError:
    return AudioError(f"{name} is damaged in the middle; export it again.")


def recordings(path: Path, located: Located, name: str) -> Found:
    """Find the recordings in a file, in order.

    Raises:
        AudioError: The file is cut short, damaged in the middle, or of more than 500 recordings.
    """
    container, start, end = located.container, located.start, path.stat().st_size
    with path.open("rb") as file:
        if container in HEADERS:
            found = _of_frames(file, container, start, end)
        elif container in CHUNKED:
            parts = sounds(file, container, start, end, PARTS_LIMIT + 1)
            stretches = [Stretch(span=part.span, promised=part.promised) for part in parts or ()]
            found = Found(stretches=stretches, joined=len(stretches), is_cut=parts is None)
        elif container == "ogg":
            found = _of_pages(file, start, end)
        else:
            found = _of_marks(file, container, start, end)
    if found.is_damaged:
        raise damaged(name)
    if found.is_cut:
        raise cut_short(name)
    if len(found.stretches) > PARTS_LIMIT:
        raise AudioError(
            f"{name} is joined of more than {PARTS_LIMIT} recordings; split it into several files."
        )
    return found


def _of_frames(file: BinaryIO, container: str, start: int, end: int) -> Found:
    found = walk(file, start, end, HEADERS[container])
    stretches = []
    for run in found.runs:
        held = run.samples / run.rate_hz
        said = run.promised / run.rate_hz
        promised = said / held if 0 < said < held - _PROMISE_S else None
        if held:
            span = Span(start=run.start, end=run.end)
            seconds = max(held, said) if found.is_counted else None
            stretches.append(Stretch(span=span, seconds=seconds, promised=promised))
    # Every player reads an MP3 whose last frame is torn; one that is shorter than it says is refused later.
    is_cut = (found.is_cut and container == "aac") or not stretches
    return Found(
        stretches=stretches,
        torn=found.torn,
        joined=len(found.runs) - found.torn,
        is_cut=is_cut,
        is_damaged=found.is_damaged,
    )


def _of_pages(file: BinaryIO, start: int, end: int) -> Found:
    """Follow the pages of an Ogg file; a first page behind others begins another recording."""
    starts, torn, is_cut, is_damaged = [start], 0, False, False
    at = last = start
    sounds = False
    for _ in range(_PAGES_LIMIT):
        page = read_at(file, at, 27 + 255)
        if not page.startswith(b"OggS\0") or len(page) < 27:
            found = next_start(file, "ogg", last + 1, end) if at < end else None
            if torn >= _TEARS_LIMIT:
                is_damaged = True
                break
            if found is None:
                is_damaged = end - at > SEARCH_BYTES and not is_zero(file, at, end)
                break
            torn, at, last = torn + 1, found, found
            continue
        is_first = page[5] & 0x02
        if is_first and sounds:
            starts.append(at)
        sounds = not is_first
        last, at = at, at + 27 + page[26] + sum(page[27 : 27 + page[26]])
        is_cut = at > end
        if at >= end or len(starts) > PARTS_LIMIT:
            break
    return Found(
        stretches=_between(starts, end), torn=torn, joined=len(starts), is_cut=is_cut, is_damaged=is_damaged
    )


def _of_marks(file: BinaryIO, container: str, start: int, end: int) -> Found:
    """Look for the beginnings of recordings in all of the file."""
    starts = [start]
    while len(starts) <= PARTS_LIMIT:
        at = next_start(file, container, starts[-1] + 1, end)
        if at is None:
            break
        starts.append(at)
    stretches = _between(starts, end)
    ends_early = _ENDS_EARLY.get(container)
    is_cut = ends_early is not None and any(
        ends_early(file, part.span.start, part.span.end) for part in stretches
    )
    return Found(stretches=stretches, joined=len(starts), is_cut=is_cut)


def _between(starts: list[int], end: int) -> list[Stretch]:
    ends = [*starts[1:], end]
    return [Stretch(span=Span(start=at, end=to)) for at, to in zip(starts, ends, strict=True)]


def _mp4_ends_early(file: BinaryIO, at: int, end: int) -> bool:
    """Whether a box of sound or of its index reaches beyond the end."""
    for _ in range(_BOXES_LIMIT):
        head = read_at(file, at, 16)
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:16])
        if len(head) < 8 or size < 8 or at + size > end:
            return size >= 8 and head[4:8] in (b"mdat", b"moof", b"moov")
        at += size
        if at >= end:
            return False
    return True


def _mkv_ends_early(file: BinaryIO, at: int, end: int) -> bool:
    """Whether the one big element of a Matroska file reaches beyond the end; a live one states no size."""
    head = read_at(file, at, 32)
    size, length = _vint(head[4:])
    head = read_at(file, at + 4 + length + size, 16)
    if not head.startswith(_MKV_SEGMENT):
        return False
    body = at + 4 + length + size + 4
    size, length = _vint(head[4:])
    return size + 1 < 1 << 7 * length and body + length + size > end


def _vint(head: bytes) -> tuple[int, int]:
    """Read an EBML number: its value and how many bytes it takes."""
    length = 9 - head[0].bit_length() if head and head[0] else 8
    value = int.from_bytes(head[:length]) & ((1 << 7 * length) - 1)
    return value, length


def _asf_ends_early(file: BinaryIO, at: int, end: int) -> bool:
    """Whether the size that the header of a WMA states is not there."""
    head = read_at(file, at, 1 << 14)
    place = head.find(_ASF_FILE)
    return place >= 0 and int.from_bytes(head[place + 40 : place + 48], "little") > end - at


_ENDS_EARLY = {
    "m4a": _mp4_ends_early,
    "mp4": _mp4_ends_early,
    "mov": _mp4_ends_early,
    "3gp": _mp4_ends_early,
    "webm": _mkv_ends_early,
    "mkv": _mkv_ends_early,
    "wma": _asf_ends_early,
}

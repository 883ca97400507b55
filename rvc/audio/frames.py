"""Where the sound is in an MP3 or AAC (ADTS) file, told by the headers of its frames: nothing is decoded.

Both are rows of frames whose headers state their size. Such files are joined, with tags in between, begun
amid a frame, or torn; following the headers finds every run of whole frames, each to be decoded by itself.

Sources: ISO 11172-3 and 13818-3 (MPEG frame headers), ISO 13818-7 (ADTS), id3.org (ID3v2), the APEv2 tag, and
         the first frames of LAME (Xing, Info) and Fraunhofer (VBRI) that hold a length and no sound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from typing import BinaryIO

from rvc.audio.spans import is_zero, read_at

# What a header says: size of the frame in bytes, samples in it, their rate in Hz, what a run has in common.
Frame = tuple[int, int, int, int]
Header = Callable[[bytes, int], Frame | None]

SEARCH_BYTES = 65_536  # sound begins, or goes on, within these, or it does not
_ROW = 3  # as many frames in a row are no coincidence
_HEADER_BYTES = 8
_LENGTH_BYTES = 64
_FRAME_LIMIT_BYTES = 8_191
_WINDOW_BYTES = 1 << 20
_FRAMES_LIMIT = 2_000_000  # 13 hours and more; what lies behind is taken as it is
_RUNS_LIMIT = 1_000
_TRIES_LIMIT = 200_000
_TAGS_LIMIT = 16
_TORN_FRAMES = 4  # a tenth of a second, as a frame or two that are torn leave
_MARK = re.compile(rb"\xff[\xe0-\xff]|ID3[\x02-\x04]|APETAGEX|TAG")
# A frame without sound that holds their number: where its name stands depends on version and channels.
_LENGTH = re.compile(
    rb"(?:.{13}|.{21}|.{36})(?:Xing|Info)....(?P<xing>.{4})|.{36}VBRI.{10}(?P<vbri>.{4})", re.DOTALL
)


def _mpeg_headers() -> dict[bytes, Frame]:
    """Return every first three bytes that a frame of layer II or III can have, and what they say."""
    low = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    layer_ii = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
    layer_iii = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    headers = {}
    for version, layer, rate, bits in product((3, 2, 0), (2, 1), range(3), range(1, 15)):
        rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]  # MPEG 1, 2, 2.5
        samples = 576 if version != 3 and layer == 1 else 1_152
        kbps = (low if version != 3 else layer_ii if layer == 2 else layer_iii)[bits - 1]
        size = samples // 8 * kbps * 1_000 // rate_hz
        for unprotected, padding, private in product(range(2), repeat=3):
            second = 0xE0 | version << 3 | layer << 1 | unprotected
            key = bytes((0xFF, second, bits << 4 | rate << 2 | padding << 1 | private))
            headers[key] = (size + padding, samples, rate_hz, version << 4 | layer << 2 | rate)
    return headers


_STEREO = _mpeg_headers()
_MONO = {key: (*frame[:3], frame[3] | 0x100) for key, frame in _STEREO.items()}
_ADTS_RATES_HZ = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
)


def mpeg_frame(window: bytes, at: int) -> Frame | None:
    """Read the header of an MP3 frame (or one of layer II)."""
    return (_MONO if window[at + 3] >= 0xC0 else _STEREO).get(window[at : at + 3])


def adts_frame(window: bytes, at: int) -> Frame | None:
    """Read the header of an AAC frame."""
    if window[at] != 0xFF or window[at + 1] & 0xF6 != 0xF0:
        return None
    third, fourth = window[at + 2], window[at + 3]
    size = (fourth & 0x03) << 11 | window[at + 4] << 3 | window[at + 5] >> 5
    rate = third >> 2 & 0x0F
    if size <= 7 or rate >= len(_ADTS_RATES_HZ):
        return None
    common = (window[at + 1] & 0x08) << 16 | (third & 0xFD) << 8 | fourth & 0xC0
    return size, 1_024 * ((window[at + 6] & 0x03) + 1), _ADTS_RATES_HZ[rate], common


HEADERS: dict[str, Header] = {"mp3": mpeg_frame, "aac": adts_frame}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where frames begin; or, if none are found, where the tags end."""

    at: int
    found: bool
    skipped: int  # bytes on the way that belong to no tag
    tagged: bool
    tries: int  # places that were looked at


@dataclass(frozen=True, kw_only=True)
class Run:
    """Frames in a row, bytes `start` to `end`."""

    start: int
    end: int
    samples: int
    rate_hz: int
    promised: int  # samples, by a first frame that holds no sound; 0 where there is none
    frames: int
    last_bytes: int
    last_samples: int

    @property
    def seconds(self) -> float:
        return self.samples / self.rate_hz

    def without_last(self) -> Run:
        return replace(self, end=self.end - self.last_bytes, samples=self.samples - self.last_samples)


@dataclass(kw_only=True)
class Walk:
    runs: list[Run] = field(default_factory=list)
    torn: int = 0  # places between runs where a frame or two are missing
    is_cut: bool = False  # the last frame is not whole
    is_damaged: bool = False  # more than that is missing somewhere
    is_counted: bool = True  # to the end of the file


def find(file: BinaryIO, at: int, end: int, header: Header) -> Place:
    """Look for frames, three in a row, in the next 64 kB; tags do not count."""
    skipped = tags = tries = 0
    found = True
    while found and tags < _TAGS_LIMIT:
        found = False
        window = read_at(file, at, min(SEARCH_BYTES + _ROW * _FRAME_LIMIT_BYTES, end - at))
        for mark in _MARK.finditer(window, 0, SEARCH_BYTES):
            start, tries = mark.start(), tries + 1
            size = _tag_bytes(window[start : start + 32])
            if size or _is_row(window, start, header):
                at, skipped, found = at + start + size, skipped + start, True
                break
        if found and not size:
            return Place(at=at, found=True, skipped=skipped, tagged=tags > 0, tries=tries)
        tags += found
    return Place(at=at, found=False, skipped=skipped, tagged=tags > 0, tries=tries)


def walk(file: BinaryIO, start: int, end: int, header: Header) -> Walk:
    """Follow the frames from `start`, over tags and torn places, to the end or to where they are lost."""
    found, frames, tries = Walk(), 0, 0
    while True:
        run = _follow(file, start, end, header, _FRAMES_LIMIT - frames)
        frames += run.frames
        if frames >= _FRAMES_LIMIT or len(found.runs) == _RUNS_LIMIT:
            found.runs.append(replace(run, end=end))
            found.is_counted = False
            return found
        place = None
        if run.end < end:  # what follows may begin in the last frame, if that is torn
            place = find(file, run.end - run.last_bytes + 4, end, header)
            tries += place.tries
        lost = place.skipped - run.last_bytes + 4 if place else 0
        is_torn = run.end > end or (place is not None and lost < 0 and (place.found or place.tagged))
        found.runs.append(run.without_last() if is_torn else run)
        if place is None or not place.found:
            found.is_cut = run.end > end
            behind = max(run.end, place.at if place else 0)
            found.is_damaged = end - behind > SEARCH_BYTES and not is_zero(file, behind, end)
            return found
        begins = _stated_frames(read_at(file, place.at, _LENGTH_BYTES), 0) is not None
        clear = place.tagged or begins or is_zero(file, run.end, place.at)
        lenient = _TORN_FRAMES * (run.end - run.start) / run.frames
        found.is_damaged = tries > _TRIES_LIMIT or (not clear and lost > lenient)
        if found.is_damaged:
            return found
        found.torn += is_torn or (lost > 0 and not clear)
        start = place.at


def tags_end(file: BinaryIO) -> int:
    """Return where the ID3v2 tags at the beginning of a file end."""
    at = 0
    for _ in range(_TAGS_LIMIT):
        at += _tag_bytes(read_at(file, at, _LENGTH_BYTES))
    return at


def _follow(file: BinaryIO, start: int, end: int, header: Header, budget: int) -> Run:
    """Follow frames of one kind; the run ends beyond the file if its last frame is not whole."""
    at, samples, frames, stated = start, 0, 0, 0
    last = (0, 0, 1, 0)
    goes_on = True
    while goes_on and frames < budget:
        window = read_at(file, at, min(_WINDOW_BYTES, end - at))
        offset = 0
        enough = len(window) - (_HEADER_BYTES if at + len(window) >= end else _LENGTH_BYTES)
        while offset <= enough:
            frame = header(window, offset)
            length = None if window[offset + 4] else _stated_frames(window, offset)
            if frame is None or (frames and (length is not None or frame[3] != last[3])):
                goes_on = False
                break
            last = frame
            frames += 1
            offset += frame[0]
            if length is None:
                samples += frame[1]
            else:
                stated = length
        goes_on = goes_on and offset > 0
        at += offset
    size, count, rate_hz, _ = last
    return Run(
        start=start,
        end=at,
        samples=samples,
        rate_hz=rate_hz,
        promised=stated * count,
        frames=max(frames, 1),
        last_bytes=size,
        last_samples=count,
    )


def _is_row(window: bytes, at: int, header: Header) -> bool:
    common = None
    for _ in range(_ROW):
        frame = header(window, at) if at + _HEADER_BYTES <= len(window) else None
        if frame is None or common not in (None, frame[3]):
            return False
        common = frame[3]
        at += frame[0]
    return True


def _stated_frames(window: bytes, at: int) -> int | None:
    """Return the number of frames that one without sound states, or None if it is no such frame."""
    found = _LENGTH.match(window, at)
    return int.from_bytes(found["xing"] or found["vbri"]) if found else None


def _tag_bytes(head: bytes) -> int:
    """Return the size of the ID3v2 or APE tag that begins here, or 0."""
    if head[:3] == b"ID3" and len(head) >= 10:
        size = 0
        for byte in head[6:10]:  # seven bits of each
            size = size << 7 | byte & 0x7F
        return size + (20 if head[5] & 0x10 else 10)
    if head[:8] == b"APETAGEX" and len(head) >= 32:
        size = int.from_bytes(head[12:16], "little")
        return 32 + (size if head[23] & 0x20 else 0)  # it begins with a header, or is a footer alone
    return 0

"""Where the sound is in a file of chunks (WAV, AIFF, CAF, W64, AU), and how much of it there really is.

Recorders that are cut off leave a size of 0 or an old one, those that write to a pipe one that stands for "to
the end", and joined files begin anew in the middle. The sizes are put right from what the file holds.

Sources: RIFF/WAVE (Microsoft 1991), RF64 (EBU Tech 3306), BW64 (ITU-R BS.2088), AIFF and CAF (Apple), Wave64
         (Sonic Foundry), Sun/NeXT .snd.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from rvc.audio.containers import begins_with, next_start
from rvc.audio.spans import Span, is_zero, read_at

_CHUNKS_LIMIT = 20_000  # of a whole file, whatever it is joined of
# What a tagger or a careless program leaves behind the sound is no sound that its header forgot.
_JUNK_BYTES = 4_096
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"\xff\xd8\xff", b"\x89PNG", b"PK\3\4", b"%PDF")
# Chunks that stand behind the sound: one that is cut off is no sound either.
_NAMES = (
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"_PMX", b"cue ", b"smpl", b"JUNK", b"fact", b"afsp",
    b"ANNO",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How a family of files writes its chunks."""

    first: int  # where the first chunk begins
    id_bytes: int
    size_bytes: int
    sound: bytes  # the chunk that holds it,
    before: int = 0  # after so many bytes
    order: Literal["little", "big"] = "big"
    align: int = 2
    counted: int = 0  # bytes of the chunk's own header that its size includes

    @property
    def head(self) -> int:
        return self.id_bytes + self.size_bytes

    def size(self, head: bytes) -> int:
        """Return the size of a chunk's body."""
        return max(0, int.from_bytes(head[self.id_bytes : self.head], self.order) - self.counted)


_FORMS = {
    "wav": _Form(first=12, id_bytes=4, size_bytes=4, sound=b"data", order="little"),
    "aiff": _Form(first=12, id_bytes=4, size_bytes=4, sound=b"SSND", before=8),
    "caf": _Form(first=8, id_bytes=4, size_bytes=8, sound=b"data", before=4, align=1),
    "w64": _Form(
        first=40,
        id_bytes=16,
        size_bytes=8,
        sound=bytes.fromhex("64617461f3acd3118cd100c04f8edb8a"),
        order="little",
        align=8,
        counted=24,
    ),
}
CHUNKED = (*_FORMS, "au")


@dataclass(frozen=True, kw_only=True)
class Sound:
    """One recording in a file."""

    span: Span
    promised: float | None  # by its header, in parts of what is there; 0: it says nothing; None: it says so


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What the header of a recording says of its sound."""

    begins: int  # where the sound does
    stated: int  # its bytes
    size_at: int  # where that is written,
    size_bytes: int  # in so many bytes,
    order: Literal["little", "big"]
    added: int = 0  # and with so much more
    form: _Form | None = None
    patches: tuple[tuple[int, bytes], ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the size stands for "to the end": of 32 bits one near 2 or 4 GB does."""
        if self.size_bytes == 8:
            return self.stated + self.added >= 1 << 63
        return self.stated >= 0xFFFF_0000 or 0x7FFF_0000 <= self.stated <= 0x8000_0000


def sounds(file: BinaryIO, container: str, start: int, end: int, most: int) -> list[Sound] | None:
    """Return the recordings of a file, at most so many; None if it ends before the sound of one."""
    found: list[Sound] = []
    budget = iter(range(_CHUNKS_LIMIT))
    while start < end and len(found) < most:
        header = _header(file, container, start, end, budget)
        if header is None or header.begins > end:
            return None
        held, behind = end - header.begins, None
        if header.stated <= held:
            behind = _behind(file, container, header, end, budget)
        if behind is None:  # the size is wrong
            behind = next_start(file, container, header.begins, end) or end
            held = behind - header.begins
            size = min(held + header.added, (1 << 8 * header.size_bytes) - 1)
            patch = (header.size_at, size.to_bytes(header.size_bytes, header.order))
            promised = None if header.is_open or not held else header.stated / held
            span = Span(start=start, end=behind, patches=(*header.patches, patch))
        else:
            # libsndfile reads a W64 to the end of the file, whatever lies there.
            stop = header.begins + header.stated if container == "w64" else behind
            span, promised = Span(start=start, end=stop, patches=header.patches), None
        found.append(Sound(span=span, promised=promised))
        start = behind
    return found


def _header(file: BinaryIO, container: str, start: int, end: int, budget: Iterator[int]) -> _Header | None:
    """Find the sound; None if the file ends before."""
    magic = read_at(file, start, 12)
    if container == "au":
        order: Literal["little", "big"] = "little" if magic[:4] == b"dns." else "big"
        begins, stated = (int.from_bytes(magic[at : at + 4], order) for at in (4, 8))
        return _Header(begins=start + begins, stated=stated, size_at=start + 8, size_bytes=4, order=order)
    form = _FORMS[container]
    if magic[:4] == b"RIFX":
        form = replace(form, order="big")
    patches = ((start, b"RF64"),) if magic[:4] == b"BW64" else ()
    at, long_at = start + form.first, 0
    for _ in budget:
        head = read_at(file, at, form.head)
        if at + form.head > end or len(head) < form.head:
            return None
        size, body = form.size(head), at + form.head
        if head[: form.id_bytes] == form.sound:
            stated, size_at, size_bytes = size - form.before, body - form.size_bytes, form.size_bytes
            if long_at:
                stated, size_at, size_bytes = int.from_bytes(read_at(file, long_at, 8), "little"), long_at, 8
            return _Header(
                begins=body + form.before,
                stated=max(0, stated),
                size_at=size_at,
                size_bytes=size_bytes,
                order=form.order,
                added=form.before + form.counted,
                form=form,
                patches=patches,
            )
        if head[:4] == b"ds64":  # the sizes of a WAV that may be larger than 4 GB
            long_at = body + 8
        at = _next(file, form, body, size)
    return None


def _behind(file: BinaryIO, container: str, header: _Header, end: int, budget: Iterator[int]) -> int | None:
    """Tell where the next recording begins behind the sound: at `end` if none does; None if sound goes on."""
    form, sound_end = header.form, header.begins + header.stated
    at = _next(file, form, header.begins, header.stated) if form else sound_end
    for _ in budget:
        head = read_at(file, at, 40)
        if begins_with(head, container):
            return at
        if form is None:
            break
        if end - at < form.head:
            return end
        size = form.size(head)
        if size > end - at - form.head or not _is_name(head[:4]):
            break
        at = _next(file, form, at + form.head, size)
    else:
        return end
    head = read_at(file, sound_end, 64)
    known = head.startswith((*_TAGS, *_NAMES)) or (head.isascii() and head.decode().isprintable())
    return end if known or end - sound_end <= _JUNK_BYTES or is_zero(file, sound_end, end) else None


def _next(file: BinaryIO, form: _Form, body: int, size: int) -> int:
    """Return where the chunk after this one begins; some writers forget the padding between them."""
    padded = body + size + -size % form.align
    if _is_name(read_at(file, padded, 4)) or not _is_name(read_at(file, body + size, 4)):
        return padded
    return body + size


def _is_name(head: bytes) -> bool:
    return len(head) == 4 and all(32 <= byte < 127 for byte in head)

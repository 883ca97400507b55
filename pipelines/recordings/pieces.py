"""The pieces that recordings were cut to, before short ones are joined: what a person hears and may reject.

    folder/prepared/pieces.json     one row for each piece, in the order of the recordings
    folder/rejected.json            what shall not be learned, whatever preparation comes later

A piece is known by the content of its recording and the sample at which it begins, so what was rejected stays
so when the recordings are prepared again. The server reads and writes this; nothing heavy is loaded here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from pipelines.store.records import Row
from rvc.errors import AudioError, ConfigError, UnknownNameError
from rvc.files import atomic_write

PIECES, REJECTED = "pieces.json", "rejected.json"
MIN_SPEECH_S = 10.0  # less does not hold all sounds of a language, whatever the engine
ID_LENGTH = 16  # of a recording's hash
PEAKS = 80  # of a piece's waveform are kept
Ids = Collection[str]


@dataclass(frozen=True, kw_only=True)
class SliceMeasures:
    """What a slice was like in its recording."""

    end_s: float  # where it ends there
    level_db: float  # of its speech, dBFS
    above_db: float  # the same against the speech of the whole recording
    snr_db: float | None  # its speech over the noise around it; None without a pause
    clipping_fraction: float
    f0_hz: float | None  # median; None without voice
    speech_share: float  # of its frames, 0..1
    voiced_share: float  # of its speech, 0..1
    peaks: str  # of the waveform that is learned, PEAKS bytes of 0..255, in hex


@dataclass(frozen=True, kw_only=True)
class Piece(SliceMeasures):
    id: str
    file: str  # what its recording is called
    file_id: str
    path: str  # relative to the folder of the slices
    start_s: float
    seconds: float
    rate_hz: int
    grade: int  # of the whole recording; the higher, the worse
    doubt: float  # 0..1: how much speaks against learning from it
    reasons: list[str]  # see doubts.py, the gravest first


def file_id_of(sha256: str) -> str:
    return sha256[:ID_LENGTH]


def save_pieces(pieces: Sequence[Piece], prepared: Path) -> None:
    with atomic_write(prepared / PIECES) as path:
        path.write_bytes(orjson.dumps([asdict(piece) for piece in pieces]))


def load_pieces(prepared: Path) -> list[Piece]:
    """Read the pieces of a set; AudioError where there are none yet, or only those of an earlier version."""
    try:
        return [Piece(**row) for row in orjson.loads((prepared / PIECES).read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise AudioError("These recordings have no slices yet; prepare them (again) first.") from error


@dataclass(frozen=True)
class Rejections:
    """Ids of what shall not be learned: single pieces, and whole recordings."""

    slices: frozenset[str] = field(default_factory=frozenset)
    files: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def load(cls, folder: Path) -> Rejections:
        """Read those of a folder, an upload's or a training's; none where nothing was rejected."""
        try:
            row = orjson.loads((folder / REJECTED).read_bytes())
            return cls(frozenset(row["slices"]), frozenset(row["files"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                "The list of what you rejected is damaged; upload the recordings again."
            ) from error

    def save(self, folder: Path) -> None:
        row = {"slices": sorted(self.slices), "files": sorted(self.files)}
        with atomic_write(folder / REJECTED) as path:
            path.write_text(json.dumps(row), encoding="utf-8")

    def covers(self, piece: Piece) -> bool:
        return piece.id in self.slices or piece.file_id in self.files

    def with_rejected(self, ids: Ids, files: Ids, pieces: Sequence[Piece]) -> Rejections:
        """Return these and more; of a recording that is rejected as a whole no piece is named."""
        named = {piece.id for piece in pieces if piece.id in ids and piece.file_id not in self.files}
        return Rejections(self.slices | named, self.files | frozenset(files))

    def with_restored(self, ids: Ids, files: Ids, pieces: Sequence[Piece]) -> Rejections:
        """Return what is left of these.

        A recording that was rejected as a whole is as it was before that, with what was rejected in it then.
        Of one from which a single piece comes back, the others stay rejected.
        """
        split = {piece.file_id for piece in pieces if piece.id in ids} & self.files - frozenset(files)
        whole = self.files & frozenset(files)
        others = {piece.id for piece in pieces if piece.file_id in split}
        freed = {piece.id for piece in pieces if piece.file_id in files and piece.file_id not in whole}
        return Rejections((self.slices | others) - freed - frozenset(ids), self.files - whole - split)


def figures(pieces: Sequence[Piece], rejected: Rejections) -> Row:
    """Count slices and seconds: of all, of those rejected, and what is left."""
    out = [piece.seconds for piece in pieces if rejected.covers(piece)]
    seconds = sum(piece.seconds for piece in pieces)
    return {
        "slices": len(pieces),
        "seconds": round(seconds, 1),
        "rejected": len(out),
        "rejected_s": round(sum(out), 1),
        "left_s": round(seconds - sum(out), 1),
    }


def figures_of(folder: Path) -> Row:
    """Count those of an upload, by its folder; its recordings are prepared."""
    return figures(load_pieces(folder / "prepared"), Rejections.load(folder))


def rejections_of(upload: Path, work: Path, *, goes_on: bool) -> Rejections:
    """Return what a training leaves out: what was rejected when it began, if it has begun."""
    if (work / REJECTED).is_file():
        return Rejections.load(work)
    return Rejections() if goes_on else Rejections.load(upload)


def require_speech(seconds: float, *, rejected: int = 0) -> None:
    """Refuse to learn a voice from too little; `rejected` is how many slices are left out of it."""
    if seconds >= MIN_SPEECH_S:
        return
    if rejected:
        raise AudioError(
            f"Without what you rejected ({rejected}), the prepared recordings hold {seconds:.1f} s of "
            f"speech and a voice needs at least {MIN_SPEECH_S:.0f} s; restore some, or add recordings (a few "
            "minutes are better)."
        )
    raise AudioError(
        f"The prepared recordings hold {seconds:.1f} s of speech and a voice needs at least "
        f"{MIN_SPEECH_S:.0f} s; add recordings (a few minutes are better)."
    )


def checked_ids(asked: object, pieces: Sequence[Piece]) -> set[str]:
    """Return ids of pieces that a client sent; UnknownNameError if one is of another set."""
    known = {piece.id for piece in pieces}
    return {_known(one, known, "slice") for one in _listed(asked, "slices")}


def checked_files(asked: object, pieces: Sequence[Piece]) -> set[str]:
    """Return the ids of recordings that a client named, by id or by what they are called."""
    wanted = set(_listed(asked, "files"))
    names = {name for piece in pieces for name in (piece.file, piece.file_id)}
    for one in wanted:
        _known(one, names, "recording")
    return {piece.file_id for piece in pieces if not wanted.isdisjoint((piece.file, piece.file_id))}


def _listed(asked: object, what: str) -> list[object]:
    if asked is None:
        return []
    if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked):
        raise ConfigError(f"The {what} are not a list of ids; take them from list_slices.")
    return list(asked)


def _known(one: object, known: Collection[str], what: str) -> str:
    if not isinstance(one, str) or one not in known:
        raise UnknownNameError(
            f"These recordings have no {what} {str(one)[:60]!r}; list_slices names those they have."
        )
    return one

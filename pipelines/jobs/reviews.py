"""The slices of recordings, for a person to judge: which there are, how each sounds, which are rejected."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipelines.jobs.job_files import job_of, upload_of
from pipelines.recordings.pieces import (
    PIECES,
    REJECTED,
    Piece,
    Rejections,
    checked_files,
    checked_ids,
    figures,
    figures_of,
    load_pieces,
    require_speech,
)
from pipelines.store.records import Caller, Row, checked_count
from pipelines.store.registry import Registry
from rvc.errors import ConfigError

Lock = AbstractContextManager[Any]
SORTS, ONLY = ("doubt", "order"), ("all", "doubtful", "rejected")
MOST_ROWS = 200


class Reviews:
    """Rejections belong to an upload, whichever of its jobs they are asked by; its folder keeps them."""

    def __init__(self, registry: Registry, jobs_dir: Path, lock: Lock) -> None:
        self._registry = registry
        self._jobs_dir = jobs_dir
        self._lock = lock

    def list(  # noqa: PLR0913  # one parameter for each of the endpoint's
        self,
        caller: Caller,
        job_id: str,
        *,
        sort: object = "doubt",
        only: object = "all",
        offset: object = 0,
        limit: object = 50,
    ) -> Row:
        """Return some of the slices of an upload, or of the one that a job works on, and figures of all."""
        first, count = checked_count(offset, "offset"), checked_count(limit, "limit", least=1)
        folder = self._folder(caller, job_id)
        pieces, rejected = load_pieces(folder / "prepared"), Rejections.load(folder)
        chosen = {
            "all": pieces,
            "doubtful": [piece for piece in pieces if piece.reasons],
            "rejected": [piece for piece in pieces if rejected.covers(piece)],
        }[_one_of(only, ONLY, "filter")]
        if _one_of(sort, SORTS, "order") == "doubt":
            chosen = sorted(chosen, key=lambda piece: -piece.doubt)
        rows = [_shown(piece, rejected) for piece in chosen[first : first + min(count, MOST_ROWS)]]
        doubtful = sum(bool(piece.reasons) for piece in pieces)
        page = {"matching": len(chosen), "offset": first, "rows": rows, "doubtful": doubtful}
        return figures(pieces, rejected) | page

    def audio(self, caller: Caller, job_id: str, slice_id: object) -> Path:
        """Return the sound of one slice, as it is learned."""
        prepared = self._folder(caller, job_id) / "prepared"
        pieces = load_pieces(prepared)
        (wanted,) = checked_ids([slice_id], pieces)
        path = prepared / "slices" / next(piece.path for piece in pieces if piece.id == wanted)
        if not path.is_file():
            raise ConfigError("This slice is no longer here; prepare the recordings again.")
        return path

    def reject(self, caller: Caller, job_id: str, slice_ids: object, files: object = None) -> Row:
        """Leave slices, and whole recordings, out of every training that begins from now on."""
        return self._change(caller, job_id, slice_ids, files, reject=True)

    def restore(self, caller: Caller, job_id: str, slice_ids: object, files: object = None) -> Row:
        """Undo that."""
        return self._change(caller, job_id, slice_ids, files, reject=False)

    def _change(self, caller: Caller, job_id: str, slice_ids: object, files: object, *, reject: bool) -> Row:
        with self._lock:
            folder = self._folder(caller, job_id)
            pieces, before = load_pieces(folder / "prepared"), Rejections.load(folder)
            change = before.with_rejected if reject else before.with_restored
            after = change(checked_ids(slice_ids, pieces), checked_files(files, pieces), pieces)
            if after != before:
                after.save(folder)
        changed = [piece.id for piece in pieces if before.covers(piece) != after.covers(piece)]
        return figures(pieces, after) | {"changed": changed}

    def require_enough(self, caller: Caller, job_id: str) -> None:
        """Refuse a training on an upload of which too little is left; what is not prepared is not known."""
        folder = self._folder(caller, job_id)
        if (folder / REJECTED).is_file() and (folder / "prepared" / PIECES).is_file():
            found = figures_of(folder)
            if found["rejected"]:
                require_speech(found["left_s"], rejected=found["rejected"])

    def _folder(self, caller: Caller, job_id: str) -> Path:
        return self._jobs_dir / str(upload_of(self._registry, job_of(self._registry, caller, job_id))["id"])


def _shown(piece: Piece, rejected: Rejections) -> Row:
    row = {name: value for name, value in vars(piece).items() if name not in ("path", "rate_hz", "grade")}
    whole = piece.file_id in rejected.files
    return row | {
        "peaks": list(bytes.fromhex(piece.peaks)),
        "rejected": rejected.covers(piece),
        "file_rejected": whole,
    }


def _one_of(value: Any, choices: tuple[str, ...], what: str) -> str:  # noqa: ANN401  # from outside
    if value not in choices:
        raise ConfigError(f"There is no {what} {str(value)[:40]!r}. Choose one of: {', '.join(choices)}.")
    return str(value)

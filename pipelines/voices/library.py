"""The voices: which exist, whose they are, how often they were used; and their way in and out as files.

    DATA_DIR/models/<model id>/        a voice that was trained or imported here, with a row in the registry
                                       (deleted_at: it is in the trash, hidden, until the clean-up takes it)
    assets/builtin/voices/<name>/      a voice that comes with Timbre: everybody sees it, nobody changes it

An id from outside is only ever looked up, never made into a path.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.store.records import (
    MAX_NAME_CHARACTERS,
    Caller,
    Row,
    Rows,
    as_text,
    checked_name,
    new_id,
    now,
    voice_deleted,
)
from pipelines.store.registry import Registry
from pipelines.users.limits import Spend
from pipelines.voices import bundle as bundles
from pipelines.voices.exchange import ENGINE as RVC
from pipelines.voices.exchange import export_files, import_files
from rvc.engine.options import LITE
from rvc.errors import CheckpointError, ConfigError, NotAllowedError, UnknownNameError
from rvc.files import ROOT

logger = logging.getLogger(__name__)

BUILTIN_VOICES = ROOT / "assets" / "builtin" / "voices"
BUILTIN_PREFIX = "builtin-"
EXPORT_LIFE_S = 86_400.0  # how long an exported zip is kept for its download
TRASH_S = 86_400.0  # how long a deleted voice can be restored
CLOCK_SET_S = 60.0  # a wall clock that leaves the steady one by more was set
_UNUSED: Row = {"uses": 0, "seconds_converted": 0.0, "last_used_at": None}

# Keys of a voice that is shown; every one is always there. origin: "trained", "imported" or "built in".
PUBLIC = (
    "id", "user_id", "model_name", "builtin", "origin", "imported_at", "told", "engine", "version", "encoder",
    "sample_rate_hz", "f0", "scores", "consent", "quality_snr", "training_duration_seconds",
    "training_job_id", "size_bytes", "created_at", "uses_f0", "deleted_at", "purge_at", *_UNUSED,
)  # fmt: skip


class Library:
    """The voices on disk and their rows; one of somebody else's is unknown, as if it did not exist."""

    def __init__(self, data_dir: Path, registry: Registry, *, builtin_dir: Path = BUILTIN_VOICES) -> None:
        self._models = data_dir / "models"
        self._exports = data_dir / "exports"
        self._builtin_dir = builtin_dir
        self._registry = registry
        self._lock = threading.Lock()  # held while a card and its row are changed
        self._clocks_s = time.time(), time.monotonic()
        self._models.mkdir(parents=True, exist_ok=True)

    def list(self, caller: Caller, *, deleted: bool = False) -> Rows:
        """Return the caller's voices, newest first, then the built-in ones; an admin sees all.

        Or those that were deleted and can be restored, the last deleted first.
        """
        seen = self._registry.list("models", lambda row: row["builtin"] or caller.may_see(row))
        rows = [row for row in reversed(seen) if bool(row.get("deleted_at")) == deleted]
        rows = sorted(rows, key=_deleted_at, reverse=True) if deleted else rows + self._builtin()
        usage = {row["id"]: row for row in self._registry.list("usage")}
        return [_public(row, usage.get(row["id"])) for row in rows]

    def get(self, caller: Caller, model_id: str) -> Row:
        return _public(self._row(caller, model_id), self._registry.get("usage", model_id))

    def folder(self, caller: Caller, model_id: str) -> Path:
        return self._home(self._row(caller, model_id))

    def folder_of_job(self, job: Row) -> Path:
        """Return the folder of the voice that a job speaks in.

        Whether its owner may use it was decided when the job was submitted.
        """
        try:
            return self.folder(Caller(job["user_id"], admin=True), job["model_id"])
        except UnknownNameError as error:
            raise voice_deleted(job["model_name"]) from error

    def changeable(self, caller: Caller, model_id: str, *, deleted_too: bool = False) -> Row:
        """Return the row of a voice that the caller may change, unless it is built in."""
        row = self._row(caller, model_id, deleted_too=deleted_too)
        if row["builtin"]:
            raise NotAllowedError(
                f"{row['model_name']} comes with Timbre and cannot be changed; train or import your own."
            )
        return row

    def rename(self, caller: Caller, model_id: str, model_name: str) -> Row:
        """Give a voice another name, in its card too, unless it is built in, and return it."""
        row, name = self.changeable(caller, model_id), checked_name(model_name, "voice")
        self._rewrite(row, {"name": name}, model_name=name)
        return self.get(caller, model_id)

    def set_pitch(self, caller: Caller, model_id: str, f0: Row) -> Row:
        """Say where a voice lies (median_hz, low_hz, high_hz), in its card too, and return it."""
        row = self.changeable(caller, model_id)
        if bundles.read_card(self._home(row)).get("uses_f0") is False:
            raise NotAllowedError(
                f"{row['model_name']} was trained without F0, so its pitch cannot be set; use it as it is."
            )
        if row["engine"] == LITE and row["f0"]:
            raise NotAllowedError(
                f"{row['model_name']} knows its pitch from its own recordings; choose by how much a "
                "recording is moved when you convert it."
            )
        self._rewrite(row, {"f0": f0}, f0=f0)
        return self.get(caller, model_id)

    def delete(self, caller: Caller, model_id: str, *, purge: bool = False) -> Row:
        """Put a voice that is not built in into the trash; or remove it for good, from the trash too.

        Its files and statistics stay while it is in the trash. Returns the row that it had.
        """
        row = self.changeable(caller, model_id, deleted_too=purge)
        usage = self._registry.get("usage", row["id"])
        if not purge:
            self.follow_clock()
            return _public(self._registry.update("models", row["id"], deleted_at=now()), usage)
        self._registry.delete("models", [row["id"]])
        self._registry.delete("usage", [row["id"]])
        folder, leaving = self._models / row["id"], self._models / f".deleted-{row['id']}"
        if folder.exists():
            # Renamed first: a voice is either whole or gone, whenever the power fails.
            folder.replace(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
        return _public(row, usage)

    def restore(self, caller: Caller, model_id: str) -> Row:
        """Take a voice out of the trash and return it, under another name if its own was given away since."""
        row = self.changeable(caller, model_id, deleted_too=True)
        if not row.get("deleted_at"):
            raise NotAllowedError(f"{row['model_name']} was not deleted, so there is nothing to restore.")
        others = self._registry.list("models", lambda one: not one.get("deleted_at"), user_id=row["user_id"])
        name = _free_name(row["model_name"], {one["model_name"].casefold() for one in others})
        self._rewrite(row, {"name": name}, model_name=name, deleted_at=None)
        return self.get(caller, model_id)

    def follow_clock(self) -> None:
        """Move the moments of deletion with a clock that was set since the last call: a day is a day.

        One that lies ahead, of a clock that was put back while no server ran, becomes now.
        """
        with self._lock:
            (wall_s, steady_s), self._clocks_s = self._clocks_s, (time.time(), time.monotonic())
            set_by_s = (self._clocks_s[0] - wall_s) - (self._clocks_s[1] - steady_s)
            moment = datetime.fromtimestamp(self._clocks_s[0], UTC)
            for row in self._registry.list("models", lambda row: bool(row.get("deleted_at"))):
                at = datetime.fromisoformat(row["deleted_at"])
                moved = at + timedelta(seconds=set_by_s) if abs(set_by_s) > CLOCK_SET_S else at
                if min(moved, moment) != at:
                    self._registry.update("models", row["id"], deleted_at=as_text(min(moved, moment)))

    def stats(self, caller: Caller, model_id: str) -> Row:
        """Return how a voice was used: how often, for how many seconds, when last; and its size and age."""
        row = self.get(caller, model_id)
        return {"model_id": row["id"]} | {name: row[name] for name in (*_UNUSED, "size_bytes", "created_at")}

    def record_use(self, model_id: str, seconds: Sequence[float]) -> None:
        """Count conversions of so many seconds each into a voice, which may have been deleted meanwhile."""
        exists = model_id.startswith(BUILTIN_PREFIX) or self._registry.get("models", model_id) is not None
        if not seconds or not exists:
            return
        usage = self._registry.get("usage", model_id) or _UNUSED | {"id": model_id}
        counted = {
            "uses": usage["uses"] + len(seconds),
            "seconds_converted": usage["seconds_converted"] + sum(seconds),
            "last_used_at": now(),
        }
        self._registry.insert("usage", usage | counted)

    def import_voice(
        self, caller: Caller, files: Sequence[Path], model_name: str | None = None, spend: Spend | None = None
    ) -> Row:
        """Take in a voice, called by default what its files say, and return it; else nothing is left behind.

        `files` is one zip, as the exports give it, or a .pth of an RVC program, maybe with its .index; that
        takes a child process and some seconds. CheckpointError if it is not one voice, not whole, or of a
        kind that is not supported; LimitError from `spend`, which asks for room on the disk.
        """
        unnamed = model_name is None or (isinstance(model_name, str) and not model_name.strip())
        wanted = None if unnamed else checked_name(model_name, "voice")
        model_id = new_id()
        with self._staging("incoming") as staging:
            bundle, unpacked = staging / "bundle", staging / "unpacked"
            bundle.mkdir()
            unpacked.mkdir()
            import_files(files, bundle, unpacked)
            if spend is not None:
                spend(bundles.size_bytes(bundle))
            facts = {"user_id": caller.user_id, "model_name": wanted, "imported_at": now()}
            row = self._adopt(bundle, model_id, facts)
        logger.info("imported voice %s: %.1f MB", model_id, row["size_bytes"] / 1e6)
        return self.get(caller, model_id)

    def export_bundle(self, caller: Caller, model_id: str) -> Path:
        """Write a voice as a zip under a random name and return where; it is kept for a day."""
        row, archive = self._row(caller, model_id), self._new_export()
        with _still_there(row):
            bundles.pack(self._home(row), archive)
        return archive

    def export_rvc(self, caller: Caller, model_id: str) -> Path:
        """Write a voice as other RVC programs read it, as `export_bundle`: .pth and .index in a zip."""
        row, folder = self.get(caller, model_id), self.folder(caller, model_id)
        if row["engine"] != RVC:
            raise ConfigError(
                f"{row['model_name']} is a voice of the engine {row['engine']}, which other RVC "
                "programs cannot read; export it in the format 'bundle'."
            )
        archive = self._new_export()
        with self._staging("outgoing") as staging:
            bundles.pack_files(export_files(folder, staging, row["model_name"]), archive)
        return archive

    @contextmanager
    def _staging(self, kind: str) -> Iterator[Path]:
        folder = self._models / f".{kind}-{new_id()}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _new_export(self) -> Path:
        self._exports.mkdir(exist_ok=True)
        return self._exports / f"voice-{secrets.token_hex(8)}.zip"

    def adopt(self, job: Row, bundle: Path) -> Row:
        """Make what a training left behind a voice of the job's owner, and return its row.

        It gets the job's id, so that doing it again after a crash changes nothing. The bundle is moved.
        """
        facts = {name: job[name] for name in ("user_id", "model_name", "quality_snr")}
        facts |= {"training_job_id": job["id"], "training_audio_path": f"jobs/{job['upload_id']}/inputs"}
        return self._adopt(bundle, job["id"], facts)

    def offer_to_all(self, model_id: str) -> Row:
        """Make a voice of this data folder built in: everybody sees it, nobody changes it; return its row."""
        home = str(self._models / model_id)
        return self._registry.update("models", model_id, builtin=True, user_id=None, model_path=home)

    def recover(self) -> None:
        """Remove what an interrupted import, export or deletion left, and exports that had their day."""
        for pattern in (".incoming-*", ".outgoing-*", ".deleted-*"):
            for path in self._models.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
        self.expire_exports()

    def expire_exports(self) -> None:
        oldest = time.time() - EXPORT_LIFE_S
        for path in self._exports.glob("*voice-*"):  # half-written ones are hidden
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def _adopt(self, bundle: Path, model_id: str, facts: Row) -> Row:
        """Move a bundle to its place, unless that was done before a crash; its card may give the name."""
        home = self._models / model_id
        moving = bundle.exists() or not home.exists()
        card = bundles.read_card(bundle if moving else home)
        name = checked_name(facts["model_name"] or card["name"], "voice")
        if moving:
            if not (bundle / bundles.WEIGHTS).is_file():
                raise CheckpointError("The voice has no model.safetensors; export or train it again.")
            bundles.check_weights(bundle / bundles.WEIGHTS)
            if card["name"] != name:
                bundles.write_card(bundle, card | {"name": name})
            if home.exists():
                shutil.rmtree(home)
            bundle.replace(home)
        own = {"builtin": False, "model_name": name}
        return self._registry.insert("models", _row_of(card, home, model_id) | facts | own)

    def _builtin(self) -> Rows:
        rows: Rows = []
        for folder in sorted(path.parent for path in self._builtin_dir.glob(f"*/{bundles.CARD}")):
            try:
                row = _row_of(bundles.read_card(folder), folder, BUILTIN_PREFIX + folder.name)
                rows.append(row | {"model_path": str(folder)})
            except CheckpointError:
                logger.exception("built-in voice %s is unusable", folder.name)
        return rows

    def _row(self, caller: Caller, model_id: str, *, deleted_too: bool = False) -> Row:
        if isinstance(model_id, str):
            row = self._registry.get("models", model_id)
            if row is not None and (row["builtin"] or caller.may_see(row)):
                if row.get("deleted_at") and not deleted_too:
                    raise voice_deleted(row["model_name"])
                return row
            for builtin in self._builtin():
                if builtin["id"] == model_id:
                    return builtin
        raise UnknownNameError(f"There is no voice {str(model_id)[:64]!r}; list the voices to see their ids.")

    def _home(self, row: Row) -> Path:
        """Return the folder of a voice; CheckpointError if its files are not there."""
        folder = Path(row["model_path"]) if row["builtin"] else self._models / row["id"]
        if not all((folder / name).is_file() for name in bundles.REQUIRED):
            raise CheckpointError(
                f"The files of the voice {row['model_name']} are no longer on the server's disk; "
                "choose another voice, or import it again."
            )
        return folder

    def _rewrite(self, row: Row, card: Row, **changes: object) -> None:
        """Change a voice's card, and its row with it."""
        home = self._home(row)
        with self._lock, _still_there(row):
            bundles.write_card(home, bundles.read_card(home) | card)
            self._registry.update("models", row["id"], **changes)


@contextmanager
def _still_there(row: Row) -> Iterator[None]:
    """Say in words that a voice was deleted for good while something was done with it."""
    try:
        yield
    except (FileNotFoundError, KeyError) as error:
        raise voice_deleted(row["model_name"]) from error


def _free_name(name: str, taken: Collection[str]) -> str:
    """Return a name, numbered if it is taken: taken ones are given in small letters."""
    numbered = (f"{name[: MAX_NAME_CHARACTERS - 6]} ({number})" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one.casefold() not in taken)


def _deleted_at(row: Row) -> str:
    return str(row["deleted_at"])


def _row_of(card: dict[str, Any], folder: Path, model_id: str) -> Row:
    return {
        "id": model_id,
        "user_id": None,
        "model_name": card["name"],
        "model_path": f"models/{model_id}",
        **dict.fromkeys(("training_job_id", "training_audio_path", "quality_snr")),
        "training_duration_seconds": bundles.seconds_of_audio(card),
        "created_at": bundles.moment_of(card.get("created_at")) or now(),
        "builtin": True,
        "engine": card["engine"],
        "version": card["format_version"],
        "encoder": card.get("content_encoder"),
        "sample_rate_hz": card["sample_rate_hz"],
        "f0": card.get("f0", {}),
        "uses_f0": card.get("uses_f0") is not False,
        "deleted_at": None,
        "scores": card.get("training", {}).get("scores"),
        "consent": bundles.consent(card),
        "told": bundles.public_facts(card),
        "imported_at": None,
        "size_bytes": bundles.size_bytes(folder),
    }


def _public(row: Row, usage: Row | None) -> Row:
    whole = row | _UNUSED | (usage or {})
    whole["origin"] = "built in" if row["builtin"] else "trained" if row["training_job_id"] else "imported"
    if deleted_at := row.get("deleted_at"):
        whole["purge_at"] = as_text(datetime.fromisoformat(deleted_at) + timedelta(seconds=TRASH_S))
    # Rows of earlier versions know less.
    return {name: whole.get(name) for name in PUBLIC}

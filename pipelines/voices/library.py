"""The voices: which exist, whose they are, how often they were used; and their way in and out as files.

    DATA_DIR/models/<model id>/        a voice that was trained or imported here, with a row in the registry
                                       (deleted_at: it is in the trash, hidden, until the clean-up takes it)
    assets/builtin/voices/<name>/      a voice that comes with Timbre: everybody sees it, nobody changes it

An id from outside is only ever looked up, never made into a path.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.store.layout import ARRIVING
from pipelines.store.records import (
    CONVERTING,
    Caller,
    Row,
    Rows,
    checked_name,
    new_id,
    now,
    purge_at,
    voice_deleted,
)
from pipelines.store.registry import Registry
from pipelines.users.limits import Spend, require_room
from pipelines.voices import bundle as bundles
from pipelines.voices import homes
from pipelines.voices.exchange import ENGINE as RVC
from pipelines.voices.exchange import export_files, import_files
from pipelines.voices.row import free_name, origin_of, row_of
from rvc.engine.options import LITE
from rvc.engine.weights_file import check_weights
from rvc.errors import CheckpointError, ConfigError, NotAllowedError, UnknownNameError
from rvc.files import ROOT
from rvc.sandbox import on_behalf_of

logger = logging.getLogger(__name__)

BUILTIN_VOICES = ROOT / "assets" / "builtin" / "voices"
BUILTIN_PREFIX = "builtin-"
OWNERS_OWN = ("presets", "f0", "consent", "locked")  # of a card, besides its name: what its owner may set
EXPORT_LIFE_S = 86_400.0  # how long an exported zip is kept for its download
LOCKED = "{name} is locked against export; its owner takes the lock off on the Voices tab."
_UNUSED: Row = {"uses": 0, "seconds_converted": 0.0, "last_used_at": None}


# Keys of a voice that is shown; every one is always there. origin: "trained", "imported", "blended" or
# "built in".
PUBLIC = (
    "id", "user_id", "model_name", "builtin", "origin", "imported_at", "told", "engine", "version", "encoder",
    "sample_rate_hz", "f0", "scores", "consent", "locked", "quality_snr", "training_duration_seconds",
    "training_job_id", "size_bytes", "created_at", "uses_f0", "deleted_at", "purge_at", "language", "tone_db",
    "has_sample", "presets", "parents", *_UNUSED,
)  # fmt: skip


class Library:
    """The voices on disk and their rows; one of somebody else's is unknown, as if it did not exist."""

    def __init__(self, data_dir: Path, registry: Registry, *, builtin_dir: Path = BUILTIN_VOICES) -> None:
        self._models = data_dir / "models"
        self._exports = data_dir / "exports"
        self._builtin_dir = builtin_dir
        self._registry = registry
        self._lock = threading.Lock()  # held while a card and its row are changed
        self._exporting: dict[str, threading.Lock] = defaultdict(threading.Lock)  # by voice and form

    def list(self, caller: Caller, *, deleted: bool = False) -> Rows:
        """Return the caller's voices, newest first, then the built-in ones; an admin sees all.

        Or those that were deleted and can be restored, the last deleted first.
        """
        seen = self._registry.list("models", lambda row: row["builtin"] or caller.may_see(row))
        rows = [row for row in reversed(seen) if bool(row.get("deleted_at")) == deleted]
        rows = sorted(rows, key=_deleted_at, reverse=True) if deleted else rows + self._builtin()
        usage = {row["id"]: row for row in self._registry.list("usage")}
        return [self._public(row, usage.get(row["id"])) for row in rows]

    def get(self, caller: Caller, model_id: str) -> Row:
        return self._public(self._row(caller, model_id), self._registry.get("usage", model_id))

    def folder(self, caller: Caller, model_id: str) -> Path:
        return self._home(self._row(caller, model_id))

    def sample(self, caller: Caller, model_id: str) -> Path:
        """Return some seconds of the voice as an MP3 file."""
        row = self._row(caller, model_id)
        path = self._home(row) / bundles.SAMPLE
        if not path.is_file():
            raise UnknownNameError(
                f"{row['model_name']} has no sample to listen to; convert a recording to hear it."
            )
        return path

    def folder_of_job(self, job: Row) -> Path:
        """Return the folder of the voice that a job speaks in.

        Whether its owner may use it was decided when the job was submitted.
        """
        try:
            return self.folder(Caller(job["user_id"], admin=True), job["model_id"])
        except UnknownNameError as error:
            raise voice_deleted(job["model_name"]) from error

    def engine_of_job(self, job: Row) -> str:
        """Return the engine that a job trains or speaks with, also when its voice is gone."""
        if job["type"] not in CONVERTING:
            return str(job["settings"].get("engine", LITE))
        row = self._registry.get("models", str(job["model_id"]))
        return str(row["engine"]) if row else LITE

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
        self.rewrite(row, {"name": name}, model_name=name)
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
        self.rewrite(row, {"f0": f0}, f0=f0)
        return self.get(caller, model_id)

    def set_presets(self, caller: Caller, model_id: str, presets: Sequence[Row]) -> None:
        """Keep presets (name, settings) with a voice, in its card too, in place of those that it had."""
        row = self.changeable(caller, model_id)
        kept = [{"name": preset["name"], "settings": preset["settings"]} for preset in presets]
        self.rewrite(row, {"presets": kept}, presets=kept)

    def delete(self, caller: Caller, model_id: str, *, purge: bool = False) -> Row:
        """Put a voice that is not built in into the trash; or remove it for good, from the trash too.

        Its files and statistics stay while it is in the trash. Returns the row that it had.
        """
        row = self.changeable(caller, model_id, deleted_too=purge)
        usage = self._registry.get("usage", row["id"])
        if not purge:
            with self._registry.reserve.spent():
                return self._public(self._registry.update("models", row["id"], deleted_at=now()), usage)
        self._registry.delete("models", [row["id"]])
        self._registry.delete("usage", [row["id"]])
        for form in ("bundle", RVC):
            for archive in self._exports.glob(f"{_export_of(row, form)}*.zip"):
                archive.unlink(missing_ok=True)
        folder = self._models / row["id"]
        leaving = homes.leaving_of(folder)
        if folder.exists():
            # Renamed first: a voice is either whole or gone, whenever the power fails.
            folder.replace(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
        return self._public(row, usage)

    def restore(self, caller: Caller, model_id: str) -> Row:
        """Take a voice out of the trash and return it, under another name if its own was given away since."""
        row = self.changeable(caller, model_id, deleted_too=True)
        if not row.get("deleted_at"):
            raise NotAllowedError(f"{row['model_name']} was not deleted, so there is nothing to restore.")
        others = self._registry.list("models", lambda one: not one.get("deleted_at"), user_id=row["user_id"])
        name = free_name(row["model_name"], {one["model_name"].casefold() for one in others})
        self.rewrite(row, {"name": name}, model_name=name, deleted_at=None)
        return self.get(caller, model_id)

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
        with on_behalf_of(caller.user_id), self.staging("incoming") as staging:
            bundle, unpacked = staging / "bundle", staging / "unpacked"
            bundle.mkdir()
            unpacked.mkdir()
            asked = 0

            def room_for(count: int) -> None:
                nonlocal asked
                if spend is not None:
                    spend(count)
                require_room(staging, count, "this voice")
                asked += count

            import_files(files, bundle, unpacked, room_for)
            bundles.check(bundle)
            if spend is not None:
                spend(bundles.size_bytes(bundle) - asked)
            return self.take_in(caller, bundle, model_name=wanted, imported_at=now())

    def take_in(self, caller: Caller, bundle: Path, **facts: object) -> Row:
        """Make a bundle, which is moved, a new voice of the caller's, and return it; else nothing is left."""
        model_id = new_id()
        (bundle / ARRIVING).touch()
        try:
            row = self._adopt(bundle, model_id, {"user_id": caller.user_id} | facts)
        except BaseException:
            shutil.rmtree(self._models / model_id, ignore_errors=True)
            raise
        (self._models / model_id / ARRIVING).unlink(missing_ok=True)
        logger.info("took in voice %s: %.1f MB", model_id, row["size_bytes"] / 1e6)
        return self.get(caller, model_id)

    def export_bundle(self, caller: Caller, model_id: str) -> Path:
        """Write a voice as a zip and return where; it is kept for a day.

        Whoever asks again gets the same, unless the voice has changed. LimitError if the disk has no room.
        """
        row = self._row(caller, model_id)
        return self._exported(row, "bundle", bundles.pack)

    def export_rvc(self, caller: Caller, model_id: str) -> Path:
        """Write a voice as other RVC programs read it, as `export_bundle`: .pth and .index in a zip."""
        row = self._row(caller, model_id)
        if row["engine"] != RVC:
            raise ConfigError(
                f"{row['model_name']} is a voice of the engine {row['engine']}, which other RVC "
                "programs cannot read; export it in the format 'bundle'."
            )

        def write(home: Path, archive: Path) -> None:
            with on_behalf_of(caller.user_id), self.staging("outgoing") as staging:
                bundles.pack_files(export_files(home, staging, row["model_name"]), archive)

        return self._exported(row, RVC, write)

    @contextmanager
    def staging(self, kind: str) -> Iterator[Path]:
        """Give an empty folder on the voices' disk, for one that comes ("incoming") or goes ("outgoing")."""
        folder = self._models / f".{kind}-{new_id()}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _exported(self, row: Row, form: str, write: Callable[[Path, Path], None]) -> Path:
        """Return the one export of a voice in a form, which is written unless it is of the same files."""
        if row.get("locked"):
            raise NotAllowedError(LOCKED.format(name=row["model_name"]))
        home, prefix = self._home(row), _export_of(row, form)
        with self._exporting[prefix], _still_there(row):
            archive = self._exports / f"{prefix}{bundles.state(home)}.zip"
            with suppress(FileNotFoundError):
                os.utime(archive)  # it is kept for a day from now on
                return archive
            require_room(self._exports, 2 * bundles.size_bytes(home), "this export")
            self._exports.mkdir(exist_ok=True)
            write(home, archive)
            for older in self._exports.glob(f"{prefix}*.zip"):
                if older != archive:
                    older.unlink(missing_ok=True)
        return archive

    def adopt(self, job: Row, bundle: Path, *, beside: str | None = None) -> Row:
        """Make what a training left behind a voice of the job's owner, and return its row.

        It gets the job's id, so that doing it again after a crash changes nothing, and a training that goes
        on makes the voice better that it has made, which keeps what its owner has set. With a name `beside`,
        it becomes a further voice instead. The bundle is moved.
        """
        facts = {name: job[name] for name in ("user_id", "model_name", "quality_snr")}
        facts |= {"training_job_id": job["id"], "training_audio_path": f"jobs/{job['upload_id']}/inputs"}
        if beside is not None:
            others = self._registry.list("models", user_id=job["user_id"])
            facts["model_name"] = free_name(beside, {one["model_name"].casefold() for one in others})
            return self._adopt(bundle, new_id(), facts)
        with self._lock:
            known = self._registry.get("models", job["id"]) or {}
            # The pitch of the same recordings is the same, unless its owner knew better.
            own = {name: known[name] for name in OWNERS_OWN if known.get(name)}
            facts["model_name"] = known.get("model_name", job["model_name"])
            bundles.keep_spoken_consent(self._models / job["id"], bundle)
            return self._adopt(bundle, job["id"], facts, own)

    def offer_to_all(self, model_id: str) -> Row:
        """Make a voice of this data folder built in: everybody sees it, nobody changes it; return its row."""
        home = str(self._models / model_id)
        return self._registry.update("models", model_id, builtin=True, user_id=None, model_path=home)

    def recover(self) -> None:
        """Make good what an interrupted import, export, replacement or deletion left."""
        homes.sweep(self._models, {row["id"] for row in self._registry.list("models")})

    def expire_exports(self, before_s: float) -> None:
        """Remove the exports that were made before a time, in seconds since 1970."""
        for path in self._exports.glob("*voice-*"):  # half-written ones are hidden
            if path.stat().st_mtime < before_s:
                path.unlink(missing_ok=True)

    def _adopt(self, bundle: Path, model_id: str, facts: Row, own: Row | None = None) -> Row:
        """Move a bundle to its place, unless that was done before a crash; its card may give the name.

        With what its owner set, `own`, in the place of what the card says.
        """
        home = self._models / model_id
        moving = bundle.exists() or not home.exists()
        card = bundles.read_card(bundle if moving else home)
        name = checked_name(facts["model_name"] or card["name"], "voice")
        if moving:
            if not (bundle / bundles.WEIGHTS).is_file():
                raise CheckpointError("The voice has no model.safetensors; export or train it again.")
            check_weights(bundle / bundles.WEIGHTS)
            if (whole := card | {"name": name} | (own or {})) != card:
                bundles.write_card(bundle, card := whole)
            homes.replace(home, bundle)
        here = {"builtin": False, "model_name": name}
        return self._registry.insert("models", row_of(card, home, model_id) | facts | here)

    def _builtin(self) -> Rows:
        rows: Rows = []
        for folder in sorted(path.parent for path in self._builtin_dir.glob(f"*/{bundles.CARD}")):
            try:
                row = row_of(bundles.read_card(folder), folder, BUILTIN_PREFIX + folder.name)
                rows.append(row | {"model_path": str(folder)})
            except CheckpointError:
                logger.exception("built-in voice %s is unusable", folder.name)
        return rows

    def _public(self, row: Row, usage: Row | None) -> Row:
        whole = row | _UNUSED | (usage or {})
        whole["origin"] = origin_of(row)
        whole["purge_at"] = purge_at(row)
        whole["has_sample"] = (self._place(row) / bundles.SAMPLE).is_file()
        # Rows of earlier versions know less.
        return {name: whole.get(name) for name in PUBLIC}

    def _place(self, row: Row) -> Path:
        return Path(row["model_path"]) if row["builtin"] else self._models / row["id"]

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
        folder = self._place(row)
        if not all((folder / name).is_file() for name in bundles.REQUIRED):
            raise CheckpointError(
                f"The files of the voice {row['model_name']} are no longer on the server's disk; "
                "choose another voice, or import it again."
            )
        return folder

    def rewrite(self, row: Row, card: Row, **changes: object) -> None:
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


def _export_of(row: Row, form: str) -> str:
    """Return how the files of a voice's exports in a form begin."""
    voice = hashlib.sha256(f"{row['id']} {form}".encode()).hexdigest()[:16]
    return f"voice-{voice}-"


def _deleted_at(row: Row) -> str:
    return str(row["deleted_at"])

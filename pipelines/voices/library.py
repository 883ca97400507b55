"""The voices: which exist, whose they are, how often they were used; and their way in and out as files.

    DATA_DIR/models/<model id>/        a voice that was trained or imported here, with a row in the registry
    assets/builtin/voices/<name>/      a voice that comes with Timbre: everybody sees it, nobody changes it

An id from outside is only ever looked up, never made into a path. A voice of somebody else is answered
like one that does not exist.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from pipelines.store.records import Caller, Row, Rows, checked_name, new_id, now
from pipelines.store.registry import Registry
from pipelines.users.quota import Spend
from pipelines.voices import bundle as card_facts
from pipelines.voices.bundle import (
    WEIGHTS,
    check_weights,
    pack,
    pack_files,
    read_card,
    size_bytes,
    write_card,
)
from pipelines.voices.exchange import ENGINE as RVC
from pipelines.voices.exchange import give_out, take_in
from rvc.errors import CheckpointError, ConfigError, NotAllowedError, UnknownNameError

logger = logging.getLogger(__name__)

BUILTIN_VOICES = Path(__file__).resolve().parents[2] / "assets" / "builtin" / "voices"
BUILTIN_PREFIX = "builtin-"
EXPORT_LIFE_S = 86_400.0
"""How long an exported zip is kept for its download, in seconds."""

PUBLIC = (
    "id",
    "user_id",
    "model_name",
    "builtin",
    "origin",
    "imported_at",
    "told",
    "engine",
    "version",
    "encoder",
    "sample_rate_hz",
    "f0",
    "scores",
    "consent",
    "quality_snr",
    "training_duration_seconds",
    "training_job_id",
    "size_bytes",
    "created_at",
    "uses",
    "seconds_converted",
    "last_used_at",
)
"""Keys of a voice that is shown; every one is always there. origin: "trained", "imported" or "built in"."""


class Library:
    """The voices on disk and their rows.

    Args:
        data_dir: The data folder.
        registry: The open registry of that folder.
        builtin_dir: Folder of the voices that come with the program; it need not exist.
    """

    def __init__(self, data_dir: Path, registry: Registry, *, builtin_dir: Path = BUILTIN_VOICES) -> None:
        self._models = data_dir / "models"
        self._exports = data_dir / "exports"
        self._builtin_dir = builtin_dir
        self._registry = registry
        self._models.mkdir(parents=True, exist_ok=True)

    def list(self, caller: Caller) -> Rows:
        """Return the caller's voices, newest first, then the built-in ones; an admin sees all."""
        own = self._registry.list("models", lambda row: row["builtin"] or caller.may_see(row))
        usage = {row["id"]: row for row in self._registry.list("usage")}
        return [_shown(row, usage.get(row["id"])) for row in [*reversed(own), *self._builtin()]]

    def get(self, caller: Caller, model_id: str) -> Row:
        """Return one voice.

        Raises:
            UnknownNameError: There is none of this id, or it is somebody else's.
        """
        return _shown(self._row(caller, model_id), self._registry.get("usage", model_id))

    def folder(self, caller: Caller, model_id: str) -> Path:
        """Return the folder with the voice's card.json, model.safetensors and index.faiss.

        Raises:
            UnknownNameError: There is none of this id, or it is somebody else's.
        """
        row = self._row(caller, model_id)
        return Path(row["model_path"]) if row["builtin"] else self._models / row["id"]

    def rename(self, caller: Caller, model_id: str, model_name: str) -> Row:
        """Give a voice another name, in its card too, and return it.

        Raises:
            UnknownNameError: There is none of this id, or it is somebody else's.
            NotAllowedError: It is built in.
            ConfigError: The name is empty, too long or unprintable.
        """
        row = self._changeable(caller, model_id)
        name = checked_name(model_name, "voice")
        folder = self._models / row["id"]
        write_card(folder, read_card(folder) | {"name": name})
        self._registry.update("models", row["id"], model_name=name)
        return self.get(caller, model_id)

    def delete(self, caller: Caller, model_id: str) -> None:
        """Remove a voice, its files and its statistics for good.

        Raises:
            UnknownNameError: There is none of this id, or it is somebody else's.
            NotAllowedError: It is built in.
        """
        row = self._changeable(caller, model_id)
        self._registry.delete("models", [row["id"]])
        self._registry.delete("usage", [row["id"]])
        folder = self._models / row["id"]
        leaving = self._models / f".deleted-{row['id']}"
        if folder.exists():
            # Renamed first: a voice is either whole or gone, whenever the power fails.
            folder.replace(leaving)
            shutil.rmtree(leaving, ignore_errors=True)

    def stats(self, caller: Caller, model_id: str) -> Row:
        """Return how a voice was used: how often, for how many seconds, when last; and its size and age.

        Raises:
            UnknownNameError: There is none of this id, or it is somebody else's.
        """
        row = self.get(caller, model_id)
        names = ("uses", "seconds_converted", "last_used_at", "size_bytes", "created_at")
        return {"model_id": row["id"], **{name: row[name] for name in names}}

    def record_use(self, model_id: str, seconds: Sequence[float]) -> None:
        """Count conversions into this voice.

        Args:
            model_id: The voice; it may have been deleted meanwhile.
            seconds: Length of each converted recording.
        """
        if not seconds:
            return
        if not model_id.startswith(BUILTIN_PREFIX) and self._registry.get("models", model_id) is None:
            return
        usage = self._registry.get("usage", model_id) or {"id": model_id, "uses": 0, "seconds_converted": 0.0}
        self._registry.insert(
            "usage",
            usage
            | {
                "uses": usage["uses"] + len(seconds),
                "seconds_converted": usage["seconds_converted"] + sum(seconds),
                "last_used_at": now(),
            },
        )

    def import_voice(
        self,
        caller: Caller,
        files: Sequence[Path],
        model_name: str | None = None,
        spend: Spend | None = None,
    ) -> Row:
        """Take in a voice and return it; that of another program takes a child process and some seconds.

        Args:
            caller: Who will own it.
            files: One zip, as `export_bundle` or `export_rvc` gives it; or a .pth of an RVC program, maybe
                with its .index. What messages call them is their name.
            model_name: What it shall be called; by default what the files say.
            spend: Asks for the room that the voice takes on the disk; raises LimitError when there is none.

        Raises:
            CheckpointError: It is not one voice, not whole, or of a kind that is not supported. Nothing is
                left behind.
            ConfigError: The name is empty, too long or unprintable.
        """
        unnamed = model_name is None or (isinstance(model_name, str) and not model_name.strip())
        wanted = None if unnamed else checked_name(model_name, "voice")
        model_id = new_id()
        staging = self._models / f".incoming-{model_id}"
        bundle, unpacked = staging / "bundle", staging / "unpacked"
        bundle.mkdir(parents=True)
        unpacked.mkdir()
        try:
            take_in(files, bundle, unpacked)
            if spend is not None:
                spend(size_bytes(bundle))
            name = wanted or read_card(bundle).get("name")
            facts = {"user_id": caller.user_id, "model_name": name, "imported_at": now()}
            row = self._adopt(bundle, model_id, facts)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        logger.info("imported voice %s: %.1f MB", model_id, row["size_bytes"] / 1e6)
        return self.get(caller, model_id)

    def export_bundle(self, caller: Caller, model_id: str) -> Path:
        """Write a voice as a zip under a random name and return where; it is kept for a day.

        Raises:
            UnknownNameError: There is none of this id, or it is somebody else's.
        """
        folder = self.folder(caller, model_id)
        archive = self._new_export()
        pack(folder, archive)
        return archive

    def export_rvc(self, caller: Caller, model_id: str) -> Path:
        """Write a voice as other RVC programs read it, as `export_bundle`: .pth and .index in a zip.

        Raises:
            UnknownNameError: There is none of this id, or it is somebody else's.
            ConfigError: It is a voice of another engine.
            CheckpointError: Its files are damaged.
        """
        row, folder = self.get(caller, model_id), self.folder(caller, model_id)
        if row["engine"] != RVC:
            raise ConfigError(
                f"{row['model_name']} is a voice of the engine {row['engine']}, which other RVC "
                "programs cannot read; export it in the format 'bundle'."
            )
        archive = self._new_export()
        staging = self._models / f".outgoing-{new_id()}"
        staging.mkdir()
        try:
            pack_files(give_out(folder, staging, row["model_name"]), archive)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return archive

    def _new_export(self) -> Path:
        self._exports.mkdir(exist_ok=True)
        return self._exports / f"voice-{secrets.token_hex(8)}.zip"

    def adopt(self, job: Row, bundle: Path) -> Row:
        """Make the voice that a training left behind a voice of the job's owner, and return its row.

        The voice gets the job's id, so that doing it again after a crash changes nothing.

        Args:
            job: The training's row.
            bundle: Folder that it wrote; it is moved.

        Raises:
            CheckpointError: The bundle is missing or not whole.
        """
        facts = {
            "user_id": job["user_id"],
            "model_name": job["model_name"],
            "training_job_id": job["id"],
            "training_audio_path": f"jobs/{job['upload_id']}/inputs",
            "quality_snr": job["quality_snr"],
        }
        return self._adopt(bundle, job["id"], facts)

    def offer_to_all(self, model_id: str) -> Row:
        """Make a voice of this data folder built in: everybody sees it, nobody changes it; return its row.

        Raises:
            KeyError: There is none of this id.
        """
        home = str(self._models / model_id)
        return self._registry.update("models", model_id, builtin=True, user_id=None, model_path=home)

    def sweep(self) -> None:
        """Remove what an interrupted import, export or deletion left, and exports that had their day."""
        for pattern in (".incoming-*", ".outgoing-*", ".deleted-*"):
            for path in self._models.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
        self.expire_exports()

    def expire_exports(self) -> None:
        """Remove exported zips that had their day."""
        oldest = time.time() - EXPORT_LIFE_S
        for path in self._exports.glob("voice-*"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def _adopt(self, bundle: Path, model_id: str, facts: Row) -> Row:
        home = self._models / model_id
        name = checked_name(facts["model_name"], "voice")
        if bundle.exists() or not home.exists():
            card = read_card(bundle)
            if not (bundle / WEIGHTS).is_file():
                raise CheckpointError("The voice has no model.safetensors; export or train it again.")
            check_weights(bundle / WEIGHTS)
            write_card(bundle, card | {"name": name})
            if home.exists():
                shutil.rmtree(home)
            bundle.replace(home)
        own = {"builtin": False, "model_name": name}
        return self._registry.insert("models", _row_of(home, model_id) | facts | own)

    def _builtin(self) -> Rows:
        rows: Rows = []
        for card in sorted(self._builtin_dir.glob("*/card.json")):
            try:
                row = _row_of(card.parent, BUILTIN_PREFIX + card.parent.name)
            except CheckpointError:
                logger.exception("built-in voice %s is unusable", card.parent.name)
                continue
            rows.append(row | {"model_path": str(card.parent)})
        return rows

    def _row(self, caller: Caller, model_id: str) -> Row:
        if isinstance(model_id, str):
            row = self._registry.get("models", model_id)
            if row is not None and (row["builtin"] or caller.may_see(row)):
                return row
            for builtin in self._builtin():
                if builtin["id"] == model_id:
                    return builtin
        raise UnknownNameError(f"There is no voice {str(model_id)[:64]!r}; list the voices to see their ids.")

    def _changeable(self, caller: Caller, model_id: str) -> Row:
        row = self._row(caller, model_id)
        if row["builtin"]:
            raise NotAllowedError(
                f"{row['model_name']} comes with Timbre and cannot be changed; train or import your own."
            )
        return row


def _row_of(folder: Path, model_id: str) -> Row:
    """Return the row that a bundle's card gives, as a built-in voice has it."""
    card = read_card(folder)
    return {
        "id": model_id,
        "user_id": None,
        "model_name": str(card.get("name") or folder.name),
        "model_path": f"models/{model_id}",
        "training_audio_path": None,
        "training_duration_seconds": card_facts.seconds_of_audio(card),
        "training_job_id": None,
        "created_at": card_facts.created_at(card) or now(),
        "quality_snr": None,
        "builtin": True,
        "engine": card["engine"],
        "version": card["format_version"],
        "encoder": card.get("content_encoder"),
        "sample_rate_hz": card["sample_rate_hz"],
        "f0": card.get("f0", {}),
        "scores": card.get("training", {}).get("scores"),
        "consent": card_facts.consent(card),
        "told": card_facts.told(card),
        "imported_at": None,
        "size_bytes": size_bytes(folder),
    }


def _shown(row: Row, usage: Row | None) -> Row:
    """Return the voice as callers see it."""
    used = usage or {"uses": 0, "seconds_converted": 0.0, "last_used_at": None}
    whole = row | {name: used[name] for name in ("uses", "seconds_converted", "last_used_at")}
    whole["origin"] = "built in" if row["builtin"] else "trained" if row["training_job_id"] else "imported"
    # Rows of earlier versions know less.
    return {name: whole.get(name) for name in PUBLIC}

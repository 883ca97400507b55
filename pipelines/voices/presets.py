"""Presets: settings of a conversion under a name, kept for a person or with a voice, with which they travel.

A person's own are rows of the registry; those of a voice stand on its card as {"name", "settings"}, and only
who may change the voice may change them. Names are told apart without regard to capitals; saving under a name
that is taken replaces what it meant. On which day a person last came to their own is kept with these.
"""

from __future__ import annotations

import threading
from contextlib import suppress

from pipelines.job_spec import check_settings
from pipelines.store.records import Caller, Row, Rows, checked_name, checked_settings, new_id, now
from pipelines.store.registry import Registry
from pipelines.voices.bundle import MOST_PRESETS
from pipelines.voices.library import Library
from rvc.errors import LimitError, UnknownNameError

TABLE = "presets"
MOST_OF_A_PERSON = 50
DAY = len("2026-11-30")  # of a moment, so many characters


class Presets:
    """Safe for threads: what is read and then written, is so under one lock."""

    def __init__(self, registry: Registry, library: Library) -> None:
        self._registry = registry
        self._library = library
        self._lock = threading.Lock()

    def list(self, caller: Caller, model_id: str | None = None) -> Rows:
        """Return the caller's own presets, then those of a voice (they have its model_id)."""
        rows = self._registry.list(TABLE, user_id=caller.user_id)
        self._note_visit(rows)
        own = [{"name": row["name"], "settings": row["settings"], "model_id": None} for row in rows]
        return own + (self._of_voice(caller, model_id) if model_id else [])

    def save(self, caller: Caller, name: str, settings: Row, model_id: str | None = None) -> Row:
        """Keep settings under a name, for the caller or with a voice, and return the preset."""
        name, kept = checked_name(name, "preset"), checked_settings(settings)
        check_settings("conversion", settings or {})  # before JSON has made null of what is no number
        with self._lock:
            others = self._others(caller, name, model_id)
            most = MOST_PRESETS if model_id else MOST_OF_A_PERSON
            if len(others) >= most:
                said = f"There are {most} presets already, the most that are kept; delete one first."
                raise LimitError(said)
            if model_id:
                self._library.set_presets(caller, model_id, [*others, {"name": name, "settings": kept}])
            else:
                with self._registry.as_one():
                    self._forget(caller, name)
                    moment = now()
                    row: Row = {"id": new_id(), "user_id": caller.user_id, "name": name, "settings": kept}
                    self._registry.insert(TABLE, row | {"created_at": moment, "seen_at": moment})
        return {"name": name, "settings": kept, "model_id": model_id or None}

    def delete(self, caller: Caller, name: str, model_id: str | None = None) -> Row:
        """Remove a preset of the caller or of a voice, and return it."""
        name = checked_name(name, "preset")
        with self._lock:
            of_one = self._of_voice(caller, model_id) if model_id else self.list(caller)
            found = [row for row in of_one if _same(row, name)]
            if not found:
                raise UnknownNameError(f"There is no preset {name}; list the presets to see their names.")
            if model_id:
                self._library.set_presets(caller, model_id, self._others(caller, name, model_id))
            else:
                self._forget(caller, name)
        return found[0]

    def _note_visit(self, rows: Rows) -> None:
        moment = now()
        early = [row["id"] for row in rows if str(row.get("seen_at"))[:DAY] != moment[:DAY]]
        if early:
            with suppress(OSError):  # on a full disk the earlier day stays
                self._registry.update_many(TABLE, early, seen_at=moment)

    def _of_voice(self, caller: Caller, model_id: str) -> Rows:
        presets = self._library.get(caller, model_id).get("presets") or []
        return [preset | {"model_id": model_id} for preset in presets]

    def _others(self, caller: Caller, name: str, model_id: str | None) -> Rows:
        of_one = self._of_voice(caller, model_id) if model_id else self.list(caller)
        return [row for row in of_one if not _same(row, name)]

    def _forget(self, caller: Caller, name: str) -> None:
        rows = self._registry.list(TABLE, lambda row: _same(row, name), user_id=caller.user_id)
        self._registry.delete(TABLE, [row["id"] for row in rows])


def _same(row: Row, name: str) -> bool:
    return str(row["name"]).casefold() == name.casefold()

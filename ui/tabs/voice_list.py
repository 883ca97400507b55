"""What the lists of voices, cards on the Convert tab and the Voices tab, need of the server."""

from __future__ import annotations

from contextlib import suppress

from pipelines.store.records import Caller, Rows
from rvc.errors import RvcError
from ui.server.published import publish_once
from ui.server.services import Services


def sounds_of(services: Services, caller: Caller, rows: Rows) -> dict[str, str]:
    """Return by id where the page may play the sample of a voice, of those that have one."""
    sounds = {}
    for row in rows:
        if row["has_sample"]:
            with suppress(RvcError, FileNotFoundError):  # deleted meanwhile, or its files are lost
                path = services.library.sample(caller, row["id"])
                sounds[str(row["id"])] = publish_once(path, str(row["model_name"]))
    return sounds

"""What is sent in, taken in as its purpose asks."""

from __future__ import annotations

from pathlib import Path

from pipelines.recordings.songs import receive_song
from pipelines.recordings.sources import Named, refuse
from pipelines.recordings.uploads import receive, receive_batch, receive_voice
from pipelines.settings import Settings
from pipelines.store.records import Rows
from pipelines.users.limits import Spend


def receive_for(
    purpose: str, files: Named, folder: Path, settings: Settings, spend: Spend
) -> tuple[Rows, Rows]:
    """Return what an upload's row says of its files, and of a voice's recordings those that cannot be used.

    The purpose is one of UPLOAD_TYPES; AudioError and LimitError as of `receive`.
    """
    if purpose == "batch":
        return receive_batch(files, folder, settings, spend), []
    if purpose == "training":
        stored, refused = receive_voice(files, folder, settings, spend)
        return [file.to_json() for file in stored], refused
    if purpose == "song":
        return [file.to_json() for file in receive_song(files, folder, settings, spend)], []
    refuse(len(files) > 1, "A conversion takes one recording; upload the others one by one.")
    return [file.to_json() for file in receive(files, folder, settings, spend)], []

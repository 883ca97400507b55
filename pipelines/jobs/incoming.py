"""What comes in with an upload, by what it is for, and what of it a job takes up."""

from __future__ import annotations

from pathlib import Path

from pipelines.jobs.job_files import all_uploads_of, upload_of
from pipelines.recordings.songs import receive_song
from pipelines.recordings.sources import Named
from pipelines.recordings.uploads import batch_files, receive, receive_batch, receive_voice
from pipelines.settings import Settings
from pipelines.speech.texts import receive_lines, receive_text
from pipelines.store.records import UPLOAD_TYPES, Row, Rows
from pipelines.store.registry import Registry
from pipelines.users.limits import Spend
from rvc.errors import AudioError, ConfigError

_ONE_BY_ONE = {
    "target": "A conversion takes one recording; upload the others one by one.",
    "text": "One text is spoken at a time; send the others one by one.",
    "lines": "One text file is spoken at a time; send the others one by one.",
}


def require_purpose(purpose: str, files: Named) -> None:
    if purpose not in UPLOAD_TYPES:
        raise ConfigError(f"Unknown purpose {purpose!r}. Choose one of: {', '.join(UPLOAD_TYPES)}.")
    if purpose in _ONE_BY_ONE and len(files) > 1:
        raise AudioError(_ONE_BY_ONE[purpose])


def receive_files(
    files: Named, folder: Path, purpose: str, settings: Settings, spend: Spend
) -> tuple[Rows, Rows]:
    """Take files in; returns those of the row, and of a voice's recordings those that cannot be used."""
    if purpose == "batch":
        return receive_batch(files, folder, settings, spend), []
    if purpose in ("text", "lines"):
        if not files:
            raise ConfigError("No text was sent; send one.")
        ((path, name),) = files
        if purpose == "text":
            return receive_text(path, folder, spend), []
        return receive_lines(path, name, folder, settings.max_files, spend), []
    if purpose == "song":
        return [file.to_json() for file in receive_song(files, folder, settings, spend)], []
    if purpose == "training":
        stored, refused = receive_voice(files, folder, settings, spend)
    else:
        stored, refused = receive(files, folder, settings, spend), []
    return [file.to_json() for file in stored], refused


def taken_up(registry: Registry, type: str, sources: Rows, settings: Settings) -> Row:
    """Return what the row of a job says of the uploads and the files that it works on."""
    if type == "batch":
        if not sources:
            raise ConfigError("The batch names no recordings; upload them first.")
        uploads = {u["id"]: u for source in sources for u in all_uploads_of(registry, source)}
        upload, *_ = uploads.values()
        files, ids = batch_files(list(uploads.values()), settings), list(uploads)
    else:
        upload = upload_of(registry, sources[0])
        files, ids = upload["files"], []
        if upload["type"] != type and {type, upload["type"]} & {"batch", "cover"}:
            raise ConfigError(
                f"These recordings were sent in for a {upload['type']}; upload them again for this."
            )
        if upload["type"] == "speech" and type != "speech":
            raise ConfigError("This is a text that was sent in to be spoken; upload a recording for this.")
        if type == "speech" and upload["type"] != "speech":
            raise ConfigError("This is a recording, and no text to be spoken; start a conversion of it.")
        if type == "conversion" and len(files) != 1:
            raise ConfigError("A conversion takes one recording; upload the one to convert by itself.")
    path = upload["input_audio_path"]
    facts = {"upload_id": upload["id"], "upload_ids": ids, "input_audio_path": path, "files": files}
    return facts | {"refused": upload.get("refused", [])}

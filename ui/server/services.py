"""What every part of the page needs: the server's services, and how their errors and files reach a person."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.requests import HTTPConnection

from pipelines.jobs.intake import Intake
from pipelines.jobs.samples import Samples
from pipelines.jobs.service import Jobs
from pipelines.marks.inspection import inspect
from pipelines.monitoring import REFUSALS
from pipelines.recordings.sources import readable_name
from pipelines.settings import Settings
from pipelines.store.records import ID, Caller, Row, checked_name, require_admin
from pipelines.users.accounts import Account, Accounts
from pipelines.users.tokens import Tokens
from pipelines.voices.blending import blend_voices
from pipelines.voices.permission import record_consent
from pipelines.voices.pitch import measured_pitch, stated_pitch
from pipelines.voices.presets import Presets
from rvc.errors import AudioError, ConfigError, NotAllowedError, RvcError, UnknownNameError
from rvc.files import ROOT, is_disk_full
from rvc.sandbox import on_behalf_of
from ui.look.language import retold, tr
from ui.look.wording import consent_sentence
from ui.server.identity import Callers, is_local
from ui.server.published import is_alive, publish_file

logger = logging.getLogger(__name__)
Update = Any  # what Gradio takes as the new value or state of a component; it has no type of its own for it
Answer = dict[Any, Any]  # a listener's: component -> Update; going in, component -> value
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # for listeners
MOST_DIGITS = 12  # of a number that somebody means; int() refuses thousands
FOLLOWED = 400  # calls at the same time that follow a job, or start one and follow it
FOLLOWS: dict[str, Any] = {"concurrency_id": "follow", "concurrency_limit": FOLLOWED}
POLL_S = 0.5
ACTIVE = ("pending", "preprocessing", "training", "converting")
DISK_FULL = (
    "The server's disk is full, so nothing was kept; delete jobs or voices for good "
    "(what was only deleted keeps its room for a day), or ask whoever runs the server."
)
EXAMPLES = ROOT / "assets" / "examples"


@dataclass(frozen=True, kw_only=True)
class Services(Intake):
    """The collaborators of the page; built once in `app.py` and passed to every part."""

    presets: Presets  # checks the owner too
    callers: Callers
    shared: bool = False  # whether the page is also served by a public link

    @classmethod
    def of(cls, settings: Settings, jobs: Jobs, *, shared: bool = False) -> Services:
        """Put together the services of one server; a ConfigError if nobody of AUTH_FILE could log in."""
        tokens, accounts = Tokens(jobs.registry), None

        def end_tokens(account: Account) -> None:
            try:
                tokens.end_all(account.name, account.id)
            except OSError as error:
                logger.warning("tokens of %s are refused but could not be removed: %s", account.name, error)

        if settings.auth_file is not None:
            accounts = Accounts(settings.auth_file, on_removed=end_tokens)
            accounts.require()
        callers = Callers(settings.secret, tokens=tokens, accounts=accounts)
        presets = Presets(jobs.registry, jobs.library)
        return cls(
            settings=settings,
            jobs=jobs,
            presets=presets,
            callers=callers,
            shared=shared,
        )

    @property
    def samples(self) -> Samples:
        return Samples(self.jobs, self.settings.data_dir / "jobs")

    def caller(self, request: gr.Request | HTTPConnection | None) -> Caller:
        """Return who sent a request; every listener and endpoint asks."""
        caller = self.callers.authenticate(request)
        here = request is not None and self.settings.auth_file is None and self.is_local(request)
        return replace(caller, at_this_machine=here)

    def is_local(self, request: gr.Request | HTTPConnection) -> bool:
        """Whether somebody at this machine sent a request; never of a shared page, where nobody can tell."""
        peer = request.client.host if request.client else None
        scope = getattr(getattr(request, "request", request), "scope", {})
        version = str(scope.get("http_version", "1.1"))
        return not self.shared and is_local(peer, request.headers, version)

    def changes(self, caller: Caller, user_id: str | None) -> Iterator[Row]:
        """Give the rows of all jobs of a caller (an admin: of `user_id`) as they change, until none runs."""
        seen: dict[str, Row] = {}
        told_at = 0.0
        while True:
            rows = [row for row in self.jobs.list(caller, user_id=user_id) if row["status"] != "uploaded"]
            active = [row for row in rows if row["status"] in ACTIVE]
            for row in reversed(rows):
                known = seen.get(row["id"])
                if known != row and (known or row in active):
                    told_at = time.monotonic()
                    yield row
                seen[row["id"]] = row
            if not active:
                return
            if time.monotonic() - told_at >= self.settings.progress_interval_s:
                told_at = time.monotonic()
                yield active[0]
            time.sleep(POLL_S)

    def export(self, caller: Caller, model_id: str, form: str) -> str:
        """Pack a voice ("bundle", or "rvc" for other RVC programs); return the path that Gradio may serve."""
        row, archive = self.library.get(caller, model_id), self.packed(caller, model_id, form)
        return publish_file(archive, str(row["model_name"]), self.library.folder(caller, model_id))

    def blend_voices(self, caller: Caller, model_ids: list[str], shares: list[float], name: str) -> Row:
        """Make a new voice of several; it counts as something started."""
        self.jobs.limits.take("starts", caller)
        with self.jobs.quota.room(caller) as spend:
            return blend_voices(self.library, caller, model_ids, shares, name, spend)

    def save_preset(self, caller: Caller, name: str, settings: Row, model_id: str | None) -> Row:
        """Keep settings under a name, for the caller or with a voice; it counts as something started."""
        self.jobs.limits.take("starts", caller)
        return self.presets.save(caller, name, settings, model_id)

    def set_voice_pitch(
        self, caller: Caller, model_id: str, pitch: object, files: list[tuple[Path, str]]
    ) -> Row:
        """Say where a voice lies, in a word or in numbers (see `stated_pitch`), or by one recording of it."""
        self.library.changeable(caller, model_id)
        if (pitch in ("", None)) != bool(files) or len(files) > 1:
            raise ConfigError(
                "Say one thing of the pitch: low, middle, high, a median in Hz, or a recording of the voice."
            )
        if not files:
            return self.library.set_pitch(caller, model_id, stated_pitch(pitch))
        ((recording, name),) = files
        self._require_sendable(caller, recording, name)
        with on_behalf_of(caller.user_id):
            f0 = measured_pitch(recording, name)
        return self.library.set_pitch(caller, model_id, f0)

    def is_synthetic(self, caller: Caller, files: list[tuple[Path, str]]) -> Row:
        """Say which marks of synthetic sound one recording has (see `inspect`); it counts as sent in."""
        if len(files) != 1:
            raise ConfigError("Send one recording to look for its marks.")
        ((path, name),) = files
        self._require_sendable(caller, path, name)
        with on_behalf_of(caller.user_id):
            return inspect(path, readable_name(name))

    def sentence_of_consent(self, caller: Caller, model_id: str, speaker: str) -> str:
        """Return what a speaker reads aloud to allow the use of a voice, in the visitor's language."""
        row = self.library.changeable(caller, model_id)
        return consent_sentence(row["model_name"], checked_name(speaker, "speaker"))

    def record_consent(
        self, caller: Caller, model_id: str, speaker: str, files: list[tuple[Path, str]]
    ) -> Row:
        """Keep a spoken consent with a voice: one recording of `sentence_of_consent`."""
        sentence = self.sentence_of_consent(caller, model_id, speaker)
        if len(files) != 1:
            raise ConfigError("Send one recording of the sentence, read aloud.")
        ((path, name),) = files
        self._require_sendable(caller, path, name)
        spoken = {"speaker": speaker, "sentence": sentence, "name": readable_name(name)}
        with on_behalf_of(caller.user_id):
            return record_consent(self.library, caller, model_id, path, spoken)

    def _require_sendable(self, caller: Caller, recording: Path, name: str) -> None:
        if recording.stat().st_size > self.settings.max_file_size_bytes:
            raise AudioError(f"{name} is too large; send at most {self.settings.max_file_size_mb:g} MB.")
        self.jobs.limits.take("uploads", caller)

    def is_deleted(self, table: str, row_id: str) -> bool:
        """Whether a job or a voice is in the trash."""
        row = self.jobs.registry.get(table, row_id) if table in ("jobs", "models") else None
        return bool(row and row.get("deleted_at"))

    def with_result(self, caller: Caller, row: Row) -> Row:
        """Add to a completed row what it made: "audio" or "zip", a file, or "model", the voice's row."""
        if row["status"] != "completed":
            return row
        files = {"batch": ("zip", f"as {row['model_name']}")}
        files |= {"conversion": ("audio", "converted"), "speech": ("audio", "spoken")}
        files |= {"cover": ("audio", "converted")}
        if row["type"] in files:
            key, name = files[row["type"]]
            path = publish_file(self.jobs.files.result_path(caller, row["id"]), name)
            return row | {key: gr.FileData(path=path).model_dump()}
        if row["type"] == "training" and row.get("model_id"):
            # The voice may have been deleted since.
            with suppress(UnknownNameError):
                return row | {"model": self.library.get(caller, row["model_id"])}
        return row


def admin_of(services: Services, request: gr.Request | None) -> Caller:
    """Return who sent a request, as an admin; without a login and a public link, who sits here is one."""
    caller = services.caller(request)
    if request is not None and services.settings.auth_file is None and services.is_local(request):
        caller = Caller(caller.user_id, admin=True)
    require_admin(caller)
    return caller


@contextmanager
def as_gr_error(*, to_program: bool = False) -> Iterator[None]:
    """Show an RvcError's sentence as it stands, and a full disk as one; anything else goes to the log.

    The page draws it as HTML, a program reads it.
    """
    try:
        yield
    except (RvcError, OSError) as error:
        said = error_message(error)
        shown_said = said if to_program else shown(said)
        raise gr.Error(shown_said, print_exception=False, title=tr("Error")) from error


def error_message(error: RvcError | OSError) -> str:
    """Count a refusal and return what a person is told of it; raises what is neither that nor a full disk."""
    if isinstance(error, RvcError):
        REFUSALS.labels(type(error).__name__).inc()
        return retold(str(error))
    if not is_disk_full(error):
        raise error
    REFUSALS.labels("DiskFull").inc()
    logger.error("the disk is full", exc_info=error)
    return retold(DISK_FULL)


def warn_of(text: str) -> None:
    """Tell what is still missing before a button can do its work."""
    gr.Warning(shown(retold(text)), title=tr("One thing first"))


def inform(text: str) -> None:
    """Tell what has been done."""
    gr.Info(shown(retold(text)), title=tr("Info"))


def shown(text: str) -> str:
    """Return the HTML that shows a text as it is: a toast would take what a person typed for markup."""
    return escape(text, quote=False)


def throttle(rows: Iterator[Row], every_s: float = 0.5) -> Iterator[Row]:
    """Leave out rows that come faster than a page can draw them; changes of state always pass."""
    passed_s, status = float("-inf"), ""
    for row in rows:
        moment_s = time.monotonic()
        if row["status"] != status or moment_s - passed_s >= every_s:
            passed_s, status = moment_s, row["status"]
            yield row


def validate_id(text: object, what: str) -> str:
    """Return an id that a client sent; a NotAllowedError if it cannot be one."""
    if isinstance(text, str) and ID.fullmatch(text):
        return text
    raise NotAllowedError(f"{str(text)[:40]!r} is not the id of a {what}; take one from the list.")


def event_value(event: gr.EventData, name: str) -> str:
    """Return what a button of ours told when it was pressed; "" for whatever else a client may have sent."""
    told = event._data.get(name) if isinstance(event._data, dict) else None
    return told if isinstance(told, str) else ""


def pressed_job(event: gr.EventData) -> str:
    """Return the id of the job whose button was pressed; a NotAllowedError if it cannot be one."""
    return validate_id(event_value(event, "job"), "job")


def whole_number(sent: object) -> int | None:
    """Return a whole number that somebody typed, or a component told; None of what is none, or absurd."""
    text = sent.strip() if isinstance(sent, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def uploaded_files(files: object) -> list[tuple[Path, str]]:
    """Return where each file lies that was sent in, and what the person called it; nothing for nothing.

    `files`: one or several paths, or file objects of an endpoint (a dict or a FileData). An AudioError if
    something among them is no file that was sent in.
    """
    if not files:
        return []
    uploads = Path(get_upload_folder()).resolve()
    found = []
    for one in files if isinstance(files, list | tuple) else [files]:
        facts = one if isinstance(one, dict) else getattr(one, "model_dump", dict)()
        path = facts.get("path") if facts else one
        # A path is only a name that a client sent: without this check it could be any file of this machine.
        if not isinstance(path, str) or not _arrived(path, uploads):
            raise AudioError("One of the files did not arrive; send files with gradio_client's handle_file.")
        found.append((Path(path), str(facts.get("orig_name") or Path(path).name)))
    return found


def _arrived(path: str, uploads: Path) -> bool:
    """Whether a path names a file in the folder of uploads; it may hold anything that a text can."""
    try:
        return is_alive(path) and Path(path).resolve().is_relative_to(uploads) and Path(path).is_file()
    except (OSError, ValueError):  # longer than paths can be, or with a null character
        return False

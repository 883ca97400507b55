"""What every part of the page needs: the house's services, and how their errors and files reach a person.

Who runs the server: an admin; without users whoever sits at this machine, unless the page is shared.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder

from pipelines.job_spec import check_training
from pipelines.jobs.admin import require_admin
from pipelines.jobs.outcome import require_training
from pipelines.jobs.service import remove_job
from pipelines.monitoring import REFUSALS
from pipelines.store.records import UPLOAD_TYPES, Caller
from pipelines.users.accounts import Accounts
from pipelines.users.tokens import Tokens
from rvc.errors import AudioError, CheckpointError, ConfigError, NotAllowedError, RvcError, UnknownNameError
from ui.server.identity import Callers, is_local

if TYPE_CHECKING:
    import gradio as gr
    from starlette.requests import HTTPConnection

    from pipelines.jobs.service import Jobs
    from pipelines.settings import Settings
    from pipelines.store.records import Caller
    from pipelines.voices.library import Library


logger = logging.getLogger(__name__)
Row = dict[str, Any]
Update = Any
"""What Gradio takes as the new value or state of a component; it has no type of its own for it."""
CONSENT = "This is my voice, or I have permission to use it"
"""What a person states before a training; kept in the voice's card."""
POLL_S = 0.5
ACTIVE = ("pending", "preprocessing", "training", "converting")
ENDED = ("completed", "failed", "cancelled", "interrupted")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = (
    "The server's disk is full, so nothing was kept; delete jobs or voices that you no longer need, "
    "or ask whoever runs the server."
)
EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"


@dataclass(frozen=True, kw_only=True)
class Services:
    """The collaborators of the page; built once in `app.py` and passed to every part.

    Attributes:
        settings: Limits and folders.
        jobs: The dispatcher; checks the owner of every row itself.
        library: The voices on disk; checks the owner too.
        callers: Tells who is calling.
        shared: Whether the page is also served by a public link.
    """

    settings: Settings
    jobs: Jobs
    library: Library
    callers: Callers
    shared: bool = False

    @property
    def local_admin(self) -> bool:
        """Whether who sits at this machine is an admin: where nobody logs in and nothing is shared."""
        return not self.shared and self.settings.auth_file is None

    @classmethod
    def of(cls, settings: Settings, jobs: Jobs, *, shared: bool = False) -> Services:
        """Put together the services of one server.

        Args:
            settings: Limits and folders.
            jobs: The dispatcher.
            shared: Whether the page is also served by a public link.

        Raises:
            ConfigError: AUTH_FILE names nobody who could log in.
        """
        accounts = None
        if settings.auth_file is not None:
            accounts = Accounts(settings.auth_file)
            accounts.require()
        callers = Callers(settings.secret, tokens=Tokens(jobs.registry), accounts=accounts)
        return cls(settings=settings, jobs=jobs, library=jobs.library, callers=callers, shared=shared)

    def caller(self, request: gr.Request | HTTPConnection | None) -> Caller:
        """Return who sent a request.

        Raises:
            NotAllowedError: Nothing tells who it was.
        """
        return self.callers.of(request)

    def submit(self, caller: Caller, kind: str, job_id: str, settings: Row, **voice: str) -> Row:
        """Start a job on an upload; a training not against the owner's will.

        Args:
            caller: Who asks.
            kind: preprocessing, training or conversion.
            job_id: The upload.
            settings: The job's settings; "consent": true says that the caller may use the
                voice, and is kept on its card.
            **voice: model_name or model_id.

        Returns:
            The job's row.

        Raises:
            NotAllowedError: The settings say that there is no permission, or nothing is trained here.
            RvcError: A setting is wrong, or the dispatcher refuses it.
        """
        if not isinstance(settings, dict):
            raise ConfigError(
                "The settings are not a JSON object; give names and values, or {} for the defaults."
            )
        if kind == "training":
            require_training(self.settings)
        if kind == "training" and "consent" in settings:
            if settings["consent"] is not True:
                raise NotAllowedError(
                    "A voice is only trained with its owner's permission; when you have it, send the setting "
                    f'"consent": true, which says: {CONSENT}.'
                )
            given_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
            settings = settings | {"consent": {"statement": CONSENT, "given_at": given_at}}
        if kind == "training":
            check_training(settings)
        return self.jobs.submit(caller, kind, job_id, settings=settings, **voice)

    def send_and_submit(
        self, caller: Caller, files: list[tuple[Path, str]], kind: str, settings: Row, **voice: str
    ) -> Row:
        """Take in recordings and start a job on them; when that is refused, nothing of them is kept.

        Args:
            caller: Who asks.
            files: Where each lies, and its name.
            kind: preprocessing (of recordings of a voice), training, conversion or batch.
            settings: The job's settings.
            **voice: model_name or model_id.

        Returns:
            The job's row.

        Raises:
            RvcError: The recordings or the job are refused.
        """
        purposes = {job_type: purpose for purpose, job_type in UPLOAD_TYPES.items()}
        purpose = purposes.get(kind, "training")
        uploaded = self.jobs.upload(caller, files, purpose)
        try:
            return self.submit(caller, kind, uploaded["id"], settings, **voice)
        except BaseException:
            remove_job(self.jobs, caller, uploaded["id"])
            raise

    def start_batch(self, caller: Caller, job_ids: list[str], model_id: str, settings: Row) -> Row:
        """Start to convert all recordings of some uploads; return the job's row.

        Raises:
            RvcError: The dispatcher refuses it.
        """
        return self.jobs.submit_batch(caller, job_ids, model_id=model_id, settings=settings)

    def changes(self, caller: Caller, user_id: str | None) -> Iterator[Row]:
        """Give the rows of all jobs of a caller as they change, until none waits or runs.

        Args:
            caller: Who asks.
            user_id: Whose jobs; heeded for an admin only.
        """
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
        """Pack a voice for its download.

        Args:
            caller: Who asks.
            model_id: The voice.
            form: "bundle", or "rvc" for a voice that other RVC programs can read.

        Returns:
            Path of the file, where Gradio may serve it.

        Raises:
            ConfigError: The form is unknown, or the voice cannot take it.
            UnknownNameError: There is no such voice of the caller's.
            CheckpointError: The voice's files are damaged.
            LimitError: The caller has started too much within an hour.
        """
        row = self.library.get(caller, model_id)
        self.jobs.limits.take("starts", caller)
        if form == "bundle":
            archive = self.library.export_bundle(caller, model_id)
        elif form == "rvc":
            archive = self.library.export_rvc(caller, model_id)
        else:
            raise ConfigError(
                f"There is no format {str(form)[:40]!r}; export the voice in the format 'bundle' or 'rvc'."
            )
        return hand_out(archive, str(row["model_name"]))

    def take_in(self, caller: Caller, files: list[tuple[Path, str]], name: str | None) -> Row:
        """Import a voice.

        Args:
            caller: Who will own it.
            files: A zip, or a .pth and maybe its .index, each with its name.
            name: What it shall be called; as in the files when empty.

        Returns:
            The voice's row.

        Raises:
            CheckpointError: It is too large, or not one voice.
            LimitError: The caller has sent in too much within an hour, or has no room on the disk.
        """
        limit = self.settings.max_voice_file_mb
        for path, called in files:
            size_mb = path.stat().st_size / 1e6
            if size_mb > limit:
                raise CheckpointError(
                    f"{called} has {size_mb:.4g} MB; import files of at most {limit:g} MB "
                    "(a voice can do without its index)."
                )
        self.jobs.limits.take("uploads", caller)
        self.jobs.quota.require(caller, sum(path.stat().st_size for path, _ in files))
        with self.jobs.quota.room(caller) as spend:
            return self.library.import_voice(caller, [path for path, _ in files], name, spend)

    def with_result(self, caller: Caller, row: Row) -> Row:
        """Add to a completed row what it made: "audio" or "zip", a file, or "model", the voice's row."""
        if row["status"] != "completed":
            return row
        if row["type"] == "batch":
            path = hand_out(self.jobs.result_path(caller, row["id"]), f"as {row['model_name']}")
            return row | {"zip": gr.FileData(path=path).model_dump()}
        if row["type"] == "conversion":
            path = hand_out(self.jobs.result_path(caller, row["id"]), "converted")
            return row | {"audio": gr.FileData(path=path).model_dump()}
        if row["type"] == "training" and row.get("model_id"):
            # The voice may have been deleted since.
            with suppress(UnknownNameError):
                return row | {"model": self.library.get(caller, row["model_id"])}
        return row


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show an RvcError's sentence as it stands, and a full disk as one; anything else goes to the log."""
    try:
        yield
    except (RvcError, OSError) as error:
        raise gr.Error(told(error), print_exception=False) from error


def told(error: RvcError | OSError) -> str:
    """Count a refusal and return what a person is told of it: its own sentence, or that the disk is full.

    Raises:
        OSError: The error itself, when it is another fault.
    """
    if isinstance(error, RvcError):
        REFUSALS.labels(type(error).__name__).inc()
        return str(error)
    if error.errno not in NO_ROOM:
        raise error
    REFUSALS.labels("DiskFull").inc()
    logger.error("the disk is full", exc_info=error)
    return DISK_FULL


def calmly(rows: Iterator[Row], every_s: float = 0.5) -> Iterator[Row]:
    """Leave out rows that come faster than a page can draw them; changes of state always pass."""
    passed_s, status = float("-inf"), ""
    for row in rows:
        moment_s = time.monotonic()
        if row["status"] != status or moment_s - passed_s >= every_s:
            passed_s, status = moment_s, row["status"]
            yield row


def remind(text: str) -> None:
    """Tell what is still missing before a button can do its work."""
    gr.Warning(text, title="One thing first")


def plain_id(text: object, what: str) -> str:
    """Return an id that a client sent, refused early when it cannot be one.

    Raises:
        NotAllowedError: It is empty, too long or has other characters than an id has.
    """
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        return text
    raise NotAllowedError(f"{str(text)[:40]!r} is not the id of a {what}; take one from the list.")


def hand_out(path: Path, name: str) -> str:
    """Put a file where Gradio may serve it, in a folder whose name nobody can guess.

    The folder is Gradio's own cache, so no other folder of the data is ever served; `delete_cache`
    removes the link later, never the original.

    Args:
        path: The file to give away.
        name: What the downloaded file shall be called, without its ending.

    Returns:
        The path to return from a handler.
    """
    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    plain = re.sub(r"[^\w -]+", "", name).strip()[:80] or "timbre"
    target = folder / f"{plain}{path.suffix}"
    try:
        os.link(path, target)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(path, target)
    return str(target)


def received(files: object) -> list[tuple[Path, str]]:
    """Return where each file lies that a component or an endpoint took in, and what the person called it.

    Args:
        files: One or several paths, or file objects of an endpoint (a dict or a FileData).

    Returns:
        (path, name); empty when there is no file.

    Raises:
        AudioError: Something among them is no file that was sent in.
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
        return Path(path).resolve().is_relative_to(uploads) and Path(path).is_file()
    except (OSError, ValueError):  # longer than paths can be, or with a null character
        return False


def admin_of(services: Services, request: gr.Request | None) -> Caller:
    """Return who sent a request as an admin.

    Raises:
        NotAllowedError: It is no admin's.
    """
    caller = services.caller(request)
    peer = request.client.host if request is not None and request.client else None
    if request is not None and services.local_admin and is_local(peer, request.headers):
        caller = Caller(caller.user_id, admin=True)
    require_admin(caller)
    return caller

"""What a person can do with jobs: upload, submit, follow, cancel, retry, resume, fetch.

    Jobs            checks the caller and the wish, writes the row, answers
    dispatcher.py   runs what is pending, in order
    worker.py       does the work, in a child process

Every call takes the caller first and answers another user's job exactly like one that does not exist.
Nothing here waits for a job, except follow(), whose iterator may be dropped at any time without effect
on the job. This process never imports torch.

What a person sees of jobs: rows, lists of them, what they report, and their changes as they come.

Every call takes the caller first and answers another user's job exactly like one that does not exist.

Deleting a job for good: its row, its files, and the upload it worked on when nothing else needs that.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.jobs.cleanup import ARRIVING, daily, remove_expired, sweep_at_start
from pipelines.jobs.dispatcher import WORKER_COMMAND, Desk, Dispatcher
from pipelines.jobs.job_files import JobFiles
from pipelines.jobs.outcome import RETRY_PAUSES_S
from pipelines.jobs.progress import EventLog
from pipelines.logs import about_job
from pipelines.recordings.uploads import (
    batch_files,
    has_more_to_do,
    receive,
    receive_batch,
    require_enough,
)
from pipelines.settings import Settings
from pipelines.store.records import (
    CONVERTING,
    ENDED,
    JOB_TYPES,
    RESTARTABLE,
    UPLOAD_TYPES,
    Caller,
    Row,
    Rows,
    checked_name,
    checked_settings,
    new_id,
    new_job,
    now,
    unknown_job,
    uploads_of,
)
from pipelines.store.registry import Registry
from pipelines.users.quota import Quota, Spend
from pipelines.users.rate_limits import Limits
from pipelines.voices.library import Library
from rvc.errors import AudioError, ConfigError, NotAllowedError

if TYPE_CHECKING:
    from pipelines.store.records import Caller, Row
    from pipelines.store.registry import Registry


class JobView(JobFiles):
    """The jobs of one data folder as they are now; the half of Jobs that only looks. Safe for threads."""

    _settings: Settings
    _dispatcher: Dispatcher
    _lock: threading.RLock

    def get(self, caller: Caller, job_id: str) -> Row:
        """Return a job's row.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
        """
        with self._lock:
            return self._dispatcher.public(self._row(caller, job_id))

    def list(
        self,
        caller: Caller,
        *,
        user_id: str | None = None,
        type: str | None = None,
        status: str | None = None,
    ) -> Rows:
        """Return the caller's jobs, newest first; an admin's list holds everybody's.

        Args:
            caller: Who asks.
            user_id: Only this user's jobs; heeded for an admin only.
            type: Only jobs of this type.
            status: Only jobs in this state.
        """
        owner = user_id if caller.admin else caller.user_id
        wanted = {"user_id": owner, "type": type, "status": status}
        equal: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        with self._lock:
            rows = self.registry.list("jobs", **equal)
            return self._dispatcher.public_rows(sorted(rows, key=lambda row: row["seq"], reverse=True))

    def follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        """Iterate over a job's row: at every change, at least every 2 s, the last when it has ended.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's; raised by the call itself.
        """
        self.get(caller, job_id)
        return self._follow(caller, job_id)

    def events(self, caller: Caller, job_id: str, since: int = 0) -> Rows:
        """Return what a job has reported, oldest first.

        Each event has n (1, 2, ...), time, fraction, stage, message, eta_s and data (losses, the name of a
        sample for artifact(), ...).

        Args:
            caller: Who asks.
            job_id: The job.
            since: Only events with a greater n.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
        """
        with self._lock:
            row = self._row(caller, job_id)
            log = self._dispatcher.event_log(row["id"]) or EventLog(self._folder(row["id"]) / "events.jsonl")
            return log.read(since)

    def _follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        watch = self._dispatcher.watch
        with watch.subscription(job_id) as inbox:
            row = self.get(caller, job_id)
            yield row
            while row["status"] not in ENDED and row["status"] != "uploaded":
                with self._lock:
                    rows = watch.wait(inbox, self._settings.progress_interval_s) or [self.get(caller, job_id)]
                for row in rows:
                    yield row
                    if row["status"] in ENDED:
                        return


__all__ = ["Caller", "Jobs"]
MAX_PENDING_PER_USER = 100


class Jobs(JobView):
    """All jobs of one data folder. Safe for threads.

    Args:
        settings: Data folder, limits and times.
        worker_command: Program and arguments of a child, by default `python -m pipelines.worker`; with
            `--tasks MODULE` added, the child knows further types of work (see worker.py).
        retry_pauses_s: Rest before the second, third, ... try of a job that failed through a fault.

    Attributes:
        library: The voices.
        limits: How often each caller may do what.
        quota: How much of the disk each caller may take.
        lock: Held while rows are looked at and changed together.

    Raises:
        ConfigError: Another server uses the data folder, or its registry cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        worker_command: Sequence[str] | None = None,
        retry_pauses_s: Sequence[float] = RETRY_PAUSES_S,
    ) -> None:
        self._settings = settings
        super().__init__(Registry(settings.data_dir), settings.data_dir / "jobs")
        self._jobs_dir.mkdir(exist_ok=True)
        self.library = Library(settings.data_dir, self.registry)
        self.limits = Limits.of(settings)
        self.quota = Quota(self.registry, self._jobs_dir, settings.quota_bytes)
        self._dispatcher = Dispatcher(
            Desk(
                settings=settings,
                registry=self.registry,
                library=self.library,
                worker_command=worker_command or WORKER_COMMAND,
                retry_pauses_s=retry_pauses_s,
                housekeeping=self._keep_house,
            )
        )
        self._lock = self.lock = self._dispatcher.lock
        self._last_seq = max((row["seq"] for row in self.registry.list("jobs")), default=0)

    def start(self) -> None:
        """Sweep up behind an earlier server, then run what is pending."""
        sweep_at_start(self.registry, self._jobs_dir, self.library)
        self.library.sweep()
        self._keep_house()
        self._dispatcher.start()

    def close(self) -> None:
        """Interrupt what runs, end all children and release the data folder."""
        self._dispatcher.close()
        self.registry.close()

    def health(self) -> Row:
        """Return dispatcher (bool), pending, running (counts), computing (ids), converter (bool), pids."""
        return self._dispatcher.health()

    # --- beginning ---------------------------------------------------------------------------------

    def upload(self, caller: Caller, files: Sequence[tuple[Path, str]], purpose: str) -> Row:
        """Check, decode and keep recordings, and return their row (status "uploaded").

        Args:
            caller: Who will own them.
            files: Where each lies now, and what the person calls it.
            purpose: "training" for recordings of a voice, "target" for one to convert, "batch" for many to
                convert, zips among them; there a file that is refused stays in the list with its reason.

        Raises:
            AudioError: A file is refused, or all of a batch; nothing is kept then.
            ConfigError: The purpose is unknown.
            LimitError: The caller has sent in too much within an hour, or has no room on the disk.
        """
        if purpose not in UPLOAD_TYPES:
            raise ConfigError(f"Unknown purpose {purpose!r}. Choose one of: {', '.join(UPLOAD_TYPES)}.")
        if purpose == "target" and len(files) > 1:
            raise AudioError("A conversion takes one recording; upload the others one by one.")
        self.limits.take("uploads", caller)
        job_id = new_id()
        folder = self._folder(job_id)
        folder.mkdir()
        try:
            (folder / ARRIVING).touch()
            with about_job(job_id), self.quota.room(caller) as spend:
                kept = self._receive(files, folder, purpose, spend)
                row = self._keep(caller, purpose, job_id, kept)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / ARRIVING).unlink()
        return row

    def _receive(self, files: Sequence[tuple[Path, str]], folder: Path, purpose: str, spend: Spend) -> Rows:
        if purpose == "batch":
            return receive_batch(files, folder, self._settings, spend)
        stored = receive(files, folder, self._settings, spend)
        if purpose == "training":
            require_enough(stored)
        return [file.to_json() for file in stored]

    def _keep(self, caller: Caller, purpose: str, job_id: str, files: Rows) -> Row:
        first = next(file for file in files if "original" in file)
        with self._lock:
            row = new_job(
                caller.user_id,
                UPLOAD_TYPES[purpose],
                status="uploaded",
                seq=self._next_seq(),
                id=job_id,
                files=files,
                input_audio_path=f"jobs/{job_id}/{first['original']}",
                progress=1.0,
            )
            return self._dispatcher.public(self.registry.insert("jobs", row))

    def submit(  # noqa: PLR0913  # one parameter for each of the endpoint's
        self,
        caller: Caller,
        type: str,  # the name that rows and endpoints have
        input_job_id: str,
        *,
        model_name: str | None = None,
        model_id: str | None = None,
        settings: dict[str, Any] | None = None,
    ) -> Row:
        """Queue work on an upload and return its row at once (status "pending").

        Args:
            caller: Who asks.
            type: "preprocessing", "training", "conversion" or "batch".
            input_job_id: An upload, or a job that worked on one; a training that names a preparation
                uses that one's settings.
            model_name: What the voice shall be called (training).
            model_id: The voice to convert into (conversion, batch).
            settings: The pipeline's options by name; every key is optional.

        Raises:
            UnknownNameError: There is no such job or voice, or it is somebody else's.
            ConfigError: The type, the name or the settings are wrong.
            NotAllowedError: The caller has too many jobs waiting.
            LimitError: The caller has started too many jobs within an hour, or has no room on the disk.
        """
        if type not in JOB_TYPES:
            raise ConfigError(f"Unknown type of job {type!r}. Choose one of: {', '.join(JOB_TYPES)}.")
        if type == "batch":
            return self.submit_batch(caller, [input_job_id], model_id=model_id, settings=settings)
        options = checked_settings({} if settings is None else settings)
        voice = self._voice_of(caller, type, model_name, model_id)
        self.quota.require(caller)
        with self._lock:
            source = self._row(caller, input_job_id)
            upload = self._upload_of(source)
            if upload["type"] == "batch":
                raise ConfigError("These recordings were sent in for a batch; upload them again for this.")
            if type == "conversion" and len(upload["files"]) != 1:
                raise ConfigError("A conversion takes one recording; upload the one to convert by itself.")
            return self._enqueue(caller, type, source, [upload], {"settings": options, **voice})

    def submit_batch(
        self,
        caller: Caller,
        input_job_ids: Sequence[str],
        *,
        model_id: str | None,
        settings: dict[str, Any] | None = None,
    ) -> Row:
        """Queue the conversion of many recordings and return its row at once.

        Args:
            caller: Who asks.
            input_job_ids: Uploads, or jobs that worked on them; all their recordings are converted.
            model_id: The voice.
            settings: As for a conversion.

        Raises:
            UnknownNameError: There is no such job or voice, or it is somebody else's.
            ConfigError: No upload, one that has expired, too many files, or wrong settings.
            NotAllowedError: The caller has too many jobs waiting.
        """
        options = checked_settings({} if settings is None else settings)
        voice = self._voice_of(caller, "batch", None, model_id)
        self.quota.require(caller)
        with self._lock:
            sources = [self._row(caller, job_id) for job_id in dict.fromkeys(input_job_ids)]
            if not sources:
                raise ConfigError("The batch names no recordings; upload them first.")
            uploads = {upload["id"]: upload for source in sources for upload in self._uploads_of(source)}
            files = batch_files(list(uploads.values()), self._settings)
            facts = {"settings": options, "files": files, "upload_ids": list(uploads), **voice}
            return self._enqueue(caller, "batch", sources[0], list(uploads.values()), facts)

    def _enqueue(self, caller: Caller, type: str, source: Row, uploads: Rows, facts: Row) -> Row:
        """Write the row of work on uploads, and its folder; the caller holds the lock."""
        self._admit(caller)
        common: Row = {
            "input_job_id": source["id"],
            "upload_id": uploads[0]["id"],
            "input_audio_path": uploads[0]["input_audio_path"],
            "quality_snr": source["quality_snr"],
            "files": uploads[0]["files"],
            "message": "Waiting",
        }
        row = new_job(caller.user_id, type, status="pending", seq=self._next_seq(), **(common | facts))
        folder = self._folder(row["id"])
        folder.mkdir()
        try:
            self.registry.insert("jobs", row)
        except BaseException:
            folder.rmdir()
            raise
        return self._changed(row)

    def _voice_of(self, caller: Caller, type: str, model_name: str | None, model_id: str | None) -> Row:
        """Name and id of the voice that is to be made (no id yet) or spoken; none for a preparation."""
        if type == "training":
            return {"model_name": checked_name(model_name, "voice"), "model_id": None}
        if type in CONVERTING:
            model = self.library.get(caller, str(model_id))
            return {"model_name": model["model_name"], "model_id": model["id"]}
        return {"model_name": None, "model_id": None}

    def _admit(self, caller: Caller) -> None:
        waiting = self.registry.list("jobs", status="pending", user_id=caller.user_id)
        if len(waiting) >= MAX_PENDING_PER_USER:
            raise NotAllowedError(f"You have {len(waiting)} jobs waiting; wait for one, or cancel one.")
        self.limits.take("starts", caller)

    # --- steering ----------------------------------------------------------------------------------

    def cancel(self, caller: Caller, job_id: str) -> Row:
        """Stop a job: a waiting one at once, a running one when it has saved; return its row.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
            NotAllowedError: It has ended, or is an upload.
        """
        with self._lock:
            row = self._row(caller, job_id)
            if self._dispatcher.stop(row["id"], "cancel"):
                self._dispatcher.wake()
                return self._dispatcher.public(row)
            if row["status"] != "pending":
                raise NotAllowedError(
                    f"This job is {row['status']}; only one that waits or runs is cancelled."
                )
            moment = now()
            changes = {"status": "cancelled", "message": "Cancelled", "updated_at": moment}
            return self._changed(self.registry.update("jobs", row["id"], completed_at=moment, **changes))

    def retry(self, caller: Caller, job_id: str) -> Row:
        """Queue a failed, cancelled or interrupted job again, from its start; return its row.

        A batch never starts again with what it has converted: it goes on, as with resume().

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
            NotAllowedError: It is in another state.
        """
        return self._again(caller, job_id, from_start=True)

    def resume(self, caller: Caller, job_id: str) -> Row:
        """Queue a failed, cancelled or interrupted job again, from what it has saved; return its row.

        A completed batch of which some recordings failed tries those again.

        Raises:
            UnknownNameError: There is no such job, or it is somebody else's.
            NotAllowedError: It is in another state.
        """
        return self._again(caller, job_id, from_start=False)

    def _again(self, caller: Caller, job_id: str, *, from_start: bool) -> Row:
        self.quota.require(caller)
        with self._lock:
            row = self._row(caller, job_id)
            from_start = from_start and row["type"] != "batch"
            if row["status"] not in RESTARTABLE and not has_more_to_do(row):
                raise NotAllowedError(
                    f"This job is {row['status']}; what failed or was cancelled or interrupted runs again."
                )
            self._uploads_of(row)
            self._admit(caller)
            changes: Row = {"progress": 0.0} if from_start else {}
            if from_start:
                for name in ("work", "bundle", "result"):
                    shutil.rmtree(self._folder(row["id"]) / name, ignore_errors=True)
                (self._folder(row["id"]) / "events.jsonl").unlink(missing_ok=True)
            changes |= {"status": "pending", "seq": self._next_seq(), "attempts": 0, "not_before": 0.0}
            changes |= {"dead_letter": False, "error_message": None, "completed_at": None}
            changes |= {"message": "Waiting", "stage": "", "updated_at": now()}
            return self._changed(self.registry.update("jobs", row["id"], **changes))

    # --- inside ------------------------------------------------------------------------------------

    def _changed(self, row: Row) -> Row:
        """Tell the dispatcher and the followers of a changed row, and return it as callers see it."""
        self._dispatcher.announce(row, state_changed=True)
        self._dispatcher.wake()
        return self._dispatcher.public(row)

    def _next_seq(self) -> int:
        self._last_seq += 1
        return self._last_seq

    def _keep_house(self) -> None:
        with self._lock:
            remove_expired(self.registry, self._settings)
            self.library.expire_exports()
            daily(self.registry, self._settings)


def remove_job(jobs: Jobs, caller: Caller, job_id: str) -> Row:
    """Delete a job that has ended, or an upload, with its files; voices that a training made stay.

    The upload of a job goes with the last job that works on it. A crash in between leaves folders without
    rows, which the next start removes.

    Args:
        jobs: The dispatcher.
        caller: Who asks.
        job_id: The job or the upload.

    Returns:
        The row that is gone.

    Raises:
        UnknownNameError: There is no such job, or it is somebody else's.
        NotAllowedError: It waits or runs, or other jobs need it.
    """
    with jobs.lock:
        shown = jobs.get(caller, job_id)
        gone = _forget(jobs.registry, job_id)
    for gone_id in gone:
        shutil.rmtree(jobs.registry.path.parent / "jobs" / gone_id, ignore_errors=True)
    return shown


def _forget(registry: Registry, job_id: str) -> list[str]:
    """Remove the row of a job, and those of its uploads on which no other job works; return the ids."""
    row = registry.get("jobs", job_id)
    if row is None:
        raise unknown_job(job_id)
    if row["status"] not in ENDED and row["status"] != "uploaded":
        raise NotAllowedError(f"This job is {row['status']}; stop it first, then delete it.")
    others = [other for other in registry.list("jobs") if other["id"] != row["id"]]
    if row["status"] == "uploaded":
        users = [other for other in others if row["id"] in uploads_of(other)]
        if users:
            raise NotAllowedError(
                f"{len(users)} of your jobs work on this upload; delete them, and it goes with the last."
            )
        gone = [row["id"]]
    else:
        if any(other["input_job_id"] == row["id"] and other["status"] not in ENDED for other in others):
            raise NotAllowedError(
                "A job that was started from this one waits or runs; wait for it, or stop it."
            )
        gone = [row["id"], *uploads_of(row).difference(*(uploads_of(other) for other in others))]
    registry.delete("jobs", gone)
    return gone

"""What a person can do with jobs: upload, submit, follow, cancel, retry, resume, delete.

Every call takes the caller first and answers another user's job exactly like one that does not exist. Nothing
waits for a job but follow(), whose iterator may be dropped at any time without effect on the job. The
dispatcher runs what is pending; workers do it, in child processes. This process never imports torch.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.jobs import cleanup
from pipelines.jobs.archived import ArchivedJobs
from pipelines.jobs.cleanup import CleanUp
from pipelines.jobs.cluster import ClusterBackend
from pipelines.jobs.dispatcher import Dispatcher
from pipelines.jobs.incoming import receive_files, require_purpose, taken_up
from pipelines.jobs.job_files import JobFiles, all_uploads_of, job_of
from pipelines.jobs.live_seat import LiveSeat
from pipelines.jobs.outcome import RETRY_PAUSES_S, cancelled, ended
from pipelines.jobs.processes import WORKER_COMMAND, LocalBackend
from pipelines.jobs.reviews import Reviews
from pipelines.jobs.trash import coming_with, going_with
from pipelines.jobs.workers import Backend
from pipelines.logs import about_job
from pipelines.recordings.uploads import has_more_to_do, tried_again
from pipelines.settings import Settings
from pipelines.store import records
from pipelines.store.clock import Clock
from pipelines.store.layout import ARRIVING
from pipelines.store.records import (
    CONVERTING,
    ENDED,
    RUNNING,
    UPLOAD_TYPES,
    Caller,
    Row,
    Rows,
    new_job,
    voice_deleted,
)
from pipelines.store.registry import Registry
from pipelines.users.limits import Limits, Quota, Share
from pipelines.users.signatures import Signatures
from pipelines.voices.library import EXPORT_LIFE_S, Library
from rvc.errors import ConfigError, NotAllowedError, UnknownNameError
from rvc.sandbox import on_behalf_of

logger = logging.getLogger(__name__)
MAX_PENDING_PER_USER = 100


class Jobs:
    """All jobs of one data folder. Safe for threads; `lock` is held while rows are looked at and changed.

    A job that failed through a fault rests for the retry pauses before its second, third, ... try. With
    `own_only`, jobs that were waiting before stay so: who comes for one job does not begin with others'.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        worker_command: Sequence[str] = WORKER_COMMAND,
        retry_pauses_s: Sequence[float] = RETRY_PAUSES_S,
        own_only: bool = False,
        backend: Backend | None = None,
    ) -> None:
        self._settings = settings
        self._jobs_dir = settings.data_dir / "jobs"
        self.registry = Registry(settings.data_dir)
        self._clock = Clock(settings.data_dir)
        self._jobs_dir.mkdir(exist_ok=True)
        self.library = Library(settings.data_dir, self.registry)
        self.files = JobFiles(self.registry, self._jobs_dir)
        self.archived = ArchivedJobs(settings.data_dir / "archive")
        self.limits = Limits.of(settings)
        self.quota = Quota(self.registry, self._jobs_dir, settings.quota_bytes)
        self._last_seq = max(self.registry.values("jobs", "seq"), default=0)
        if backend is None:
            backend = (ClusterBackend if settings.ray_address else LocalBackend)(settings, worker_command)
        self.dispatcher = Dispatcher(
            *(settings, self.registry, self.library, backend, retry_pauses_s, self._housekeeping),
            after_seq=self._last_seq if own_only else 0,
        )
        self.lock = self.dispatcher.lock
        self.estimate = self.dispatcher.estimates.of  # how long a job would take here
        self.live = LiveSeat(self, settings)
        self.reviews = Reviews(self.registry, self._jobs_dir, self.lock)

    def start(self) -> None:
        with self.registry.reserve.spent():  # on a full disk too: who would free it needs a server
            Signatures(self._settings.secret).renew_ids(self.registry)
            cleanup.recover_on_start(self.registry, self._jobs_dir, self.library)
        self.library.recover()
        self._housekeeping()
        self.dispatcher.start()

    def close(self) -> None:
        self.live.close()
        self.dispatcher.close()
        self.registry.close()

    def get(self, caller: Caller, job_id: str) -> Row:
        with self.lock:
            return self.dispatcher.public(job_of(self.registry, caller, job_id))[0]

    def list(  # noqa: PLR0913  # what is asked for
        self,
        caller: Caller,
        *,
        user_id: str | None = None,
        type: str | None = None,
        status: str | None = None,
        deleted: bool = False,
        where: Callable[[Row], bool] = lambda _: True,
        most: int = 0,
    ) -> Rows:
        """Return the caller's jobs, newest first; an admin's list holds everybody's, or those of user_id.

        Or those that were deleted and can be restored. At most so many, of those that fulfil a condition.
        """
        owner = user_id if caller.admin else caller.user_id
        wanted = {"user_id": owner, "type": type, "status": status}
        equal: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        with self.lock:
            rows = self.registry.list(
                "jobs",
                lambda row: bool(row.get("deleted_at")) == deleted and where(row),
                newest=most,
                **equal,
            )
            return self.dispatcher.public(*sorted(rows, key=lambda row: row["seq"], reverse=True))

    def events(self, caller: Caller, job_id: str, since: int = 0) -> Rows:
        """Return what a job has reported after the event number `since`, oldest first.

        Each event has n (1, 2, ...), time, fraction, stage, message, eta_s and data (losses, ...).
        """
        with self.lock:
            return self.dispatcher.event_log(job_of(self.registry, caller, job_id)["id"]).read(since)

    def follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        """Iterate over a job's row: at every change, at least every 2 s, the last when it has ended."""
        self.get(caller, job_id)  # the call itself refuses, not the first step of the iterator
        return self._follow(caller, job_id)

    def _follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        subscriptions = self.dispatcher.subscriptions
        with subscriptions.subscribe(job_id) as news:
            row = self.get(caller, job_id)
            yield row
            while row["status"] not in ENDED and row["status"] != "uploaded":
                with self.lock:
                    rows = subscriptions.wait(news, self._settings.progress_interval_s)
                    rows = rows or [self.get(caller, job_id)]
                for row in rows:
                    yield row
                    if row["status"] in ENDED:
                        return

    def upload(self, caller: Caller, files: Sequence[tuple[Path, str]], purpose: str) -> Row:
        """Check, decode and keep recordings (path, what the person calls it), and return their row.

        The purpose is "training" for recordings of a voice, "target" for one to convert, "batch" for many to
        convert; "song" for a song, or its vocals and its backing; "text" for a text file that is spoken,
        "lines" for one of which each line is. Of a voice or a batch there may be zips; what cannot be used is
        in "refused" of a voice's row and among the files of a batch, with its reason.
        """
        require_purpose(purpose, files)
        self.limits.take("uploads", caller)
        job_id = records.new_id()
        folder = self._jobs_dir / job_id
        folder.mkdir()
        try:
            (folder / ARRIVING).touch()
            with about_job(job_id), on_behalf_of(caller.user_id), self.quota.room(caller) as spend:
                kept, refused = receive_files(files, folder, purpose, self._settings, spend)
                first = next(file["original"] for file in kept if "original" in file)
                facts: Row = {"id": job_id, "files": kept, "refused": refused}
                facts["input_audio_path"] = f"jobs/{job_id}/{first}"
                with self.lock:
                    seq, kind = self.next_seq(), UPLOAD_TYPES[purpose]
                    row = new_job(caller.user_id, kind, status="uploaded", seq=seq, progress=1.0, **facts)
                    row = self.dispatcher.public(self.registry.insert("jobs", row))[0]
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / ARRIVING).unlink()
        return row

    def submit(  # noqa: PLR0913  # one parameter for each of the endpoint's
        self,
        caller: Caller,
        type: str,  # the name that rows and endpoints have
        input_job_id: str,
        *,
        model_name: str | None = None,
        model_id: str | None = None,
        settings: Row | None = None,
    ) -> Row:
        """Queue work on an upload, or on that of another job, and return its row at once (status "pending").

        A training has a model_name and uses the settings of the preparation that it names as its input; a
        conversion, a speech and a batch have a model_id. Every key of the settings is optional.
        """
        records.require_type(type)
        options = records.checked_settings(settings)
        voice: Row = {}
        if type == "training":
            voice = {"model_name": records.checked_name(model_name, "voice")}
        elif type in CONVERTING:
            voice = {"model_id": model_id}
        return self._enqueue(caller, type, [input_job_id], options, voice)

    def submit_batch(
        self, caller: Caller, input_job_ids: Sequence[str], *, model_id: str, settings: Row | None = None
    ) -> Row:
        """Queue the conversion of all recordings of some uploads or jobs that worked on them, as submit()."""
        options = records.checked_settings(settings)
        return self._enqueue(caller, "batch", input_job_ids, options, {"model_id": model_id})

    def _speaking(self, caller: Caller, model_id: str | None) -> Row:
        model = self.library.get(caller, str(model_id))
        return {"model_name": model["model_name"], "model_id": model["id"]}

    def _enqueue(
        self, caller: Caller, type: str, input_job_ids: Sequence[str], settings: Row, voice: Row
    ) -> Row:
        self.quota.require(caller)
        with self.lock:
            if type in CONVERTING:
                voice = self._speaking(caller, voice["model_id"])  # here, where nobody deletes it meanwhile
            sources = [job_of(self.registry, caller, job_id) for job_id in dict.fromkeys(input_job_ids)]
            facts = taken_up(self.registry, type, sources, self._settings) | voice
            facts |= {"settings": settings, "message": "Waiting"}
            facts |= {"input_job_id": sources[0]["id"], "quality_snr": sources[0]["quality_snr"]}
            self._admit(caller)
            row = new_job(caller.user_id, type, status="pending", seq=self.next_seq(), **facts)
            folder = self._jobs_dir / row["id"]
            folder.mkdir()
            try:
                self.registry.insert("jobs", row)
            except BaseException:
                folder.rmdir()
                raise
            return self._changed(row)

    def _admit(self, caller: Caller) -> None:
        waiting = self.dispatcher.pending.count_of(caller.user_id)
        if waiting >= MAX_PENDING_PER_USER:
            raise NotAllowedError(f"You have {waiting} jobs waiting; wait for one, or cancel one.")
        self.limits.take("starts", caller)

    def cancel(self, caller: Caller, job_id: str) -> Row:
        """Stop a job: a waiting one at once, a running one when it has saved; return its row.

        A training that was trained on is then completed, as it was before.
        """
        with self.lock:
            row = job_of(self.registry, caller, job_id)
            if self.dispatcher.stop(row["id"], "cancel"):
                self.dispatcher.wake()
                return self.get(caller, job_id)
            if row["status"] != "pending":
                raise NotAllowedError(
                    f"This job is {row['status']}; only one that waits or runs is cancelled."
                )
            with self.registry.reserve.spent():  # it is to be deleted, perhaps
                return self._end(row, cancelled(row))

    def retry(self, caller: Caller, job_id: str) -> Row:
        """Queue a failed, cancelled or interrupted job again, from its start; return its row.

        Neither a batch starts again with what it has converted, nor a training that has made a voice: they go
        on, as with resume().
        """
        return self._again(caller, job_id, from_start=True)

    def resume(self, caller: Caller, job_id: str) -> Row:
        """Queue a failed, cancelled or interrupted job again, from what it has saved; return its row.

        A completed batch of which some recordings failed tries those again.
        """
        return self._again(caller, job_id, from_start=False)

    def extend(self, caller: Caller, job_id: str, changes: Row) -> Row:
        """Queue a completed job again with changes to its row, from what it has saved; return its row."""
        return self._again(caller, job_id, from_start=False, extended=changes)

    def _again(self, caller: Caller, job_id: str, *, from_start: bool, extended: Row | None = None) -> Row:
        self.quota.require(caller)
        with self.lock:
            row = job_of(self.registry, caller, job_id)
            restartable = row["status"] in records.RESTARTABLE or has_more_to_do(row)
            if not (row["status"] == "completed" if extended else restartable):
                raise NotAllowedError(
                    f"This job is {row['status']}; what failed or was cancelled or interrupted runs again."
                )
            all_uploads_of(self.registry, row)  # none has expired
            if row["type"] in CONVERTING:
                self.library.folder_of_job(row)  # it was not deleted
            self._admit(caller)
            changes: Row = extended or {}
            if row["type"] == "batch":
                changes |= tried_again(row["files"])
            if from_start and row["type"] != "batch" and not records.has_made_voice(row):
                changes["progress"] = 0.0
                folder = self._jobs_dir / row["id"]
                for name in ("work", "bundle", "result"):
                    shutil.rmtree(folder / name, ignore_errors=True)
                (folder / "events.jsonl").unlink(missing_ok=True)
            changes |= {"status": "pending", "seq": self.next_seq(), "attempts": 0, "not_before": 0.0}
            changes |= {"dead_letter": False, "error_message": None, "completed_at": None}
            changes |= {"message": "Waiting", "stage": "", "updated_at": records.now()}
            return self._changed(self.registry.update("jobs", row["id"], **changes))

    def remove(self, caller: Caller, job_id: str, purge: bool = False) -> Row:
        """Put a job that has ended, or an upload, into the trash, or remove it for good, from there too.

        Trained voices stay. Its upload goes with the last job that works on it. Returns the row that it had.
        A crash leaves folders without rows at most, which the next start removes.
        """
        with self.lock, self.registry.reserve.spent():
            row = job_of(self.registry, caller, job_id, deleted_too=purge)
            gone = going_with(self.registry, row, purge=purge)
            if not purge:
                self.registry.update_many("jobs", gone, deleted_at=records.now())
                return self.dispatcher.public(*self.registry.list("jobs", id=row["id"]))[0]
            self.registry.delete("jobs", gone)
        for gone_id in gone:
            shutil.rmtree(self._jobs_dir / gone_id, ignore_errors=True)
        return self.dispatcher.public(row)[0]

    def restore(self, caller: Caller, job_id: str) -> Row:
        """Take a job out of the trash, with its upload, and return its row."""
        with self.lock:
            row = job_of(self.registry, caller, job_id, deleted_too=True)
            self.registry.update_many("jobs", coming_with(row), deleted_at=None)
            return self.get(caller, job_id)

    def delete_voice(self, caller: Caller, model_id: str, *, force: bool = False, purge: bool = False) -> Row:
        """Put a voice into the trash, or with `purge` remove it for good, from there too; return its row.

        NotAllowedError while jobs wait for it or use it; with `force` they fail instead, saying why.
        """
        with self.lock, self.registry.reserve.spent():
            row = self.library.changeable(caller, model_id, deleted_too=purge)
            if (use := self.use_of(row["id"])) and not force:
                raise NotAllowedError(
                    f"{row['model_name']} is in use by {use}; wait for them or stop them, or delete it with "
                    "force, which fails them."
                )
            gone = self.library.delete(caller, row["id"], purge=purge)
            said = str(voice_deleted(row["model_name"]))
            for job in self._jobs_in(row["id"]):
                if not self.dispatcher.stop(job["id"], "deleted"):
                    self._end(job, ended("failed", error_message=said))
            self.live.end(row["id"])
            self.dispatcher.wake()
            return gone

    def use_of(self, model_id: str) -> str:
        """Say how many jobs wait for a voice or use it, of which kind; "" for none."""
        with self.lock:
            counts = Counter([*(job["type"] for job in self._jobs_in(model_id)), *self.live.uses(model_id)])
        called = {"speech": ("text", "texts"), "batch": ("batch", "batches")}
        told = [
            f"{count} {called.get(kind, (kind, f'{kind}s'))[count > 1]}"
            for kind, count in sorted(counts.items(), reverse=True)
        ]
        return " and ".join(told)

    def _jobs_in(self, model_id: str) -> Rows:
        rows = self.registry.list("jobs", model_id=model_id)
        active = RUNNING | {"pending"}
        return [row for row in rows if row["type"] in CONVERTING and row["status"] in active]

    def restore_voice(self, caller: Caller, model_id: str) -> Row:
        """Take a voice out of the trash and return its row, maybe under another name."""
        with self.lock:  # the clean-up does not take it meanwhile
            return self.library.restore(caller, model_id)

    def clean_up(self, caller: Caller, *, dry_run: bool) -> CleanUp:
        """Remove what had its time and what belongs to nothing, or only tell what it would be.

        ConfigError where some of it is old only by a clock that is not trusted.
        """
        records.require_admin(caller)
        work = cleanup.find if dry_run else cleanup.remove
        with self.lock:
            self._clock.look()
            if not dry_run and cleanup.doubtful(self.registry, self._settings, self._clock):
                raise ConfigError(self._clock.sentence())
            return work(self.registry, self._settings)

    def shares(self, caller: Caller) -> Sequence[Share]:
        records.require_admin(caller)
        return self.quota.shares()

    def drain(self, caller: Caller, node: str, *, on: bool) -> None:
        """Start nothing more on a machine of the cluster, what runs there going on; or do so again."""
        records.require_admin(caller)
        with self.lock:
            if not self.dispatcher.backend.drain(node, on=on):
                raise UnknownNameError(
                    f"There is no machine {node[:64]!r} in the cluster; choose one on the Admin page."
                )

    def dead_letters(self, caller: Caller, *, most: int = 0) -> Rows:
        records.require_admin(caller)
        return self.list(caller, status="failed", where=lambda row: bool(row["dead_letter"]), most=most)

    def _end(self, row: Row, changes: Row) -> Row:
        return self._changed(self.registry.update("jobs", row["id"], **changes))

    def _changed(self, row: Row) -> Row:
        self.dispatcher.backend.asked(row["id"])
        self.dispatcher.announce(row, state_changed=True)
        self.dispatcher.wake()
        return self.dispatcher.public(row)[0]

    def next_seq(self) -> int:
        self._last_seq += 1
        return self._last_seq

    def _housekeeping(self) -> None:
        with self.lock:
            self._clock.look()
            try:
                self.registry.reserve.make()
                cleanup.keep_house(self.registry, self._settings, clock=self._clock)
                self.library.expire_exports(self._clock.before(EXPORT_LIFE_S))
            except OSError:
                logger.exception("what had its time could not be removed; it is tried again")

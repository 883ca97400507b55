"""The one seat in which somebody speaks live: who has it, the child that speaks, and what is kept of it.

While it is taken, nothing computes that nobody waits for, and nothing takes it away but its end: the speaker
leaves, the voice is deleted, the server is closed. What was said and what the voice made of it then become a
recording and a conversion, completed, among the others of the speaker.

    DATA_DIR/jobs/<id>/    where the child writes; named by no row until then, so that a crash leaves nothing
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pipelines.jobs.dispatcher import Dispatcher
from pipelines.jobs.job_files import upload_of
from pipelines.jobs.outcome import ended, signing_of
from pipelines.jobs.processes import environment_of
from pipelines.logs import about_job
from pipelines.settings import Settings
from pipelines.store.layout import ARRIVING
from pipelines.store.records import Caller, Row, new_id, new_job, voice_deleted
from pipelines.store.registry import Registry
from pipelines.users.limits import Limits, Quota
from pipelines.voices.library import Library
from rvc.errors import NotAllowedError, RvcError
from rvc.files import ROOT

logger = logging.getLogger(__name__)
LIVE_COMMAND = (sys.executable, "-m", "pipelines.live.child")
TAKEN = "Somebody else speaks live on this server just now; try again in a few minutes."
TAKEN_BY_YOU = "You speak live already, in another tab or program; stop there first."
CLOSED = "The server is being closed; start again in a minute."
SHORTEST_S = 1.0  # of a session of which something is kept
LEAVING_S = 5.0
# Two threads that wait for each other are late whenever anything else runs.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
OF_UPLOAD = ("files", "input_audio_path", "quality_snr")  # what a job has of its upload


class Jobs(Protocol):
    """What the seat needs of all jobs (service.py)."""

    registry: Registry
    library: Library
    limits: Limits
    quota: Quota
    dispatcher: Dispatcher

    def upload(self, caller: Caller, files: Sequence[tuple[Path, str]], purpose: str) -> Row: ...

    def next_seq(self) -> int: ...


@dataclass(eq=False)
class Sitting:
    """Who has the seat, and the child that speaks; `over` is the sentence that ends it from here."""

    caller: Caller
    job_id: str
    folder: Path
    model: Row
    child: subprocess.Popen[bytes]
    over: str = ""

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)


class LiveSeat:
    """Safe for threads; whoever takes the seat must leave it."""

    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings
        self.command: Sequence[str] = LIVE_COMMAND
        self._lock = threading.Lock()
        self._sitting: Sitting | None = None
        self._taken_by: Caller | None = None

    def uses(self, model_id: str) -> list[str]:
        """Say what uses a voice here: nothing, or a session."""
        sitting = self._sitting
        speaks = sitting is not None and not sitting.over and sitting.model["id"] == model_id
        return ["session of Live"] if speaks else []

    def take(self, caller: Caller, model_id: str) -> Sitting:
        """Sit down to speak in a voice, and start the child; NotAllowedError while somebody sits there."""
        model = self._jobs.library.get(caller, model_id)
        self._jobs.quota.require(caller)
        with self._lock:
            if self._taken_by is not None:
                mine = self._taken_by.user_id == caller.user_id
                raise NotAllowedError(TAKEN_BY_YOU if mine else TAKEN)
            self._jobs.limits.take("starts", caller)
            self._taken_by = caller
        job_id = new_id()
        folder = self._settings.data_dir / "jobs" / job_id
        try:
            self._jobs.dispatcher.make_room(live=True)
            (folder / "result").mkdir(parents=True)
            (folder / ARRIVING).touch()
            self._sitting = Sitting(caller, job_id, folder, model, self._started(folder))
        except BaseException:
            self._stand_up(folder)
            raise
        logger.info("live: %s in process %d", model["model_name"], self._sitting.child.pid)
        return self._sitting

    def folder_of(self, sitting: Sitting) -> Path:
        """Return the folder of the voice that shall speak."""
        return self._jobs.library.folder(sitting.caller, sitting.model["id"])

    def marking(self) -> Row:
        """Return how the child marks what it speaks, as it is told."""
        signing = signing_of(self._settings)
        paths = {name: path and str(path) for name, path in vars(signing).items()} if signing else None
        return {"marks": self._settings.mark_output, "signing": paths}

    def change(self, sitting: Sitting, model_id: str) -> Row:
        """Note that another voice is wanted from now on, and return its row."""
        sitting.model = self._jobs.library.get(sitting.caller, model_id)
        return sitting.model

    def end(self, model_id: str) -> None:
        """End the session that speaks in a voice, which was deleted."""
        if self.uses(model_id) and self._sitting is not None:
            self._sitting.over = str(voice_deleted(self._sitting.model["model_name"]))

    def close(self) -> None:
        if (sitting := self._sitting) is not None:
            sitting.over = CLOSED
            sitting.kill()

    def leave(self, sitting: Sitting, kept: Row | None) -> Row | None:
        """Stand up, however it ended, and return the conversion that is kept of it, if the child kept any."""
        row = None
        try:
            self._end_child(sitting)
            if kept is not None and float(kept["seconds"]) >= SHORTEST_S:
                with about_job(sitting.job_id):
                    row = self._keep(sitting, kept)
        except (RvcError, OSError) as error:
            logger.warning("live: what was spoken could not be kept: %s", error)
        finally:
            self._stand_up(sitting.folder, keep=row is not None)
        return row

    def _started(self, folder: Path) -> subprocess.Popen[bytes]:
        with (folder / "worker.log").open("ab") as log:
            return subprocess.Popen(
                list(self.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **environment_of(self._settings), **ONE_THREAD},
                bufsize=0,
                start_new_session=True,
            )

    def _end_child(self, sitting: Sitting) -> None:
        child, deadline = sitting.child, time.monotonic() + LEAVING_S
        with suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        sitting.kill()
        child.wait()
        with suppress(OSError):
            if child.stdout is not None:
                child.stdout.close()

    def _keep(self, sitting: Sitting, kept: Row) -> Row:
        """Make an upload of what was said, and a completed conversion of what the voice made of it."""
        result = sitting.folder / "result"
        said, made = (result / Path(str(kept[name])).name for name in ("said", "made"))
        name = f"Live {datetime.now():%H.%M}.flac"
        uploaded = self._jobs.upload(sitting.caller, [(said, name)], "target")
        said.unlink()
        seconds = float(kept["seconds"])
        facts = ended("completed", progress=1.0, stage="") | {
            "id": sitting.job_id,
            "upload_id": uploaded["id"],
            "input_job_id": uploaded["id"],
            "model_id": str(kept["model_id"]),
            "model_name": str(kept["model_name"]),
            "output_audio_path": f"result/{made.name}",
            "result": {"seconds": seconds, "transpose_semitones": kept["semitones"], "live": True},
        }
        with self._jobs.dispatcher.lock:
            upload = upload_of(self._jobs.registry, {"status": "", "upload_id": uploaded["id"]})
            facts |= {name: upload[name] for name in OF_UPLOAD}
            row = new_job(sitting.caller.user_id, "conversion", seq=self._jobs.next_seq(), **facts)
            row = self._jobs.registry.insert("jobs", row)
            self._jobs.dispatcher.announce(row, state_changed=True)
        self._jobs.library.record_use(row["model_id"], [seconds])
        return row

    def _stand_up(self, folder: Path, *, keep: bool = False) -> None:
        (folder / ARRIVING).unlink(missing_ok=True)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._sitting = self._taken_by = None
        self._jobs.dispatcher.make_room(live=False)

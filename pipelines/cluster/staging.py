"""What of the data folder goes to the machine that does a job, and what comes back from it.

    server                        shared folder                   machine
    DATA_DIR/jobs/<id>, ...  ──>  lists/<id>.in, objects   ──>    <scratch>/jobs/<id>, ...
                             <──  lists/<id>.out, objects  <──    what the job made, as it makes it

A machine's scratch folder looks like the data folder. What a job makes is staged out every few seconds, so
that another machine goes on from the last checkpoint when this one dies.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from filelock import FileLock, Timeout

from pipelines.cluster.store import FRESH_S, Listing, SharedStore
from pipelines.events import LAST_WORDS
from pipelines.job_spec import SPEC_FILE

logger = logging.getLogger(__name__)
STAGE_OUT_S = 2.0
SETTLED_S = 1.0  # since its last write, until a file of a running job is taken for whole
_PATHS = ("folder", "upload_folder", "model_folder")  # of a spec, absolute
_LEFT_HERE = {
    SPEC_FILE,
    "events.jsonl",
    "worker.lock",
}  # of a job's folder: the server's own, or the worker's
_TOKEN_BYTES = 8  # of a scratch folder's name


def read_spec(folder: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8"))
    return spec


def has_made_files(event: Mapping[str, Any]) -> bool:
    """Whether an event tells of a file that may be asked for from now on, while the job goes on.

    That is a training's sample or a state that is the best so far, or a recording of a batch.
    """
    data = event.get("data") or {}
    file = data.get("file") or {}
    return bool(data.get("sample") or data.get("is_best") or file.get("status") == "completed")


def _files_in(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is no half of one."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if not path.name.startswith(".") and path.is_file():
            yield path


class ServerFiles:
    """The server's end: a job's files into the shared folder, and what it made out of it."""

    def __init__(self, address: str, data_dir: Path) -> None:
        self._store = SharedStore(address)
        self._data_dir = data_dir

    def upload(self, job_id: str, ended: Event | None = None) -> bool:
        """Keep all that a job needs, and has saved in an earlier try; False if it was ended meanwhile."""
        folder = self._data_dir / "jobs" / job_id
        if (folder / "events.jsonl").exists():  # else the job has begun anew from the start
            with suppress(FileNotFoundError):  # of what was kept too long ago, or came damaged
                self.fetch(job_id)  # which a server that died before could not do
        spec = read_spec(folder)
        uploads = {Path(spec["upload_folder"]), *self._uploads_of(spec)}
        folders = {folder, *uploads}
        if spec["model_folder"] is not None:
            folders.add(Path(spec["model_folder"]))
        listing: Listing = {}
        for path in (path for one in sorted(folders) for path in _files_in(one)):
            if ended is not None and ended.is_set():
                return False
            if path.is_relative_to(self._data_dir) and path.name not in _LEFT_HERE - {SPEC_FILE}:
                listing[path.relative_to(self._data_dir).as_posix()] = self._store.put(path)
        self._store.remove_listing(f"{job_id}.out")
        self._store.write_listing(f"{job_id}.in", listing)
        return True

    def fetch(self, job_id: str) -> None:
        """Fetch what a job has staged out since it was last fetched."""
        listing = self._store.read_listing(f"{job_id}.out") or {}
        folder = self._data_dir / "jobs" / job_id
        if not folder.is_dir():
            return  # it was deleted meanwhile
        allowed = folder.resolve(), Path(read_spec(folder)["upload_folder"]).resolve() / "prepared"
        for name, entry in listing.items():
            path = (self._data_dir / name).resolve()
            if path.name in _LEFT_HERE or not any(map(path.is_relative_to, allowed)):
                raise OSError(f"the shared folder names {name[:80]!r}, which is none of a job's files")
            if not self._store.has(entry, path):
                self._store.get(entry, path)
        if listing:  # what the job has removed itself, such as old checkpoints
            for path in _files_in(folder / "work"):
                if path.relative_to(self._data_dir).as_posix() not in listing:
                    path.unlink()

    def forget(self, job_id: str) -> None:
        """Remove what only this job's way through the shared folder needed."""
        for end in ("in", "out"):
            self._store.remove_listing(f"{job_id}.{end}")

    def clean_up(self) -> int:
        return self._store.clean_up()

    def _uploads_of(self, spec: dict[str, Any]) -> set[Path]:
        ids = {file["upload_id"] for file in spec["files"] if file.get("upload_id")}
        return {self._data_dir / "jobs" / upload_id for upload_id in ids}


class NodeFiles:
    """A machine's end: a job's files out of the shared folder, and what it makes into it.

    For one worker program, that does one job at a time. What is downloaded of weights, and the lock of the
    device, are those of the machine.
    """

    def __init__(self, address: str, data_dir: Path, device: str) -> None:
        self._store = SharedStore(address)
        self._data_dir = str(data_dir)
        base = Path(tempfile.gettempdir()) / f"timbre-{getpass.getuser()}"
        self._device_lock = base / f"{device}.lock"
        (base / "weights").mkdir(parents=True, exist_ok=True)
        _remove_left(base)
        self.root = base / secrets.token_hex(_TOKEN_BYTES)
        self._in_use = _lock_of(self.root)
        self._in_use.acquire()  # before the folder is there
        self.root.mkdir()
        (self.root / "weights").symlink_to(base / "weights")
        self._job_id = ""
        self._staged: Listing = {}
        self._seen: dict[str, tuple[int, int, float]] = {}  # size, mtime in ns, and when it was put
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None

    def local(self, text: str) -> str:
        """Return a path of the server's data folder as it is here; anything else as it is."""
        if text == self._data_dir or text.startswith(f"{self._data_dir}/"):
            return str(self.root) + text.removeprefix(self._data_dir)
        return text

    def stage_in(self, job_id: str, *, stages_out: bool = True, ended: Event | None = None) -> bool:
        """Fetch all that a job needs, and then stage out what it makes; False if it was ended meanwhile.

        OSError if some of it is missing or damaged.
        """
        listing = self._store.read_listing(f"{job_id}.in")
        if listing is None:
            raise OSError(f"the shared folder knows nothing of the job {job_id}")
        shutil.rmtree(self.root / "jobs", ignore_errors=True)  # of the job before
        folder = self.root / "jobs" / job_id
        allowed = [self.root.resolve() / name for name in ("jobs", "models")]
        for name, entry in listing.items():
            if ended is not None and ended.is_set():
                return False
            path = (self.root / name).resolve()
            if not any(map(path.is_relative_to, allowed)):
                raise OSError(f"the shared folder names {name[:80]!r}, which is no file of a job or a voice")
            if not self._store.has(entry, path):
                self._store.get(entry, path)
        spec = read_spec(folder)
        spec |= {name: self.local(spec[name]) for name in _PATHS if spec[name] is not None}
        spec["device_lock"] = str(self._device_lock)
        (folder / SPEC_FILE).write_text(json.dumps(spec), encoding="utf-8")
        if not stages_out:
            return True
        made = {path.relative_to(self.root).as_posix() for path in self._made(folder)}
        with self._lock:
            self._job_id = job_id
            self._staged = {name: entry for name, entry in listing.items() if name in made}
            self._seen = {}
        if self._watch is None:
            self._watch = threading.Thread(target=self._stage_out_often, name="staging", daemon=True)
            self._watch.start()
        return True

    def note(self, event: dict[str, Any]) -> None:
        """Stage out all of a job that has said its last word, before that is passed on."""
        if event.get("event") in LAST_WORDS:
            self.stage_out()
            with self._lock:
                self._job_id = ""  # the server forgets its listings now
        elif has_made_files(event):
            self._try_to_stage_out(settled_s=0.0)

    def stage_out(self, *, settled_s: float | None = None) -> None:
        """Keep what the job has made; of a running one, what is new and was not written to for a moment."""
        with self._lock:
            if not (job_id := self._job_id):
                return
            folder = self.root / "jobs" / job_id
            listing: Listing = {}
            for path in self._made(folder):
                name = path.relative_to(self.root).as_posix()
                with suppress(FileNotFoundError):  # it has been replaced just now
                    state = path.stat()
                    if settled_s is not None and (
                        time.time() - state.st_mtime < settled_s or self._is_staged(name, state)
                    ):
                        if name in self._staged:
                            listing[name] = self._staged[name]
                        continue
                    listing[name] = self._store.put(path)
                    self._seen[name] = (state.st_size, state.st_mtime_ns, time.time())
            if listing != self._staged:
                self._store.write_listing(f"{job_id}.out", listing)
                self._staged = listing

    def leave(self) -> None:
        """Remove the scratch folder."""
        with self._lock:
            self._job_id = ""
        shutil.rmtree(self.root, ignore_errors=True)
        self._in_use.release()
        Path(self._in_use.lock_file).unlink(missing_ok=True)

    def _is_staged(self, name: str, state: os.stat_result) -> bool:
        """Whether a file is as it was staged out, not long ago: no address need be asked for it."""
        size, changed_ns, put_s = self._seen.get(name, (0, 0, 0.0))
        as_it_was = (state.st_size, state.st_mtime_ns) == (size, changed_ns)
        return name in self._staged and as_it_was and time.time() - put_s < FRESH_S

    def _made(self, folder: Path) -> Iterator[Path]:
        yield from (path for path in _files_in(folder) if path.name not in _LEFT_HERE)
        upload = Path(read_spec(folder)["upload_folder"])
        if upload != folder:
            yield from _files_in(upload / "prepared")

    def _stage_out_often(self) -> None:
        while True:
            time.sleep(STAGE_OUT_S)
            self._try_to_stage_out(settled_s=SETTLED_S)

    def _try_to_stage_out(self, settled_s: float) -> None:
        try:
            self.stage_out(settled_s=settled_s)
        except Exception:
            # Whatever the address's library raises: the job goes on, and the next time may do better.
            logger.exception("what the job has made so far could not be staged out")


def _lock_of(scratch: Path) -> FileLock:
    """Return what a scratch folder's owner holds, beside it: it is let go of however that ends."""
    return FileLock(scratch.with_suffix(".in-use"), timeout=0, thread_local=False)


def _remove_left(base: Path) -> None:
    """Remove the scratch folders of those that were killed."""
    for scratch in base.iterdir():
        if scratch.is_dir() and re.fullmatch(rf"[0-9a-f]{{{2 * _TOKEN_BYTES}}}", scratch.name):
            with suppress(Timeout), _lock_of(scratch) as lock:
                shutil.rmtree(scratch, ignore_errors=True)
                Path(lock.lock_file).unlink(missing_ok=True)

"""The data folder of this machine: the same jobs, children and limits as in a server, which holds it instead.

One process works on a data folder at a time. Voices are read beside it; whatever else waits until it is free.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.settings import Settings
from pipelines.store.records import COMMAND_LINE, Caller, Row, Rows
from pipelines.store.registry import InUseError, Registry
from ui.command_line.backend import BatchLimits, Named
from ui.command_line.screen import Screen

if TYPE_CHECKING:
    from pipelines.jobs.intake import Intake

POLL_S = 0.5
# Whoever can use the folder's files sees all voices in it; what a command makes is the command line's.
ME = Caller(COMMAND_LINE, admin=True)


class LocalBackend:
    def __init__(self, settings: Settings, screen: Screen) -> None:
        self._settings, self._screen = settings, screen
        self._opened: Intake | None = None

    def voices(self) -> Rows:
        from pipelines.voices.library import Library

        registry = Registry(self._settings.data_dir, read_only=True)
        return Library(self._settings.data_dir, registry).list(ME)

    def limits(self) -> BatchLimits:
        return BatchLimits(files=self._settings.max_files, megabytes=self._settings.max_batch_mb)

    def start(self, kind: str, files: Named, settings: Row, **voice: str) -> Row:
        return self._intake.send_and_submit(ME, list(files), kind, settings, **voice)

    def train_prepared(self, job_id: str, settings: Row, model_name: str) -> Row:
        return self._intake.submit(ME, "training", job_id, settings, model_name=model_name)

    def say(self, text: str, settings: Row, model_id: str) -> Row:
        return self._intake.say(ME, text, settings, model_id)

    def follow(self, job_id: str) -> Iterator[Row]:
        return self._intake.jobs.follow(ME, job_id)

    def cancel(self, job_id: str) -> Row:
        return self._intake.jobs.cancel(ME, job_id)

    def resume(self, job_id: str) -> Row:
        return self._intake.jobs.resume(ME, job_id)

    def remove(self, job_id: str) -> None:
        self._intake.jobs.remove(ME, job_id, purge=True)

    def result(self, job_id: str, number: int | None = None) -> Path:
        files = self._intake.jobs.files
        return files.result_path(ME, job_id) if number is None else files.batch_file(ME, job_id, number)[1]

    def report(self, job_id: str) -> Row:
        return self._intake.jobs.files.report(ME, job_id) or {}

    def import_voice(self, files: Named, name: str) -> Row:
        return self._intake.import_voice(ME, list(files), name)

    def export_voice(self, model_id: str, form: str) -> Path:
        return self._intake.packed(ME, model_id, form)

    def is_synthetic(self, path: Path, name: str) -> Row:
        from pipelines.marks.inspection import inspect
        from ui.look.marks_found import with_sentences

        return with_sentences(inspect(path, name))

    def close(self) -> None:
        if self._opened is not None:
            # A second signal must not cut short the saving of a training.
            before = [(one, signal.signal(one, signal.SIG_IGN)) for one in (signal.SIGINT, signal.SIGTERM)]
            try:
                self._opened.jobs.close()
            finally:
                for one, handler in before:
                    signal.signal(one, handler)

    @property
    def _intake(self) -> Intake:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> Intake:
        from pipelines.jobs.intake import Intake
        from pipelines.jobs.service import Jobs

        told = False
        while True:
            try:
                jobs = Jobs(self._settings, own_only=True)
                break
            except InUseError:
                if not told:
                    self._screen.say(
                        f"A server or another command uses {self._settings.data_dir}; waiting until it ends "
                        "(--server URL works on a running server, Ctrl-C gives up)."
                    )
                told = True
                time.sleep(POLL_S)
        try:
            jobs.start()
        except BaseException:
            jobs.close()
            raise
        return Intake(settings=self._settings, jobs=jobs)

"""Fixtures of the dispatcher's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from tests.pipelines.jobs.toy_jobs import Open
from tests.toy_worker import TOY_WORKER


@pytest.fixture
def open_jobs(data_dir: Path) -> Iterator[Open]:
    """Opens jobs on the test's data folder with toy work; they are closed, if need be, at its end."""
    opened: list[Jobs] = []

    def open_them(**settings: float) -> Jobs:
        limits = {"cancel_grace_s": 5.0, "converter_idle_s": 60.0} | settings
        chosen = Settings.model_validate({"data_dir": data_dir, **limits})
        jobs = Jobs(chosen, worker_command=TOY_WORKER, retry_pauses_s=(0.01, 0.02))
        opened.append(jobs)
        return jobs

    yield open_them
    for jobs in opened:
        jobs.close()


@pytest.fixture
def jobs(open_jobs: Open) -> Jobs:
    """Jobs that run."""
    started = open_jobs()
    started.start()
    return started

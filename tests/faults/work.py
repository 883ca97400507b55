"""The real pipelines on networks of toy size, slowed down so that there is time to kill them.

`PACE_S` in the environment is how long every event is held back. While the file that `FULL_DISK` names
exists, no checkpoint can be written.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import tests.tiny  # noqa: F401 -- registers the engine "toy", which the conversions speak with
from pipelines import worker_tasks
from pipelines.events import Events
from pipelines.job_spec import JobSpec
from pipelines.training.train import STARTS
from rvc.training import checkpoints
from tests.tiny_task import start_tiny

PACE_VARIABLE = "PACE_S"
FULL_DISK_VARIABLE = "FULL_DISK"

STARTS["tiny"] = start_tiny


def paced(task: worker_tasks.Task) -> worker_tasks.Task:
    """The same work, slower."""

    def slowly(spec: JobSpec) -> Events[dict[str, Any]]:
        pause_s = float(os.environ.get(PACE_VARIABLE, "0"))
        work = task(spec)
        try:
            for event in work:
                time.sleep(pause_s)
                yield event
        finally:
            work.close()

    return slowly


def on_a_disk_that_may_be_full() -> None:
    """Let the writing of checkpoints fail half way while the disk counts as full."""
    write = checkpoints._write

    def refusing(file: Any, facts: dict[str, Any], state: dict[str, Any]) -> None:  # noqa: ANN401
        if Path(os.environ.get(FULL_DISK_VARIABLE, "/none")).exists():
            file.write(b"half of a checkpoint")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, facts, state)

    checkpoints._write = refusing


on_a_disk_that_may_be_full()
TASKS = {name: paced(task) for name, task in worker_tasks.TASKS.items()}

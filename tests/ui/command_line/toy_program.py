"""The program with toy work in the place of the models, for a process of its own:
`python -m tests.ui.command_line.toy_program convert ...`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import pytest

import app
from pipelines.jobs import service
from tests.toy_worker import TOY_WORKER


def with_toy_work(patch: pytest.MonkeyPatch) -> None:
    """Let every command that opens a data folder do toy work in it."""
    jobs: Any = partial(service.Jobs, worker_command=TOY_WORKER, retry_pauses_s=())
    patch.setattr(service, "Jobs", jobs)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patched:
        with_toy_work(patched)
        sys.exit(app.main())

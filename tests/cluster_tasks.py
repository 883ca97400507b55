"""What workers of a cluster do in tests: toy work, and real trainings of toy engines, slowed down."""

from __future__ import annotations

import os
from typing import Any

import tests.pipelines.toy_rvc_worker  # noqa: F401 -- makes the engine "rvc" small
from pipelines.events import Events
from pipelines.job_spec import JobSpec
from tests.faults import work
from tests.pipelines.toy_rvc import WEIGHTS_VARIABLE
from tests.toy_worker import TASKS as TOYS

if folder := os.environ.get(WEIGHTS_VARIABLE):
    os.environ |= {"WEIGHTS_DIR": folder, "UNVERIFIED_WEIGHTS": "1"}


def training(spec: JobSpec) -> Events[dict[str, Any]]:
    return (work.TASKS if spec.settings.get("engine") in ("tiny", "rvc") else TOYS)["training"](spec)


TASKS = {**TOYS, "training": training}

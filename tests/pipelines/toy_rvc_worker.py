"""RVC's engine at toy size in a child process: `pipelines.worker --tasks tests.pipelines.toy_rvc_worker`.

Loading this module makes voices of version v1 at 40 kHz small, and takes the toy encoder for ContentVec; all
the rest is as it always is. A test's own process never loads it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from pipelines.training.train import STARTS, start_rvc
from rvc.engine.options import ENGINES
from tests.tiny_rvc_training import tiny_sizes
from tests.tiny_rvc_voice import TOY_ENGINE

TASKS: dict[str, Any] = {}

STARTS["rvc"] = partial(start_rvc, sizes=tiny_sizes)
ENGINES["rvc"] = ENGINES[TOY_ENGINE]

"""RVC's engine at toy size in a child process: `pipelines.worker --tasks tests.pipelines.toy_rvc_worker`.

Loading this module makes voices of version v1 at 40 kHz small, and takes the toy encoder for ContentVec; all
the rest is as it always is. A test's own process never loads it.
"""

from __future__ import annotations

import os
from typing import Any

from pipelines.training.train import STARTS, Start, start_rvc
from rvc.engine.options import ENGINES
from rvc.errors import ConfigError
from rvc.training.group import Group
from rvc.training.settings import TrainSettings
from tests.tiny_rvc_training import tiny_sizes
from tests.tiny_rvc_voice import TOY_ENGINE

TASKS: dict[str, Any] = {}


def start_toy(settings: TrainSettings, group: Group) -> Start:
    """Start a voice of toy size; the processes besides the first refuse while TOY_RVC_REFUSES is set."""
    if not group.is_first and os.environ.get("TOY_RVC_REFUSES"):
        raise ConfigError(f"Process {group.rank} has no memory for this; give it more.")
    return (yield from start_rvc(settings, group, tiny_sizes))


STARTS["rvc"] = start_toy
ENGINES["rvc"] = ENGINES[TOY_ENGINE]

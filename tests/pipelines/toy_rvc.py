"""RVC's engine at toy size for the children of a test: `pipelines.worker --tasks tests.pipelines.toy_rvc`.

Loading this module makes voices of version v1 at 40 kHz small, and takes the toy encoder for ContentVec; all
the rest is as it always is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pipelines.jobs.dispatcher import WORKER_COMMAND
from pipelines.training.train import STARTS, start_rvc
from rvc.engine.options import ENGINES
from tests.tiny_rvc_training import tiny_sizes
from tests.tiny_rvc_voice import encoder_file

TASKS: dict[str, Any] = {}
WORKER = (*WORKER_COMMAND, "--tasks", "tests.pipelines.toy_rvc")
SETTINGS = {
    "engine": "rvc", "version": "v1", "f0_estimator": "praat", "total_steps": 2, "batch_size": 2,
    "score_every": 2, "checkpoint_every": 2, "longest_slice_s": 4.0, "threads": 1,
}  # fmt: skip


STARTS["rvc"] = partial(start_rvc, sizes=tiny_sizes)
ENGINES["rvc"] = ENGINES["rvc-toy"]


def weights_folder(folder: Path) -> Path:
    """A folder of weights as a person may have it: an encoder of their own where ContentVec's would be."""
    encoder_file(folder / "hubert_base" / "pytorch_model.bin")
    return folder

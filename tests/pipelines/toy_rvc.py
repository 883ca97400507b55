"""RVC's engine at toy size, for tests whose children use it (toy_rvc_worker.py)."""

from __future__ import annotations

from pathlib import Path

from pipelines.jobs.processes import WORKER_COMMAND
from tests.tiny_rvc_voice import encoder_file

WORKER = (*WORKER_COMMAND, "--tasks", "tests.pipelines.toy_rvc_worker")
SETTINGS = {
    "engine": "rvc", "version": "v1", "f0_estimator": "praat", "total_steps": 2, "batch_size": 2,
    "score_every": 2, "checkpoint_every": 2, "longest_slice_s": 4.0, "threads": 1, "from_scratch": True,
}  # fmt: skip


def weights_folder(folder: Path) -> Path:
    """A folder of weights as a person may have it: an encoder of their own where ContentVec's would be."""
    encoder_file(folder / "hubert_base" / "pytorch_model.bin")
    return folder

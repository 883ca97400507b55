"""RVC's engine at toy size, for tests whose children use it (toy_rvc_worker.py)."""

from __future__ import annotations

from pathlib import Path

import soundfile as sf
import torch

from pipelines.jobs.processes import WORKER_COMMAND
from rvc.files import ROOT
from tests.tiny_rvc_voice import encoder_file

LEARNING_RATE = 1e-4
WEIGHTS_VARIABLE = "TOY_WEIGHTS"  # the folder of weights of what a cluster's machines start
WORKER = (*WORKER_COMMAND, "--tasks", "tests.pipelines.toy_rvc_worker")
SETTINGS = {
    "engine": "rvc", "version": "v1", "f0_estimator": "praat", "total_steps": 2, "batch_size": 2,
    "score_every": 2, "checkpoint_every": 2, "longest_slice_s": 4.0, "threads": 1, "from_scratch": True,
}  # fmt: skip


def weights_folder(folder: Path) -> Path:
    """A folder of weights as a person may have it: an encoder of their own where ContentVec's would be."""
    encoder_file(folder / "hubert_base" / "pytorch_model.bin")
    return folder


def recording(path: Path) -> Path:
    """Thirteen seconds of speech, enough for a voice."""
    wav, rate_hz = sf.read(ROOT / "assets" / "examples" / "voice" / "wren-1.ogg", stop=13 * 16_000)
    sf.write(path, wav, rate_hz)
    return path


def require_equal_but_for_rounding(one: Path, other: Path, steps: int) -> None:
    """Assert that two trainings' folders hold the same networks, as far as AdamW lets rounding be seen."""
    for letter in "GD":
        paths = [folder / f"{letter}_{steps}.pth" for folder in (one, other)]
        first, second = (torch.load(path, weights_only=True)["model"] for path in paths)
        assert first.keys() == second.keys()
        far, numbers = 0, 0
        for name, tensor in first.items():
            difference = (tensor.double() - second[name].double()).abs()
            # Where a gradient is nearly zero its sign is rounding's, and AdamW takes a whole step that way.
            assert float(difference.max()) <= 2.1 * steps * LEARNING_RATE, name
            far += int((difference > 2e-6).sum())
            numbers += tensor.numel()
        assert far < 0.02 * numbers, (letter, far, numbers)

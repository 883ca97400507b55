"""Several processes that train one voice: as one process does with the same batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rvc.errors import ConfigError
from rvc.files import ROOT
from rvc.training.group import Group
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from tests.tiny_rvc_training import tiny_data, tiny_rvc_task
from tests.tiny_task import drain

STEPS = 3
SETTINGS = {
    "engine": "rvc", "version": "v1", "total_steps": STEPS, "batch_size": 4, "score_every": 2, "threads": 1,
}  # fmt: skip
LOSSES, LEARNING_RATE = 1e-4, 1e-4


def train_here(folder: Path, group: Group) -> None:
    """Train a toy voice and keep what came of it, as every process of the group has it."""
    # Each process has its own files of features; what is compared is only the training.
    data = tiny_data(tiny_rvc_task(folder), folder)
    task = tiny_rvc_task(folder, group=group)
    settings = TrainSettings.from_json(SETTINGS)
    training = Training(task, data, settings, folder.parent / "work", report_interval_s=0, group=group)
    reports, outcome = drain(training.run())
    kept = {
        "losses": [report.losses for report in reports if report.losses],
        "scores": outcome.scores,
        "best_step": outcome.best_step,
        "final": training_state(task),
    }
    torch.save(kept, folder.parent / f"kept-{group.rank}-of-{group.size}.pt")


def training_state(task: Any) -> dict[str, Any]:  # noqa: ANN401 -- its networks
    return {
        "synthesizer": task.trainer.synthesizer.state_dict(),
        "discriminators": task.trainer.discriminators.state_dict(),
    }


def together(folder: Path, processes: int) -> list[dict[str, Any]]:
    """Train in so many processes, started as torchrun starts them; return what each kept."""
    program = "import sys; from tests.rvc.training.test_group import member; member(sys.argv[1])"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        "--no-python", sys.executable, "-c", program, str(folder),
    ]  # fmt: skip
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return [
        torch.load(folder / f"kept-{rank}-of-{processes}.pt", weights_only=True) for rank in range(processes)
    ]


def member(folder: str) -> None:
    """Be one of the processes."""
    torch.set_num_threads(1)
    group = Group.init()
    try:
        train_here(Path(folder) / f"own-{group.rank}", group)
    finally:
        group.leave()


def test_two_processes_give_what_one_gives_with_the_same_batch(tmp_path: Path) -> None:
    """Losses within 0.01 %; no weight further off than rounding can send AdamW, and hardly any at all."""
    (tmp_path / "one").mkdir()
    train_here(tmp_path / "one" / "own-0", Group(0, 1, torch.device("cpu")))
    alone = torch.load(tmp_path / "one" / "kept-0-of-1.pt", weights_only=True)
    first, second = together(tmp_path / "two", 2)
    assert first["losses"]
    for mine, theirs in zip(alone["losses"], first["losses"], strict=True):
        assert mine == pytest.approx(theirs, rel=LOSSES)
    for one, two in zip(alone["scores"], first["scores"], strict=True):
        assert one == pytest.approx(two, rel=1e-2, abs=1e-2)
    assert first["scores"] == second["scores"]
    assert first["best_step"] == second["best_step"]
    assert (
        sorted(path.name for path in (tmp_path / "two" / "work" / "samples").iterdir())[-1] == "reference.wav"
    )
    for part, weights in alone["final"].items():
        far, numbers = 0, 0
        for name, tensor in weights.items():
            difference = (tensor - first["final"][part][name]).abs()
            # Where a gradient is nearly zero its sign is rounding's, and AdamW takes a whole step that way.
            assert float(difference.max()) <= 2.1 * STEPS * LEARNING_RATE, name
            far += int((difference > 2e-6).sum())
            numbers += tensor.numel()
        assert far < 0.02 * numbers, (part, far, numbers)


def test_a_batch_is_shared_evenly_or_refused() -> None:
    group = Group(1, 2, torch.device("cpu"))
    assert group.shard(6) == slice(3, 6)
    assert torch.equal(group.share_noise(torch.arange(6)), torch.arange(3, 6))
    with pytest.raises(ConfigError, match="batch of 5 cannot be divided among 2 processes"):
        group.shard(5)


def test_without_torchrun_there_is_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="by the setting gpus, or are started by torchrun"):
        Group.init()


def test_alone_nothing_is_averaged() -> None:
    group = Group.single()
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 3.0)
    group.average_gradients([parameter])
    assert parameter.grad.tolist() == [3.0, 3.0]
    assert group.average({"loss": 1.5}) == {"loss": 1.5}
    assert group.from_first("x") == "x"

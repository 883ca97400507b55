"""In which precision RVC's networks train, and what stays in float32 whatever they do."""

from __future__ import annotations

import math
import operator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

import rvc.vits.step as stepping
from rvc.errors import ConfigError
from rvc.training.loop import Training, on_cpu
from rvc.training.settings import TrainSettings
from rvc.vits.discriminator import feature_loss
from rvc.vits.step import Precision
from rvc.vits.synthesizer import supports_fp16
from rvc.vits.task import RvcTask
from tests.rvc.training.test_resume import assert_equal, stop_after
from tests.tiny_rvc_training import tiny_data, tiny_rvc_task
from tests.tiny_task import drain, sung_tone

CPU = torch.device("cpu")
SCALE = 256.0


def test_nothing_is_shortened_on_a_cpu_unless_somebody_asks() -> None:
    assert Precision.best(None, CPU).name == "float32"
    assert Precision.best("bfloat16", CPU).name == "bfloat16"
    assert not Precision.best(None, CPU).scaler().is_enabled()
    assert Precision.best("float16", CPU).scaler().is_enabled()
    with Precision.best(None, CPU).networks():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("name", "capability", "takes_bfloat16", "best"),
    [
        ("Tesla P40", (6, 1), False, "float32"),
        ("NVIDIA GeForce GTX 1660 Ti", (7, 5), False, "float32"),
        ("Tesla T4", (7, 5), False, "float16"),
        ("NVIDIA H200", (9, 0), True, "bfloat16"),
    ],
)
def test_gpus_that_gain_nothing_by_it_compute_in_float32(
    monkeypatch: pytest.MonkeyPatch, name: str, capability: tuple[int, int], takes_bfloat16: bool, best: str
) -> None:
    device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: takes_bfloat16)
    assert Precision.best(None, device).name == best
    assert supports_fp16(device) == (best != "float32")
    assert Precision.best("float16", device).name == "float16"  # who asks knows better
    assert not supports_fp16(CPU)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_networks_are_shortened_but_neither_weights_nor_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = tiny_rvc_task(tmp_path, precision=name)
    trainer = task.trainer
    heard: dict[str, set[torch.dtype]] = {"networks": set(), "losses": set()}

    def listen(_: object, __: object, given: Tensor) -> None:
        heard["networks"].add(given.dtype)

    for network, inside in (
        (trainer.discriminators, "discriminators.0.conv_post"),
        (trainer.synthesizer.dec, "conv_pre"),
    ):
        network.get_submodule(inside).register_forward_hook(listen)
    for function in ("mel_loss", "kl_loss", "feature_loss", "generator_loss", "discriminator_loss"):
        original = getattr(stepping, function)

        def watched(*given: object, of: object = original) -> Tensor:
            assert not torch.is_autocast_enabled("cpu")
            loss: Tensor = of(*given)  # type: ignore[operator]
            heard["losses"].add(loss.dtype)
            return loss

        monkeypatch.setattr(stepping, function, watched)
    item = task.extract(sung_tone(180.0, 0.4, 48_000), 48_000, seed=1)
    batch = task.batch([item, item], torch.Generator().manual_seed(0))
    for step in range(2):
        losses = task.step(batch, step, 2, torch.Generator().manual_seed(step))
        assert all(math.isfinite(loss) for loss in losses.values())
    assert heard["networks"] == {getattr(torch, name)}
    assert heard["losses"] == {torch.float32}
    for whole in (trainer.synthesizer, trainer.discriminators):
        assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}
    assert task.render(item).dtype == "float32"


def test_the_scale_of_losses_is_part_of_the_state(tmp_path: Path) -> None:
    task = tiny_rvc_task(tmp_path, precision="float16")
    state = task.state_dict()
    state["scaler"]["scale"] = 1024.0
    task.load_state_dict(state)
    assert task.trainer.scaler.get_scale() == 1024.0
    assert tiny_rvc_task(tmp_path).state_dict()["scaler"] == {}


def test_shorter_networks_learn_nearly_the_same(tmp_path: Path) -> None:
    mels = {}
    for name in ("float32", "bfloat16", "float16"):
        task = tiny_rvc_task(tmp_path, precision=name)
        item = task.extract(sung_tone(180.0, 0.4, 48_000), 48_000, seed=1)
        batch = task.batch([item, item], torch.Generator().manual_seed(0))
        mels[name] = [task.step(batch, 0, 4, torch.Generator().manual_seed(1))["mel"] for _ in range(3)][-1]
    assert mels["bfloat16"] == pytest.approx(mels["float32"], rel=0.05)
    assert mels["float16"] == pytest.approx(mels["float32"], rel=0.02)


@pytest.mark.parametrize("name", ["float32", "float16"])
@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_step_for_which_memory_did_not_suffice_leaves_no_trace(
    tmp_path: Path, name: str, fails_at: int
) -> None:
    task, other = (tiny_rvc_task(tmp_path, precision=name) for _ in range(2))
    item = task.extract(sung_tone(180.0, 0.4, 48_000), 48_000, seed=1)
    batch = task.batch([item, item], torch.Generator().manual_seed(0))
    before = on_cpu(task.state_dict())
    calls = 0

    def full(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    # Asked once while they learn, and twice while the synthesizer does.
    hook = task.trainer.discriminators.register_forward_pre_hook(full)
    with pytest.raises(torch.OutOfMemoryError):
        task.step(batch, 0, 2, torch.Generator().manual_seed(1))
    hook.remove()
    task.load_state_dict(before)
    losses = [each.step(batch, 0, 2, torch.Generator().manual_seed(1)) for each in (task, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert_equal(task.state_dict()["scaler"], other.state_dict()["scaler"])


def overflow_above(task: RvcTask, scale: float, part: str = "synthesizer.dec") -> RemovableHandle:
    """Let a network give infinities until the scale of the losses has come down."""

    def overflow(_: object, __: object, given: Tensor) -> Tensor:
        return given * math.inf if task.trainer.scaler.get_scale() > scale else given

    network = operator.attrgetter(part)(task.trainer)
    handle: RemovableHandle = network.register_forward_hook(overflow)
    return handle


def half_precision_task(folder: Path, seed: int = 0, scale: float = SCALE) -> RvcTask:
    """A task that trains in half precision, at a scale at which no gradient of a toy overflows."""
    task = tiny_rvc_task(folder, precision="float16", seed=seed)
    state = task.state_dict()
    state["scaler"]["scale"] = scale
    task.load_state_dict(state)
    return task


def step_of(task: RvcTask, batch: dict[str, Tensor], step: int) -> dict[str, float]:
    return task.step(batch, step, 8, torch.Generator().manual_seed(step))


def batch_for(task: RvcTask) -> dict[str, Tensor]:
    item = task.extract(sung_tone(180.0, 0.4, 48_000), 48_000, seed=1)
    return task.batch([item, item], torch.Generator().manual_seed(0))


def test_a_forward_pass_that_overflows_changes_nothing_but_the_scale_until_it_fits(tmp_path: Path) -> None:
    task = half_precision_task(tmp_path)
    batch = batch_for(task)
    step_of(task, batch, 0)  # there is momentum to be spoilt
    overflow_above(task, SCALE / 4)
    before = on_cpu(task.state_dict())
    for halved in (SCALE / 2, SCALE / 4):
        assert not all(math.isfinite(loss) for loss in step_of(task, batch, 1).values())
        assert task.skipped_step()
        assert task.trainer.scaler.get_scale() == halved
        for part in ("synthesizer", "discriminators", "optimizer", "judge_optimizer"):
            assert_equal(task.state_dict()[part], before[part])
    assert all(math.isfinite(loss) for loss in step_of(task, batch, 1).values())
    weights = task.trainer.synthesizer.state_dict()
    assert any(not torch.equal(tensor, before["synthesizer"][name]) for name, tensor in weights.items())


def test_a_loss_that_is_no_number_is_left_out_though_its_gradients_are_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = half_precision_task(tmp_path)
    batch = batch_for(task)
    before = on_cpu(task.state_dict())
    monkeypatch.setattr(stepping, "feature_loss", lambda *given: feature_loss(*given) + math.inf)
    step_of(task, batch, 0)
    assert_equal(task.state_dict()["synthesizer"], before["synthesizer"])
    assert task.trainer.scaler.get_scale() == before["scaler"]["scale"] / 2


def training(task: RvcTask, folder: Path, steps: int) -> Training:
    chosen = {"engine": "rvc", "version": "v1", "total_steps": steps, "batch_size": 2, "threads": 1}
    settings = TrainSettings.from_json({**chosen, "score_every": 100, "checkpoint_every": 2})
    return Training(task, tiny_data(task, folder), settings, folder / "work", report_interval_s=0)


def test_a_training_goes_on_past_an_overflow_and_a_stopped_one_equals_it(tmp_path: Path) -> None:
    whole = half_precision_task(tmp_path)
    overflow_above(whole, SCALE / 4)
    _, outcome = drain(training(whole, tmp_path / "whole", 5).run())
    assert (outcome.reason, outcome.steps) == ("budget", 5)
    assert whole.trainer.scaler.get_scale() == SCALE / 4
    ended, stops, task = None, 0, whole
    while ended is None:
        task = half_precision_task(tmp_path, seed=stops)
        overflow_above(task, SCALE / 4)
        ended, stops = stop_after(training(task, tmp_path / "stopped", 5).run(), 3), stops + 1
    assert stops > 2
    assert_equal(whole.state_dict(), task.state_dict())


@pytest.mark.parametrize(("precision", "steps"), [("float16", 3), ("float32", 0)])
def test_what_overflows_whatever_the_scale_has_diverged(tmp_path: Path, precision: str, steps: int) -> None:
    begun = half_precision_task(tmp_path, scale=8.0)  # of the 65536 that it begins with by itself
    task = begun if precision == "float16" else tiny_rvc_task(tmp_path)
    overflow_above(task, -1.0)
    with pytest.raises(ConfigError, match=rf"diverged at step {steps} "):
        drain(training(task, tmp_path, 100).run())

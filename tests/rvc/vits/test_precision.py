"""In which precision RVC's networks train, and what stays in float32 whatever they do."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import rvc.vits.step as stepping
from rvc.training.loop import on_cpu
from rvc.vits.step import Precision
from rvc.vits.synthesizer import supports_fp16
from tests.rvc.training.test_resume import assert_equal
from tests.tiny_rvc_training import tiny_rvc_task
from tests.tiny_task import sung_tone

CPU = torch.device("cpu")


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

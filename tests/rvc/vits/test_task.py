"""Training one voice on RVC's engine, with the real classes at toy size."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rvc.errors import CheckpointError
from rvc.pitch.estimators import F0_ESTIMATORS
from rvc.pitch.f0 import coarse_bins
from rvc.pitch.praat import PraatF0
from rvc.torch_file import load_published_state, published_state
from rvc.training.loop import Training
from rvc.training.settings import TrainSettings
from rvc.vits.content_encoder import ContentVec
from rvc.vits.discriminator import Discriminators
from rvc.vits.features import LONGEST_FRAMES, batch_of, linear_spectrogram, peak_normalized
from rvc.vits.synthesizer import VitsSynthesizer
from rvc.vits.task import EPOCH_DECAY, SEGMENT_FRAMES, RvcTask, published_sizes
from rvc.vits.voice_model import load_voice_file, read_discriminators, read_generator, write_voice_model
from tests.rvc.training.test_resume import assert_equal, stop_after
from tests.tiny_rvc_training import tiny_data, tiny_files, tiny_rvc_task, tiny_sizes, write_pretrained
from tests.tiny_rvc_voice import TOY_HUBERT
from tests.tiny_task import drain, sung_tone

HOP = 400


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(task: RvcTask, seconds: float = 1.2, hz: float = 180.0) -> dict[str, Tensor]:
    return task.extract(sung_tone(hz, seconds, 48_000), 48_000, seed=1)


def take_steps(task: RvcTask, items: list[dict[str, Tensor]], steps: int) -> list[dict[str, float]]:
    return [
        task.step(task.batch(items, generator(step)), step, steps, generator(100 + step))
        for step in range(steps)
    ]


def test_features_are_what_the_encoder_the_tracker_and_the_spectrogram_say(tmp_path: Path) -> None:
    task = tiny_rvc_task(tmp_path)
    item = features(task)
    frames = len(item["f0_hz"])
    assert 114 <= frames <= 120
    assert item["audio"].shape == (frames * HOP,)
    assert item["spectrogram"].shape == (257, frames)
    assert item["content"].shape == (-(-frames // 2), 256)
    voiced = item["f0_hz"] > 0
    assert 0.5 < float(voiced.float().mean()) < 1.0
    assert abs(1200 * np.log2(float(item["f0_hz"][voiced].median()) / 180.0)) < 30
    np.testing.assert_array_equal(item["pitch"].numpy(), coarse_bins(item["f0_hz"].numpy()))
    whole = linear_spectrogram(item["audio"][None], task.sizes.spectrogram)[0]
    torch.testing.assert_close(item["spectrogram"][:, 5:-5].float(), whole[:, 5:-5], rtol=2e-3, atol=1e-3)
    encoder = ContentVec.load(tmp_path / "encoder.bin", TOY_HUBERT)
    wav16k = torch.from_numpy(peak_normalized(sung_tone(180.0, 1.2, 48_000)))[None, ::3]
    heard = encoder(wav16k, "v1")[0]
    likeness = torch.cosine_similarity(heard[: len(item["content"])], item["content"].float())
    assert float(likeness.min()) > 0.98


def test_levels_come_near_to_one_peak_and_silence_stays() -> None:
    quiet, loud = (
        float(np.abs(peak_normalized(level * sung_tone(200.0, 0.2))).max()) for level in (0.1, 2.0)
    )
    assert 0.67 < quiet < loud < 0.95
    assert not peak_normalized(np.zeros(100, np.float32)).any()


def test_a_batch_holds_whole_slices_and_zeros_behind_them(tmp_path: Path) -> None:
    task = tiny_rvc_task(tmp_path)
    items = [features(task, seconds) for seconds in (0.6, 1.0)]
    batch = batch_of(items, generator(0), HOP)
    short, long = batch["lengths"].tolist()
    assert batch["content"].shape == (2, long, 256)
    assert batch["audio"].shape == (2, 1, long * HOP)
    for row, item in enumerate(items):
        length = int(batch["lengths"][row])
        assert torch.equal(batch["f0_hz"][row, :length], item["f0_hz"])
        assert torch.equal(batch["spectrogram"][row, :, :length], item["spectrogram"])
        assert torch.equal(batch["audio"][row, 0, : length * HOP], item["audio"])
        # Every content vector serves for two frames.
        assert torch.equal(batch["content"][row, 0], batch["content"][row, 1])
        assert torch.equal(batch["content"][row, 2], item["content"][1].float())
    for name in ("content", "f0_hz", "pitch"):
        assert not batch[name][0, short:].any()
    assert not batch["spectrogram"][0, :, short:].any()


def test_of_a_long_slice_any_stretch_is_taken_and_all_parts_stay_together() -> None:
    frames = LONGEST_FRAMES + 300
    number = torch.arange(frames)
    item = {
        "content": number[::2, None].float(),
        "f0_hz": number.float(),
        "pitch": (number % 255).to(torch.uint8),
        "spectrogram": number[None].float(),
        "audio": number.float(),
    }
    starts = set()
    for seed in range(5):
        batch = batch_of([item], generator(seed), 1)
        assert batch["lengths"].tolist() == [LONGEST_FRAMES]
        first = int(batch["f0_hz"][0, 0])
        starts.add(first)
        for name in ("audio", "spectrogram"):
            assert torch.equal(batch[name][0, 0], batch["f0_hz"][0])
        assert float((batch["content"][0, :, 0] - batch["f0_hz"][0]).abs().max()) <= 1
    assert len(starts) > 1


@pytest.mark.parametrize("uses_f0", [True, False])
def test_steps_bring_the_voice_nearer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, uses_f0: bool
) -> None:
    monkeypatch.setattr("rvc.vits.task.FIRST_LEARNING_RATE", 3e-3)  # a toy network can be hurried
    task = tiny_rvc_task(tmp_path, uses_f0=uses_f0)
    losses = take_steps(task, [features(task, 0.3), features(task, 0.4)], 25)
    assert set(losses[0]) == {"discriminator", "adversarial", "features", "mel", "kl"}
    mels = [loss["mel"] for loss in losses]
    assert np.mean(mels[-5:]) < 0.95 * np.mean(mels[:5])


def test_rates_fall_with_each_pass_through_the_recordings(tmp_path: Path) -> None:
    task = tiny_rvc_task(tmp_path)
    items = [features(task, 0.6)]
    for epoch in (0, 1, 40):
        task.epoch = epoch
        take_steps(task, items, 1)
        for optimizer in (task.trainer.optimizer, task.trainer.judge_optimizer):
            (group,) = optimizer.param_groups
            assert group["lr"] == pytest.approx(1e-4 * EPOCH_DECAY**epoch)
            assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.99), 1e-9, 0.01)


def test_recomputing_changes_no_gradient(tmp_path: Path) -> None:
    losses, states = [], []
    for gradient_checkpointing in (False, True):
        task = tiny_rvc_task(tmp_path, gradient_checkpointing=gradient_checkpointing)
        assert task.trainer.synthesizer.dec.gradient_checkpointing == gradient_checkpointing
        losses.append(take_steps(task, [features(task, 0.6)], 3))
        states.append(task.trainer.synthesizer.state_dict())
    for kept, recomputed in zip(*losses, strict=True):
        assert kept == pytest.approx(recomputed, rel=1e-5)
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-4, atol=1e-6)


def test_looking_at_a_voice_changes_nothing(tmp_path: Path) -> None:
    task = tiny_rvc_task(tmp_path)
    item = features(task, 0.7)
    before = {name: tensor.clone() for name, tensor in task.trainer.synthesizer.state_dict().items()}
    once, again = task.render(item), task.render(item)
    np.testing.assert_array_equal(once, again)
    assert once.shape == task.reference(item).shape
    task.export(tmp_path)
    assert task.trainer.synthesizer.training
    assert_equal(before, task.trainer.synthesizer.state_dict())


class OctaveAbove(PraatF0):
    """An estimator that disagrees with every other one."""

    def track(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float64]]:
        found = yield from super().track(wav16k)
        return 2.0 * found


@pytest.mark.parametrize("estimator", ["praat", "octave above"])
def test_who_repeats_the_recording_scores_perfectly_whoever_finds_the_melody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    monkeypatch.setitem(F0_ESTIMATORS, "octave above", OctaveAbove)
    task = RvcTask(tiny_sizes(), replace(tiny_files(tmp_path), estimator_name=estimator))
    monkeypatch.setattr(task, "render", task.reference)
    data = tiny_data(task, tmp_path)
    settings = TrainSettings.from_json({"engine": "rvc", "total_steps": 1, "batch_size": 2, "threads": 1})
    _, outcome = drain(Training(task, data, settings, tmp_path / "work").run())
    assert [score["total"] for score in outcome.scores] == [0.0]


@pytest.mark.parametrize("seed", range(2))
def test_a_training_that_was_stopped_equals_one_that_was_not(tmp_path: Path, seed: int) -> None:
    chosen = {"engine": "rvc", "total_steps": 6, "batch_size": 2, "score_every": 4, "checkpoint_every": 2}
    settings = TrainSettings.from_json({**chosen, "threads": 1, "version": "v1"})
    data = tiny_data(tiny_rvc_task(tmp_path), tmp_path)
    whole = tiny_rvc_task(tmp_path)
    drain(Training(whole, data, settings, tmp_path / "whole", report_interval_s=0).run())
    random = np.random.default_rng(seed)
    outcome, stops, task = None, 0, whole
    while outcome is None:
        # Other first weights, so that whatever is not restored shows; the first time they are the voice's.
        task = tiny_rvc_task(tmp_path, seed=stops)
        run = Training(task, data, settings, tmp_path / "stopped", report_interval_s=0).run()
        outcome = stop_after(run, int(random.integers(3, 5)))
        stops += 1
    assert stops > 2
    assert_equal(whole.state_dict(), task.state_dict())


def test_what_is_exported_is_the_voice_and_its_training(tmp_path: Path) -> None:
    task = tiny_rvc_task(tmp_path)
    take_steps(task, [features(task, 0.6)], 2)
    card = task.export(tmp_path)
    said = {name: card[name] for name in ("engine", "version", "uses_f0", "content_encoder", "start")}
    assert said == {
        "engine": "rvc", "version": "v1", "uses_f0": True, "content_encoder": "contentvec", "start": "random",
    }  # fmt: skip
    model = load_voice_file(tmp_path / "model.safetensors")
    synthesizer = task.trainer.synthesizer
    for name, tensor in published_state(synthesizer).items():
        if "enc_q" not in name:
            assert torch.equal(model.weights[name], tensor.half()), name
    write_voice_model(tmp_path / "voice.pth", model)
    written = torch.load(tmp_path / "voice.pth", weights_only=True)
    assert (written["version"], written["f0"], written["sr"], written["config"][17]) == (
        "v1",
        1,
        "40k",
        40_000,
    )
    assert (written["info"], written["step"]) == ("0epoch", 2)

    paths = task.write_checkpoints(tmp_path)
    assert [path.name for path in paths] == ["G_2.pth", "D_2.pth"]
    config, of_generator = read_generator(paths[0], synthesizer.config)
    again = VitsSynthesizer(config)
    load_published_state(again, of_generator)
    assert_equal(synthesizer.state_dict(), again.state_dict())
    written = torch.load(paths[0], weights_only=True)
    assert written["iteration"] == 1  # they count from 1
    torch.optim.AdamW(again.parameters()).load_state_dict(written["optimizer"])
    of_judges = read_discriminators(paths[1], "v1", narrowing=16)
    assert_equal(published_state(task.trainer.discriminators), of_judges)
    take_steps(task, [features(task, 0.6)], 3)
    task.write_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("?_*.pth")) == ["D_3.pth", "G_3.pth"]


def test_a_voice_begins_with_pretrained_weights_and_only_with_fitting_ones(tmp_path: Path) -> None:
    sizes = tiny_sizes()
    torch.manual_seed(5)
    networks: Mapping[str, Any] = {
        "G": VitsSynthesizer(sizes.synthesizer), "D": Discriminators("v1", sizes.narrowing),
    }  # fmt: skip
    paths = {letter: tmp_path / f"f0{letter}40k.pth" for letter in networks}
    for letter, network in networks.items():
        write_pretrained(paths[letter], published_state(network))
    task = RvcTask(sizes, tiny_files(tmp_path, generator=paths["G"], discriminators=paths["D"]))
    began = published_state(task.trainer.synthesizer)
    for name, tensor in published_state(networks["G"]).items():
        torch.testing.assert_close(began[name], tensor, rtol=1e-3, atol=1e-3)
    assert task.export(tmp_path)["start"] == "pretrained"
    with pytest.raises(CheckpointError, match=r"f0G40k\.pth"):
        wrong = tiny_files(tmp_path, generator=paths["G"], discriminators=paths["D"])
        RvcTask(tiny_sizes(uses_f0=False), wrong)


def test_published_sizes_are_those_of_published_programs() -> None:
    for (version, rate), frames in SEGMENT_FRAMES.items():
        sizes = published_sizes(version, rate, uses_f0=True)
        assert sizes.segment_frames == frames
        assert sizes.spectrogram.fft_samples // 2 + 1 == sizes.synthesizer.spectrogram_bins
        assert sizes.spectrogram.hop_samples == sizes.synthesizer.hop_samples

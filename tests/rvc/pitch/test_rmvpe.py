"""RMVPE at toy size: chunks, edges, device-free rules, and the weights that are refused."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rvc.errors import CheckpointError, ConfigError
from rvc.pitch.estimators import f0_estimator
from rvc.pitch.rmvpe import FIRST_CENTS, RmvpeF0, RmvpeNetwork, decode
from tests.tiny import song


@pytest.fixture(scope="module")
def network() -> RmvpeNetwork:
    torch.manual_seed(0)
    network = RmvpeNetwork(channels=4, blocks=1, hidden=8)
    network.state_dict()["fc.1.bias"].fill_(-3.0)
    return network.eval()


def result(steps: Generator[float, None, NDArray[np.float32]]) -> NDArray[np.float32]:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            salience: NDArray[np.float32] = stop.value
            return salience


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 400, 5119, 5120, 20_001])
def test_every_length_has_its_frames(samples: int, network: RmvpeNetwork) -> None:
    estimate = RmvpeF0(network)
    f0_hz = estimate(song(2.0)[:samples])
    assert f0_hz.shape == (samples // 160 + 1,)
    assert np.isfinite(f0_hz).all()
    assert (f0_hz >= 0).all()


def test_chunks_give_nearly_the_salience_of_the_whole(network: RmvpeNetwork) -> None:
    wav = song(12.0)
    whole = result(RmvpeF0(network).salience(wav))
    chunked = result(RmvpeF0(network, chunk_frames=320).salience(wav))
    assert chunked.shape == whole.shape == (1201, 360)
    assert np.abs(chunked - whole).max() < 0.01


def test_steps_rise_from_zero_to_one_and_leave_torch_as_it_was(network: RmvpeNetwork) -> None:
    shares = []
    for share in RmvpeF0(network, chunk_frames=160).track(song(5.0)):
        assert not torch.is_inference_mode_enabled()
        shares.append(share)
    assert shares == sorted(shares)
    assert shares[0] >= 0.0
    assert 0.9 < shares[-1] < 1.0


def test_a_lone_pitch_is_read_off_exactly_and_the_threshold_is_exclusive() -> None:
    salience = np.zeros((4, 360), np.float32)
    salience[0, 0], salience[1, 359], salience[2, 100] = 0.5, 0.5, np.float32(0.03)
    found = decode(salience, float(np.float32(0.03)))
    cents = FIRST_CENTS + 20 * np.array([0, 359])
    np.testing.assert_allclose(found[:2], 10 * 2 ** (cents / 1200))
    np.testing.assert_array_equal(found[2:], 0)


def test_it_is_built_by_name_from_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs its weights, rmvpe\.pt"):
        f0_estimator("rmvpe")
    with pytest.raises(
        CheckpointError, match=r"^rmvpe\.pt cannot be opened .*; use the published rmvpe\.pt\.$"
    ):
        f0_estimator("rmvpe", weights=tmp_path / "rmvpe.pt")


def test_weights_of_other_sizes_are_refused_by_name(network: RmvpeNetwork, tmp_path: Path) -> None:
    path = tmp_path / "rmvpe.pt"
    torch.save(network.state_dict(), path)
    with pytest.raises(
        CheckpointError, match=r"^rmvpe\.pt lacks unet\.encoder\.layers\.0\.conv\.1\..* and \d+ more"
    ):
        RmvpeF0.load(path)


class ReadsHighNotesLow(RmvpeF0):
    """The real estimator with a network that reads what is above 1,040 Hz an octave low, and surely."""

    def salience(self, wav16k: NDArray[np.float32]) -> Generator[float, None, NDArray[np.float32]]:
        yield 0.0
        frames = wav16k.size // 160 + 1
        salience = np.zeros((frames, 360), np.float32)
        for frame in range(frames):
            part = np.pad(wav16k, 512)[frame * 160 : frame * 160 + 1024]
            power = np.abs(np.fft.rfft(part * np.hanning(1024), 16_384))
            if power.max() > 1:
                hz = float(power.argmax()) * 16_000 / 16_384
                heard = hz / 2 if hz > 1_040 else hz
                salience[frame, round((1200 * np.log2(heard / 10) - FIRST_CENTS) / 20)] = 0.9
        return salience


@pytest.mark.parametrize("hz", [220.0, 523.25, 700.0, 987.77, 1_046.5, 1_318.5, 1_760.0])
def test_notes_that_the_network_reads_an_octave_low_are_put_right(network: RmvpeNetwork, hz: float) -> None:
    wav = (0.3 * np.sin(2 * np.pi * hz * np.arange(32_000) / 16_000)).astype(np.float32)
    wav[8_000:16_000] = 0.3 * np.sin(2 * np.pi * 300.0 * np.arange(8_000) / 16_000)
    found = ReadsHighNotesLow(network)(wav)
    assert found.shape == (201,)
    assert np.abs(1200 * np.log2(found[5:45] / hz)).max() < 25
    assert np.abs(1200 * np.log2(found[55:95] / 300.0)).max() < 25
    assert np.abs(1200 * np.log2(found[105:195] / hz)).max() < 25

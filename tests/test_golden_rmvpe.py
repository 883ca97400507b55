"""RMVPE as upstream computes it: log-mel, every part of the network, decoding; full size, made-up weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rvc.pitch.rmvpe import RmvpeF0, RmvpeNetwork, decode, log_mel
from tests.golden_files import golden, recipe_weights

DATA = "rmvpe.npz"


@pytest.fixture(scope="module")
def network() -> RmvpeNetwork:
    """The published sizes with weights by recipe; 90 million numbers, so made once."""
    with torch.device("meta"):
        empty = RmvpeNetwork()
    state = recipe_weights(empty.state_dict(), "rmvpe/", 0.8)
    state["fc.1.weight"] *= 12
    state["fc.1.bias"] = state["fc.1.bias"] * 20 - 3
    empty.load_state_dict(state, assign=True)
    return empty.eval()


def test_the_network_has_the_published_keys_and_size() -> None:
    with torch.device("meta"):
        state = RmvpeNetwork().state_dict()
    assert len(state) == 741
    assert sum(tensor.numel() for tensor in state.values()) == 90_472_917
    assert state["unet.encoder.layers.0.conv.0.shortcut.weight"].shape == (16, 1, 1, 1)
    assert state["unet.decoder.layers.0.conv1.0.weight"].shape == (512, 256, 3, 3)


def test_the_log_mel_is_upstream_s() -> None:
    data = golden(DATA)
    mel = log_mel(torch.from_numpy(np.pad(data["audio"], 512, mode="reflect")))
    np.testing.assert_allclose(mel.numpy(), data["mel"][0], atol=1e-4)


def test_each_part_of_the_network_is_upstream_s(network: RmvpeNetwork) -> None:
    data = golden(DATA)
    mel = torch.nn.functional.pad(torch.from_numpy(data["mel"]), (0, 4))
    seen: dict[str, torch.Tensor] = {}

    unet = network.unet
    parts = {
        "bottom": unet.encoder.pool,  # the last of its calls stays
        "intermediate": unet.intermediate.layers[-1],
        "unet": unet.decoder.layers[-1],
        "cnn": network.cnn,
        "gru": network.fc[0],
    }

    def watch(name: str) -> Callable[..., None]:
        return lambda _module, _given, result: seen.__setitem__(name, result)

    hooks = [part.register_forward_hook(watch(name)) for name, part in parts.items()]
    with torch.inference_mode():
        salience = network(mel)
    for hook in hooks:
        hook.remove()
    np.testing.assert_allclose(seen["bottom"][0, :8], data["enc_bottom_first"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen["intermediate"][0, :8], data["inter_first"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen["unet"].mean(dim=(2, 3)), data["unet_mean"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen["cnn"][0, :, :32], data["cnn"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(seen["gru"][0, :32], data["gru_first32"], atol=1e-3)
    np.testing.assert_allclose(salience[0, :124], data["salience"], atol=1e-3)


def test_a_recording_gets_upstream_s_f0(network: RmvpeNetwork) -> None:
    data = golden(DATA)
    found = RmvpeF0(network)(data["audio"])
    np.testing.assert_allclose(found, data["f0"], atol=0.05)


def test_salience_is_decoded_as_upstream_decodes_it() -> None:
    data = golden(DATA)
    np.testing.assert_allclose(decode(data["decode_in"], 0.03), data["decode_f0_003"], rtol=1e-6)
    np.testing.assert_allclose(decode(data["decode_in"], 0.05), data["decode_f0_005"], rtol=1e-6)

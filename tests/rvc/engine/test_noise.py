"""Placed noise: white, and the same at the same place of a recording."""

from __future__ import annotations

import pytest
import torch

from rvc.engine.interface import placed_noise


def test_noise_is_the_same_at_the_same_place() -> None:
    whole = placed_noise(0, 450, 240)
    torch.testing.assert_close(placed_noise(130, 200, 240), whole[:, 130 * 240 : 330 * 240])
    assert float(whole.square().mean()) == pytest.approx(1.0, abs=0.02)


def test_two_streams_have_nothing_to_do_with_each_other() -> None:
    one, other = (placed_noise(0, 500, 100, stream)[0] for stream in (1, 2))
    assert abs(float((one * other).mean())) < 0.02

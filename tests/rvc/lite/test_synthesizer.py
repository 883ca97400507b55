"""The synthesizer's source and what must hold whatever its weights are."""

from __future__ import annotations

import numpy as np
import parselmouth
import pytest
import torch

from rvc.engine.interface import placed_noise
from rvc.lite.synthesizer import (
    LiteFrames,
    LiteSynthesizer,
    LiteSynthesizerConfig,
    frame_phase,
    pulse_train,
    steadied,
)

RATE_HZ = 24_000
TINY = LiteSynthesizerConfig(content_dim=8, channels=16, blocks=2, kernel_frames=3, voice_dim=4, voices=2)


def contour(hz: float, frames: int) -> torch.Tensor:
    return torch.full((1, frames), hz)


def inputs(frames: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "content": torch.randn(1, frames, 8, generator=generator),
        "f0_hz": 150 + 50 * torch.rand(1, frames, generator=generator),
        "voiced": torch.ones(1, frames),
        "level": torch.full((1, frames), -3.0),
    }


def speak(
    model: LiteSynthesizer,
    rows: dict[str, torch.Tensor],
    phase: torch.Tensor,
    first_frame: int = 0,
    steady: torch.Tensor | None = None,
) -> torch.Tensor:
    pulses = pulse_train(rows["f0_hz"], phase, rows["voiced"], RATE_HZ)
    noise = placed_noise(first_frame, rows["f0_hz"].shape[1], 240)
    with torch.inference_mode():
        return model(LiteFrames(**rows), torch.zeros(1, dtype=torch.long), (pulses, noise), steady)


@pytest.mark.parametrize("hz", [60.0, 110.0, 220.0, 523.25, 900.0])
def test_pulses_have_the_pitch_that_was_asked_for_within_two_cents(hz: float) -> None:
    f0 = contour(hz, 100)
    wav = pulse_train(f0, frame_phase(f0), torch.ones(1, 100), RATE_HZ)[0].double().numpy()
    heard = (
        parselmouth.Sound(wav, RATE_HZ)
        .to_pitch_ac(pitch_floor=40, pitch_ceiling=1200)
        .selected_array["frequency"]
    )
    assert abs(1200 * np.log2(np.median(heard[heard > 0]) / hz)) < 2


def test_pulses_have_unit_power_and_nothing_above_the_band() -> None:
    f0 = contour(200.0, 100)
    wav = pulse_train(f0, frame_phase(f0), torch.ones(1, 100), RATE_HZ)[0]
    assert float(wav.square().mean().sqrt()) == pytest.approx(1.0, abs=0.02)
    power = torch.fft.rfft(wav * torch.hann_window(len(wav))).abs().square()
    assert float(power[int(0.98 * len(power)) :].sum() / power.sum()) < 1e-5


def test_a_glide_is_continuous() -> None:
    f0 = torch.linspace(100, 400, 200)[None]
    wav = pulse_train(f0, frame_phase(f0), torch.ones(1, 200), RATE_HZ)[0]
    heard = parselmouth.Sound(wav.double().numpy(), RATE_HZ).to_pitch_ac(time_step=0.01, pitch_floor=75)
    middle = heard.get_value_at_time(1.0)
    assert abs(1200 * np.log2(middle / float(f0[0, 100]))) < 10


def test_an_unvoiced_frame_has_no_pulses() -> None:
    f0 = contour(150.0, 50)
    assert not pulse_train(f0, frame_phase(f0), torch.zeros(1, 50), RATE_HZ).any()


def test_audio_is_as_long_as_its_frames() -> None:
    model = LiteSynthesizer(TINY).eval()
    rows = inputs(37)
    assert speak(model, rows, frame_phase(rows["f0_hz"])).shape == (1, 37 * 240)


@pytest.mark.parametrize("steady", [False, True])
def test_a_chunk_with_context_equals_the_same_stretch_of_the_whole(steady: bool) -> None:
    torch.manual_seed(0)
    model = LiteSynthesizer(TINY).eval()
    torch.nn.init.normal_(model.head.weight, std=0.2)
    rows = inputs(300)
    phase = frame_phase(rows["f0_hz"])
    flags = ((torch.arange(300)[None] + 10) // 20 % 2 == 0) & steady  # averages cross the edges
    whole = speak(model, rows, phase, steady=flags)
    context = TINY.context_frames
    first, last = 120 - context, 180 + context
    chunk = speak(
        model,
        {name: row[:, first:last] for name, row in rows.items()},
        phase[:, first:last],
        first,
        flags[:, first:last],
    )
    torch.testing.assert_close(
        chunk[:, context * 240 : (context + 60) * 240], whole[:, 120 * 240 : 180 * 240], atol=1e-5, rtol=0
    )


def test_only_steady_frames_are_averaged_and_only_over_their_like() -> None:
    steady = torch.zeros(1, 30, dtype=torch.bool)
    steady[:, 10:20] = True
    values = torch.randn(1, 60, 3, generator=torch.Generator().manual_seed(2))
    values[:, :20] += 1000.0
    made = steadied(values, steady)
    torch.testing.assert_close(made[:, :20], values[:, :20])
    torch.testing.assert_close(made[:, 40:], values[:, 40:])
    torch.testing.assert_close(made[:, 30], values[:, 26:35].mean(1))
    assert float(made[:, 20:40].abs().max()) < 10, "nothing of the frames beside comes in"
    constant = torch.full((1, 60, 3), 4.0)
    torch.testing.assert_close(steadied(constant, steady), constant)

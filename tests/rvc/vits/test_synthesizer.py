"""RVC's synthesizer: published sizes, the same sound folded or cut, and a flow that can be undone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rvc.errors import ConfigError
from rvc.torch_file import published_state
from rvc.vits import prior_encoder as transformer
from rvc.vits.config import Version, published_config
from rvc.vits.discriminator import Discriminators
from rvc.vits.flow import Flow
from rvc.vits.generator import HarmonicSource
from rvc.vits.prior_encoder import RelativeAttention, frame_mask, random_starts, segments
from rvc.vits.synthesizer import Noise, Target, VitsSynthesizer, Window
from rvc.vits.voice_model import VoiceModel
from tests.tiny_rvc import tiny_config, tiny_frames, tiny_synthesizer

PUBLISHED: list[tuple[Version, int, int, int, int, int]] = [
    ("v1", 32_000, 36_294_338, 27_471_170, 619, 516),
    ("v1", 40_000, 36_360_514, 27_439_042, 560, 457),
    ("v1", 48_000, 36_400_834, 27_479_362, 619, 516),
    ("v2", 32_000, 36_880_706, 28_057_538, 560, 457),
    ("v2", 40_000, 36_458_818, 27_537_346, 560, 457),
    ("v2", 48_000, 37_638_466, 28_716_994, 560, 457),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]} {row[1]}")
def test_published_sizes_give_the_published_number_of_weights(
    row: tuple[Version, int, int, int, int, int],
) -> None:
    version, rate, whole, spoken, keys, spoken_keys = row
    with torch.device("meta"):
        state = published_state(VitsSynthesizer(published_config(version, rate)))
    rest = {name: tensor for name, tensor in state.items() if "enc_q" not in name}
    assert (len(state), len(rest)) == (keys, spoken_keys)
    assert sum(tensor.numel() for tensor in state.values()) == whole
    assert sum(tensor.numel() for tensor in rest.values()) == spoken


@pytest.mark.parametrize(("version", "numbers", "keys"), [("v1", 54_968_286, 129), ("v2", 71_410_594, 165)])
def test_discriminators_have_the_published_number_of_weights(
    version: Version, numbers: int, keys: int
) -> None:
    with torch.device("meta"):
        state = Discriminators(version).state_dict()
    assert (sum(tensor.numel() for tensor in state.values()), len(state)) == (numbers, keys)


@pytest.mark.parametrize("uses_f0", [True, False])
def test_folding_weight_norm_changes_nothing_that_is_heard(uses_f0: bool) -> None:
    synthesizer = tiny_synthesizer(uses_f0=uses_f0).eval()
    folded = VitsSynthesizer.for_inference(synthesizer.config, VoiceModel.of(synthesizer).weights)
    assert not [name for name in folded.state_dict() if "original" in name or "enc_q" in name]
    frames = tiny_frames(synthesizer.config)
    noise = Noise(latent=torch.randn(1, 8, 30), source=torch.randn(1, 1, 30 * 400))
    unfolded_audio, audio = synthesizer.infer(frames, noise).audio, folded.infer(frames, noise).audio
    assert float(audio.std()) > 1e-3
    torch.testing.assert_close(audio, unfolded_audio, rtol=0, atol=1e-5)


def test_folding_leaves_the_weights_that_were_given_alone() -> None:
    weights = VoiceModel.of(tiny_synthesizer()).weights
    before = {name: tensor.clone() for name, tensor in weights.items()}
    folded = VitsSynthesizer.for_inference(tiny_config(), weights)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights.items())


def test_a_window_of_everything_is_everything() -> None:
    synthesizer = tiny_synthesizer().eval()
    frames = tiny_frames(synthesizer.config)
    noise = Noise(latent=torch.zeros(1, 8, 30), source=torch.zeros(1, 1, 30 * 400))
    whole = synthesizer.infer(frames, noise)
    window = synthesizer.infer(frames, noise, Window(skipped_frames=0, frames=30))
    assert torch.equal(whole.audio, window.audio)


def test_what_an_item_is_padded_with_is_not_heard() -> None:
    synthesizer = tiny_synthesizer().eval()
    frames = replace(tiny_frames(synthesizer.config), lengths=torch.tensor([20]))
    other = replace(frames, content=frames.content.clone())
    other.content[:, 20:] = 7.0
    noise = Noise(latent=torch.zeros(1, 8, 30), source=torch.zeros(1, 1, 30 * 400))
    torch.testing.assert_close(synthesizer.infer(frames, noise).audio, synthesizer.infer(other, noise).audio)


def test_contours_and_windows_that_do_not_fit_are_refused() -> None:
    with_f0, without = tiny_synthesizer(), tiny_synthesizer(uses_f0=False)
    frames, bare = tiny_frames(with_f0.config), tiny_frames(without.config)
    for synthesizer, given in ((with_f0, bare), (without, frames), (with_f0, replace(frames, f0_hz=None))):
        with pytest.raises(ConfigError, match="F0"):
            synthesizer.infer(given)
    with pytest.raises(ConfigError, match=r"frames 20\.\.40"):
        with_f0.infer(frames, window=Window(skipped_frames=20, frames=20))
    with pytest.raises(ConfigError, match="256 numbers, not 768"):
        tiny_synthesizer("v1").infer(frames)
    spoken = VitsSynthesizer.for_inference(with_f0.config, VoiceModel.of(with_f0).weights)
    target = Target(spectrogram=torch.rand(1, 33, 30), lengths=torch.tensor([30]), segment_frames=10)
    with pytest.raises(ConfigError, match="made for conversion"):
        spoken(frames, target)
    with pytest.raises(ConfigError, match="shorter than a training segment of 40"):
        with_f0(frames, replace(target, segment_frames=40))


def test_every_weight_learns_from_a_training_step() -> None:
    synthesizer = tiny_synthesizer()
    frames = tiny_frames(synthesizer.config)
    target = Target(spectrogram=torch.rand(1, 33, 30), lengths=torch.tensor([30]), segment_frames=10)
    made = synthesizer(frames, target)
    assert made.audio.shape == (1, 1, 10 * 400)
    everything = (made.audio, made.prior_latent, made.prior_mean, made.prior_log_deviation)
    torch.stack([part.square().sum() for part in everything]).sum().backward()  # type: ignore[no-untyped-call]
    unmoved = [name for name, parameter in synthesizer.named_parameters() if parameter.grad is None]
    assert unmoved == []


def test_the_flow_can_be_undone() -> None:
    flow = Flow(tiny_config())
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    z, speaker = torch.randn(2, 8, 12), torch.randn(2, 4, 1)
    mask = frame_mask(torch.tensor([12, 7]), 12)
    there = flow(z * mask, mask, speaker)
    assert float((there - z * mask).detach().abs().max()) > 0.1
    torch.testing.assert_close(flow.inverse(there, mask, speaker), z * mask, rtol=1e-4, atol=1e-4)


def test_a_recording_s_source_is_the_same_in_one_piece_or_two() -> None:
    source = HarmonicSource(40_000, 400)
    f0_hz = torch.cat([torch.linspace(100.0, 300.0, 40), torch.zeros(5), torch.full((15,), 177.0)])[None]
    noise = torch.randn(1, 1, 60 * 400)
    whole = source(f0_hz, noise)
    cut = 23
    passed = f0_hz[:, :cut].double().sum(1) / 100
    first = source(f0_hz[:, :cut], noise[..., : cut * 400])
    second = source(f0_hz[:, cut:], noise[..., cut * 400 :], passed)
    torch.testing.assert_close(torch.cat([first, second], -1), whole, rtol=0, atol=1e-5)


def test_five_minutes_of_a_tone_keep_their_pitch() -> None:
    source = HarmonicSource(8_000, 80)
    frames = 30_000
    phase = source._phase(torch.full((1, frames), 220.0), None)[0, -800:].double()
    samples = torch.arange(frames * 80 - 800, frames * 80).double() + 1
    exact = torch.sin(2 * torch.pi * torch.remainder(220.0 * samples / 8_000, 1.0))
    torch.testing.assert_close(torch.sin(phase), exact, rtol=0, atol=1e-4)


def test_training_segments_lie_within_their_items() -> None:
    lengths = torch.tensor([30, 12, 10])
    assert random_starts(lengths, 10, torch.tensor([0.999, 0.999, 0.5])).tolist() == [20, 2, 0]
    signal = torch.arange(90).reshape(3, 1, 30)
    assert segments(signal, torch.tensor([20, 2, 0]), 3)[:, 0].tolist() == [
        [20, 21, 22],
        [32, 33, 34],
        [60, 61, 62],
    ]


def test_attention_is_the_same_however_many_frames_attend_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = RelativeAttention(tiny_config())
    x, mask = torch.randn(2, 8, 33), frame_mask(torch.tensor([33, 25]), 33)
    whole = attention(x, mask)
    for rows in (1, 7, 16, 32):
        monkeypatch.setattr(transformer, "ROWS", rows)
        torch.testing.assert_close(attention(x, mask), whole, rtol=0, atol=1e-6)

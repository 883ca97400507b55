"""The generator in tiles of time: the same samples wherever they end, and memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rvc.errors import ConfigError
from rvc.vits.generator import Generator
from rvc.vits.synthesizer import Noise, SynthesizerConfig, Window
from rvc.vits.tiles import Tiles, speak_in_tiles
from tests.tiny_rvc import tiny_config, tiny_frames, tiny_synthesizer

FRAMES = 13
SMALL = SynthesizerConfig(
    sample_rate_hz=8_000,
    latent_channels=8,
    hidden_channels=8,
    resblock_kernels=(3, 7),
    resblock_dilations=((1, 3), (1, 5)),
    upsample_channels=16,
    upsample_rates=(10, 4, 2),
    upsample_kernels=(24, 4, 8),  # wider than two steps, as wide as one, and four
    speaker_channels=4,
)
SIZES = [
    SMALL,
    replace(SMALL, uses_f0=False),
    replace(SMALL, resblock_type="2"),
    replace(SMALL, upsample_rates=(8, 10), upsample_kernels=(16, 10)),
    tiny_config(),
]


@pytest.fixture(params=[1, 2], ids=lambda threads: f"{threads} threads")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def a_generator(config: SynthesizerConfig) -> Generator:
    torch.manual_seed(0)
    generator = Generator(config)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.25 * torch.randn_like(parameter))
    return generator


def something_to_say(
    config: SynthesizerConfig, frames: int = FRAMES, items: int = 1
) -> tuple[Tensor, Tensor, Tensor | None]:
    draws = torch.Generator().manual_seed(1)
    latent = 4.0 * torch.randn(items, config.latent_channels, frames, generator=draws)
    speaker = torch.randn(items, config.speaker_channels, 1, generator=draws)
    excitation = torch.randn(items, 1, frames * config.hop_samples, generator=draws)
    return latent, speaker, excitation if config.uses_f0 else None


@pytest.mark.parametrize("config", SIZES, ids=["F0", "no F0", "single blocks", "two stages", "40 kHz"])
@pytest.mark.parametrize(
    "tiles",
    [Tiles(), Tiles(frames=7, numbers=300), Tiles(frames=1, numbers=10**9), Tiles(frames=100, numbers=1_000)],
    ids=lambda tiles: f"{tiles.frames} frames, {tiles.numbers} numbers",
)
def test_any_tiles_give_the_same_samples(config: SynthesizerConfig, tiles: Tiles) -> None:
    generator, said = a_generator(config), something_to_say(config)
    with torch.no_grad():
        whole = generator(*said)
    assert float(whole.std()) > 1e-2
    torch.testing.assert_close(speak_in_tiles(generator, *said, tiles), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_what_is_shorter_than_the_generator_sees_is_the_same_too(frames: int) -> None:
    generator, said = a_generator(SMALL), something_to_say(SMALL, frames)
    with torch.no_grad():
        whole = generator(*said)
    made = speak_in_tiles(generator, *said, Tiles(frames=1, numbers=50))
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-6)


def test_a_batch_and_several_threads_give_the_same_samples(threads: int) -> None:
    generator, said = a_generator(SMALL), something_to_say(SMALL, items=3)
    with torch.no_grad():
        whole = generator(*said)
    made = speak_in_tiles(generator, *said, Tiles(frames=9, numbers=500))
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-6)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("window", [None, Window(skipped_frames=12, frames=9, stretched_frames=11)])
def test_a_synthesizer_sounds_the_same_with_tiles_and_without(window: Window | None) -> None:
    synthesizer = tiny_synthesizer().eval()
    spoken = 30 if window is None else window.frames
    noise = Noise(latent=torch.randn(1, 8, 30), source=torch.randn(1, 1, spoken * 400))
    frames = tiny_frames(synthesizer.config)
    synthesizer.tiles = None
    whole = synthesizer.infer(frames, noise, window).audio
    synthesizer.tiles = Tiles(frames=4, numbers=1_000)
    torch.testing.assert_close(synthesizer.infer(frames, noise, window).audio, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("uses_f0", [True, False])
@pytest.mark.parametrize("tiles", [None, Tiles(frames=6, numbers=1_000)])
def test_part_of_a_recording_sounds_as_it_does_in_the_whole(uses_f0: bool, tiles: Tiles | None) -> None:
    synthesizer = tiny_synthesizer(uses_f0=uses_f0).eval()
    synthesizer.tiles = tiles
    noise = Noise(latent=torch.randn(1, 8, 30), source=torch.randn(1, 1, 30 * 400))
    frames = tiny_frames(synthesizer.config)
    whole = synthesizer.infer(frames, noise).audio[0, 0]
    passages = list(synthesizer.speak(frames, noise, (9, 23)))
    assert len(passages) == (1 if tiles is None else 3)
    torch.testing.assert_close(torch.cat(passages), whole[9 * 400 : 23 * 400], rtol=0, atol=1e-6)
    everything = torch.cat(list(synthesizer.speak(frames, noise)))
    torch.testing.assert_close(everything, whole, rtol=0, atol=1e-6)


def test_between_two_passages_gradients_are_the_caller_s() -> None:
    synthesizer = tiny_synthesizer().eval()
    synthesizer.tiles = Tiles(frames=20)
    for _ in synthesizer.speak(tiny_frames(synthesizer.config)):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with pytest.raises(ConfigError, match=r"frames 20\.\.40"):
        next(synthesizer.speak(tiny_frames(synthesizer.config), spoken=(20, 40)))


def test_an_excitation_that_does_not_fit_and_tiles_of_nothing_are_refused() -> None:
    latent, speaker, excitation = something_to_say(SMALL)
    assert excitation is not None
    with pytest.raises(ConfigError, match=r"13 frames take 1040 samples of F0, not 10\."):
        speak_in_tiles(a_generator(SMALL), latent, speaker, excitation[..., :10])
    with pytest.raises(ConfigError, match="F0"):
        speak_in_tiles(a_generator(SMALL), latent, speaker)
    with pytest.raises(ConfigError, match="hold nothing"):
        Tiles(frames=0)

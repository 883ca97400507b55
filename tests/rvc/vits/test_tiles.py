"""The generator in tiles of time: the same samples wherever they end, and memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rvc.errors import ConfigError
from rvc.vits.config import SynthesizerConfig
from rvc.vits.generator import Generator
from rvc.vits.synthesizer import Noise
from rvc.vits.tiles import TiledGenerator
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


@pytest.fixture
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tiles than the program has: frames of a passage, and numbers of a tile."""
    frames, numbers = request.param
    monkeypatch.setattr("rvc.vits.tiles.PASSAGE_FRAMES", frames)
    monkeypatch.setattr("rvc.vits.tiles.TILE_NUMBERS", numbers)


def in_tiles(*tiles: tuple[int, int]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "tiles", tiles, indirect=True, ids=lambda tiles: f"{tiles[0]} frames, {tiles[1]} numbers"
    )


def speak_in_tiles(
    generator: Generator, latent: Tensor, speaker: Tensor, excitation: Tensor | None = None
) -> Tensor:
    """What `generator(latent, speaker, excitation)` says, item by item."""
    performance = TiledGenerator(generator)
    items = [
        performance.passages(latent[item], speaker[item], None if excitation is None else excitation[item, 0])
        for item in range(latent.shape[0])
    ]
    return torch.stack([torch.cat(list(passages)) for passages in items])[:, None]


@pytest.mark.parametrize("config", SIZES, ids=["F0", "no F0", "single blocks", "two stages", "40 kHz"])
@in_tiles((100, 2**18), (7, 300), (1, 10**9), (100, 1_000))
def test_any_tiles_give_the_same_samples(config: SynthesizerConfig, tiles: None) -> None:
    generator, said = a_generator(config), something_to_say(config)
    with torch.no_grad():
        whole = generator(*said)
    assert float(whole.std()) > 1e-2
    torch.testing.assert_close(speak_in_tiles(generator, *said), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 5])
@in_tiles((1, 50))
def test_what_is_shorter_than_the_generator_sees_is_the_same_too(frames: int, tiles: None) -> None:
    generator, said = a_generator(SMALL), something_to_say(SMALL, frames)
    with torch.no_grad():
        whole = generator(*said)
    torch.testing.assert_close(speak_in_tiles(generator, *said), whole, rtol=0, atol=1e-6)


@in_tiles((9, 500))
def test_a_batch_and_several_threads_give_the_same_samples(threads: int, tiles: None) -> None:
    generator, said = a_generator(SMALL), something_to_say(SMALL, items=3)
    with torch.no_grad():
        whole = generator(*said)
    torch.testing.assert_close(speak_in_tiles(generator, *said), whole, rtol=0, atol=1e-6)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("uses_f0", [True, False])
@pytest.mark.parametrize("tiled", [True, False])
@in_tiles((6, 1_000))
def test_part_of_a_recording_sounds_as_it_does_in_the_whole(uses_f0: bool, tiled: bool, tiles: None) -> None:
    synthesizer = tiny_synthesizer(uses_f0=uses_f0).eval()
    synthesizer.in_tiles = tiled
    noise = Noise(latent=torch.randn(1, 8, 30), source=torch.randn(1, 1, 30 * 400))
    frames = tiny_frames(synthesizer.config)
    whole = synthesizer.infer(frames, noise).audio[0, 0]
    passages = list(synthesizer.speak(frames, noise, (9, 23)))
    assert len(passages) == (3 if tiled else 1)
    torch.testing.assert_close(torch.cat(passages), whole[9 * 400 : 23 * 400], rtol=0, atol=1e-6)
    everything = torch.cat(list(synthesizer.speak(frames, noise)))
    torch.testing.assert_close(everything, whole, rtol=0, atol=1e-6)


@in_tiles((20, 2**18))
def test_between_two_passages_gradients_are_the_caller_s(tiles: None) -> None:
    synthesizer = tiny_synthesizer().eval()
    for _ in synthesizer.speak(tiny_frames(synthesizer.config)):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with pytest.raises(ConfigError, match=r"frames 20\.\.40"):
        next(synthesizer.speak(tiny_frames(synthesizer.config), spoken=(20, 40)))


def test_an_excitation_that_does_not_fit_is_refused() -> None:
    latent, speaker, excitation = something_to_say(SMALL)
    assert excitation is not None
    with pytest.raises(ConfigError, match=r"13 frames take 1040 samples of F0, not 10\."):
        speak_in_tiles(a_generator(SMALL), latent, speaker, excitation[..., :10])
    with pytest.raises(ConfigError, match="F0"):
        speak_in_tiles(a_generator(SMALL), latent, speaker)

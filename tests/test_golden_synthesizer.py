"""The synthesizer gives what the published programs give from the same files, inputs and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rvc.vits.synthesizer import InferenceOutput, Noise, VitsFrames, VitsSynthesizer, Window
from tests.golden_networks import AUDIO, LATENT, arrays, assert_near, names_in, stem, voice, voices

SOURCE = (1e-5, 0.0)
CASES = [
    pytest.param(path, prefix, case, id=f"{path.stem}-{prefix}{case}")
    for path in voices()
    for prefix in ("", "batch2.")
    for case in ("zero", "noise")
    if f"{prefix}{case}.audio" in names_in(path.with_suffix(".npz"))
]
every_voice = pytest.mark.parametrize("path", voices(), ids=stem)


def frames(given: dict[str, Tensor], prefix: str = "") -> VitsFrames:
    return VitsFrames(
        content=given[f"{prefix}phone"],
        lengths=given[f"{prefix}phone_lengths"],
        speaker=given[f"{prefix}sid"],
        pitch=given.get(f"{prefix}pitch"),
        f0_hz=given.get(f"{prefix}pitchf"),
    )


def noise(synthesizer: VitsSynthesizer, given: dict[str, Tensor], prefix: str, case: str) -> Noise:
    """The draws of a case: the stored ones, or none at all."""
    batch, length = given[f"{prefix}phone"].shape[:2]
    if case == "zero":
        config = synthesizer.config
        return Noise(
            latent=torch.zeros(batch, config.latent_channels, length),
            source=torch.zeros(batch, 1, length * config.hop_samples),
        )
    source = given.get(f"{prefix}noise_sine")
    return Noise(latent=given[f"{prefix}noise_z"], source=None if source is None else source.transpose(1, 2))


@contextmanager
def recorded(synthesizer: VitsSynthesizer) -> Iterator[dict[str, Tensor]]:
    """What passes through the generator's layers."""
    seen: dict[str, Tensor] = {}

    def output(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _module, _given, made: seen.__setitem__(name, made)

    generator = synthesizer.dec
    layers: dict[str, nn.Module | None] = {
        "dec_conv_pre": generator.conv_pre,
        "har_source": generator.m_source,
    }
    layers |= {f"dec_up{stage}": layer for stage, layer in enumerate(generator.ups)}
    hooks = [layer.register_forward_hook(output(name)) for name, layer in layers.items() if layer is not None]
    hooks.append(
        generator.conv_post.register_forward_pre_hook(
            lambda _module, given: seen.__setitem__("dec_pre_post", given[0])
        )
    )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def assert_made(made: InferenceOutput, given: dict[str, Tensor], case: str, prior: str) -> None:
    """Compare everything that the golden data has of a case."""
    for made_part, name in (
        (made.prior_mean, f"{prior}m_p"),
        (made.prior_log_deviation, f"{prior}logs_p"),
        (made.prior_latent, f"{case}z_p"),
        (made.latent, f"{case}z"),
    ):
        if name in given:
            assert_near(made_part, given[name], LATENT, name)
    if f"{prior}x_mask" in given:
        assert torch.equal(made.mask, given[f"{prior}x_mask"])
    assert_near(made.audio, given[f"{case}audio"], AUDIO, f"{case}audio")


@pytest.mark.parametrize(("path", "prefix", "case"), CASES)
def test_a_voice_speaks_as_published_programs_speak_it(path: Path, prefix: str, case: str) -> None:
    given = arrays(path.with_suffix(".npz"))
    synthesizer = voice(path)
    with recorded(synthesizer) as seen:
        made = synthesizer.infer(frames(given, prefix), noise(synthesizer, given, prefix, case))
    if "har_source" in seen:
        source = seen["har_source"].transpose(1, 2)
        assert_near(source, given[f"{prefix}{case}.har_source"], SOURCE, "har_source")
    for name, tensor in seen.items():
        if name != "har_source" and f"{prefix}{case}.{name}" in given:
            assert_near(tensor, given[f"{prefix}{case}.{name}"], AUDIO, name)
    assert_made(made, given, f"{prefix}{case}.", prefix)


@pytest.mark.parametrize(("path", "prefix", "case"), CASES)
def test_in_tiles_a_voice_speaks_as_published_programs_speak_it(path: Path, prefix: str, case: str) -> None:
    given = arrays(path.with_suffix(".npz"))
    synthesizer = voice(path)
    said, draws = frames(given, prefix), noise(synthesizer, given, prefix, case)
    spoken = []
    for item in range(len(said.lengths)):
        one = {name: part[item : item + 1] for name, part in vars(said).items() if part is not None}
        drawn = {name: part[item : item + 1] for name, part in vars(draws).items() if part is not None}
        spoken.append(torch.cat(list(synthesizer.speak(VitsFrames(**one), Noise(**drawn)))))
    assert_near(torch.stack(spoken)[:, None], given[f"{prefix}{case}.audio"], AUDIO, f"{prefix}{case}.audio")


@every_voice
def test_a_window_of_a_longer_context_is_spoken_as_in_real_time(path: Path) -> None:
    given = arrays(path.with_suffix(".npz"))
    cases = sorted(name.removesuffix(".skip_head") for name in given if name.endswith(".skip_head"))
    synthesizer = voice(path)
    for case in cases:
        skipped, length, stretched = (
            int(given[f"{case}.{name}"]) for name in ("skip_head", "return_length", "return_length2")
        )
        window = Window(
            skipped_frames=skipped, frames=length, stretched_frames=None if stretched < 0 else stretched
        )
        prior_frames = given[f"{case}.z_p"].shape[-1]
        silent = Noise(
            latent=torch.zeros(1, synthesizer.config.latent_channels, prior_frames),
            source=torch.zeros(1, 1, length * synthesizer.config.hop_samples),
        )
        made = synthesizer.infer(frames(given), silent, window)
        assert_made(made, given, f"{case}.", f"{case}.")
    if not cases:
        pytest.skip(f"{path.stem} has no windows")


def test_there_is_a_voice_to_be_compared() -> None:
    assert voices(), "the folder of golden data is empty"

"""Voice models on disk: every published form is read, what is wrong is refused by name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rvc.errors import CheckpointError, ConfigError
from rvc.torch_file import published_state
from rvc.vits.config import SynthesizerConfig, Version, published_config
from rvc.vits.sizes import config_of, legacy_list, synthesizer_shapes
from rvc.vits.voice_model import VoiceModel, read_voice_model, write_voice_model
from tests.tiny_rvc import sound, tiny_synthesizer

Document = dict[str, Any]


def document(**changes: object) -> Document:
    """A small voice model as WebUI writes it; keywords replace entries, None removes one."""
    model = VoiceModel.of(tiny_synthesizer(), info="20epoch")
    made: Document = {
        "weight": {name: tensor.half() for name, tensor in model.weights.items()},
        "config": legacy_list(model.config),
        "info": model.info,
        "sr": "40k",
        "f0": 1,
        "version": "v2",
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def saved(folder: Path, content: object) -> Path:
    path = folder / "voice.pth"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("uses_f0", [True, False])
def test_what_is_written_has_the_published_form(tmp_path: Path, version: Version, uses_f0: bool) -> None:
    synthesizer = tiny_synthesizer(version, uses_f0=uses_f0)
    path = tmp_path / "voice.pth"
    write_voice_model(path, VoiceModel.of(synthesizer, info="20epoch"))
    written = torch.load(path, weights_only=True)
    assert {name: value for name, value in written.items() if name != "weight"} == {
        "config": [
            33, 32, 8, 8, 16, 2, 2, 3, 0, "1", [3, 5], [[1, 3], [1, 3]],
            [10, 10, 2, 2], 16, [16, 16, 4, 4], 3, 4, 40_000,
        ],
        "info": "20epoch",
        "sr": "40k",
        "f0": int(uses_f0),
        "version": version,
    }  # fmt: skip
    shapes = {name: tensor.shape for name, tensor in written["weight"].items()}
    assert shapes == synthesizer_shapes(synthesizer.config, with_posterior=False)
    assert {tensor.dtype for tensor in written["weight"].values()} == {torch.float16}
    assert not [name for name in shapes if "enc_q" in name or "parametrizations" in name]
    assert shapes["dec.ups.0.weight_g"] == (16, 1, 1)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["voice.pth"]


def test_published_sizes_are_written_as_everybody_writes_them() -> None:
    assert legacy_list(published_config("v2", 48_000)) == [
        1025, 32, 192, 192, 768, 2, 6, 3, 0, "1", [3, 7, 11], [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        [12, 10, 2, 2], 512, [24, 20, 4, 4], 109, 256, 48_000,
    ]  # fmt: skip


def test_a_voice_written_and_read_again_is_the_same_voice(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pth", tmp_path / "second.pth"
    trained = VoiceModel.of(tiny_synthesizer(), info="20epoch", epoch=20, author="someone")
    write_voice_model(first, trained)
    model = read_voice_model(first)
    assert (model.config, model.info, model.facts) == (trained.config, trained.info, trained.facts)
    torch.testing.assert_close(sound(model), sound(trained), rtol=0, atol=5e-3)
    write_voice_model(second, model)
    again = read_voice_model(second)
    assert list(again.weights) == list(model.weights)
    assert torch.equal(sound(again), sound(model))


def test_applio_s_form_is_read_with_its_facts(tmp_path: Path) -> None:
    applio = document(
        info=None, sr=40_000, f0=True, epoch=200, step=4_000, creation_date="2025-01-01T00:00:00",
        dataset_length=None, model_name="Wren", author="someone", embedder_model="spin", speakers_id=1,
        vocoder="HiFi-GAN", something_new=[1, 2],
    )  # fmt: skip
    model = read_voice_model(saved(tmp_path, applio))
    assert model.config.uses_f0
    assert model.content_encoder == "spin"
    assert model.facts["epoch"] == 200
    assert set(model.facts) == {
        "epoch", "step", "creation_date", "model_name", "author", "embedder_model", "speakers_id",
    }  # fmt: skip


def test_an_early_file_without_version_is_v1_with_f0(tmp_path: Path) -> None:
    model = VoiceModel.of(tiny_synthesizer("v1"))
    early = {"weight": dict(model.weights), "config": legacy_list(model.config), "info": "", "sr": "40k"}
    config = read_voice_model(saved(tmp_path, early)).config
    assert (config.version, config.uses_f0) == ("v1", True)


def test_both_ways_of_naming_normed_weights_are_read(tmp_path: Path) -> None:
    ends = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    old = document()
    new = document()
    new["weight"] = {
        ".".join([*name.split(".")[:-1], ends.get(name.split(".")[-1], name.split(".")[-1])]): tensor
        for name, tensor in old["weight"].items()
    }
    assert set(new["weight"]) != set(old["weight"])
    one, other = read_voice_model(saved(tmp_path, old)), read_voice_model(saved(tmp_path, new))
    assert list(one.weights) == list(other.weights)
    assert torch.equal(sound(one), sound(other))


def test_the_speaker_table_and_not_the_list_says_how_many_speakers_there_are(tmp_path: Path) -> None:
    claimed = document()
    claimed["config"][15] = 109
    assert read_voice_model(saved(tmp_path, claimed)).config.speakers == 3


def test_a_rate_may_be_written_in_khz(tmp_path: Path) -> None:
    written = document()
    written["config"][17] = "40k"
    assert read_voice_model(saved(tmp_path, written)).config.sample_rate_hz == 40_000


def with_weight(name: str, tensor: Tensor | None) -> Document:
    changed = document()
    if tensor is None:
        del changed["weight"][name]
    else:
        changed["weight"][name] = tensor
    return changed


def with_size(place: int, value: object) -> Document:
    changed = document()
    changed["config"][place] = value
    return changed


def list_in_itself() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def renamed(prefix: str) -> Document:
    changed = document()
    changed["weight"] = {prefix + name: tensor for name, tensor in changed["weight"].items()}
    return changed


def in_precision(dtype: torch.dtype) -> Document:
    changed = document()
    changed["weight"] = {name: tensor.to(dtype) for name, tensor in changed["weight"].items()}
    return changed


def with_posterior() -> Document:
    """As a program leaves it that forgot to take the posterior encoder out."""
    changed = document()
    changed["weight"] = {name: tensor.half() for name, tensor in published_state(tiny_synthesizer()).items()}
    assert any("enc_q" in name for name in changed["weight"])
    return changed


SHARED: dict[str, Callable[[], Document]] = {
    "the posterior encoder left in": with_posterior,
    "a weight that no such network has": lambda: with_weight("dec.extra", torch.zeros(3).half()),
    "names of a training on several GPUs": lambda: renamed("module."),
    "names of a compiled network": lambda: renamed("_orig_mod."),
    **{f"f0 {f0!r}": partial(document, f0=f0) for f0 in ("1", "1.0", 1.0, True, "true", None)},
    **{f"version {v!r}": partial(document, version=v) for v in ("V2", "v2 ", 2, 2.0, "2", None)},
    **{f"sr {sr!r}": partial(document, sr=sr) for sr in ("40000", 40_000, 40_000.0, "40 kHz", None, [1])},
    **{f"rate {hz!r}": partial(with_size, 17, hz) for hz in ("40000", 40_000.0, "40K", None, {"a": 1})},
    "sizes in a tuple": lambda: document(config=tuple(document()["config"])),
    "17 sizes": lambda: document(config=document()["config"][:17]),
    "17 sizes and no sr": lambda: document(config=document()["config"][:17], sr=None),
    "sizes with something behind": lambda: document(config=[*document()["config"], "something", None]),
    "sizes as fractions": lambda: with_size(3, 8.0),
    "a residual block type that is a number": lambda: with_size(9, 1),
    "no info": lambda: document(info=None),
    "an info of another kind": lambda: document(info=[1]),
    "a vocoder of None": lambda: document() | {"vocoder": None},
    "weights among the rest": lambda: document(weight=None) | document()["weight"],
    "weights under another name": lambda: document(weight=None, state_dict=document()["weight"]),
    "float32": lambda: in_precision(torch.float32),
    "float64": lambda: in_precision(torch.float64),
    "bfloat16": lambda: in_precision(torch.bfloat16),
}


@pytest.mark.parametrize("form", SHARED)
def test_files_as_people_share_them_are_the_voice_that_they_hold(tmp_path: Path, form: str) -> None:
    plain = read_voice_model(saved(tmp_path, document()))
    model = read_voice_model(saved(tmp_path, SHARED[form]()))
    assert model.config == plain.config
    assert list(model.weights) == list(plain.weights)
    torch.testing.assert_close(sound(model), sound(plain), rtol=0, atol=2e-2)


def published_weights(config: SynthesizerConfig, *, with_posterior: bool) -> dict[str, Tensor]:
    """Weights of these sizes that take no memory."""
    shapes = synthesizer_shapes(config, with_posterior=with_posterior)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("uses_f0", [True, False])
@pytest.mark.parametrize(("version", "rate_hz"), list(product(("v1", "v2"), (32_000, 40_000, 48_000))))
def test_the_weights_of_a_training_tell_the_published_sizes(
    version: Version, rate_hz: int, uses_f0: bool
) -> None:
    config = published_config(version, rate_hz, uses_f0=uses_f0, speakers=3)
    assert config_of({}, published_weights(config, with_posterior=True), "G_100.pth") == config
    small = published_weights(config, with_posterior=False)
    assert config_of({"sr": f"{rate_hz // 1000}k"}, small, "voice.pth") == config


def test_sizes_that_the_weights_leave_in_doubt_are_refused_by_name() -> None:
    weights = published_weights(published_config("v1", 32_000, uses_f0=False), with_posterior=False)
    with pytest.raises(CheckpointError, match=r"does not say its sample rate \(sr\).*32000 Hz and 48000 Hz"):
        config_of({}, weights, "voice.pth")


def test_a_voice_is_taken_out_of_a_training_checkpoint(tmp_path: Path) -> None:
    config = published_config("v2", 40_000, speakers=2)
    shapes = synthesizer_shapes(config, with_posterior=True)
    weights = {name: torch.full(shape, 0.5, dtype=torch.float16) for name, shape in shapes.items()}
    path = tmp_path / "G_2333333.pth"
    torch.save({"model": weights, "iteration": 120, "learning_rate": 1e-4}, path)
    model = read_voice_model(path)
    assert (model.config, model.info) == (config, "120epoch")
    assert not any("enc_q" in name for name in model.weights)
    torch.save(weights, path)  # the state alone
    assert read_voice_model(path).config == config


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "another vocoder": (lambda: document(vocoder="RefineGAN"), "vocoder 'RefineGAN'"),
    "another version": (lambda: document(version="v3"), "version 'v3'"),
    "another f0": (lambda: document(f0=2), "f0 2"),
    "no weights": (lambda: document(weight=None), "no RVC voice model"),
    "empty weights": (lambda: document(weight={}), "something else than floating-point weights"),
    "a training checkpoint": (lambda: {"model": document()["weight"]}, "is a training checkpoint"),
    "a list": (lambda: [1, 2, 3], "no entries by name"),
    "the judges of a training": (
        lambda: {"model": {"discriminators.0.convs.0.bias": torch.zeros(1)}},
        "discriminators of a training.*the G file",
    ),
    "another network": (lambda: {"fc.weight": torch.zeros(3)}, r"does not say its sizes \(config\)"),
    "no sizes": (lambda: document(config=None), r"does not say its sizes \(config\)"),
    "a version that is a list": (lambda: document(version=[2]), r"version \[2\]"),
    "an f0 that is a word": (lambda: document(f0="maybe"), "f0 'maybe'"),
    "an f0 that is a tensor": (lambda: document(f0=torch.ones(2)), "f0 tensor"),
    "too few sizes": (lambda: document(config=[1, 2, 3]), "the 18 sizes"),
    "a missing weight": (lambda: with_weight("dec.conv_post.weight", None), "lacks dec.conv_post.weight"),
    "a further layer": (
        lambda: with_weight("dec.ups.4.weight_g", torch.zeros(1).half()),
        "unknown dec.ups.4.weight_g",
    ),
    "a second copy": (
        lambda: with_weight("ema.dec.conv_post.weight", torch.zeros(1).half()),
        "unknown ema.dec.conv_post.weight",
    ),
    "another shape": (
        lambda: with_weight("enc_p.proj.bias", torch.zeros(5).half()),
        r"shape \[5\] where \[16\]",
    ),
    "no number": (
        lambda: with_weight("enc_p.proj.bias", torch.full((16,), torch.nan).half()),
        "enc_p.proj.bias that are not finite",
    ),
    "whole numbers": (
        lambda: with_weight("enc_p.proj.bias", torch.zeros(16, dtype=torch.int64)),
        "something else than floating-point",
    ),
    "text for a weight": (lambda: document(weight={"emb_g.weight": "x"}), "something else than floating"),
    "a tensor larger than the file": (
        lambda: with_weight("enc_p.proj.bias", torch.zeros(1).half().expand(10**12)),
        "claims more weights than it holds",
    ),
    "a huge network": (lambda: with_size(3, 10**9), "hidden_channels of 1000000000"),
    "a size that is no number": (lambda: with_size(12, 7), "something else than numbers"),
    "sizes without end": (lambda: with_size(11, list_in_itself()), "something else than numbers"),
    "frames that are not 10 ms": (lambda: with_size(17, 48_000), "not 10 ms"),
    "version and weights that differ": (lambda: document(version="v1"), r"\[8, 768\] where \[8, 256\]"),
    "f0 and weights that differ": (lambda: document(f0=0), "the unknown enc_p.emb_pitch.weight and 10 more"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_not_a_voice_model_of_ours_is_refused_in_one_sentence(
    tmp_path: Path, wrong: str
) -> None:
    make, message = WRONG[wrong]
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_voice_model(saved(tmp_path, make()))
    text = str(refusal.value)
    assert text.startswith("voice.pth ")
    assert text.endswith(".")
    assert ";" in text
    assert "\n" not in text


class _Code:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("ran.txt"),)  # type: ignore[return-value]


def test_a_file_that_carries_code_is_refused_and_the_code_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="more than weights"):
        read_voice_model(saved(tmp_path, document(info=_Code())))
    assert not (tmp_path / "ran.txt").exists()


def test_damaged_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, document())
    whole = path.read_bytes()
    for content in (b"", b"hello, this is text", whole[: len(whole) // 2], b"\x80\x02" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"voice\.pth"):
            read_voice_model(path)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be opened"):
        read_voice_model(path)


def test_an_archive_that_unpacks_to_more_than_it_weighs_is_refused(tmp_path: Path) -> None:
    path, packed = saved(tmp_path, document()), tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as smaller:
        for name in archive.namelist():
            smaller.writestr(name, archive.read(name))
        smaller.writestr("archive/data/9999", bytes(10**6))
    with pytest.raises(CheckpointError, match="packed"):
        read_voice_model(packed)


def test_weights_too_large_for_half_precision_are_not_written(tmp_path: Path) -> None:
    synthesizer = tiny_synthesizer()
    with torch.no_grad():
        synthesizer.emb_g.weight[0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"emb_g\.weight is too large"):
        write_voice_model(tmp_path / "voice.pth", VoiceModel.of(synthesizer))
    assert not list(tmp_path.glob("*.pth*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"upsample_rates": (10, 10, 4)},
        {"upsample_rates": (5, 20, 2, 2)},
        {"upsample_kernels": (4, 16, 4, 4)},
        {"resblock_kernels": (3, 7)},
        {"resblock_kernels": (3, 7, 10)},
        {"attention_heads": 5},
        {"latent_channels": 191},
        {"speakers": True},
        {"encoder_layers": 6.0},
        {"dropout": 1.0},
        {"upsample_channels": 500},
        {"resblock_type": "3"},
    ],
    ids=str,
)
def test_sizes_that_contradict_each_other_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SynthesizerConfig(**changes)

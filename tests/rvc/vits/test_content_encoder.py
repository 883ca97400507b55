"""ContentVec at toy size: both published layouts give the same content, and it is what the papers say."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from rvc.errors import AudioError, CheckpointError, UnknownNameError
from rvc.torch_file import read_state
from rvc.vits.content_encoder import CONVOLUTIONS, ContentVec, HubertSizes
from tests.tiny_rvc_voice import content_frames

TOY = HubertSizes(
    conv_channels=16, channels=24, heads=4, feed_forward=32, position_kernel=8, position_groups=4, projected=6
)
State = dict[str, Tensor]


@pytest.fixture
def fairseq_state() -> State:
    """Random weights under fairseq's names, from the table of names and shapes."""
    c, h, f = TOY.conv_channels, TOY.channels, TOY.feed_forward
    shapes = {"mask_emb": (h,), "label_embs_concat": (5, 3), "final_proj": (TOY.projected, h)}
    shapes |= {
        f"feature_extractor.conv_layers.{i}.0.weight": (c, c if i else 1, kernel)
        for i, (kernel, _) in enumerate(CONVOLUTIONS)
    }
    shapes |= {"feature_extractor.conv_layers.0.2": (c,), "layer_norm": (c,), "encoder.layer_norm": (h,)}
    shapes |= {"post_extract_proj": (h, c)}
    for layer in (f"encoder.layers.{i}." for i in range(TOY.layers)):
        shapes |= {f"{layer}self_attn.{name}_proj": (h, h) for name in ("q", "k", "v", "out")}
        shapes |= {f"{layer}fc1": (f, h), f"{layer}fc2": (h, f)}
        shapes |= {f"{layer}self_attn_layer_norm": (h,), f"{layer}final_layer_norm": (h,)}
    state: State = {}
    for name, shape in shapes.items():
        if name.endswith(("weight", "emb", "concat")):
            state[name] = torch.randn(shape) / shape[-1] ** 0.5
        else:  # a module: with one row it is a norm, with two a projection
            state[f"{name}.weight"] = (
                1 + 0.2 * torch.randn(shape) if len(shape) == 1 else torch.randn(shape) / 4
            )
            state[f"{name}.bias"] = 0.1 * torch.randn(shape[0])
    position = "encoder.pos_conv.0."
    state[position + "weight_g"] = 1 + torch.rand(1, 1, TOY.position_kernel)
    state[position + "weight_v"] = torch.randn(h, h // TOY.position_groups, TOY.position_kernel)
    state[position + "bias"] = 0.1 * torch.randn(h)
    return state


def transformers_state(state: State) -> State:
    """The same weights under the names of the transformers library."""
    renames = (
        ("feature_extractor.conv_layers.0.2.", "feature_extractor.conv_layers.0.layer_norm."),
        ("post_extract_proj.", "feature_projection.projection."),
        ("mask_emb", "masked_spec_embed"),
        ("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."),
        (".0.weight", ".conv.weight"),
        (".self_attn_layer_norm.", ".layer_norm."),
        (".self_attn.", ".attention."),
        (".fc1.", ".feed_forward.intermediate_dense."),
        (".fc2.", ".feed_forward.output_dense."),
    )
    other = {}
    for name, tensor in state.items():
        if name == "label_embs_concat":
            continue
        new = f"feature_projection.{name}" if name.startswith("layer_norm.") else name
        for old, replacement in renames:
            new = new.replace(old, replacement)
        other[new] = tensor
    return other


def spelled_out(state: State, wav: Tensor, layers: int) -> Tensor:
    """HuBERT as its papers describe it, from fairseq's names: the output of a layer, (B, F, C)."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = wav[:, None]
    for i, (_, stride) in enumerate(CONVOLUTIONS):
        x = F.conv1d(x, state[f"feature_extractor.conv_layers.{i}.0.weight"], stride=stride)
        if i == 0:
            group = "feature_extractor.conv_layers.0.2"
            x = F.group_norm(x, x.shape[1], state[f"{group}.weight"], state[f"{group}.bias"])
        x = F.gelu(x)
    x = linear(norm(x.transpose(1, 2), "layer_norm"), "post_extract_proj")
    length, direction = state["encoder.pos_conv.0.weight_g"], state["encoder.pos_conv.0.weight_v"]
    weight = length * direction / direction.norm(dim=(0, 1), keepdim=True)
    kernel, groups = TOY.position_kernel, TOY.position_groups
    place = F.conv1d(
        x.transpose(1, 2), weight, state["encoder.pos_conv.0.bias"], padding=kernel // 2, groups=groups
    )
    x = norm(x + F.gelu(place[..., :-1]).transpose(1, 2), "encoder.layer_norm")
    for layer in (f"encoder.layers.{i}." for i in range(layers)):
        heads = [
            linear(x, f"{layer}self_attn.{name}_proj").reshape(*x.shape[:2], TOY.heads, -1).transpose(1, 2)
            for name in "qkv"
        ]
        strength = (heads[0] @ heads[1].mT / heads[0].shape[-1] ** 0.5).softmax(-1)
        attended = linear((strength @ heads[2]).transpose(1, 2).flatten(2), f"{layer}self_attn.out_proj")
        x = norm(x + attended, f"{layer}self_attn_layer_norm")
        x = norm(x + linear(F.gelu(linear(x, f"{layer}fc1")), f"{layer}fc2"), f"{layer}final_layer_norm")
    return x


def saved(document: object, folder: Path, name: str = "weights.pt") -> Path:
    path = folder / name
    torch.save(document, path)
    return path


@pytest.fixture
def wav() -> Tensor:
    return 0.1 * torch.randn(2, 6000)


@torch.inference_mode()
def test_voices_get_the_layer_that_their_version_was_trained_on(
    fairseq_state: State, wav: Tensor, tmp_path: Path
) -> None:
    encoder = ContentVec.load(saved({"model": fairseq_state}, tmp_path), TOY)
    ninth = F.linear(
        spelled_out(fairseq_state, wav, 9),
        fairseq_state["final_proj.weight"],
        fairseq_state["final_proj.bias"],
    )
    torch.testing.assert_close(encoder(wav, "v1"), ninth, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(encoder(wav, "v2"), spelled_out(fairseq_state, wav, 12), atol=2e-5, rtol=1e-4)
    assert encoder(wav, "v1").shape == (2, content_frames(6000), encoder.content_dim("v1"))
    assert encoder(wav, "v2").shape == (2, content_frames(6000), encoder.content_dim("v2"))


@torch.inference_mode()
def test_every_published_layout_of_the_same_weights_gives_the_same_content(
    fairseq_state: State, wav: Tensor, tmp_path: Path
) -> None:
    expected = ContentVec.load(saved({"model": fairseq_state}, tmp_path), TOY)(wav, "v2")
    old_names = transformers_state(fairseq_state)
    new_names = {
        re.sub(
            r"weight_([gv])$", lambda found: f"parametrizations.weight.original{'gv'.index(found[1])}", name
        ): t
        for name, t in old_names.items()
    }
    assert old_names.keys() != new_names.keys()
    save_file(
        {name: tensor.contiguous() for name, tensor in old_names.items()}, tmp_path / "weights.safetensors"
    )
    for path in (
        saved(old_names, tmp_path, "old.bin"),
        saved(new_names, tmp_path, "new.bin"),
        tmp_path / "weights.safetensors",
    ):
        torch.testing.assert_close(ContentVec.load(path, TOY)(wav, "v2"), expected, atol=0, rtol=0)


def test_a_safetensors_file_is_known_whatever_its_first_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for length in range(0, 2048, 8):  # the header's length comes first: it can look like torch's own mark
        save_file({"w": torch.ones(2)}, path, {"remark": "x" * length})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert read_state(path, "use another")["w"].tolist() == [1.0, 1.0]


def test_half_precision_is_read_as_single(fairseq_state: State, wav: Tensor, tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in fairseq_state.items()}
    encoder = ContentVec.load(saved({"model": half}, tmp_path), TOY)
    assert {tensor.dtype for tensor in encoder.state_dict().values()} == {torch.float32}
    again = spelled_out({name: tensor.float() for name, tensor in half.items()}, wav, 12)
    torch.testing.assert_close(encoder(wav, "v2"), again, atol=2e-5, rtol=1e-4)


def test_the_published_sizes_give_a_frame_every_20_ms() -> None:
    assert [content_frames(samples) for samples in (399, 400, 16_000, 48_000)] == [0, 1, 49, 149]
    with torch.device("meta"):
        encoder = ContentVec()
        assert encoder(torch.zeros(1, 16_000), "v2").shape == (1, 49, 768)
    assert len(encoder.state_dict()) == 212  # files have one more, which only training needs
    assert (encoder.content_dim("v1"), encoder.content_dim("v2")) == (256, 768)


def test_what_fairseq_leaves_beside_the_weights_is_read_without_fairseq(
    fairseq_state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("fairseq.data.dictionary")
    dictionary = type("Dictionary", (), {"__module__": module.__name__})
    vars(module)["Dictionary"] = dictionary
    task = dictionary()
    vars(task)["symbols"] = ["<s>", "a"]
    document = {
        "args": argparse.Namespace(lr=1.0),
        "cfg": {"task": {"normalize": False}},
        "task_state": {"dictionaries": [task]},
        "model": fairseq_state,
    }
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fairseq", types.ModuleType("fairseq"))
        patch.setitem(sys.modules, "fairseq.data", types.ModuleType("fairseq.data"))
        patch.setitem(sys.modules, module.__name__, module)
        path = saved(document, tmp_path, "hubert_base.pt")
    assert "fairseq" not in sys.modules
    assert len(ContentVec.load(path, TOY).state_dict()) == 211  # the position's weight is one tensor then


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_file_that_carries_code_is_refused_and_says_what_to_use(
    fairseq_state: State, tmp_path: Path
) -> None:
    path = saved({"model": fairseq_state, "cfg": Trap(tmp_path / "sprung")}, tmp_path)
    refusal = r"^weights\.pt is damaged or holds more than weights, .*; use .*pytorch_model\.bin\)\.$"
    with pytest.raises(CheckpointError, match=refusal):
        ContentVec.load(path, TOY)
    path.write_bytes(pickle.dumps({"model": Trap(tmp_path / "sprung")}, protocol=2))
    with pytest.raises(CheckpointError, match=refusal):
        ContentVec.load(path, TOY)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 cut", b"\x80\x02}q", b"RIFF", bytes(100), b"{}" * 50, bytes(8) + b"{" * 9]
)
def test_damaged_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^weights\.pt (is damaged|holds no weights)"):
        ContentVec.load(path, TOY)
    with pytest.raises(
        CheckpointError, match=r"^absent\.pt cannot be opened \(No such file or directory\); use "
    ):
        ContentVec.load(tmp_path / "absent.pt", TOY)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"encoder.layers.3.fc1.bias": None},
            r"lacks hubert\.\S+layers\.3\.feed_forward\.intermediate_dense\.bias;",
        ),
        ({"encoder.layers.12.fc1.bias": torch.zeros(32)}, r"has unknown hubert\.\S+layers\.12\."),
        ({"w2v.weight": torch.zeros(2)}, r"has unknown w2v\.weight; use "),
        ({"final_proj.weight": torch.zeros(504, 24)}, r"has a wrong shape of final_proj\.weight; use "),
        ({"final_proj.weight": "text"}, "holds no weights by name; use "),
        ({"post_extract_proj.weight": None}, "holds no HuBERT; use "),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    change: State, fault: str, fairseq_state: State, tmp_path: Path
) -> None:
    state = {name: tensor for name, tensor in (fairseq_state | change).items() if tensor is not None}
    with pytest.raises(CheckpointError, match=rf"^weights\.pt {fault}"):
        ContentVec.load(saved(state, tmp_path), TOY)


def test_a_tensor_that_claims_more_than_its_file_is_refused_before_it_is_written_out(
    fairseq_state: State, tmp_path: Path
) -> None:
    fairseq_state["final_proj.weight"] = torch.zeros(1).expand(2**20, 2**20)
    with pytest.raises(CheckpointError, match=r"wrong shape of final_proj\.weight"):
        ContentVec.load(saved(fairseq_state, tmp_path), TOY)


def test_unknown_versions_and_audio_shorter_than_a_frame_are_refused() -> None:
    encoder = ContentVec(TOY)
    with pytest.raises(UnknownNameError, match=r"Unknown version of a voice 'v3'. Choose one of: v1, v2\."):
        encoder(torch.zeros(1, 400), "v3")
    with pytest.raises(AudioError, match="24 ms long; at least 25 ms are needed"):
        encoder(torch.zeros(1, 384), "v2")

"""A network grown from a trained smaller one says the same and can learn on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.synthesizer import Frames, Synthesizer, SynthesizerConfig
from rvc.pretrain.grow import grow_encoder, grow_heads, grow_synthesizer, spread, widen_columns, widen_rows
from rvc.pretrain.networks import Heads

SMALL = EncoderConfig(channels=16, blocks=3, kernel_frames=3, content_dim=8)
VOICE = SynthesizerConfig(content_dim=8, channels=16, blocks=2, kernel_frames=3, voice_dim=4, voices=3)


@pytest.mark.parametrize(("old", "new"), [(1, 1), (2, 3), (3, 7), (8, 12), (8, 8)])
def test_old_blocks_keep_their_order_and_each_has_a_place(old: int, new: int) -> None:
    places = spread(old, new)
    assert places == sorted(set(places))
    assert len(places) == old
    assert 0 <= places[0] <= places[-1] < new


def test_a_deeper_encoder_says_what_the_small_one_said() -> None:
    torch.manual_seed(1)
    small, deep = ContentEncoder(SMALL).eval(), ContentEncoder(replace(SMALL, blocks=5)).eval()
    grow_encoder(small.state_dict(), deep)
    wav = 0.1 * torch.randn(1, 8000)
    torch.testing.assert_close(deep(wav), small(wav), atol=1e-5, rtol=0)


def test_every_new_block_learns() -> None:
    small, deep = ContentEncoder(SMALL), ContentEncoder(replace(SMALL, blocks=5))
    grow_encoder(small.state_dict(), deep)
    deep(0.1 * torch.randn(1, 8000)).square().mul(torch.randn(51, 8)).sum().backward()
    narrow = {name: weight for name, weight in deep.named_parameters() if name.endswith("narrow.weight")}
    assert len(narrow) == 5
    for weight in narrow.values():
        gradient = weight.grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def test_more_content_dimensions_keep_the_old_ones() -> None:
    torch.manual_seed(1)
    small, wide = ContentEncoder(SMALL).eval(), ContentEncoder(replace(SMALL, content_dim=12)).eval()
    grow_encoder(small.state_dict(), wide)
    wav = 0.1 * torch.randn(1, 8000)
    # The norm runs over more dimensions, so the old ones are the same up to shift and scale of each frame.
    old, new = small(wav)[0], wide(wav)[0, :, :8]
    for a, b in zip(old, new, strict=True):
        assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.999


def test_heads_and_synthesizer_do_not_see_the_new_dimensions_at_first() -> None:
    torch.manual_seed(2)
    heads, grown = Heads(8, 3).eval(), Heads(12, 3).eval()
    grow_heads(heads.state_dict(), grown)
    content = torch.randn(2, 20, 8)
    wider = torch.cat([content, torch.randn(2, 20, 4)], -1)
    inside = torch.ones(2, 20, dtype=torch.bool)
    contours, voice = torch.randn(2, 20, 3), torch.randn(2, 48)
    torch.testing.assert_close(grown.phones(wider), heads.phones(content))
    torch.testing.assert_close(
        grown.speaker_logits(wider, inside, 1.0), heads.speaker_logits(content, inside, 1.0)
    )
    torch.testing.assert_close(grown.decoder(wider, contours, voice), heads.decoder(content, contours, voice))
    small, large = Synthesizer(VOICE), Synthesizer(replace(VOICE, content_dim=12))
    grow_synthesizer(small.state_dict(), large)
    frames = Frames(
        content=content, f0_hz=torch.full((2, 20), 150.0), voiced=torch.ones(2, 20), level=torch.zeros(2, 20)
    )
    number = torch.tensor([1, 2])
    torch.testing.assert_close(
        large.filters(replace(frames, content=wider), number), small.filters(frames, number)
    )


def test_widening_keeps_what_is_there() -> None:
    weight = torch.arange(24.0).reshape(4, 6)
    columns = widen_columns(weight, 2, 3, times=2)
    torch.testing.assert_close(columns[:, [0, 1, 3, 4, 6, 7]], weight)
    assert not columns[:, [2, 5]].any()
    rows = widen_rows(weight, 2, 3)
    torch.testing.assert_close(rows[[0, 1, 3, 4]], weight)
    assert rows.shape == (6, 6)

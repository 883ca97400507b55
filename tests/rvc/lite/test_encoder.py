"""The content encoder at toy size, and the one that ships."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.weights import ENCODER_FILE, load_encoder

TINY = EncoderConfig(channels=16, blocks=2, kernel_frames=3, content_dim=8)


def sound(seconds: float) -> torch.Tensor:
    return 0.1 * torch.randn(1, int(16_000 * seconds), generator=torch.Generator().manual_seed(3))


def test_there_is_one_content_vector_a_10_ms_frame() -> None:
    encoder = ContentEncoder(TINY).eval()
    for samples in (1600, 1760, 16_123):
        assert encoder(torch.zeros(1, samples)).shape == (1, samples // 160 + 1, 8)


def test_content_is_normalised() -> None:
    content = ContentEncoder(TINY).eval()(sound(0.5))
    torch.testing.assert_close(content.mean(-1), torch.zeros_like(content[..., 0]), atol=1e-5, rtol=0)
    assert float(content.square().mean().detach()) == pytest.approx(1.0, abs=0.05)


def test_a_chunk_with_context_equals_the_same_stretch_of_the_whole() -> None:
    encoder = ContentEncoder(TINY).eval()
    wav = sound(4.0)
    context = TINY.context_frames + TINY.context_frames % 2
    with torch.inference_mode():
        whole = encoder(wav)
        chunk = encoder(wav[:, (100 - context) * 160 : (200 + context) * 160])
    torch.testing.assert_close(chunk[:, context : context + 100], whole[:, 100:200], atol=1e-5, rtol=0)


def test_the_shipped_encoder_has_at_most_8_million_parameters_and_gives_finite_content() -> None:
    encoder = load_encoder(ENCODER_FILE)
    assert sum(p.numel() for p in encoder.parameters()) <= 8_000_000
    for wav in (torch.zeros(1, 8000), sound(1.0), torch.ones(1, 8000)):
        assert np.isfinite(encoder(wav).numpy()).all()

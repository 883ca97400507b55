"""Content as other speakers would have it, as facts about frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rvc.errors import CheckpointError
from rvc.lite.perturb import OTHERS_FILE, ContentBank, load_others
from rvc.lite.weights import load_encoder


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_another_speaker_says_the_same_with_the_same_mean() -> None:
    content = torch.randn(50, 6, generator=generator())
    said = ContentBank(torch.randn(3, 40, 6, generator=generator(1))).augment(content, generator())
    assert said.shape == content.shape
    assert not torch.allclose(said, content)
    torch.testing.assert_close(said.mean(0), content.mean(0))


def test_who_has_just_these_frames_moved_by_a_vector_says_them_unchanged() -> None:
    """A speaker who differs by one constant vector is no other speaker once the mean is made alike."""
    content = 100 * torch.eye(8)
    theirs = (content + 5.0)[None].repeat_interleave(4, dim=1)  # as many copies as neighbours are asked for
    torch.testing.assert_close(ContentBank(theirs).augment(content, generator()), content)


def test_draws_decide_who_says_it() -> None:
    content = torch.randn(20, 6, generator=generator())
    others = ContentBank(torch.randn(3, 40, 6, generator=generator(1)))
    said = [others.augment(content, generator(seed)) for seed in (1, 1, 2)]
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])


def test_the_shipped_frames_fit_the_shipped_encoder() -> None:
    frames = load_others().frames
    assert frames.shape[0] >= 2
    assert frames.shape[2] == load_encoder().config.content_dim
    assert frames.isfinite().all()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "others.safetensors"
    path.write_bytes(OTHERS_FILE.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"others\.safetensors of the built-in engine cannot be read"):
        load_others(path)

"""What teaches the content encoder and is thrown away after: heads for phones, spectra and speakers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.lite.blocks import ConvNeXtBlock
from rvc.lite.mel import MEL_BANDS
from rvc.lite.pretrain.phones import PHONES

VOICE_DIM = 48


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: float) -> Tensor:  # noqa: ANN401 -- torch's own type
        context.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return -context.weight * gradient, None


class VoiceReference(nn.Module):
    """Log-mel of any stretch of a recording -> what stays the same in it: voice, microphone."""

    def __init__(self, channels: int = 96) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(MEL_BANDS, channels, 5, padding=2), nn.GELU(),
            nn.Conv1d(channels, channels, 5, padding=2), nn.GELU(),
        )  # fmt: skip
        self.output = nn.Linear(2 * channels, VOICE_DIM)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, T, 80) -> (B, VOICE_DIM)."""
        h = self.layers(mel.transpose(1, 2) / 4 + 1.2).float()
        return self.output(torch.cat([h.mean(-1), h.std(-1)], 1))


class MelDecoder(nn.Module):
    """Content, pitch, level and a voice -> the log-mel that was said; (B, T, ...) -> (B, T, 80)."""

    def __init__(self, content_dim: int, channels: int = 160, blocks: int = 2) -> None:
        super().__init__()
        self.input = nn.Linear(content_dim + 3, channels)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, 5, 2, VOICE_DIM) for _ in range(blocks))
        self.output = nn.Linear(channels, MEL_BANDS)

    def forward(self, content: Tensor, contours: Tensor, voice: Tensor) -> Tensor:
        """Rebuild: (B, T, content_dim), (B, T, 3), (B, VOICE_DIM) -> (B, T, 80)."""
        x = self.input(torch.cat([content, contours], -1))
        for block in self.blocks:
            x = block(x, voice[:, None])
        return self.output(x) * 2 - 5


class Heads(nn.Module):
    """All heads of the encoder's training."""

    def __init__(self, content_dim: int, speakers: int) -> None:
        super().__init__()
        self.phones = nn.Linear(content_dim, len(PHONES))
        self.voice = VoiceReference()
        self.decoder = MelDecoder(content_dim)
        self.speaker = nn.Sequential(nn.Linear(2 * content_dim, 256), nn.GELU(), nn.Linear(256, speakers))

    def speaker_logits(self, content: Tensor, inside: Tensor, reverse: float) -> Tensor:
        """Guess the speaker from the content's mean and spread; the encoder gets the gradient reversed."""
        content = _ReverseGradient.apply(content, reverse)  # type: ignore[no-untyped-call]
        weight = inside[..., None].float()
        count = weight.sum(1).clamp(min=1)
        mean = (content * weight).sum(1) / count
        spread = ((content - mean[:, None]).square() * weight).sum(1) / count
        return self.speaker(torch.cat([mean, (spread + 1e-5).sqrt()], 1))


def labelled_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy over the rows with a label (>= 0); 0 when there is none. Shapes (M, K), (M,)."""
    total = F.cross_entropy(logits, labels, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)


def contrast(a: Tensor, b: Tensor, heard: Tensor, temperature: float = 0.1) -> tuple[Tensor, Tensor]:
    """How well a frame of one view finds itself among the frames of the other view of the same recording.

    Args:
        a: Content of one view, (B, T, C).
        b: Content of the other, (B, T, C).
        heard: Frames that are not silence, (B, T).
        temperature: Of the softmax over likenesses.

    Returns:
        Cross-entropy (InfoNCE) and the share of frames found.
    """
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    likeness = a @ b.transpose(1, 2) / temperature  # (B, T, T)
    likeness = likeness.masked_fill(~heard[:, None, :], -1e4)
    target = torch.arange(a.shape[1], device=a.device).expand(a.shape[0], -1)
    target = torch.where(heard, target, -100)
    loss = F.cross_entropy(likeness.flatten(0, 1), target.flatten(), ignore_index=-100)
    found = (likeness.argmax(-1) == target).sum() / heard.sum().clamp(min=1)
    return loss, found

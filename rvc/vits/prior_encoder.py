"""The prior encoder of VITS (Kim et al. 2021): what is said, at which pitch -> the latent to be expected.

Shapes:  B = batch, H = hidden channels, C = latent channels, T = frames of 10 ms, d = channels of a head,
         W = 2 * WINDOW_FRAMES + 1, R = frames that attend at a time; masks are (B, 1, T), 0 for padding.
Units:   pitch in coarse bins, 1..255, 0 only in padding.
Names:   attributes are the entries of published files (`enc_p`).
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvc.errors import ConfigError
from rvc.vits.config import PITCH_BINS, SynthesizerConfig

WINDOW_FRAMES = 10
ROWS = 512  # frames that attend at a time: memory grows with the length, not with its square
MASKED_SCORE = -1e4  # finite: a padded frame's row becomes uniform instead of NaN


class ChannelNorm(nn.Module):
    """Layer norm over the channels of (B, H, T)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, 1e-5).transpose(1, 2)


class RelativeAttention(nn.Module):
    """Self-attention, (B, H, T) -> (B, H, T), with relative positions (Shaw et al. 2018) within a window."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        channels = config.hidden_channels
        self.heads, self.dropout = config.attention_heads, config.dropout
        depth = channels // self.heads
        self.emb_rel_k = nn.Parameter(torch.randn(1, 2 * WINDOW_FRAMES + 1, depth) * depth**-0.5)
        self.emb_rel_v = nn.Parameter(torch.randn(1, 2 * WINDOW_FRAMES + 1, depth) * depth**-0.5)
        self.conv_q, self.conv_k, self.conv_v, self.conv_o = (
            nn.Conv1d(channels, channels, 1) for _ in range(4)
        )
        for projection in (self.conv_q, self.conv_k, self.conv_v):
            nn.init.xavier_uniform_(projection.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            torch.unflatten(projection(x), 1, (self.heads, -1)).transpose(2, 3)
            for projection in (self.conv_q, self.conv_k, self.conv_v)
        )  # (B, heads, T, d)
        query = query * query.shape[-1] ** -0.5
        heard = [
            self._heard(query[..., first : first + ROWS, :], (key, value), mask, first)
            for first in range(0, x.shape[-1], ROWS)
        ]
        return self.conv_o(torch.cat(heard, dim=2).transpose(2, 3).flatten(1, 2))

    def _heard(self, query: Tensor, heard: tuple[Tensor, Tensor], mask: Tensor, first: int) -> Tensor:
        """What the frames from `first` on take from all frames, (B, heads, rows, d)."""
        key, value = heard
        rows, frames = query.shape[2], key.shape[2]
        # The columns that the rows' windows reach, of which those beyond the ends are left out.
        start, end = max(first - WINDOW_FRAMES, 0), min(first + rows + WINDOW_FRAMES, frames)
        before, after = start - (first - WINDOW_FRAMES), (first + rows + WINDOW_FRAMES) - end
        near = _spread(query @ self.emb_rel_k.transpose(1, 2))
        scores = query @ key.transpose(2, 3)
        scores[..., start:end] += near[..., before : near.shape[-1] - after]
        pair_mask = (mask[..., first : first + rows].transpose(1, 2) * mask)[:, None]  # (B, 1, rows, T)
        weights = scores.masked_fill_(pair_mask == 0, MASKED_SCORE).softmax(-1)
        weights = F.dropout(weights, self.dropout, self.training)
        windows = _gather(F.pad(weights[..., start:end], (before, after)))
        return weights @ value + windows @ self.emb_rel_v


def _spread(scores: Tensor) -> Tensor:
    """Put the scores of rows' windows into the columns that all reach: (..., R, W) -> (..., R, R + W - 1).

    Rows one longer than the result's slip by one column each when the whole is read in the result's width.
    """
    rows, window = scores.shape[-2:]
    width = rows + window - 1
    slipped = F.pad(scores, (0, width + 1 - window)).flatten(-2)[..., : rows * width]
    return torch.unflatten(slipped, -1, (rows, width))


def _gather(weights: Tensor) -> Tensor:
    """Take each row's window out of the columns that rows reach, undoing `_spread`."""
    rows, width = weights.shape[-2:]
    slipped = torch.unflatten(F.pad(weights.flatten(-2), (0, rows)), -1, (rows, width + 1))
    return slipped[..., : width - rows + 1]


class FeedForward(nn.Module):
    """Two convolutions over time with ReLU between, (B, H, T) -> (B, H, T)."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        kernel = config.ffn_kernel
        self.dropout = config.dropout
        self.padding = ((kernel - 1) // 2, kernel // 2)
        self.conv_1 = nn.Conv1d(config.hidden_channels, config.ffn_channels, kernel)
        self.conv_2 = nn.Conv1d(config.ffn_channels, config.hidden_channels, kernel)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = F.relu(self.conv_1(F.pad(x * mask, self.padding)))
        x = F.dropout(x, self.dropout, self.training)
        return self.conv_2(F.pad(x * mask, self.padding)) * mask


class Transformer(nn.Module):
    """Layers of attention and feed-forward, each normed after its sum with the input; zero in the padding."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        layers = range(config.encoder_layers)
        self.dropout = config.dropout
        self.attn_layers = nn.ModuleList(RelativeAttention(config) for _ in layers)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(config.hidden_channels) for _ in layers)
        self.ffn_layers = nn.ModuleList(FeedForward(config) for _ in layers)
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(config.hidden_channels) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        layers = zip(self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2, strict=True)
        for attention, after_attention, feed_forward, after_feed_forward in layers:
            x = after_attention(x + F.dropout(attention(x, mask), self.dropout, self.training))
            x = after_feed_forward(x + F.dropout(feed_forward(x, mask), self.dropout, self.training))
        return x * mask


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Tell frames from padding, (B,) -> (B, 1, frames)."""
    return (torch.arange(frames, device=lengths.device) < lengths[:, None])[:, None].float()


def random_starts(lengths: Tensor, segment_frames: int, draws: Tensor | None = None) -> Tensor:
    """Choose where in each item a training segment begins, by draws in 0..1; all are (B,)."""
    if draws is None:
        draws = torch.rand(lengths.shape, device=lengths.device)
    return (draws * (lengths - segment_frames + 1).clamp(min=1)).long()


def segments(signal: Tensor, starts: Tensor, length: int) -> Tensor:
    """Cut a stretch from each item of (B, channels, T), from its start (B,) on."""
    if signal.shape[-1] < length:
        raise ConfigError(
            f"A batch of {signal.shape[-1]} frames is shorter than a training segment of {length}; "
            "take longer slices."
        )
    positions = starts[:, None] + torch.arange(length, device=signal.device)
    return signal.gather(2, positions[:, None].expand(-1, signal.shape[1], -1))


class PriorEncoder(nn.Module):
    """Content vectors and coarse pitch -> mean and log-deviation of the prior latent."""

    def __init__(self, config: SynthesizerConfig) -> None:
        super().__init__()
        self.scale = sqrt(config.hidden_channels)
        self.emb_phone = nn.Linear(config.content_dim, config.hidden_channels)
        self.emb_pitch = nn.Embedding(PITCH_BINS, config.hidden_channels) if config.uses_f0 else None
        self.encoder = Transformer(config)
        self.proj = nn.Conv1d(config.hidden_channels, 2 * config.latent_channels, 1)

    def forward(
        self, content: Tensor, lengths: Tensor, pitch: Tensor | None = None, dropped_frames: int = 0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give mean, log-deviation and mask for content (B, T, channels), lengths (B,), pitch (B, T).

        The first `dropped_frames` only serve as context: upstream's real-time window, for golden tests.
        """
        if (pitch is None) != (self.emb_pitch is None):
            raise ConfigError("A voice model with F0 takes a pitch contour, one without takes none.")
        x = self.emb_phone(content)
        if self.emb_pitch is not None:
            x = x + self.emb_pitch(pitch)
        mask = frame_mask(lengths, content.shape[1])
        x = F.leaky_relu(x * self.scale, 0.1).transpose(1, 2) * mask  # (B, H, T)
        x, mask = self.encoder(x, mask)[..., dropped_frames:], mask[..., dropped_frames:]
        mean, log_deviation = torch.chunk(self.proj(x) * mask, 2, dim=1)
        return mean, log_deviation, mask

"""The content frames of other speakers that ship, for `rvc.lite.other_speakers`.

Speakers with minutes of speech stand for themselves; the rest are pooled by the height of their voices.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from rvc.audio import load_mono
from rvc.level import level_contour, normalisation_gain
from rvc.lite.encoder import ContentEncoder
from rvc.lite.pretrain.corpus import Utterance

logger = logging.getLogger(__name__)

OWN_GROUP_S = 300.0
HIGH_VOICE_HZ = 160.0
MOST_S = 150.0
ROWS = 4_000
SPEECH_RANGE = 4.0
"""Frames that lie further below a recording's loudest (natural logarithm of RMS) are not speech."""


def group(utterances: Sequence[Utterance], f0: Path) -> dict[str, list[Utterance]]:
    """Divide recordings by speaker, or by the median F0 where there is little of a speaker.

    Args:
        utterances: What may be heard.
        f0: Folder with the pitch of every recording (stage "f0").
    """
    seconds: dict[str, float] = defaultdict(float)
    for utterance in utterances:
        seconds[utterance.speaker] += utterance.seconds
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        speaker = utterance.speaker
        if not speaker or seconds[speaker] < OWN_GROUP_S:
            hz = np.load(f0 / f"{utterance.key}.npy")
            if not (hz > 0).any():
                continue
            speaker = "high" if np.median(hz[hz > 0]) > HIGH_VOICE_HZ else "low"
        groups[speaker].append(utterance)
    return dict(groups)


@torch.no_grad()
def frames_of(encoder: ContentEncoder, corpus: Path, utterances: Sequence[Utterance]) -> Tensor:
    """Content frames of speech, evenly taken from recordings chosen at random, (ROWS, C)."""
    chosen = random.Random(0).sample(list(utterances), len(utterances))
    rows: list[NDArray[np.float32]] = []
    while chosen and sum(len(row) for row in rows) < 100 * MOST_S:
        wav, _ = load_mono(corpus / chosen.pop().file, rate_hz=16_000)
        wav = wav * np.float32(normalisation_gain(wav))
        content = encoder(torch.from_numpy(wav)[None])[0].numpy()
        level = level_contour(wav, len(content))
        rows.append(content[level > level.max() - SPEECH_RANGE])
    every = np.concatenate(rows)
    return torch.from_numpy(every[np.linspace(0, len(every) - 1, ROWS).astype(np.int64)])


def save_others(
    encoder: ContentEncoder, corpus: Path, groups: dict[str, list[Utterance]], path: Path
) -> None:
    """Write the frames in half precision, (groups, ROWS, C)."""
    frames = [frames_of(encoder, corpus, some) for _, some in sorted(groups.items())]
    save_file({"frames": torch.stack(frames).half()}, path, {"speakers": " ".join(sorted(groups))})
    logger.info("content of %s", ", ".join(sorted(groups)))

"""From the recipe's checkpoints to the files that ship: half precision, nothing that only training needed.

With them go content frames of other speakers, for `rvc.lite.perturb`: speakers with minutes of speech stand
for themselves; the rest are pooled by the height of their voices.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from rvc.audio.level import RATE_16K_HZ, level_contour, normalisation_gain
from rvc.audio.reader import load_mono
from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.perturb import OTHERS_FILE
from rvc.lite.synthesizer import LiteSynthesizerConfig
from rvc.lite.weights import BASE_FILE, ENCODER_FILE, save_parts
from rvc.pretrain.dataset import HELD_OUT_SPEAKERS, Utterance

logger = logging.getLogger(__name__)
SCORES_FILE = "encoder_scores.json"  # written into the work folder by the stage "evaluate"
OWN_GROUP_S = 300.0
HIGH_VOICE_HZ = 160.0
MOST_S = 150.0
ROWS = 4_000
SPEECH_RANGE = 4.0  # frames further below a recording's loudest, in natural log RMS, are not speech
LICENCES = {
    "kathleen_en": "CC0 (Rhasspy voice data set 'kathleen')",
    "kerstin_de": "CC0 (Rhasspy voice data set 'kerstin')",
    "flemishguy_nl": "CC0 (Rhasspy voice data set 'flemishguy')",
    "librispeech": "CC BY 4.0 (LibriSpeech, Panayotov et al. 2015)",
    "an4": "BSD-style (CMU AN4)",
    "picovoice": "Apache-2.0 (Picovoice speech-to-intent benchmark; content encoder only)",
}


def export_builtin(work: Path, out: Path) -> None:
    """Write the encoder, and what there is of base (row 0 of its voices), other speakers and scores."""
    out.mkdir(parents=True, exist_ok=True)
    encoder = torch.load(work / "encoder.pt", map_location="cpu", weights_only=True)
    steps = {"encoder": int(encoder["step"])}
    configs = {"encoder": EncoderConfig()}
    save_parts(out / ENCODER_FILE.name, {"encoder": encoder["encoder"]}, configs, torch.float16)
    if (work / "base.pt").exists():
        base = torch.load(work / "base.pt", map_location="cpu", weights_only=True)
        steps["base"] = int(base["step"])
        state = {**base["synthesizer"], "voice.weight": base["synthesizer"]["voice.weight"][:1]}
        small = {name[2:]: value for name, value in base["judges"].items() if name.startswith("0.")}
        parts = {"synthesizer": state, "discriminators": small}
        save_parts(
            out / BASE_FILE.name, parts, {"synthesizer": LiteSynthesizerConfig(voices=1)}, torch.float16
        )
    if (work / OTHERS_FILE.name).exists():
        shutil.copyfile(work / OTHERS_FILE.name, out / OTHERS_FILE.name)
    card = {
        "name": "Timbre built-in engine",
        "made_on": datetime.now(tz=UTC).date().isoformat(),
        "licence": "MIT",
        "steps": steps,
        "seed": 0,
        "data_and_licences": LICENCES,
        "never_heard": sorted(HELD_OUT_SPEAKERS),
    }
    if (work / SCORES_FILE).exists():
        card["encoder_scores"] = json.loads((work / SCORES_FILE).read_text(encoding="utf-8"))
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    logger.info("exported to %s: %s", out, steps)


def group(utterances: Sequence[Utterance], f0: Path) -> dict[str, list[Utterance]]:
    """Divide recordings by speaker, or by the median F0 (in that folder) where there is little of one."""
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
        wav, _ = load_mono(corpus / chosen.pop().file, rate_hz=RATE_16K_HZ)
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

"""From the recipe's checkpoints to the files that ship: half precision, nothing that only training needed."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

import torch

from rvc.lite.encoder import EncoderConfig
from rvc.lite.other_speakers import OTHERS_FILE
from rvc.lite.pretrain.corpus import HELD_OUT_SPEAKERS
from rvc.lite.synthesizer import SynthesizerConfig
from rvc.lite.weights import BASE_FILE, ENCODER_FILE, save_parts

logger = logging.getLogger(__name__)

SCORES_FILE = "encoder_scores.json"
"""What the stage "evaluate" writes into the work folder, for the card."""

LICENCES = {
    "kathleen_en": "CC0 (Rhasspy voice data set 'kathleen')",
    "kerstin_de": "CC0 (Rhasspy voice data set 'kerstin')",
    "flemishguy_nl": "CC0 (Rhasspy voice data set 'flemishguy')",
    "librispeech": "CC BY 4.0 (LibriSpeech, Panayotov et al. 2015)",
    "an4": "BSD-style (CMU AN4)",
    "picovoice": "Apache-2.0 (Picovoice speech-to-intent benchmark; content encoder only)",
}


def export_builtin(work: Path, out: Path) -> None:
    """Write what the recipe made, with a card.

    Args:
        work: Holds encoder.pt, and maybe base.pt, the other speakers' content and the encoder's scores.
        out: Gets `encoder.safetensors`, `base.safetensors` (row 0 of the voices only), the other speakers'
            content and card.json.
    """
    out.mkdir(parents=True, exist_ok=True)
    steps: dict[str, int] = {}
    encoder = torch.load(work / "encoder.pt", map_location="cpu", weights_only=True)
    steps["encoder"] = int(encoder["step"])
    configs = {"encoder": EncoderConfig()}
    save_parts(out / ENCODER_FILE.name, {"encoder": encoder["encoder"]}, configs, torch.float16)
    if (work / "base.pt").exists():
        base = torch.load(work / "base.pt", map_location="cpu", weights_only=True)
        steps["base"] = int(base["step"])
        state = dict(base["synthesizer"])
        state["voice.weight"] = state["voice.weight"][:1]
        small = {
            name.removeprefix("0."): value for name, value in base["judges"].items() if name.startswith("0.")
        }
        parts = {"synthesizer": state, "discriminators": small}
        save_parts(out / BASE_FILE.name, parts, {"synthesizer": SynthesizerConfig(voices=1)}, torch.float16)
    if (work / OTHERS_FILE.name).exists():
        shutil.copyfile(work / OTHERS_FILE.name, out / OTHERS_FILE.name)
    made_on = datetime.now(tz=UTC).date().isoformat()
    card = {
        "name": "Timbre built-in engine",
        "made_on": made_on,
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

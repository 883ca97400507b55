"""The recipe, one stage a command; each goes on where it was cut off.

    python -m rvc.pretrain labels  --corpus SPEECH --work WORK    phones (pocketsphinx, espeak-ng)
    python -m rvc.pretrain f0      --corpus SPEECH --work WORK    pitch of every recording
    python -m rvc.pretrain encoder --corpus SPEECH --work WORK    content encoder
    python -m rvc.pretrain evaluate --corpus SPEECH --work WORK   how good the encoder is on strangers
    python -m rvc.pretrain others  --corpus SPEECH --work WORK    what other speakers' content is like
    python -m rvc.pretrain base    --corpus SPEECH --work WORK    multi-speaker base synthesizer
    python -m rvc.pretrain export  --work WORK                    half-precision weights, their card

SPEECH is a folder with `metadata.csv`; WORK keeps labels, pitch and checkpoints. A CPU does it in hours, a
CUDA GPU in minutes with the same code.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

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
from rvc.pretrain.dataset import (
    HELD_OUT_SPEAKERS,
    LICENCES,
    Recording,
    SpeechStore,
    Utterance,
    cache_f0,
    load_recordings,
    read_corpus,
)
from rvc.pretrain.evaluate import evaluate_encoder
from rvc.pretrain.train_base import BaseTrainer, BaseTraining
from rvc.pretrain.train_encoder import EncoderTrainer, EncoderTraining, Heads, run, train_encoder

logger = logging.getLogger(__name__)

ENCODER_SHARES = {
    "kathleen_en": 0.13, "kerstin_de": 0.15, "flemishguy_nl": 0.12, "librispeech": 0.40, "an4": 0.08,
    "picovoice": 0.12,
}  # fmt: skip
BASE_SHARES = {
    "kathleen_en": 0.21, "kerstin_de": 0.20, "flemishguy_nl": 0.22, "librispeech": 0.33, "an4": 0.04,
}  # fmt: skip
SCORES_FILE = "encoder_scores.json"  # written into the work folder by the stage "evaluate"
# Other speakers, whose content voices learn to say: those with minutes of speech stand for themselves; the
# rest are pooled by the height of their voices.
OWN_GROUP_S, HIGH_VOICE_HZ, MOST_S, ROWS = 300.0, 160.0, 150.0, 4_000
SPEECH_RANGE = 4.0  # frames further below a recording's loudest, in natural log RMS, are not speech
JUDGED = ("librispeech", "an4", "kathleen_en", "kerstin_de")


def _heard(options: argparse.Namespace, collections: dict[str, float]) -> list[Utterance]:
    return [u for u in read_corpus(options.corpus) if not u.held_out and u.collection in collections]


def _unheard(options: argparse.Namespace) -> dict[str, list[Recording]]:
    """What no training hears, by collection, where there are labels to judge the encoder by."""
    labelled = [
        u
        for u in read_corpus(options.corpus)
        if u.held_out and (options.work / "labels" / f"{u.key}.npy").exists()
    ]
    unheard = {name: [u for u in labelled if u.collection == name] for name in JUDGED}
    return {name: _loaded(options, some, RATE_16K_HZ) for name, some in unheard.items() if some}


def _loaded(options: argparse.Namespace, some: list[Utterance], rate_hz: int) -> list[Recording]:
    return load_recordings(options.corpus, options.work, rate_hz, some, options.processes)


def _trained_encoder(work: Path) -> tuple[ContentEncoder, dict[str, Any]]:
    """The encoder, and all that its checkpoint holds."""
    path = work / "encoder.pt"
    if not path.exists():
        raise SystemExit(f"{work} holds no encoder.pt: run the stage 'encoder' first.")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    encoder = ContentEncoder(EncoderConfig()).eval()
    encoder.load_state_dict(state["encoder"])
    return encoder, state


def _labels(options: argparse.Namespace) -> None:
    from rvc.pretrain.labels import label_corpus  # pocketsphinx is needed by this stage alone

    label_corpus(options.corpus, read_corpus(options.corpus), options.work / "labels", options.processes)


def _f0(options: argparse.Namespace) -> None:
    (options.work / "f0").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.processes) as pool:
        cache = partial(cache_f0, options.corpus, options.work / "f0")
        done = sum(1 for _ in pool.map(cache, read_corpus(options.corpus), chunksize=32))
    logger.info("pitch of %d recordings", done)


def _encoder(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    # All loading before the device is touched: it forks.
    heard = _loaded(options, _heard(options, ENCODER_SHARES), RATE_16K_HZ)
    unheard = _unheard(options)
    store = SpeechStore(heard, ENCODER_SHARES, RATE_16K_HZ, device)
    settings = EncoderTraining(steps=options.steps or EncoderTraining.steps, views=options.views)
    trainer = EncoderTrainer(store, EncoderConfig(), settings)
    train_encoder(trainer, unheard, options.work / "encoder.pt", options.seconds)


def _base(options: argparse.Namespace) -> None:
    device, heard = torch.device(options.device), _heard(options, BASE_SHARES)
    rates = (RATE_16K_HZ, LiteSynthesizerConfig.sample_rate_hz)
    loaded = [(_loaded(options, heard, rate), rate) for rate in rates]  # before the device is touched
    low, high = (SpeechStore(some, BASE_SHARES, rate, device) for some, rate in loaded)
    encoder, _ = _trained_encoder(options.work)
    config = LiteSynthesizerConfig(voices=len(low.speakers) + 1)
    settings = BaseTraining(steps=options.steps or BaseTraining.steps, large=device.type == "cuda")
    run(BaseTrainer(encoder, (low, high), config, settings), options.work / "base.pt", options.seconds)


def _others(options: argparse.Namespace) -> None:
    encoder, _ = _trained_encoder(options.work)
    groups = sorted(_grouped(_heard(options, BASE_SHARES), options.work / "f0").items())
    frames = torch.stack([_frames_of(encoder, options.corpus, some) for _, some in groups]).half()
    speakers = [name for name, _ in groups]
    save_file({"frames": frames}, options.work / OTHERS_FILE.name, {"speakers": " ".join(speakers)})
    logger.info("content of %s", ", ".join(speakers))


def _grouped(utterances: Sequence[Utterance], f0: Path) -> dict[str, list[Utterance]]:
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
def _frames_of(encoder: ContentEncoder, corpus: Path, utterances: Sequence[Utterance]) -> Tensor:
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


def _evaluate(options: argparse.Namespace) -> None:
    encoder, state = _trained_encoder(options.work)
    heads = Heads(encoder.config.content_dim, len(state["heads"]["speaker.2.bias"]))
    heads.load_state_dict(state["heads"])
    scores = evaluate_encoder(encoder, heads, _unheard(options))
    (options.work / SCORES_FILE).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    logger.info("encoder of step %d: %s", state["step"], json.dumps(scores, indent=1))


def _export(options: argparse.Namespace) -> None:
    """Write the encoder, and what there is of base (row 0 of its voices), other speakers and scores."""
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    encoder = torch.load(options.work / "encoder.pt", map_location="cpu", weights_only=True)
    steps = {"encoder": int(encoder["step"])}
    configs = {"encoder": EncoderConfig()}
    save_parts(out / ENCODER_FILE.name, {"encoder": encoder["encoder"]}, configs, torch.float16)
    if (options.work / "base.pt").exists():
        base = torch.load(options.work / "base.pt", map_location="cpu", weights_only=True)
        steps["base"] = int(base["step"])
        state = {**base["synthesizer"], "voice.weight": base["synthesizer"]["voice.weight"][:1]}
        small = {name[2:]: value for name, value in base["judges"].items() if name.startswith("0.")}
        parts = {"synthesizer": state, "discriminators": small}
        save_parts(
            out / BASE_FILE.name, parts, {"synthesizer": LiteSynthesizerConfig(voices=1)}, torch.float16
        )
    if (options.work / OTHERS_FILE.name).exists():
        shutil.copyfile(options.work / OTHERS_FILE.name, out / OTHERS_FILE.name)
    card = {
        "name": "Timbre built-in engine",
        "made_on": datetime.now(tz=UTC).date().isoformat(),
        "licence": "MIT",
        "steps": steps,
        "seed": 0,
        "data_and_licences": LICENCES,
        "never_heard": sorted(HELD_OUT_SPEAKERS),
    }
    if (options.work / SCORES_FILE).exists():
        card["encoder_scores"] = json.loads((options.work / SCORES_FILE).read_text(encoding="utf-8"))
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    logger.info("exported to %s: %s", out, steps)


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser("python -m rvc.pretrain", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    stages = {
        "labels": _labels, "f0": _f0, "encoder": _encoder, "evaluate": _evaluate, "others": _others,
        "base": _base, "export": _export,
    }  # fmt: skip
    parser.add_argument("stage", choices=stages)
    parser.add_argument("--corpus", type=Path, help="folder of speech with metadata.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder of labels, pitch and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("assets/builtin"), help="where export writes")
    parser.add_argument("--steps", type=int, help="length of a training, instead of the recipe's own")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop then, to be gone on with")
    parser.add_argument(
        "--views", type=int, choices=(1, 2), default=1, help="views of each crop; 2 adds the contrast task"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.stage != "export" and options.corpus is None:
        parser.error(f"the stage {options.stage!r} needs --corpus")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stages[options.stage](options)


if __name__ == "__main__":
    main()

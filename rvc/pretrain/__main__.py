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
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rvc.audio.level import RATE_16K_HZ
from rvc.lite.encoder import ContentEncoder, EncoderConfig
from rvc.lite.perturb import OTHERS_FILE
from rvc.lite.synthesizer import LiteSynthesizerConfig
from rvc.pretrain.dataset import Recording, SpeechStore, Utterance, cache_f0, load_recordings, read_corpus
from rvc.pretrain.evaluate import evaluate_encoder
from rvc.pretrain.export import SCORES_FILE, export_builtin, group, save_others
from rvc.pretrain.networks import Heads
from rvc.pretrain.train_base import BaseTrainer, BaseTraining
from rvc.pretrain.train_encoder import EncoderTrainer, EncoderTraining, run, train_encoder

logger = logging.getLogger(__name__)

ENCODER_SHARES = {
    "kathleen_en": 0.13, "kerstin_de": 0.15, "flemishguy_nl": 0.12, "librispeech": 0.40, "an4": 0.08,
    "picovoice": 0.12,
}  # fmt: skip
BASE_SHARES = {
    "kathleen_en": 0.21, "kerstin_de": 0.20, "flemishguy_nl": 0.22, "librispeech": 0.33, "an4": 0.04,
}  # fmt: skip
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
    groups = group(_heard(options, BASE_SHARES), options.work / "f0")
    save_others(encoder, options.corpus, groups, options.work / OTHERS_FILE.name)


def _evaluate(options: argparse.Namespace) -> None:
    encoder, state = _trained_encoder(options.work)
    heads = Heads(encoder.config.content_dim, len(state["heads"]["speaker.2.bias"]))
    heads.load_state_dict(state["heads"])
    scores = evaluate_encoder(encoder, heads, _unheard(options))
    (options.work / SCORES_FILE).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    logger.info("encoder of step %d: %s", state["step"], json.dumps(scores, indent=1))


def _export(options: argparse.Namespace) -> None:
    export_builtin(options.work, options.out)


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

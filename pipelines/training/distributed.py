"""Train one RVC voice with several GPUs of this machine, or several processes, from a folder of recordings.

    torchrun --nproc-per-node 2 -m pipelines.training.distributed \
        --recordings FOLDER --name "My voice" --work WORK
        [--set version=v2] [--set sample_rate_hz=48000] [--set batch_size=16] ...

Every process computes its part of each batch (rvc/training/group.py); `batch_size` is that of all together.
When it is done, WORK holds the voice (`voice.zip`, which the Voices tab imports) and what RVC programs go on
from (`training/G_*.pth`, `training/D_*.pth`). Started again with the same WORK, it goes on from its last
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from pipelines.events import Events, Progress, finish
from pipelines.job_spec import divided
from pipelines.settings import get_settings
from pipelines.training.train import TrainRequest, TrainResult, train, train_rank
from pipelines.voices.bundle import pack
from pipelines.weights import fetch_pretrained, weight_store
from rvc.errors import AudioError, ConfigError, RvcError
from rvc.sandbox import die_with_parent
from rvc.steps import result_of
from rvc.training.group import Group
from rvc.training.settings import TrainSettings

logger = logging.getLogger("timbre")

TELL_S = 10.0  # between two lines of progress


def train_together(
    recordings: Path, name: str, work: Path, settings: dict[str, Any], group: Group
) -> TrainResult | None:
    """Prepare a folder of recordings, and train a voice on them; only a group's first process gets it."""
    for_preparing, for_training = divided(settings)
    request = TrainRequest(
        prepared_folder=work / "recordings",
        work_dir=work / "training",
        bundle_dir=work / "voice",
        name=name,
        settings=TrainSettings.from_json({"engine": "rvc", **for_training}),
    )
    if request.settings.batch_size is not None:
        group.shard(request.settings.batch_size)
    if group.is_first:
        result_of(fetch_pretrained(request.first_settings, weight_store()))  # before anything takes long
        _prepare(recordings, request.prepared_folder, for_preparing)
    group.from_first(None)
    if not group.is_first:
        train_rank(request, group)
        return None
    made = finish(_logged(train(request, group)))
    pack(request.bundle_dir, work / "voice.zip")
    return made


def _logged(events: Events[TrainResult]) -> Events[TrainResult]:
    told_s = 0.0
    for event in events:
        if isinstance(event, Progress) and time.monotonic() - told_s >= TELL_S:
            told_s = time.monotonic()
            logger.info("%3.0f %% %s: %s", 100 * event.fraction, event.stage, event.message)
        yield event


def _prepare(recordings: Path, folder: Path, settings: dict[str, Any]) -> None:
    """Take the recordings in and cut them into slices, unless that is done."""
    if (folder / "prepared" / "slices.json").is_file():
        return
    from pipelines.job_spec import PrepareSettings
    from pipelines.recordings.prepare import prepare  # loads the voice detector
    from pipelines.recordings.uploads import receive

    files = sorted(path for path in recordings.iterdir() if path.is_file()) if recordings.is_dir() else []
    if not files:
        raise AudioError(f"There are no recordings in {recordings}; name a folder with audio files.")
    folder.mkdir(parents=True, exist_ok=True)
    stored = receive([(path, path.name) for path in files], folder, get_settings())
    finish(prepare(stored, folder, PrepareSettings(**settings)))


def _settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE; a value is JSON, or else the text itself."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes NAME=VALUE, and {pair!r} has no value; add it.")
        try:
            settings[name] = json.loads(text)
        except ValueError:
            settings[name] = text
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as one of torchrun's processes; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.training.distributed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--recordings", type=Path, required=True, help="folder of audio files of one person")
    parser.add_argument("--name", required=True, help="what the voice shall be called")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting")
    options = parser.parse_args(arguments)
    die_with_parent(os.getppid())  # torchrun that is killed leaves its processes behind
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=get_settings().log_level, format=form)
    try:
        group = Group.init()
    except ConfigError as error:
        parser.error(str(error))
    try:
        settings = _settings_of(options.set)
        done = train_together(options.recordings, options.name, options.work, settings, group)
    except RvcError as error:
        logger.critical("%s", error)
        return 2
    finally:
        group.leave()
    if done is not None:
        facts = {"steps": done.steps, "best_step": done.best_step, "score": done.score, "note": done.note}
        logger.info("done: %s", orjson.dumps(facts | {"voice": str(options.work / "voice.zip")}).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())

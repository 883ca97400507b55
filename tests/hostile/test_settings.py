"""Settings of a job of any kind, with names and values that no client of ours sends: a sentence, no fault."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from pipelines.job_spec import CoverOptions, JobSpec, PrepareSettings, SpeechOptions
from pipelines.worker_tasks import TASKS
from rvc.engine.options import ConvertOptions
from rvc.errors import RvcError
from rvc.training.settings import TrainSettings
from tests.hostile.bad_files import SEED

VALUES: tuple[Any, ...] = (
    "text",
    "",
    "../../x",
    "\0",
    "NaN",
    -1,
    0,
    10**30,
    -(10**30),
    1e308,
    float("nan"),
    float("inf"),
    True,
    None,
    [],
    [1],
    {},
    {"a": 1},
    "9" * 4_000,
)
OPTIONS: dict[str, tuple[Any, int]] = {
    "preprocessing": (PrepareSettings, 60),
    "training": (TrainSettings, 100),
    "conversion": (ConvertOptions, 80),
    "speech": (SpeechOptions, 60),
    "batch": (ConvertOptions, 40),
    "cover": (CoverOptions, 60),
}
WRONG = ("text", "\0", -(10**30), float("nan"), [1], {"a": 1})
"""What no setting of any kind may be."""


def wishes() -> Iterator[tuple[str, dict[str, Any]]]:
    chance = random.Random(SEED)
    for kind, (options, count) in OPTIONS.items():
        names = [*(field.name for field in fields(options)), "__class__", "settings", "voice", ""]
        for _ in range(count):
            yield kind, {name: chance.choice(VALUES) for name in chance.sample(names, chance.randrange(1, 4))}
        yield from ((kind, {field.name: wrong}) for field in fields(options) for wrong in WRONG)


def spec(kind: str, settings: dict[str, Any], folder: Path) -> JobSpec:
    stored = {"name": "a.wav", "original": "a.wav", "audio": "a.wav", "seconds": 1.0, "sha256": ""}
    stored |= {"sample_rate_hz": 16_000, "channels": 1, "codec": "pcm_16", "size_bytes": 1}
    return JobSpec(
        id="job",
        type=kind,
        folder=folder,
        upload_folder=folder / "no upload",
        files=[stored] * (2 if kind == "cover" else 1),  # a song whose vocals need not be taken out
        settings=settings,
        model_name="Mine",
        model_id="voice",
        model_folder=folder / "no voice",
        device_lock=folder / "lock",
    )


def test_wrong_settings_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    tried = refused = 0
    for kind, settings in wishes():
        work = TASKS[kind](spec(kind, settings, tmp_path))
        tried += 1
        try:
            with pytest.raises((RvcError, OSError)) as caught:
                for _ in work:
                    pass
        finally:
            work.close()
        # Settings that are in order get as far as the recordings and the voice, which are not there.
        if isinstance(caught.value, RvcError):
            refused += 1
            assert str(tmp_path) not in str(caught.value)
            assert str(caught.value).endswith(".")
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 6_000
    assert tried >= 300
    assert refused >= 250
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []

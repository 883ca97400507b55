"""Conversions of long recordings: they let others through at their pieces, and lose nothing by it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from rvc.audio.reader import load_mono
from tests.pipelines.jobs.toy_jobs import (
    ME,
    OTHER,
    Open,
    add_voice,
    computed,
    end_of,
    exists,
    submit,
    turns,
    until,
    upload,
)
from tests.sounds import tone, write
from tests.voices import WOMAN, speak

BUILT_IN = "builtin-kathleen"
LONG_S = 20.0


@pytest.fixture(autouse=True)
def shorter_than_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as long takes tests too long."""
    monkeypatch.setattr("pipelines.jobs.schedule.LONG_RECORDING_S", LONG_S)


def long_upload(jobs: Jobs, tmp_path: Path) -> str:
    path = write(tmp_path / "long.wav", "wav16", tone(LONG_S + 1, 8_000), 8_000)
    return str(jobs.upload(ME, [(path, "An hour.wav")], "target")["id"])


@pytest.fixture
def offered(jobs: Jobs, data_dir: Path) -> Jobs:
    """Jobs with a voice for everybody."""
    add_voice(jobs, data_dir)
    jobs.library.offer_to_all("voice")
    return jobs


def test_somebody_else_s_short_conversion_gets_through_in_the_middle_of_a_long_one(
    offered: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    long = submit(offered, "conversion", long_upload(offered, tmp_path), steps=200, step_s=0.05)
    until(lambda: offered.get(ME, long)["progress"] > 0)
    short = submit(offered, "conversion", upload(offered, tmp_path, OTHER), OTHER, steps=3, step_s=0.05)
    other = end_of(offered, short)
    row = offered.get(ME, long)
    assert row["status"] == "converting"
    assert row["progress"] < 1
    row = end_of(offered, long)
    assert turns(data_dir) == [long, short, long]
    assert (row["result"]["start"], row["attempts"]) == (0, 1)
    assert not exists(row["result"]["pid"]), "what it had loaded is gone with it"
    assert exists(other["result"]["pid"]), "the warm converter stays"
    for (_, end, one), (begin, _, next_one) in pairwise(computed(data_dir)):
        assert begin >= end or one == next_one


def test_long_ones_wait_for_each_other_so_that_memory_is_bounded(offered: Jobs, tmp_path: Path) -> None:
    source = long_upload(offered, tmp_path)
    first, second = (submit(offered, "conversion", source, steps=40, step_s=0.05) for _ in range(2))
    until(lambda: offered.get(ME, first)["progress"] > 0)
    short = submit(offered, "conversion", upload(offered, tmp_path), steps=2)
    end_of(offered, short)
    assert (offered.get(ME, second)["status"], offered.get(ME, second)["position"]) == ("pending", 1)
    assert len(offered.dispatcher.health()["pids"]) == 2
    ended = [end_of(offered, job)["completed_at"] for job in (first, second)]
    assert ended == sorted(ended)


def test_a_long_one_is_not_put_off_for_ever_by_short_ones(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs(max_pause_s=0.4)
    jobs.start()
    add_voice(jobs, data_dir)
    long = submit(jobs, "conversion", long_upload(jobs, tmp_path), steps=60, step_s=0.03)
    until(lambda: jobs.get(ME, long)["progress"] > 0)
    short = submit(jobs, "conversion", upload(jobs, tmp_path), steps=60, step_s=0.03)
    end_of(jobs, short)
    end_of(jobs, long)
    assert turns(data_dir)[:4] == [long, short, long, short]


def test_a_long_one_goes_before_a_training_and_is_cancelled_like_any_other(
    offered: Jobs, tmp_path: Path
) -> None:
    training = submit(offered, "training", upload(offered, tmp_path), steps=1000, step_s=0.03)
    until(lambda: offered.get(ME, training)["progress"] > 0)
    long = submit(offered, "conversion", long_upload(offered, tmp_path), steps=1000, step_s=0.03)
    until(lambda: offered.dispatcher.health()["computing"] == [long])
    assert "Paused" in offered.get(ME, training)["message"]
    offered.cancel(ME, long)
    end_of(offered, long, "cancelled")
    until(lambda: offered.dispatcher.health()["computing"] == [training])
    offered.cancel(ME, training)
    end_of(offered, training, "cancelled")


def test_a_conversion_that_does_not_compute_on_the_device_pauses_no_training(
    offered: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    source = upload(offered, tmp_path)
    training = submit(offered, "training", source, steps=400, step_s=0.02)
    until(lambda: offered.get(ME, training)["progress"] > 0)
    for _ in range(2):
        end_of(offered, submit(offered, "conversion", source, steps=10, step_s=0.02, needs_device=False))
    assert offered.dispatcher.health()["computing"] == [training]
    assert turns(data_dir) == [training]
    # One of the same voice that does, pauses it; and after that, one that does not, no longer does.
    end_of(offered, submit(offered, "conversion", source, steps=2))
    for _ in range(2):
        last = submit(offered, "conversion", source, steps=10, step_s=0.02, needs_device=False)
        end_of(offered, last)
    until(lambda: offered.dispatcher.health()["computing"] == [training])
    assert all("Paused" not in event["message"] for event in offered.events(ME, training)[-3:])
    offered.cancel(ME, training)
    end_of(offered, training, "cancelled")


@pytest.fixture
def real_jobs(data_dir: Path) -> Iterator[Jobs]:
    """Jobs that convert with the voices that ship."""
    jobs = Jobs(Settings(data_dir=data_dir), retry_pauses_s=())
    jobs.start()
    yield jobs
    jobs.close()


@pytest.mark.timeout(600)  # several processes load torch, maybe beside other work
def test_a_real_voice_says_a_long_recording_the_same_though_others_came_between(
    real_jobs: Jobs, tmp_path: Path
) -> None:
    said = speak(WOMAN, 12.0)
    for name, wav in (("short", said[:48_000]), ("long", np.tile(said, 6))):
        sf.write(tmp_path / f"{name}.wav", wav, 16_000)

    def start(caller_is: str, name: str) -> str:
        caller = {"me": ME, "other": OTHER}[caller_is]
        source = real_jobs.upload(caller, [(tmp_path / f"{name}.wav", f"{name}.wav")], "target")["id"]
        wish = {"chunk_s": 1.0}  # small pieces take longer
        return str(real_jobs.submit(caller, "conversion", source, model_id=BUILT_IN, settings=wish)["id"])

    end_of(real_jobs, start("other", "short"))  # the converter is warm now
    long = start("me", "long")
    until(lambda: real_jobs.get(ME, long)["stage"] == "Speaking")
    end_of(real_jobs, start("other", "short"))
    assert real_jobs.get(ME, long)["status"] == "converting"
    interrupted, whole = (
        load_mono(real_jobs.files.result_path(ME, end_of(real_jobs, job)["id"]))[0]
        for job in (long, start("me", "long"))
    )
    np.testing.assert_array_equal(interrupted, whole)
    assert whole.size == 72 * 24_000

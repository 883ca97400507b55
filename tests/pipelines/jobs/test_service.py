from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.jobs.cleanup import remove
from pipelines.jobs.service import MAX_PENDING_PER_USER, Jobs
from pipelines.settings import Settings
from pipelines.store.records import PUBLIC, Caller, new_job
from pipelines.store.registry import SCHEMA_VERSION
from rvc.errors import AudioError, ConfigError, NotAllowedError, UnknownNameError
from tests.pipelines.jobs.toy_jobs import ADMIN, ME, OTHER, Open, Row, end_of, submit, upload
from tests.sounds import tone, write


def test_a_follower_sees_every_state_in_order_and_a_sign_at_least_every_two_seconds(
    open_jobs: Open, tmp_path: Path
) -> None:
    jobs = open_jobs()
    job = submit(jobs, "preprocessing", upload(jobs, tmp_path), steps=5, step_s=0.05)
    rows = jobs.follow(ME, job)
    seen = [next(rows)]
    started = time.monotonic()
    seen.append(next(rows))
    assert time.monotonic() - started < 4.0
    dropped = jobs.follow(ME, job)
    next(dropped)
    jobs.start()
    next(dropped)
    dropped.close()  # type: ignore[attr-defined]  # closing a follower changes nothing for the job
    seen.extend(rows)
    assert list(dict.fromkeys(row["status"] for row in seen)) == ["pending", "preprocessing", "completed"]
    progress = [row["progress"] for row in seen]
    assert progress == sorted(progress)
    assert any(row["eta_s"] for row in seen)
    assert all(tuple(row) == PUBLIC for row in seen)
    assert [row["status"] for row in jobs.follow(ME, job)] == ["completed"]


def test_events_are_numbered_and_read_on_from_any_of_them(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, "training", upload(jobs, tmp_path), steps=5)
    end_of(jobs, job)
    events = jobs.events(ME, job)
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert [event["data"]["step"] for event in events] == [0, 1, 2, 3, 4]
    assert events[0]["data"]["losses"] == {"toy": 1.0}
    assert jobs.events(ME, job, since=3) == events[3:]
    assert jobs.events(ME, job, since=99) == []


def test_a_training_leaves_a_voice_of_the_callers(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, "training", upload(jobs, tmp_path), steps=1)
    row = end_of(jobs, job)
    voice = jobs.library.get(ME, row["model_id"])
    assert (voice["model_name"], voice["quality_snr"]) == ("Mine", 20.0)
    end_of(jobs, str(jobs.submit(ME, "conversion", job, model_id=voice["id"], settings={"steps": 1})["id"]))
    with pytest.raises(UnknownNameError):
        jobs.library.get(OTHER, row["model_id"])


def test_a_job_of_somebody_else_is_answered_like_one_that_does_not_exist(
    open_jobs: Open, tmp_path: Path
) -> None:
    jobs = open_jobs()
    mine = submit(jobs, "preprocessing", upload(jobs, tmp_path))
    calls: list[Callable[[Caller, str], object]] = [
        jobs.get, jobs.follow, jobs.events, jobs.cancel, jobs.retry, jobs.resume,
        jobs.files.report, jobs.files.log, jobs.files.input_path,
        jobs.files.result_path, jobs.files.stored_files,
        lambda caller, job: jobs.submit(caller, "preprocessing", job),
    ]  # fmt: skip
    for call in calls:
        answers = []
        for caller, job in (
            (OTHER, mine),
            (OTHER, "0" * 32),
            (ME, "0" * 32),
            (ME, None),
            (ME, "../registry.json"),
        ):
            with pytest.raises(UnknownNameError) as error:
                call(caller, job)  # type: ignore[arg-type]
            answers.append(str(error.value).replace(repr(str(job)), "ID"))
        assert set(answers) == {"There is no job ID; list your jobs to see their ids."}
    assert jobs.get(ME, mine)["status"] == "pending"
    assert jobs.list(OTHER) == jobs.list(OTHER, user_id="me") == []
    assert [row["id"] for row in jobs.list(ADMIN, user_id="me", status="pending")] == [mine]
    assert len(jobs.list(ADMIN)) == len(jobs.list(ME)) == 2
    assert jobs.list(ADMIN, user_id="other") == []
    assert jobs.cancel(ADMIN, mine)["status"] == "cancelled"


def test_a_wrong_wish_is_refused_with_a_sentence_and_leaves_nothing(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    (tmp_path / "text.wav").write_text("no sound")
    folder = tmp_path / "data" / "jobs"
    with pytest.raises(AudioError):
        jobs.upload(ME, [(tmp_path / "text.wav", "text.wav")], "training")
    with pytest.raises(AudioError, match="one recording"):
        jobs.upload(ME, [(tmp_path / "a", "a"), (tmp_path / "b", "b")], "target")
    with pytest.raises(ConfigError, match="Unknown purpose"):
        jobs.upload(ME, [], "else")
    assert list(folder.iterdir()) == []
    source = upload(jobs, tmp_path)
    wrong: list[tuple[Row, str]] = [
        ({"type": "mixing"}, "Unknown type of job 'mixing'"),
        ({"type": "training"}, "no name"),
        ({"type": "training", "model_name": "x" * 81}, "longer than 80"),
        ({"type": "conversion", "model_id": "0" * 32}, "There is no voice"),
        ({"type": "conversion"}, "There is no voice"),
        ({"type": "preprocessing", "settings": [1]}, "not a JSON object"),
        ({"type": "preprocessing", "settings": {"a": object()}}, "JSON cannot express"),
        ({"type": "preprocessing", "settings": {"a": "x" * 70_000}}, "larger than 64 kB"),
    ]
    for wish, sentence in wrong:
        with pytest.raises((ConfigError, UnknownNameError), match=sentence):
            jobs.submit(ME, wish.pop("type"), source, **wish)
    assert [path.name for path in folder.iterdir()] == [source]
    assert [row["status"] for row in jobs.list(ME)] == ["uploaded"]
    with pytest.raises(NotAllowedError, match="uploaded"):
        jobs.cancel(ME, source)


def test_a_voice_of_a_few_seconds_is_refused_and_leaves_nothing(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    path = write(tmp_path / "a.wav", "wav16", tone(3.0, 8_000), 8_000)
    with pytest.raises(AudioError, match=r"Me\.wav is 3\.0 seconds long; a voice needs at least 10 seconds"):
        jobs.upload(ME, [(path, "Me.wav")], "training")
    assert jobs.list(ME) == []
    assert jobs.upload(ME, [(path, "Me.wav")], "target")["status"] == "uploaded"


def test_one_caller_cannot_fill_the_queue(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    source = upload(jobs, tmp_path)
    template = jobs.registry.get("jobs", submit(jobs, "preprocessing", source))
    assert template is not None
    for number in range(1, MAX_PENDING_PER_USER):
        jobs.registry.insert("jobs", template | {"id": f"{number:032x}"})
    with pytest.raises(NotAllowedError, match="jobs waiting"):
        submit(jobs, "preprocessing", source)
    submit(jobs, "preprocessing", upload(jobs, tmp_path, OTHER), OTHER)


def test_recordings_are_measured_and_judged_at_once(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    job = upload(jobs, tmp_path)
    answer = jobs.files.validate(ME, job)
    assert answer["job_id"] == job
    (file,) = answer["files"]
    assert (file["name"], file["sample_rate_hz"], file["codec"]) == ("My voice.wav", 8_000, "pcm_16")
    assert file["verdict"] in ("good", "usable", "problem")
    assert file["reason"].endswith(".")
    assert abs(file["peak_db"] - 20 * math.log10(0.3)) < 0.1


@pytest.mark.parametrize(
    ("kind", "played"),
    [("wav16", "original.wav"), ("flac", "original.flac"), ("mp3", "original.mp3"), ("m4a", "original.m4a")]
    + [(kind, "000.wav") for kind in ("aiff", "au", "caf", "alac", "wavdouble", "mov", "mkv")],
)
def test_what_no_browser_plays_is_played_decoded(
    kind: str, played: str, open_jobs: Open, tmp_path: Path
) -> None:
    jobs = open_jobs()
    sent = write(tmp_path / "sent", kind, tone(1.0, 16_000), 16_000)
    job = jobs.upload(ME, [(sent, "a recording")], "target")["id"]
    assert jobs.files.played_path(ME, job).name.endswith(played)
    assert jobs.files.input_path(ME, job).read_bytes() == sent.read_bytes()
    assert jobs.files.input_path(ME, job, decoded=True).name == "000.wav"


def test_files_are_fetched_by_their_name_and_no_name_leaves_the_folder(
    open_jobs: Open, tmp_path: Path
) -> None:
    jobs = open_jobs()
    source = upload(jobs, tmp_path)
    job = submit(jobs, "training", source)
    folder = tmp_path / "data" / "jobs"
    assert jobs.files.input_path(ME, job) == jobs.files.input_path(ME, source)
    assert jobs.files.input_path(ME, job).read_bytes() == (tmp_path / "a.wav").read_bytes()
    assert jobs.get(ME, job)["files"][0]["name"] == "My voice.wav"
    assert "original" not in jobs.get(ME, job)["files"][0]
    assert jobs.files.report(ME, job) is None
    (folder / source / "prepared").mkdir()
    (folder / source / "prepared" / "report.json").write_text('{"verdict": "good"}')
    assert jobs.files.report(ME, job) == jobs.files.report(ME, source) == {"verdict": "good"}
    with pytest.raises(NotAllowedError, match="no converted audio"):
        jobs.files.result_path(ME, job)


def test_what_nobody_needs_any_more_is_removed_and_the_rest_is_kept(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    jobs = open_jobs(upload_expiry_s=3600.0, cleanup_days=10.0)
    settings = Settings(data_dir=tmp_path / "data", upload_expiry_s=3600.0, cleanup_days=10.0)
    unused, used, fresh = (upload(jobs, tmp_path) for _ in range(3))
    old, kept = (submit(jobs, "preprocessing", used) for _ in range(2))
    long_ago = "2020-01-01T00:00:00.000+00:00"
    for job in (unused, used, old, kept):
        jobs.registry.update("jobs", job, created_at=long_ago, updated_at=long_ago)
    jobs.registry.update("jobs", old, status="failed")
    remove(jobs.registry, settings, untouched_s=None)
    assert {row["id"] for row in jobs.list(ME)} == {used, fresh, kept}
    assert {path.name for path in (tmp_path / "data" / "jobs").iterdir()} == {used, fresh, kept}
    (archive,) = (tmp_path / "data" / "archive").iterdir()
    assert [json.loads(line)["id"] for line in archive.read_text().splitlines()] == [old]
    jobs.cancel(ME, kept)
    jobs.registry.update("jobs", kept, updated_at=long_ago)
    for _ in range(2):  # the job first, then the upload that only it used
        remove(jobs.registry, settings, untouched_s=None)
    assert [row["id"] for row in jobs.list(ME)] == [fresh]


def test_a_thousand_jobs_are_listed_and_submitted_to_in_no_time(
    open_jobs: Open, data_dir: Path, tmp_path: Path
) -> None:
    rows = [new_job("me", "training", status="completed", seq=number) for number in range(1000)]
    document = {"schema": {"schema": {"version": SCHEMA_VERSION}}, "jobs": {row["id"]: row for row in rows}}
    data_dir.mkdir(exist_ok=True)
    (data_dir / "registry.json").write_text(json.dumps(document))
    jobs = open_jobs()
    gc.collect()  # what a server has loaded, and tests before this have left
    started = time.process_time()
    listed = jobs.list(ME)
    assert time.process_time() - started < 0.5
    assert [row["id"] for row in listed] == [row["id"] for row in reversed(rows)]
    source = upload(jobs, tmp_path)
    started = time.process_time()
    job = submit(jobs, "preprocessing", source)
    assert time.process_time() - started < 1.0
    assert jobs.list(ME, status="pending")[0]["id"] == job


def test_rows_of_an_earlier_version_are_shown_and_worked_on(jobs: Jobs, tmp_path: Path) -> None:
    source = upload(jobs, tmp_path)
    row = jobs.registry.get("jobs", source)
    assert row is not None
    del row["refused"], row["files"][0]["note"]
    jobs.registry.insert("jobs", row)
    assert jobs.get(ME, source)["refused"] == []
    assert end_of(jobs, submit(jobs, "preprocessing", source, steps=1))["refused"] == []
    (stored,) = jobs.files.stored_files(ME, source)[1]
    assert stored.note is None

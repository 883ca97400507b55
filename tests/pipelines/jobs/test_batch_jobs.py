"""Batches as jobs: what becomes of each recording, stopping and going on, and others in between."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from pipelines.jobs.service import Jobs
from rvc.errors import AudioError, ConfigError, NotAllowedError, UnknownNameError
from tests.pipelines.jobs.toy_jobs import ME, OTHER, Open, add_voice, end_of, submit, turns, until, upload
from tests.sounds import tone, write


def recordings(tmp_path: Path, *names: str) -> list[tuple[Path, str]]:
    """Sound files of these names; those with "bad" in them are none."""
    files = []
    for number, name in enumerate(names):
        path = tmp_path / f"{number}-{len(name)}"
        if "bad" in name:
            path.write_bytes(b"not a recording")
        else:
            write(path, "wav16", tone(1.0 + number, 8_000), 8_000)
        files.append((path, name))
    return files


def batch_upload(jobs: Jobs, tmp_path: Path, *names: str) -> str:
    return str(jobs.upload(ME, recordings(tmp_path, *names), "batch")["id"])


@pytest.fixture
def batches(jobs: Jobs, data_dir: Path) -> Jobs:
    add_voice(jobs, data_dir)
    return jobs


def states(row: dict[str, object]) -> dict[str, str]:
    files = row["files"]
    assert isinstance(files, list)
    return {file["name"]: file["status"] for file in files}


def unzipped(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


def test_a_bad_file_is_listed_with_its_reason_and_never_stops_the_rest(batches: Jobs, tmp_path: Path) -> None:
    source = batch_upload(batches, tmp_path, "a.wav", "bad.wav", "b.wav")
    row = end_of(batches, submit(batches, "batch", source))
    assert states(row) == {"a.wav": "completed", "bad.wav": "failed", "b.wav": "completed"}
    assert "bad.wav is not a recording" in row["files"][1]["reason"]
    assert [file["reason"] for file in row["files"] if file["status"] == "completed"] == [None, None]
    assert {key: row["result"][key] for key in ("converted", "failed", "seconds")} == {
        "converted": 2,
        "failed": 1,
        "seconds": pytest.approx(4.0, abs=0.01),
    }
    inside = unzipped(batches.files.result_path(ME, row["id"]))
    assert set(inside) == {"a.wav", "b.wav", "results.json", "results.csv"}
    told = json.loads(inside["results.json"])
    assert "synthetic speech" in told["about"]
    assert (told["voice_name"], told["voice_id"]) == ("Toy", "voice")
    assert [file["status"] for file in told["files"]] == ["completed", "failed", "completed"]
    table = list(csv.DictReader(io.StringIO(inside["results.csv"].decode("utf-8-sig"))))
    assert [line["name"] for line in table] == ["a.wav", "bad.wav", "b.wav"]
    assert "not a recording" in table[1]["reason"]


def test_a_file_on_which_the_program_itself_fails_does_not_stop_the_rest_either(
    batches: Jobs, tmp_path: Path
) -> None:
    source = batch_upload(batches, tmp_path, "a.wav", "internal.wav", "b.wav")
    row = end_of(batches, submit(batches, "batch", source, fault="internal"))
    assert states(row) == {"a.wav": "completed", "internal.wav": "failed", "b.wav": "completed"}
    assert "fault of the program (ZeroDivisionError)" in row["files"][1]["reason"]
    assert row["attempts"] == 1


def test_a_file_for_which_memory_does_not_suffice_says_so_and_the_rest_goes_on(
    batches: Jobs, tmp_path: Path
) -> None:
    source = batch_upload(batches, tmp_path, "memory.wav", "a.wav")
    row = end_of(batches, submit(batches, "batch", source, fault="memory"))
    assert states(row) == {"memory.wav": "failed", "a.wav": "completed"}
    assert row["files"][0]["reason"].startswith("memory.wav failed for want of memory; ")


def test_a_file_that_kills_the_worker_is_left_out_at_the_next_try(batches: Jobs, tmp_path: Path) -> None:
    source = batch_upload(batches, tmp_path, "a.wav", "die.wav", "b.wav")
    row = end_of(batches, submit(batches, "batch", source, fault="die"))
    assert states(row) == {"a.wav": "completed", "die.wav": "failed", "b.wav": "completed"}
    assert "broke the program down" in row["files"][1]["reason"]
    assert row["attempts"] == 2
    assert batches.library.stats(ME, "voice")["uses"] == 2


def test_a_batch_of_which_nothing_can_be_converted_fails_and_says_why(batches: Jobs, tmp_path: Path) -> None:
    source = batch_upload(batches, tmp_path, "input-1.wav", "input-2.wav")
    row = end_of(batches, submit(batches, "batch", source, fault="input"), "failed")
    assert "None of the 2 files could be converted" in row["error_message"]
    assert row["attempts"] == 1
    with pytest.raises(NotAllowedError, match="nothing"):
        batches.files.result_path(ME, row["id"])


def test_stopping_keeps_what_is_finished_and_resuming_does_the_rest(batches: Jobs, tmp_path: Path) -> None:
    source = batch_upload(batches, tmp_path, "a.wav", "b.wav", "c.wav")
    job = submit(batches, "batch", source, steps=10, step_s=0.05)
    until(lambda: states(batches.get(ME, job))["a.wav"] == "completed")
    assert states(batches.get(ME, job))["c.wav"] == "waiting"
    batches.cancel(ME, job)
    row = end_of(batches, job, "cancelled")
    done = [name for name, state in states(row).items() if state == "completed"]
    assert "a.wav" in done
    assert "c.wav" not in done
    assert "converting" not in states(row).values()
    assert set(unzipped(batches.files.result_path(ME, job))) == {*done, "results.json", "results.csv"}
    assert batches.library.stats(ME, "voice")["uses"] == len(done)
    first = batches.files.result_path(ME, job).parents[1] / "result" / "a.wav"
    before = first.stat().st_mtime_ns
    batches.retry(ME, job)
    row = end_of(batches, job)
    assert set(states(row).values()) == {"completed"}
    assert first.stat().st_mtime_ns == before
    assert set(unzipped(batches.files.result_path(ME, job))) >= {"a.wav", "b.wav", "c.wav"}
    stats = batches.library.stats(ME, "voice")
    assert (stats["uses"], round(stats["seconds_converted"])) == (3, 6)


def test_a_completed_batch_tries_again_only_what_had_failed(batches: Jobs, tmp_path: Path) -> None:
    source = batch_upload(batches, tmp_path, "a.wav", "input.wav")
    job = submit(batches, "batch", source, fault="input", once=True)
    assert states(end_of(batches, job)) == {"a.wav": "completed", "input.wav": "failed"}
    with batches.lock:  # nobody begins it meanwhile
        row = batches.resume(ME, job)
        assert (states(row), row["progress"]) == ({"a.wav": "completed", "input.wav": "waiting"}, 0.5)
        stored = batches.registry.list("jobs", id=job)[0]
        left_s = batches.dispatcher.estimates._plan(stored, "lite", warm=False)["convert"]
        assert left_s == stored["files"][1]["seconds"]
    assert states(end_of(batches, job)) == {"a.wav": "completed", "input.wav": "completed"}
    with pytest.raises(NotAllowedError, match="completed"):
        batches.resume(ME, job)


def test_a_file_refused_at_the_upload_is_no_reason_to_run_again(batches: Jobs, tmp_path: Path) -> None:
    job = submit(batches, "batch", batch_upload(batches, tmp_path, "a.wav", "bad.wav"))
    end_of(batches, job)
    with pytest.raises(NotAllowedError, match="completed"):
        batches.retry(ME, job)


def test_a_conversion_gets_through_in_the_middle_of_a_batch(
    batches: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    source = batch_upload(batches, tmp_path, "a.wav", "b.wav", "c.wav")
    batch = submit(batches, "batch", source, steps=10, step_s=0.05)
    until(lambda: batches.get(ME, batch)["progress"] > 0)
    single = submit(batches, "conversion", upload(batches, tmp_path), steps=2, step_s=0.05)
    end_of(batches, single)
    assert batches.get(ME, batch)["status"] == "converting"
    end_of(batches, batch)
    assert turns(data_dir) == [batch, single, batch]


def test_a_batch_goes_before_a_training(batches: Jobs, tmp_path: Path, data_dir: Path) -> None:
    training = submit(batches, "training", upload(batches, tmp_path), steps=150, step_s=0.05)
    until(lambda: batches.get(ME, training)["progress"] > 0)
    batch = submit(batches, "batch", batch_upload(batches, tmp_path, "a.wav"), steps=4, step_s=0.05)
    end_of(batches, batch)
    assert batches.get(ME, training)["status"] == "training"
    end_of(batches, training)


def test_the_row_tells_how_far_the_whole_is_by_the_seconds_of_audio(batches: Jobs, tmp_path: Path) -> None:
    source = batch_upload(batches, tmp_path, "short.wav", "longer.wav", "longest.wav")  # 1, 2 and 3 s
    job = submit(batches, "batch", source, steps=10, step_s=0.03)
    seen: dict[str, float] = {}
    etas = []
    for row in batches.follow(ME, job):
        for name, state in states(row).items():
            if state == "completed":
                seen.setdefault(name, row["progress"])
        if row["status"] == "converting":
            etas.append(row["eta_s"])
    assert [round(6 * seen[name]) for name in ("short.wav", "longer.wav", "longest.wav")] == [1, 3, 6]
    known = [eta for eta in etas if eta is not None]
    assert known
    assert known[-1] < known[0]


def test_several_uploads_of_any_kind_make_one_batch(batches: Jobs, tmp_path: Path) -> None:
    many = batch_upload(batches, tmp_path, "a.wav", "b.wav")
    one = upload(batches, tmp_path, purpose="target")
    row = batches.submit_batch(ME, [many, one, many], model_id="voice")
    assert [file["name"] for file in row["files"]] == ["a.wav", "b.wav", "My voice.wav"]
    assert set(states(end_of(batches, row["id"])).values()) == {"completed"}


def test_wrong_wishes_are_refused(batches: Jobs, tmp_path: Path) -> None:
    source = batch_upload(batches, tmp_path, "a.wav", "b.wav")
    with pytest.raises(UnknownNameError):
        batches.submit_batch(OTHER, [source], model_id="voice")
    with pytest.raises(UnknownNameError):
        batches.submit_batch(ME, [source, "0" * 32], model_id="voice")
    with pytest.raises(UnknownNameError):
        batches.submit_batch(ME, [source], model_id="nobody")
    with pytest.raises(ConfigError, match="no recordings"):
        batches.submit_batch(ME, [], model_id="voice")
    for kind in ("training", "conversion", "preprocessing"):
        with pytest.raises(ConfigError, match="sent in for a batch"):
            submit(batches, kind, source)
    with pytest.raises(ConfigError, match="only read when"):
        batches.files.validate(ME, source)
    assert [row["status"] for row in batches.list(ME)] == ["uploaded"]


def test_a_server_that_died_in_a_batch_knows_afterwards_what_was_finished(
    open_jobs: Open, tmp_path: Path, data_dir: Path
) -> None:
    first = open_jobs()
    add_voice(first, data_dir)
    first.start()
    job = submit(first, "batch", batch_upload(first, tmp_path, "a.wav", "b.wav"), steps=20, step_s=0.05)
    until(lambda: states(first.get(ME, job))["a.wav"] == "completed")
    shutil.copytree(data_dir, tmp_path / "died", ignore=shutil.ignore_patterns("*.lock"))
    first.cancel(ME, job)
    end_of(first, job, "cancelled")
    first.close()
    shutil.rmtree(data_dir)
    (tmp_path / "died").rename(data_dir)
    second = open_jobs()
    second.start()
    row = second.get(ME, job)
    assert row["status"] == "interrupted"
    assert states(row) == {"a.wav": "completed", "b.wav": "waiting"}
    assert second.library.stats(ME, "voice")["uses"] == 1
    second.resume(ME, job)
    assert states(end_of(second, job)) == {"a.wav": "completed", "b.wav": "completed"}
    assert second.library.stats(ME, "voice")["uses"] == 2


def test_names_that_a_spreadsheet_would_run_are_made_harmless(batches: Jobs, tmp_path: Path) -> None:
    job = submit(batches, "batch", batch_upload(batches, tmp_path, "=cmd()|x.wav"))
    end_of(batches, job)
    inside = unzipped(batches.files.result_path(ME, job))
    assert list(csv.reader(io.StringIO(inside["results.csv"].decode("utf-8-sig"))))[1][0].startswith("'=")
    assert all(name[0] not in "=+-@" for name in inside)


def test_a_full_disk_is_said_in_words_when_the_zip_is_packed(
    batches: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(batches, "batch", batch_upload(batches, tmp_path, "a.wav"))
    end_of(batches, job)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.jobs.job_files.pack_files", full)
        with pytest.raises(AudioError, match="no room"):
            batches.files.result_path(ME, job)
    assert batches.files.result_path(ME, job).is_file()


def test_what_is_missing_of_a_batch_is_named_and_no_room_is_not_blamed(
    batches: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    job = submit(batches, "batch", batch_upload(batches, tmp_path, "a.wav", "b.wav"))
    end_of(batches, job)
    folder = data_dir / "jobs" / job
    (first, second) = sorted((folder / "result").iterdir())
    first.unlink()
    with pytest.raises(NotAllowedError, match=rf"^{first.name} is no longer on the server.*convert again"):
        batches.files.result_path(ME, job)
    second.unlink()
    shutil.rmtree(folder / "work")
    with pytest.raises(NotAllowedError, match=r"and 1 more are no longer on the server"):
        batches.files.result_path(ME, job)


@pytest.mark.parametrize(
    ("number", "said"), [(13, "Permission denied"), (5, "Input/output error"), (30, "Read-only file system")]
)
def test_why_a_zip_could_not_be_made_is_said(  # noqa: PLR0913  # fixtures
    number: int, said: str, batches: Jobs, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(batches, "batch", batch_upload(batches, tmp_path, "a.wav"))
    end_of(batches, job)

    def refuses(*_: object) -> None:
        raise OSError(number, said)

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.jobs.job_files.pack_files", refuses)
        with pytest.raises(AudioError, match=rf"could not be made on the server \({said}\)"):
            batches.files.result_path(ME, job)
    shutil.rmtree(data_dir / "jobs" / job / "work")
    assert batches.files.result_path(ME, job).is_file(), "what it needs of folders is made"


def test_deleting_a_batch_takes_along_the_uploads_that_only_it_used(
    batches: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    alone, shared = (batch_upload(batches, tmp_path, f"{name}.wav") for name in "ab")
    first = batches.submit_batch(ME, [alone, shared], model_id="voice")["id"]
    second = batches.submit_batch(ME, [shared], model_id="voice")["id"]
    for job in (first, second):
        end_of(batches, job)
    with pytest.raises(NotAllowedError, match="work on this upload"):
        batches.remove(ME, alone)
    batches.remove(ME, first, purge=True)
    assert {row["id"] for row in batches.list(ME)} == {shared, second}
    assert {path.name for path in (data_dir / "jobs").iterdir()} == {shared, second}

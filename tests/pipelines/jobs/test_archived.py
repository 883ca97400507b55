from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from pipelines.jobs import archived
from pipelines.jobs.archived import ArchivedJobs, lines_from_end
from pipelines.jobs.service import Jobs
from pipelines.store.records import Row, new_job
from tests.pipelines.jobs.toy_jobs import ADMIN, ME, OTHER, Open


def write(folder: Path, day: str, *rows: Row) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"jobs-{day}.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def job(owner: str, seq: int, recording: str = "a.wav", voice: str = "Wren", **fields: object) -> Row:
    facts = {"status": "completed", "files": [{"name": recording, "original": "0.wav"}], "model_name": voice}
    return new_job(owner, "conversion", seq=seq, **(facts | fields))  # type: ignore[arg-type]


def test_old_jobs_are_listed_newest_first_and_each_sees_only_his_own(tmp_path: Path) -> None:
    write(tmp_path, "2026-01-01", job("me", 1), job("other", 2))
    write(tmp_path, "2026-02-01", job("me", 3), job("me", 4, type="training"))
    jobs = ArchivedJobs(tmp_path)
    mine = jobs.list(ME)
    assert [row["type"] for row in mine] == ["training", "conversion", "conversion"]
    assert {row["user_id"] for row in mine} == {"me"}
    assert "original" not in mine[1]["files"][0]
    assert jobs.list(ME, user_id="other") == mine, "whose, is heeded for an admin only"
    assert len(jobs.list(OTHER)) == 1
    assert len(jobs.list(ADMIN)) == 4
    assert len(jobs.list(ADMIN, user_id="other")) == 1
    assert [row["type"] for row in jobs.list(ME, type="training")] == ["training"]
    assert jobs.list(ME, status="failed") == []
    assert len(jobs.list(ME, most=2)) == 2


def test_a_search_finds_words_of_voices_recordings_and_reasons(tmp_path: Path) -> None:
    write(
        tmp_path,
        "2026-01-01",
        job("me", 1, "Über den Wolken.flac", "Wren"),
        job("me", 2, "speech.wav", "Robin", error_message="The disk is full"),
    )
    jobs = ArchivedJobs(tmp_path)
    for search, names in {
        "über": ["Über den Wolken.flac"],
        "WREN wolken": ["Über den Wolken.flac"],
        "disk": ["speech.wav"],
        "wren disk": [],
        "": ["speech.wav", "Über den Wolken.flac"],
    }.items():
        assert [row["files"][0]["name"] for row in jobs.list(ME, search)] == names


def test_what_a_crash_had_archived_twice_is_listed_once(tmp_path: Path) -> None:
    row = job("me", 1)
    write(tmp_path, "2026-01-01", row, job("me", 2))
    write(tmp_path, "2026-01-02", row)
    assert [found["id"] for found in ArchivedJobs(tmp_path).list(ME)].count(row["id"]) == 1


def test_a_damaged_line_hides_no_other(tmp_path: Path) -> None:
    path = write(tmp_path, "2026-01-01", job("me", 1), job("me", 2))
    path.write_bytes(b'{"user_id": "me"}\n"me"\nnonsense "me"\n' + path.read_bytes() + b'{"half": "me')
    assert len(ArchivedJobs(tmp_path).list(ME)) == 2


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 20])
def test_lines_come_from_the_end_whatever_a_block_cuts(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archived, "BLOCK_BYTES", block)
    (tmp_path / "a").write_bytes(b"one\ntwo\n\nthree\nfour")
    assert list(lines_from_end(tmp_path / "a")) == [b"four", b"three", b"two", b"one"]
    (tmp_path / "b").write_bytes(b"")
    assert list(lines_from_end(tmp_path / "b")) == []


def test_what_the_clean_up_takes_is_found_again(open_jobs: Open, data_dir: Path) -> None:
    jobs: Jobs = open_jobs(cleanup_days=1)
    old = job("me", 1, "once.wav", updated_at="2020-01-01T00:00:00.000+00:00")
    jobs.registry.insert("jobs", old)
    jobs.start()
    assert jobs.list(ME) == []
    (row,) = jobs.archived.list(ME, "once")
    assert row["id"] == old["id"]
    assert row["status"] == "completed"


def test_a_hundred_thousand_old_jobs_are_searched_at_once(tmp_path: Path) -> None:
    rows = [job(f"client-{number % 200}", number, f"recording {number}.wav") for number in range(5_000)]
    for month in range(1, 13):
        for day in (1, 15):
            others = (row | {"id": f"{month:02d}{day:02d}{row['id'][4:]}"} for row in rows[:4_200])
            write(tmp_path, f"2026-{month:02d}-{day:02d}", *others)
    started_s = time.process_time()
    assert len(ArchivedJobs(tmp_path).list(ADMIN, user_id="client-7", type="conversion")) == 200
    assert time.process_time() - started_s < 1.0


@pytest.mark.parametrize("block", [200, 1 << 20])
def test_a_search_finds_what_a_look_at_every_row_finds(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archived, "BLOCK_BYTES", block)
    names = [
        "Straße 1.wav",
        'say "x".wav',
        "back\\slash.WAV",
        "plain.wav",
        "Plain Song.flac",
        "x conversion.wav",
    ]
    write(tmp_path, "2026-01-01", *(job("me", n, name) for n, name in enumerate(names)))
    write(tmp_path, "2026-01-02", *(job("me", n, name) for n, name in enumerate(names[3:])))
    jobs, every = ArchivedJobs(tmp_path), [*reversed(names[3:]), *reversed(names)]
    for search in ("strasse", "STRAßE", '"x"', "\\slash", "plain", "PLAIN song", ".wav", "wav x", "nothing"):
        words = search.casefold().split()
        expected = [name for name in every if all(word in name.casefold() for word in words)]
        assert [row["files"][0]["name"] for row in jobs.list(ME, search)] == expected, search

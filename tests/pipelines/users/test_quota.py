"""How much of the disk one user may take; and that a small file cannot become a large one."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.recordings.uploads import receive
from pipelines.settings import Settings
from pipelines.users.quota import Quota
from rvc.errors import AudioError, LimitError
from tests.pipelines.jobs.toy_jobs import ME, OTHER, Open, add_voice, submit, upload
from tests.sounds import tone, write

ROOM = 1.0  # MB; an upload of the toy's 12 s at 8 kHz takes 0.58


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_what_does_not_fit_is_refused_with_what_is_used_and_leaves_nothing(
    open_jobs: Open, tmp_path: Path
) -> None:
    jobs = open_jobs(quota_mb_per_user=ROOM)
    upload(jobs, tmp_path)
    used = jobs.quota.used("me")
    assert 0.5e6 < used.jobs < 0.7e6
    before, rows = tree(tmp_path / "data"), jobs.list(ME)
    with pytest.raises(LimitError, match=r"of your 1 MB, uploads and jobs take 0\.5.* voices 0; delete"):
        upload(jobs, tmp_path)
    assert (tree(tmp_path / "data"), jobs.list(ME)) == (before, rows)
    upload(jobs, tmp_path, OTHER)


def test_voices_count_and_who_is_over_starts_nothing(open_jobs: Open, tmp_path: Path, data_dir: Path) -> None:
    jobs = open_jobs(quota_mb_per_user=ROOM)
    source = upload(jobs, tmp_path)
    submit(jobs, "preprocessing", source)
    add_voice(jobs, data_dir)
    assert jobs.quota.used("me").voices == jobs.library.get(ME, "voice")["size_bytes"] > 0
    (data_dir / "jobs" / source / "big").write_bytes(bytes(600_000))
    before, rows = tree(data_dir), jobs.list(ME)
    with pytest.raises(LimitError, match="There is no room"):
        submit(jobs, "preprocessing", source)
    assert (tree(data_dir), jobs.list(ME)) == (before, rows)


def test_without_a_quota_there_is_always_room(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    jobs.quota.require(ME, 10**15)


def test_wishes_at_the_same_time_count_together_and_failed_ones_not(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs()
    quota = Quota(jobs.registry, tmp_path, 1_000)
    with quota.room(ME) as first:
        first(600)
        with pytest.raises(LimitError), quota.room(ME) as second:
            second(300)
            second(200)
        with quota.room(ME) as third:
            third(400)
        with pytest.raises(LimitError):
            first(1)
        with quota.room(OTHER) as another:
            another(1_000)
    quota.require(ME, 1_000)


def test_many_at_once_get_no_more_than_there_is(open_jobs: Open, tmp_path: Path) -> None:
    quota = Quota(open_jobs().registry, tmp_path, 100)
    granted: list[int] = []
    start, end = threading.Barrier(8), threading.Barrier(8)

    def wish() -> None:
        with quota.room(ME) as spend:
            start.wait()
            try:
                while True:
                    spend(3)
                    granted.append(3)
            except LimitError:
                pass
            end.wait()

    threads = [threading.Thread(target=wish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 99


def test_a_small_file_that_decodes_to_much_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    settings = Settings(max_decoded_mb=2)
    wave = np.zeros(16_000 * 60, dtype="float32")
    wave[:16_000] = tone(1, 16_000)[:, 0]
    sf.write(tmp_path / "bomb.flac", wave, 16_000)
    assert (tmp_path / "bomb.flac").stat().st_size < 100_000
    with pytest.raises(AudioError, match=r"take more than 2 MB when decoded; upload fewer"):
        receive([(tmp_path / "bomb.flac", "bomb.flac")], tmp_path / "job", settings)
    assert not (tmp_path / "job").exists()


def test_a_length_that_no_header_states_is_bounded_while_it_is_decoded(tmp_path: Path) -> None:
    source = write(tmp_path / "a", "aac", tone(20, 16_000), 16_000)
    with pytest.raises(AudioError, match="when decoded"):
        receive([(source, "a.aac")], tmp_path / "job", Settings(max_decoded_mb=1))
    assert not (tmp_path / "job").exists()
    asked: list[int] = []
    receive([(source, "a.aac")], tmp_path / "job", Settings(), asked.append)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "job").rglob("*") if path.is_file())
    assert sum(asked) == pytest.approx(on_disk, rel=0.01)


def test_many_small_files_count_together(tmp_path: Path) -> None:
    source = write(tmp_path / "a", "flac", tone(10, 16_000), 16_000)
    files = [(source, f"{n}.flac") for n in range(4)]
    receive(files[:1], tmp_path / "one", Settings(max_decoded_mb=2))
    with pytest.raises(AudioError, match="when decoded"):
        receive(files, tmp_path / "four", Settings(max_decoded_mb=2))
    assert not (tmp_path / "four").exists()

"""What one user may take: room on the disk, and how often in an hour; a refusal does not count."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.recordings.uploads import receive
from pipelines.settings import Settings
from pipelines.store.records import Caller
from pipelines.users.limits import HOUR_S, USERS_PER_ADDRESS, Limits, Quota, in_words, network_of
from rvc.errors import AudioError, LimitError, RvcError
from tests.pipelines.jobs.toy_jobs import ME, OTHER, Open, add_voice, submit, upload
from tests.sounds import tone, write

ROOM = 1.0  # MB; an upload of the toy's 12 s at 8 kHz takes 0.58
ANNA, BOB = Caller("anna", address="192.0.2.1"), Caller("bob", address="192.0.2.1")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def allowed(limits: Limits, caller: Caller, tries: int, kind: str = "starts") -> int:
    """How many of so many tries are let through."""
    passed = 0
    for _ in range(tries):
        try:
            limits.take(kind, caller)
        except LimitError:
            continue
        passed += 1
    return passed


def test_no_hour_ever_holds_more_than_the_limit(clock: Clock) -> None:
    limits = Limits({"starts": 7}, clock=clock)
    moments = []
    for _ in range(400):
        clock.now_s += 97.0
        if allowed(limits, ANNA, 1):
            moments.append(clock.now_s)
    for moment in moments:
        assert sum(moment - HOUR_S < other <= moment for other in moments) <= 7
    assert len(moments) > 7 * 9


def test_the_wait_that_a_refusal_names_is_just_enough(clock: Clock) -> None:
    limits = Limits({"starts": 2}, clock=clock)
    limits.take("starts", ANNA)
    clock.now_s += 600
    limits.take("starts", ANNA)
    clock.now_s += 600
    with pytest.raises(
        LimitError, match=r"started 2 jobs within an hour.*try again in 40 minutes\."
    ) as caught:
        limits.take("starts", ANNA)
    clock.now_s += caught.value.retry_after_s - 0.01
    assert allowed(limits, ANNA, 1) == 0
    clock.now_s += 0.02
    assert allowed(limits, ANNA, 5) == 1


def test_users_and_kinds_are_counted_apart_and_addresses_together(clock: Clock) -> None:
    limits = Limits({"starts": 3, "uploads": 3}, clock=clock)
    assert allowed(limits, ANNA, 10) == 3
    assert allowed(limits, BOB, 10) == 3
    assert allowed(limits, ANNA, 10, "uploads") == 3
    others = [Caller(f"visitor-{n}", address="192.0.2.1") for n in range(20)]
    passed = sum(allowed(limits, other, 10) for other in others)
    assert passed == 3 * USERS_PER_ADDRESS - 6
    assert allowed(limits, Caller("carl", address="192.0.2.2"), 10) == 3
    assert allowed(limits, Caller("the server itself"), 10) == 3


def test_what_is_refused_for_the_address_does_not_count_for_the_user(clock: Clock) -> None:
    limits = Limits({"starts": 1}, clock=clock)
    assert sum(allowed(limits, Caller(f"v{n}", address="10.0.0.1"), 1) for n in range(9)) == USERS_PER_ADDRESS
    assert allowed(limits, Caller("v8", address="10.0.0.2"), 1) == 1


def test_zero_and_unknown_kinds_are_no_limit(clock: Clock) -> None:
    limits = Limits({"starts": 0}, clock=clock)
    assert allowed(limits, ANNA, 5_000) == 5_000
    assert allowed(limits, ANNA, 5_000, "uploads") == 5_000


def test_what_is_given_back_was_never_done(clock: Clock) -> None:
    limits = Limits({"logins": 1}, clock=clock)
    for _ in range(20):
        limits.take("logins", ANNA)
        limits.give_back("logins", ANNA)
    assert allowed(limits, ANNA, 2, "logins") == 1


def test_those_who_stay_away_are_forgotten(clock: Clock) -> None:
    limits = Limits({"starts": 5}, clock=clock)
    for n in range(5_000):
        clock.now_s += 10
        limits.take("starts", Caller(f"visitor-{n}", address=f"198.51.{n // 250}.{n % 250}"))
    assert len(limits._moments) < 4_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:ff::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:102::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("testclient", "testclient", True),
    ],
)
def test_an_address_is_what_one_subscriber_has(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "in 1 second"), (59.5, "in 60 seconds"), (61, "in 2 minutes"), (3_600, "in 60 minutes")],
)
def test_the_wait_is_said_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_settings_give_every_limit() -> None:
    settings = Settings(uploads_per_hour=1, files_per_hour=2, starts_per_hour=3, logins_per_hour=4)
    limits = Limits.of(settings)
    passed = [allowed(limits, ANNA, 9, kind) for kind in ("uploads", "files", "starts", "logins")]
    assert passed == [1, 2, 3, 4]


def test_an_upload_too_many_is_refused_before_anything_is_written(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs(uploads_per_hour=1)
    upload(jobs, tmp_path)
    before = sorted(path for path in (tmp_path / "data").rglob("*"))
    with pytest.raises(LimitError, match="try again in"):
        upload(jobs, tmp_path)
    assert sorted(path for path in (tmp_path / "data").rglob("*")) == before
    assert len(jobs.list(ME)) == 1
    upload(jobs, tmp_path, OTHER)


def test_a_start_or_another_try_too_many_is_refused_and_leaves_nothing(
    open_jobs: Open, tmp_path: Path
) -> None:
    jobs = open_jobs(starts_per_hour=1)
    source = upload(jobs, tmp_path)
    job = submit(jobs, "preprocessing", source)
    jobs.cancel(ME, job)
    rows, folders = jobs.list(ME), sorted((tmp_path / "data" / "jobs").iterdir())
    for wish in (lambda: submit(jobs, "preprocessing", source), lambda: jobs.retry(ME, job)):
        with pytest.raises(LimitError, match="try again in"):
            wish()
    assert (jobs.list(ME), sorted((tmp_path / "data" / "jobs").iterdir())) == (rows, folders)


def test_a_wish_that_cannot_be_fulfilled_anyway_costs_no_start(open_jobs: Open, tmp_path: Path) -> None:
    jobs = open_jobs(starts_per_hour=1)
    source = upload(jobs, tmp_path)
    for _ in range(3):
        with pytest.raises(RvcError, match="There is no job"):
            submit(jobs, "preprocessing", "0" * 32)
    submit(jobs, "preprocessing", source)


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

"""How often somebody may do something: by user and by address, in any hour; a refusal does not count."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.settings import Settings
from pipelines.store.records import Caller
from pipelines.users.rate_limits import HOUR_S, USERS_PER_ADDRESS, Limits, in_words, network_of
from rvc.errors import LimitError, RvcError
from tests.pipelines.jobs.toy_jobs import ME, OTHER, Open, submit, upload

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
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
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

"""Whatever the clock does, ahead or back, while a server runs or none: nothing is removed by a wrong time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import app
from pipelines import commands
from pipelines.jobs.outcome import RETRY_PAUSES_S
from pipelines.jobs.schedule import next_job
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store import records
from pipelines.store.layout import daily_backups
from pipelines.store.records import Caller, new_job
from rvc.errors import ConfigError
from tests.clocks import Clocks
from tests.toy_worker import TOY_WORKER, write_voice

ME, ADMIN = Caller("me"), Caller("root", admin=True)
HOUR_S, DAY_S = 3_600.0, 86_400.0
Row = dict[str, Any]


class World(Clocks):
    """Time as it passes, and the clock on the wall; a server that is started and stopped by hand."""

    def __init__(self, data_dir: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(patch)
        self.data_dir = data_dir
        self.server: Jobs | None = None

    def start(self) -> Jobs:
        self.server = Jobs(Settings(data_dir=self.data_dir), worker_command=TOY_WORKER)
        self.server.start()
        return self.server

    def stop(self) -> None:
        if self.server is not None:
            self.server.close()
        self.server = None

    def restart(self) -> Jobs:
        self.stop()
        return self.start()

    def pass_by(self, hours: float) -> None:
        """Let time pass; the server does its housekeeping every hour."""
        for _ in range(max(1, round(hours))):
            self.passed_s += hours * HOUR_S / max(1, round(hours))
            if self.server is not None:
                self.server._housekeeping()


@pytest.fixture
def world(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  # a generator of World
    there = World(data_dir, monkeypatch)
    yield there
    there.stop()


def belongings(world: World, jobs: Jobs) -> Callable[[], set[str]]:
    """Things of every kind that has an age, and a function that tells which of them are there."""
    data_dir = world.data_dir
    job = new_job("me", "training", status="completed", seq=1)
    sent = new_job("me", "training", status="uploaded", seq=2)
    for row in (job, sent):
        jobs.registry.insert("jobs", row)
        (data_dir / "jobs" / row["id"]).mkdir(exist_ok=True)
    training = new_job("me", "training", status="completed", seq=3, model_name="Wren", upload_id="u")
    voice = jobs.library.adopt(training, write_voice(data_dir / f"bundle-{training['id']}"))["id"]
    export = jobs.library.export_bundle(ME, voice)
    moment_s = world.wall_s()
    os.utime(export, (moment_s, moment_s))
    jobs.delete_voice(ME, voice)
    jobs.library.adopt(training | {"id": records.new_id()}, write_voice(data_dir / "bundle-kept"))
    orphan = data_dir / "models" / records.new_id()
    orphan.mkdir()
    os.utime(orphan, (moment_s, moment_s))
    things = {
        "job": data_dir / "jobs" / job["id"], "upload": data_dir / "jobs" / sent["id"],
        "voice": data_dir / "models" / voice, "export": export, "orphan": orphan,
    }  # fmt: skip
    return lambda: {name for name, path in things.items() if path.exists()}


ALL = {"job", "upload", "voice", "export", "orphan"}


@pytest.mark.parametrize("days", [31, 4_000, -1, -20_000])
@pytest.mark.parametrize("while_running", [True, False], ids=["running", "stopped"])
def test_a_clock_that_is_set_removes_nothing(world: World, days: int, while_running: bool) -> None:
    left = belongings(world, world.start())
    world.pass_by(2)
    if not while_running:
        world.stop()
    world.wrong_s += days * DAY_S
    for _ in range(7):  # a day of the clock's, minutes of real time, each
        world.restart() if not while_running else world.pass_by(0.1)
        world.wrong_s += 0.9 * DAY_S if not while_running else 0.0
    assert left() == ALL
    world.wrong_s = 0.0  # somebody corrects it
    world.start() if world.server is None else world.pass_by(0.1)
    world.pass_by(10)
    assert left() == ALL


def test_after_as_long_without_a_jump_what_had_its_time_goes(world: World) -> None:
    left = belongings(world, world.start())
    world.stop()
    world.pass_by(31 * 24)  # nobody needed it for a month
    world.start()
    world.pass_by(23)
    assert left() == ALL
    world.pass_by(3)
    assert left() == {"job"}, "which has 30 days, and of these one is certain"
    world.pass_by(30 * 24)
    assert left() == set()


@pytest.mark.parametrize("while_running", [True, False], ids=["running", "stopped"])
def test_a_clock_that_stays_in_a_wrong_year_makes_nothing_older_than_it_is(
    world: World, while_running: bool
) -> None:
    left = belongings(world, world.start())
    for _ in range(8):
        world.pass_by(24)
    true = daily_backups(world.data_dir)
    job = new_job("me", "training", status="completed", seq=9)
    assert world.server is not None
    world.server.registry.insert("jobs", job)
    world.wrong_s = 4_000 * DAY_S
    if not while_running:
        world.restart()
    world.pass_by(20 * 24)
    assert "job" in left()
    assert set(true) <= set(daily_backups(world.data_dir)), "eight newer ones push none of them out"
    assert len(daily_backups(world.data_dir)) <= 21, "seven of a kind, and before and after the jump"
    world.wrong_s = 0.0
    world.pass_by(20 * 24)
    assert set(true) <= set(daily_backups(world.data_dir))
    assert world.server is not None
    assert world.server.registry.get("jobs", job["id"]) is not None
    world.pass_by(40 * 24)
    assert left() == set(), "a true month later"


@pytest.mark.parametrize("hours", [0.5, 2.0])
def test_who_uses_it_at_weekends_has_it_cleaned_up_too(world: World, hours: float) -> None:
    left = belongings(world, world.start())
    gone: dict[str, int] = {}
    for weekend in range(40):
        for _ in ("Saturday", "Sunday"):
            world.pass_by(hours)
            world.stop()
            world.pass_by(24 - hours)
            world.start()
        gone |= dict.fromkeys(ALL - left() - gone.keys(), weekend)
        world.stop()
        world.pass_by(5 * 24)
        world.start()
    assert gone.keys() == ALL
    assert max(weekend for name, weekend in gone.items() if name != "job") <= 7
    unsure = [path for path in daily_backups(world.data_dir) if "unsure" in path.name]
    assert len({path.name[-len("2026-11-29.json") :] for path in unsure}) == len(unsure) == 7


def test_a_machine_that_slept_knows_for_how_long(world: World) -> None:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("this system has no clock that goes on in a machine that sleeps")
    left = belongings(world, world.start())
    world.slept_s = 31 * DAY_S
    world.pass_by(1)
    world.passed_s += 31 * DAY_S
    world.pass_by(1)
    assert left() == set()


def test_hours_of_several_servers_count_together_but_not_across_a_jump(world: World) -> None:
    left = belongings(world, world.start())
    world.stop()
    world.wrong_s = 40 * DAY_S
    world.start()
    for _ in range(2):
        world.pass_by(10)
        world.restart()
    world.wrong_s += 2 * DAY_S
    world.pass_by(20)
    assert left() == ALL
    world.restart()
    world.pass_by(6)
    assert left() == {"job"}


def test_a_server_that_never_rests_cleans_up_as_before(world: World) -> None:
    left = belongings(world, world.start())
    world.pass_by(23)
    assert left() == ALL
    world.pass_by(26)
    assert left() == {"job"}
    world.pass_by(30 * 24)
    assert left() == set()


@pytest.mark.parametrize(
    "note",
    [
        *(b"", b"[]", b'{"seen_s": "x", "wait_s": 0}', b'{"seen_s": 1e300, "wait_s": 1e300}'),
        b'{"seen_s": 1e300, "run_s": 1e300, "uncounted_s": 1e300, "days_s": [1e300, -1e300]}',
        b'{"seen_s": 1e9, "run_s": 1e9, "uncounted_s": 0, "days_s": 5}',
    ],
)
def test_a_damaged_note_of_the_time_makes_it_doubtful(world: World, note: bytes) -> None:
    left = belongings(world, world.start())
    world.stop()
    (world.data_dir / "clock.json").write_bytes(note)
    world.pass_by(20)
    world.passed_s += 40 * DAY_S
    world.start()
    assert left() == ALL
    world.pass_by(26)
    assert left() == {"job"}
    world.pass_by(30 * 24)
    assert left() == set()


def test_a_folder_of_an_earlier_version_has_no_note_and_is_not_swept(world: World) -> None:
    left = belongings(world, world.start())
    world.stop()
    (world.data_dir / "clock.json").unlink()
    world.wrong_s = 31 * DAY_S
    world.start()
    assert left() == ALL


def test_starts_in_a_wrong_year_push_out_no_backup_and_later_ones_are_the_newest(world: World) -> None:
    world.start()
    for _ in range(8):
        world.pass_by(24)
    true = daily_backups(world.data_dir)
    assert len(true) == 7
    world.stop()
    world.wrong_s = 4_000 * DAY_S
    for _ in range(7):
        world.restart()
        world.wrong_s += DAY_S
    after = daily_backups(world.data_dir)
    assert set(true) <= set(after)
    assert len(after) <= 14, "seven of each kind"
    world.wrong_s = 0.0
    world.restart()
    row = world.server.registry.insert("jobs", new_job("me", "training", status="failed", seq=1))  # type: ignore[union-attr]
    world.pass_by(26)
    newest, *_ = daily_backups(world.data_dir)
    assert row["id"] in json.loads(newest.read_bytes())["jobs"]
    world.pass_by(24)
    assert newest.exists()
    assert set(true) <= set(daily_backups(world.data_dir))


def test_a_registry_is_backed_up_even_where_no_server_ever_runs_for_a_day(world: World) -> None:
    world.start()
    for week in range(4):
        world.stop()
        world.pass_by(7 * 24)
        jobs = world.start()
        row = jobs.registry.insert("jobs", new_job("me", "training", status="failed", seq=week))
        world.pass_by(2)
    world.stop()
    world.pass_by(7 * 24)
    world.start()
    newest, *_ = daily_backups(world.data_dir)
    assert row["id"] in json.loads(newest.read_bytes())["jobs"]


def test_backups_of_earlier_versions_come_before_numbered_ones_whatever_their_day(data_dir: Path) -> None:
    folder = data_dir / "backups"
    folder.mkdir(parents=True)
    names = [
        "registry-000010-2026-01-02.json", "registry-000009-2037-01-01.json", "registry-000002-unsure.json",
        "registry-2037-05-05.json", "registry-2026-01-01.json",
    ]  # fmt: skip
    for name in [*names, "registry.json", "registry-x.json", ".registry-000011-2026-01-03.json.part"]:
        (folder / name).write_text("{}")
    assert [path.name for path in daily_backups(data_dir)] == names


def test_whoever_cleans_up_by_hand_is_told_and_must_confirm(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = belongings(world, world.start())
    world.stop()
    world.wrong_s = 40 * DAY_S
    settings = Settings(data_dir=world.data_dir)
    before = {path: path.read_bytes() for path in world.data_dir.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"The clock says .*--trust-clock\.$"):
        commands.clean_up(settings, dry_run=False)
    assert "--trust-clock" in commands.clean_up(settings, dry_run=True)[-1]
    assert before.keys() == {path for path in world.data_dir.rglob("*") if path.is_file()}
    assert left() == ALL
    monkeypatch.setenv("DATA_DIR", str(world.data_dir))
    monkeypatch.setattr(app, "start_logging", lambda *_: None)
    assert app.main(["--clean-up"]) == 1
    assert "--trust-clock" in caplog.text
    assert commands.clean_up(settings, dry_run=False, trust_clock=True)[-1].startswith("Removed 1 old job")
    assert left() == {"export"}
    world.start()
    assert left() == set(), "the server believes what it was told"


def test_the_admin_is_told_too(world: World) -> None:
    left = belongings(world, world.start())
    world.wrong_s = 40 * DAY_S
    jobs = world.server
    assert jobs is not None
    with pytest.raises(ConfigError, match=r"The clock says .*--trust-clock\.$"):
        jobs.clean_up(ADMIN, dry_run=False)
    assert not jobs.clean_up(ADMIN, dry_run=True).empty
    assert left() == ALL


@pytest.mark.parametrize("back_s", [61.0, 600.0, 3_000.0, 3_601.0, 31 * DAY_S])
def test_a_clock_that_was_put_back_lets_no_job_rest_longer_than_a_pause(back_s: float) -> None:
    moment_s = 1_000_000.0
    row = new_job("me", "conversion", status="pending", seq=1, upload_id="u")
    row["not_before"] = moment_s + max(RETRY_PAUSES_S)
    put_back_s = moment_s - back_s
    assert any(next_job("conversion", [row], [], put_back_s + waited_s) for waited_s in (0.0, 60.0))


def test_a_small_correction_is_no_jump(world: World) -> None:
    left = belongings(world, world.start())
    world.pass_by(10)
    world.wrong_s -= 2.0
    world.pass_by(39)
    assert left() == {"job"}


def test_moments_of_a_wrong_future_are_not_taken_for_old(world: World) -> None:
    """What was made while the clock was ahead waits until then, but a voice in the trash is not for ever."""
    world.start()
    world.wrong_s = 400 * DAY_S
    world.pass_by(1)
    assert world.server is not None
    left = belongings(world, world.server)
    world.wrong_s = 0.0
    world.pass_by(23)
    assert left() == ALL
    world.pass_by(23)
    assert {"job", "voice"} <= left()
    world.pass_by(10)
    assert left() & {"job", "voice"} == {"job"}


def test_a_month_is_counted_as_one(world: World) -> None:
    old = datetime.now(UTC) - timedelta(days=31)
    jobs = world.start()
    row = new_job("me", "training", status="completed", seq=1, updated_at=records.as_text(old))
    jobs.registry.insert("jobs", row)
    world.pass_by(1)
    assert jobs.list(ME) == []

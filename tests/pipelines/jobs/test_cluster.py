"""Jobs on the machines of a cluster: what the dispatcher promises there, shown with a bridge without Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.job_spec import saving_s
from pipelines.jobs.cluster import NOT_JOINED, ClusterBackend
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from rvc.errors import ConfigError, NotAllowedError, UnknownNameError
from rvc.files import ROOT
from tests.pipelines.jobs.toy_jobs import (
    ADMIN,
    ME,
    Open,
    add_voice,
    computed,
    end_of,
    note_devices,
    require_one_at_a_time,
    submit,
    until,
    upload,
)

Change = Callable[..., None]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    """Sets how many devices each machine has; what is not named is gone; more: tests/toy_bridge.py."""
    path = tmp_path / "cluster.json"

    def change(
        gone: bool = False, pair: Sequence[str] = (), yields: Sequence[str] = (), **nodes: int
    ) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"nodes": nodes, "gone": gone, "pair": pair, "yields": yields}))
        part.replace(path)

    change(one=1, two=1, three=1)
    monkeypatch.setenv("TOY_CLUSTER", str(path))
    monkeypatch.setattr(ClusterBackend, "bridge_command", (sys.executable, "-m", "tests.toy_bridge"))
    monkeypatch.setattr("pipelines.jobs.cluster.AGAIN_S", 0.2)
    yield change
    change()


@pytest.fixture
def jobs(open_jobs: Open, cluster: Change, data_dir: Path) -> Jobs:
    opened = open_jobs(ray_address="toy")
    opened.start()
    add_voice(opened, data_dir)
    return opened


def nodes_of(jobs: Jobs) -> dict[str, dict[str, Any]]:
    cluster = jobs.dispatcher.health()["cluster"]
    return {node["id"]: node for node in cluster["nodes"]}


def where(jobs: Jobs, job_id: str) -> str | None:
    """The machine that works on a job."""
    return next((name for name, node in nodes_of(jobs).items() if job_id in node["jobs"]), None)


def test_as_many_compute_as_there_are_devices_and_never_two_on_one(
    jobs: Jobs, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = note_devices(monkeypatch)
    voices, target = upload(jobs, tmp_path), upload(jobs, tmp_path, purpose="target")
    long = [submit(jobs, "training", upload(jobs, tmp_path), steps=40, step_s=0.05) for _ in range(4)]
    short = [submit(jobs, "conversion", target, steps=3, step_s=0.05) for _ in range(6)]
    prepared = submit(jobs, "preprocessing", voices)
    for job in (*long, *short, prepared):
        end_of(jobs, job)
    assert len(require_one_at_a_time(data_dir, devices)) == 3
    first = {job: min(begin for begin, _, one in computed(data_dir) if one == job) for job in long}
    assert sorted(first, key=first.__getitem__)[-1] == long[-1], "first in, first out"
    last_of_first = min(max(end for _, end, one in computed(data_dir) if one == job) for job in long)
    assert first[long[-1]] >= last_of_first, "the fourth training waited for a device"


def test_a_conversion_interrupts_a_training_on_its_device_alone(
    jobs: Jobs, tmp_path: Path, data_dir: Path, cluster: Change
) -> None:
    cluster(one=1)
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=10_000, step_s=0.02)
    until(lambda: jobs.get(ME, training)["progress"] > 0)
    target = upload(jobs, tmp_path, purpose="target")
    end_of(jobs, submit(jobs, "conversion", target, steps=3, step_s=0.02))
    before = len(computed(data_dir))
    until(lambda: len(computed(data_dir)) > before + 3, "it to go on")
    jobs.cancel(ME, training)
    end_of(jobs, training, "cancelled")


def test_a_lost_machine_s_jobs_are_tried_again_elsewhere(jobs: Jobs, tmp_path: Path, cluster: Change) -> None:
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=60, step_s=0.05)
    until(lambda: jobs.get(ME, training)["progress"] > 0)
    lost = where(jobs, training)
    assert lost
    cluster(**{name: 1 for name in ("one", "two", "three") if name != lost})
    until(lambda: jobs.get(ME, training)["error_message"] == "the machine was lost")
    until(lambda: where(jobs, training) not in (None, lost))
    assert end_of(jobs, training)["attempts"] == 2


def test_when_the_bridge_ends_the_server_says_so_and_what_ran_is_tried_again(
    jobs: Jobs, tmp_path: Path, cluster: Change
) -> None:
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=100, step_s=0.05)
    until(lambda: jobs.get(ME, training)["progress"] > 0)
    cluster(gone=True)
    until(lambda: jobs.dispatcher.health()["cluster"]["fault"] == NOT_JOINED)
    until(lambda: jobs.get(ME, training)["status"] == "pending")
    assert "connection to the Ray cluster was lost" in jobs.get(ME, training)["error_message"]
    waiting = submit(jobs, "training", upload(jobs, tmp_path))
    time.sleep(1.0)
    assert jobs.get(ME, waiting)["status"] == "pending", "nothing is started while there is no cluster"
    cluster(one=1, two=1)
    assert end_of(jobs, training)["attempts"] == 2
    assert end_of(jobs, waiting)["attempts"] == 1
    assert jobs.dispatcher.health()["cluster"]["fault"] == ""


def test_a_drained_machine_ends_what_it_has_and_gets_nothing_more(jobs: Jobs, tmp_path: Path) -> None:
    running = submit(jobs, "training", upload(jobs, tmp_path), steps=60, step_s=0.05)
    until(lambda: jobs.get(ME, running)["progress"] > 0)
    drained = where(jobs, running)
    assert drained
    with pytest.raises(NotAllowedError):
        jobs.drain(ME, drained, on=True)
    with pytest.raises(UnknownNameError, match="no machine 'nowhere'"):
        jobs.drain(ADMIN, "nowhere", on=True)
    jobs.drain(ADMIN, drained, on=True)
    others = [submit(jobs, "training", upload(jobs, tmp_path), steps=40, step_s=0.05) for _ in range(3)]
    seen: set[str | None] = set()

    def all_ended() -> bool:
        seen.update(where(jobs, job) for job in others)
        return all(jobs.get(ME, job)["status"] == "completed" for job in others)

    until(all_ended)
    assert drained not in seen
    assert end_of(jobs, running)["attempts"] == 1
    assert nodes_of(jobs)[drained]["draining"]
    jobs.drain(ADMIN, drained, on=False)
    assert not nodes_of(jobs)[drained]["draining"]


def test_a_training_over_two_gpus_has_a_device_of_two_to_which_no_other_training_comes(
    jobs: Jobs, tmp_path: Path, cluster: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = note_devices(monkeypatch)
    cluster(one=1, two=1)
    wide = submit(jobs, "training", upload(jobs, tmp_path), steps=4_000, step_s=0.05, gpus=2)
    narrow = [submit(jobs, "training", upload(jobs, tmp_path), steps=10, step_s=0.02) for _ in range(3)]
    for job in narrow:
        end_of(jobs, job)
    assert jobs.get(ME, wide)["status"] == "pending", "it holds up nobody while there is no such device"
    cluster(one=1, two=1, pair=["one", "two"])
    until(lambda: jobs.get(ME, wide)["progress"] > 0)
    assert [name for name, node in nodes_of(jobs).items() if wide in node["jobs"]] == ["one", "two"]
    narrow += [submit(jobs, "training", upload(jobs, tmp_path), steps=10, step_s=0.02) for _ in range(3)]
    for job in narrow:
        end_of(jobs, job)
    assert jobs.get(ME, wide)["status"] == "training"
    cluster(one=0, two=0, pair=["one", "two"])
    before = end_of(jobs, submit(jobs, "conversion", upload(jobs, tmp_path, purpose="target"), steps=1))
    assert devices[before["id"]] == "one-pair", "where there is no other device a conversion pauses it"
    jobs.cancel(ME, wide)
    assert end_of(jobs, wide, "cancelled")["attempts"] == 1
    assert devices[wide] == "one-pair"
    assert "one-pair" not in {devices[job] for job in narrow}


def test_no_training_over_two_gpus_takes_them_from_one_ahead_of_it(
    jobs: Jobs, tmp_path: Path, cluster: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = note_devices(monkeypatch)
    cluster(one=1, two=1, pair=["one", "two"])
    asked = [submit(jobs, "training", upload(jobs, tmp_path), steps=5, gpus=gpus) for gpus in (1, 1, 1, 2, 1)]
    for job in asked:
        end_of(jobs, job)
    assert list(devices).index(asked[3]) >= 3, "those ahead of it have begun"
    assert [device == "one-pair" for device in map(devices.__getitem__, asked)] == [False] * 3 + [True, False]


def test_a_device_that_yields_gets_no_training_and_loses_its_converter(
    jobs: Jobs, tmp_path: Path, cluster: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = note_devices(monkeypatch)
    cluster(one=1)
    target = upload(jobs, tmp_path, purpose="target")
    end_of(jobs, submit(jobs, "conversion", target, steps=1))
    assert jobs.dispatcher.health()["converter"]
    cluster(one=1, two=1, yields=["one-0"])
    until(lambda: not jobs.dispatcher.health()["converter"], "the converter to leave")
    trainings = [submit(jobs, "training", upload(jobs, tmp_path), steps=5) for _ in range(2)]
    for job in (*trainings, submit(jobs, "conversion", target, steps=1)):
        end_of(jobs, job)
        assert devices[job] == "two-0"
    cluster(one=1, yields=["one-0"])
    last = submit(jobs, "conversion", target, steps=1)
    end_of(jobs, last)
    assert devices[last] == "one-0", "there is no other"


def test_a_voice_s_conversions_go_to_the_converter_that_has_it(
    jobs: Jobs, tmp_path: Path, data_dir: Path
) -> None:
    target = upload(jobs, tmp_path, purpose="target")
    together = [submit(jobs, "conversion", target, steps=30, step_s=0.05) for _ in range(2)]
    pids = {end_of(jobs, job)["result"]["pid"] for job in together}
    assert len(pids) == 2, "two at once have a converter each"
    later = [end_of(jobs, submit(jobs, "conversion", target, steps=1))["result"]["pid"] for _ in range(3)]
    assert set(later) <= pids


def test_cancelling_time_limits_and_the_grace_time_are_as_they_are_here(
    open_jobs: Open, tmp_path: Path, data_dir: Path, cluster: Change
) -> None:
    jobs = open_jobs(ray_address="toy", training_timeout=3.0, cancel_grace_s=0.5)
    jobs.start()
    deaf = submit(jobs, "training", upload(jobs, tmp_path), deaf=True)
    until(lambda: (data_dir / "jobs" / deaf / "work" / "deaf").exists())
    asked_s = time.monotonic()
    jobs.cancel(ME, deaf)
    end_of(jobs, deaf, "cancelled")
    assert time.monotonic() - asked_s < 5.0
    long = submit(jobs, "training", upload(jobs, tmp_path), steps=10_000, step_s=0.02)
    assert "the most that is allowed" in end_of(jobs, long, "interrupted")["message"]
    broken = submit(jobs, "training", upload(jobs, tmp_path), fault="die")
    row = end_of(jobs, broken, "failed")
    assert (row["attempts"], row["dead_letter"]) == (3, True)


def backend(chosen: dict[str, Any]) -> ClusterBackend:
    return ClusterBackend(Settings.model_validate(chosen), ("python", "worker.py"))


def test_the_bridge_hears_how_long_trainings_save_and_nothing_of_this_machine_s_threads(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    chosen = {"data_dir": data_dir, "ray_address": "toy", "cancel_grace_s": 7.0, "train_threads": 12}
    joining = backend(chosen)._joining
    assert joining["saving_s"] == saving_s(7.0) == 42.0
    assert "OMP_NUM_THREADS" not in joining["environment"]


@pytest.mark.parametrize("own", [{}, {"signing_key": "key.pem", "signing_certificate": "chain.pem"}])
def test_results_are_not_signed_where_the_machines_have_no_keys(
    own: dict[str, str], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.jobs.outcome.installed", lambda: True)
    chosen = {"data_dir": data_dir, "ray_address": "toy", **own}
    with pytest.raises(ConfigError, match=r"^With SHARED_DIR results cannot be signed.*set SIGN_OUTPUT=0"):
        backend(chosen | {"shared_dir": "/shared"})
    backend(chosen)  # all machines have DATA_DIR, and the keys in it
    backend(chosen | {"shared_dir": "/shared", "sign_output": False})
    monkeypatch.setattr("pipelines.jobs.outcome.installed", lambda: False)
    backend(chosen | {"shared_dir": "/shared"})


LOADED = """
import sys
from pathlib import Path
import pipelines.worker, pipelines.worker_tasks
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
jobs = Jobs(Settings(data_dir=Path(sys.argv[1])))
jobs.start()
jobs.close()
print(*[name for name in ("ray", "fsspec", "s3fs", "pipelines.cluster") if name in sys.modules])
"""


def test_without_a_cluster_s_address_nothing_of_ray_is_loaded(data_dir: Path) -> None:
    command = [sys.executable, "-c", LOADED, str(data_dir)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []

"""Trainings over several machines of a real Ray cluster, whose GPUs are only declared."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from tests.pipelines.cluster.conftest import CLUSTER_WORKER, OpenOn, ThreeNodes
from tests.pipelines.jobs.toy_jobs import ME, end_of, submit, until, upload
from tests.pipelines.toy_rvc import SETTINGS, recording, require_equal_but_for_rounding

pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 150.0


def begun(jobs: Jobs, folder: Path, **settings: object) -> str:
    source = jobs.upload(ME, [(recording(folder / "me.wav"), "me.wav")], "training")["id"]
    row = jobs.submit(ME, "training", source, model_name="Me", settings=SETTINGS | settings)
    return str(row["id"])


def nodes_of(jobs: Jobs, job_id: str) -> list[str]:
    """The ids of the machines that work on a job; the first process's is the first."""
    found = jobs.dispatcher.health()["cluster"]["nodes"]
    return [str(node["id"]) for node in found if job_id in node["jobs"]]


def step_of(jobs: Jobs, job_id: str) -> int:
    return max((event["data"].get("step", 0) for event in jobs.events(ME, job_id)), default=0)


def wait_until_it_trains(jobs: Jobs, job_id: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while step_of(jobs, job_id) < 3:
        assert time.monotonic() < deadline, (jobs.get(ME, job_id), jobs.files.log(ME, job_id))
        time.sleep(0.1)


@pytest.mark.ray
def test_two_hosts_train_the_voice_of_one(open_on: OpenOn, tmp_path: Path) -> None:
    here = Settings.model_validate({"data_dir": tmp_path / "alone"})
    alone = Jobs(here, worker_command=CLUSTER_WORKER, retry_pauses_s=())
    alone.start()
    one = begun(alone, tmp_path)
    jobs = open_on(CLUSTER_WORKER, shared_dir=str(tmp_path / "shared"))
    two = begun(jobs, tmp_path, gpus=2)
    until(lambda: nodes_of(jobs, two), "it to begin")
    assert len(nodes_of(jobs, two)) == 2
    assert end_of(jobs, two)["attempts"] == 1
    end_of(alone, one)
    alone.close()
    folders = [tmp_path / "alone" / "jobs" / one / "work", tmp_path / "data" / "jobs" / two / "work"]
    require_equal_but_for_rounding(folders[0], folders[1], steps=2)


@pytest.mark.ray
def test_a_host_that_dies_ends_all_and_the_training_goes_on_elsewhere(
    open_on: OpenOn, three_nodes: ThreeNodes, tmp_path: Path
) -> None:
    jobs = open_on(CLUSTER_WORKER, shared_dir=str(tmp_path / "shared"))
    job = begun(jobs, tmp_path, total_steps=60, score_every=60, gpus=2)
    wait_until_it_trains(jobs, job)
    killable = {one.node_id for one in three_nodes.others}
    killed = next(node for node in nodes_of(jobs, job) if node in killable)
    listing = tmp_path / "shared" / "lists" / f"{job}.out.json"
    until(lambda: listing.exists() and "step-" in listing.read_text(), "a checkpoint")
    three_nodes.kill(killed)
    until(lambda: jobs.get(ME, job)["attempts"] == 2, "its second try")
    assert end_of(jobs, job)["attempts"] == 2
    steps = [event["data"]["step"] for event in jobs.events(ME, job) if "step" in event["data"]]
    assert steps.count(1) <= 1, "it went on from a checkpoint and did not begin anew"
    three_nodes.others.append(three_nodes.add_node())


@pytest.mark.slow
def test_a_training_over_all_gpus_gets_them_and_conversions_pause_it(open_on: OpenOn, tmp_path: Path) -> None:
    jobs = open_on(CLUSTER_WORKER)
    target = upload(jobs, tmp_path, purpose="target")
    before = [submit(jobs, "training", upload(jobs, tmp_path), steps=20, step_s=0.05) for _ in range(3)]
    job = begun(jobs, tmp_path, total_steps=100_000, score_every=50_000, batch_size=3, gpus=3)
    end_of(jobs, submit(jobs, "conversion", target, steps=1))  # a converter would keep its device
    for each in before:
        end_of(jobs, each)
    wait_until_it_trains(jobs, job)
    assert len(nodes_of(jobs, job)) == 3
    end_of(jobs, submit(jobs, "conversion", target, steps=1))
    asked_s = time.monotonic()
    jobs.cancel(ME, job)
    end_of(jobs, job, "cancelled")
    assert time.monotonic() - asked_s < 5.0


def test_devices_of_one_gpu_make_room_only_for_those_that_would_fit() -> None:
    pytest.importorskip("ray", reason="Ray is not installed (requirements-cluster.txt)")
    from pipelines.cluster.together import most_of

    def device(gpus: int, name: str = "") -> SimpleNamespace:
        return SimpleNamespace(gpus=gpus, name=name)

    wanted = {1: 5, 2: 2}
    plenty = most_of(wanted, [device(1, "a"), device(1, "b")], 4)
    assert plenty[1] > 100
    assert most_of(wanted, [device(1, "a"), device(2)], 4) == {1: 2, 2: 2}
    assert most_of(wanted, [device(2, "a"), device(2)], 3)[1] > 100, "the second has to wait for the first"
    assert most_of(wanted, [device(8)], 4)[1] > 100
    assert most_of(wanted, [device(2), device(2)], 4)[1] == 0

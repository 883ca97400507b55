"""Jobs in a real Ray cluster of three nodes: `python -m pytest -m ray tests/pipelines/cluster`."""

from __future__ import annotations

import statistics
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from pipelines.jobs.cluster import NOT_JOINED
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from tests.faults.life import TRAINING, recordings
from tests.pipelines.cluster.conftest import CLUSTER_WORKER, OpenOn, ThreeNodes, joined, node_of
from tests.pipelines.jobs.toy_jobs import (
    ADMIN,
    ME,
    OTHER,
    Row,
    add_voice,
    computed,
    end_of,
    note_devices,
    require_one_at_a_time,
    submit,
    until,
    upload,
)
from tests.toy_worker import TOY_WORKER

MANY = 30
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_sixty_jobs_of_all_types_share_three_devices_and_never_two_one(
    open_on: OpenOn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = note_devices(monkeypatch)
    jobs = open_on()
    voice, target = upload(jobs, tmp_path), upload(jobs, tmp_path, purpose="target")
    mine = [submit(jobs, "conversion", target, steps=2, step_s=0.05) for _ in range(40)]
    mine += [submit(jobs, "training", upload(jobs, tmp_path), steps=20, step_s=0.05) for _ in range(8)]
    mine += [submit(jobs, "preprocessing", voice, steps=2, step_s=0.05) for _ in range(4)]
    batches = [
        jobs.submit_batch(ME, [target], model_id="voice", settings={"steps": 5, "step_s": 0.05})["id"]
        for _ in range(4)
    ]
    others = upload(jobs, tmp_path, OTHER)
    theirs = [str(submit(jobs, "preprocessing", others, OTHER, steps=2)) for _ in range(4)]
    for job in (*mine, *batches, *theirs):
        end_of(jobs, job)
    assert len(require_one_at_a_time(tmp_path / "data", devices)) == 3
    for lane in (mine[:40], mine[40:48], batches):
        assert [job for job in devices if job in lane] == lane, "first in, first out"


def test_cancel_and_pause_come_through_in_time(open_on: OpenOn, tmp_path: Path) -> None:
    jobs = open_on()
    trainings = [
        submit(jobs, "training", upload(jobs, tmp_path), steps=10_000, step_s=0.02) for _ in range(3)
    ]
    for job in trainings:
        until(lambda job=job: jobs.get(ME, job)["progress"] > 0, "all three devices to be taken")  # type: ignore[misc]
    target = upload(jobs, tmp_path, purpose="target")
    first = submit(jobs, "conversion", target, steps=1)
    end_of(jobs, first)  # which starts a converter
    asked_s = time.monotonic()
    end_of(jobs, submit(jobs, "conversion", target, steps=1))
    assert time.monotonic() - asked_s < 5.0, "a training makes room within 5 s"
    for job in trainings:
        asked_s = time.monotonic()
        jobs.cancel(ME, job)
        end_of(jobs, job, "cancelled")
        assert time.monotonic() - asked_s < 5.0


def test_a_node_that_dies_in_a_conversion_is_no_matter(
    open_on: OpenOn, three_nodes: ThreeNodes, tmp_path: Path
) -> None:
    jobs = open_on()
    target = upload(jobs, tmp_path, purpose="target")
    running: dict[str, str] = {}
    three_nodes.hold.touch()
    for _ in range(3):
        job = submit(jobs, "conversion", target, steps=20, step_s=0.02)
        running[job] = node_of(jobs, job)
        until(lambda job=job: jobs.get(ME, job)["progress"] > 0)  # type: ignore[misc]
    killable = {one.node_id for one in three_nodes.others}
    job, node = next((job, node) for job, node in running.items() if node in killable)
    three_nodes.kill(node)
    until(
        lambda: jobs.get(ME, job)["status"] == "pending", "its second try, for which there is no device left"
    )
    three_nodes.hold.unlink()
    assert end_of(jobs, job)["attempts"] == 2
    assert all(end_of(jobs, other)["attempts"] == 1 for other in running if other != job)
    seen: dict[str, Row] = {}

    def is_gone() -> bool:
        seen.update({one["id"]: one for one in jobs.dispatcher.health()["cluster"]["nodes"]})
        return not seen[node]["alive"]

    until(is_gone, "Ray to miss the node")
    assert seen[node]["failures"] >= 1
    three_nodes.others.append(three_nodes.add_node())


def trained(jobs: Jobs, folder: Path) -> str:
    voice, _ = recordings(folder)
    source = jobs.upload(ME, [(voice, "voice.wav")], "training")["id"]
    return str(jobs.submit(ME, "training", source, model_name="Mine", settings=TRAINING)["id"])


def voice_of(jobs: Jobs, job_id: str) -> bytes:
    model = jobs.library.folder(ME, end_of(jobs, job_id)["model_id"])
    return (model / "model.safetensors").read_bytes()


def test_a_training_whose_node_dies_goes_on_elsewhere_and_makes_the_same_voice(
    open_on: OpenOn, three_nodes: ThreeNodes, tmp_path: Path
) -> None:
    alone = Settings.model_validate({"data_dir": tmp_path / "alone"})
    undisturbed = Jobs(alone, worker_command=CLUSTER_WORKER, retry_pauses_s=())
    undisturbed.start()
    beside = trained(undisturbed, tmp_path / "outside")
    jobs = open_on(CLUSTER_WORKER, shared_dir=str(tmp_path / "shared"))
    killable = {one.node_id for one in three_nodes.others}
    job = trained(jobs, tmp_path / "outside")
    if node_of(jobs, job) not in killable:  # on the head's: another one goes elsewhere
        other = trained(jobs, tmp_path / "outside")
        assert node_of(jobs, other) in killable
        jobs.cancel(ME, job)
        job = other
    until(lambda: len(list((tmp_path / "shared" / "lists").glob(f"{job}.out.json"))) == 1)
    until(lambda: "step-" in (tmp_path / "shared" / "lists" / f"{job}.out.json").read_text(), "a checkpoint")
    three_nodes.kill(node_of(jobs, job))
    assert voice_of(jobs, job) == voice_of(undisturbed, beside)
    undisturbed.close()
    row = jobs.get(ME, job)
    assert row["attempts"] == 2
    events = jobs.events(ME, job)
    steps = [event["data"]["step"] for event in events if "step" in event["data"]]
    assert steps.count(1) <= 1, "it went on from a checkpoint and did not begin anew"
    three_nodes.others.append(three_nodes.add_node())


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_files_go_through_what_is_shared_and_are_what_they_were(
    kind: str, open_on: OpenOn, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = str(tmp_path / "shared") if kind == "folder" else request.getfixturevalue("bucket")
    jobs = open_on(shared_dir=address)
    target = upload(jobs, tmp_path, purpose="target")
    sent = jobs.files.input_path(ME, target, decoded=True).read_bytes()
    job = submit(jobs, "conversion", target, steps=2)
    end_of(jobs, job)
    assert jobs.files.result_path(ME, job).read_bytes() == sent, (
        "the toy's voice gives back what it was given"
    )
    assert "done after" in jobs.files.log(ME, job)
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=5)
    row = end_of(jobs, training)
    assert (jobs.library.folder(ME, row["model_id"]) / "card.json").is_file()


def test_what_ray_costs(open_on: OpenOn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = Settings.model_validate({"data_dir": tmp_path / "here"})
    local = Jobs(here, worker_command=TOY_WORKER, retry_pauses_s=())
    local.start()
    add_voice(local, tmp_path / "here")
    jobs = open_on()
    joined(jobs)
    firsts, late = {}, {}
    for name, one in {"local": local, "ray": jobs}.items():
        source = upload(one, tmp_path)
        end_of(one, submit(one, "training", source, steps=1))  # the device is reserved, modules are read
        asked_s = time.monotonic()
        job = submit(one, "training", source, steps=100, step_s=0.02)
        until(lambda one=one, job=job: one.get(ME, job)["progress"] > 0)  # type: ignore[misc]
        firsts[name] = time.monotonic() - asked_s
        end_of(one, job)
        ends_s = [
            end for _, end, of in computed(tmp_path / ("here" if one is local else "data")) if of == job
        ]
        heard = {
            event["data"]["step"]: event["time"] for event in one.events(ME, job) if "step" in event["data"]
        }
        late[name] = statistics.median(
            datetime.fromisoformat(heard[step]).timestamp() - end_s
            for step, end_s in enumerate(ends_s, 1)
            if step in heard
        )
    rates = {"local": rate_of(local, tmp_path)}
    nodes = [node["id"] for node in jobs.dispatcher.health()["cluster"]["nodes"] if node["alive"]]
    for node in nodes[1:]:
        jobs.drain(ADMIN, node, on=True)
    for count, node in enumerate(nodes, 1):
        jobs.drain(ADMIN, node, on=False)
        rates[f"{count} nodes"] = rate_of(jobs, tmp_path)
    local.close()
    with capsys.disabled():
        told = f"first progress after {firsts}, a step's after {late} s, toy jobs in a second {rates}"
        sys.stderr.write(f"\n{told}\n")
    assert firsts["ray"] - firsts["local"] <= 5.0
    assert late["ray"] - late["local"] <= 0.05


def rate_of(jobs: Jobs, tmp_path: Path) -> float:
    """How many toy conversions are done in a second, once the workers are warm."""
    target = upload(jobs, tmp_path, purpose="target")

    def done() -> float:
        begun_s = time.monotonic()
        for each in [submit(jobs, "conversion", target, steps=1, step_s=0.05) for _ in range(MANY)]:
            end_of(jobs, each)
        return MANY / (time.monotonic() - begun_s)

    done()
    return round(done(), 1)


def test_when_the_head_is_restarted_the_server_says_so_and_work_goes_on(
    open_on: OpenOn, three_nodes: ThreeNodes, tmp_path: Path
) -> None:
    jobs = open_on()
    training = submit(jobs, "training", upload(jobs, tmp_path), steps=600, step_s=0.05)
    until(lambda: jobs.get(ME, training)["progress"] > 0)
    three_nodes.shut_down()
    until(lambda: jobs.dispatcher.health()["cluster"]["fault"] == NOT_JOINED, "it to be told")
    until(lambda: jobs.get(ME, training)["status"] == "pending")
    waiting = submit(jobs, "training", upload(jobs, tmp_path), steps=2)
    three_nodes.start()
    deadline = time.monotonic() + 120
    while jobs.get(ME, waiting)["status"] != "completed":
        assert time.monotonic() < deadline, jobs.dispatcher.health()
        time.sleep(0.1)
    assert jobs.get(ME, training)["attempts"] == 2
    jobs.cancel(ME, training)

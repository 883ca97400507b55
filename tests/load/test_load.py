"""Fifty people at once, large files at once, ten thousand jobs: order, answers and memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import Caller, new_job
from pipelines.store.registry import SCHEMA_TABLE, SCHEMA_VERSION, Registry
from pipelines.store.storage import JournaledStorage, Tables
from rvc.files import ROOT
from tests.load.server import UNLIMITED
from tests.pipelines.jobs.toy_jobs import computed
from tests.sounds import tone, write
from tests.ui.launched import free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CLIENTS, CONVERSIONS, TRAININGS, STREAMS = 50, 160, 40, 30
STATUS_CALLS_PER_S = 10
SLOWEST_STATUS_S, SLOWEST_LIST_S = 0.5, 0.3
GROWTH_MB = 150
UPLOADS, UPLOAD_MB = 20, 50
ROWS = 10_000
CONVERSION_STARTS_WITHIN_S = 5.0
STEP_S = 0.02
Row = dict[str, Any]


@contextmanager
def served(data_dir: Path) -> Iterator[tuple[str, int]]:
    """A page of its own process; its address and process id."""
    port = free_port()
    environment = os.environ | UNLIMITED | {"NO_PROXY": "127.0.0.1", "TOY_STEP_S": str(STEP_S)}
    command = [sys.executable, "-m", "tests.load.server", str(port), str(data_dir)]
    with (data_dir.parent / "server.log").open("ab") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url), "the page")
        yield url, server.pid
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str) -> bool:
    """Whether there is a page."""
    try:
        client_of(url, 0)
    except Exception:  # noqa: BLE001 -- whatever a client may say of a page that is not there yet
        return False
    return True


def client_of(url: str, number: int) -> Client:
    """A person of their own, with a secret of their own."""
    headers = {"x-timbre-token": f"somebody-with-the-number-{number:04d}"}
    return Client(url, verbose=False, headers=headers)


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1000


def at(moment: str) -> float:
    """Seconds since the epoch of a row's time."""
    return datetime.fromisoformat(moment).timestamp()


class Crowd:
    """Everybody's jobs, and how fast the server says where they stand.

    A client serves one thread at a time: when its last answer has come it closes the stream that another
    thread's question has just begun to share.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.clients = [client_of(url, number) for number in range(CLIENTS)]
        self.watchers = [client_of(url, number) for number in range(CLIENTS)]
        self.followers = [client_of(url, number) for number in range(STREAMS)]
        self.recording = write(folder / "a.wav", "wav16", tone(12.0, 8_000), 8_000)
        self.jobs: list[tuple[int, str]] = []
        self.answer_s: list[float] = []
        self.streamed: list[Row] = []
        self.over = threading.Event()

    def ask_all(self, person: int) -> None:
        """Submit all jobs of one person."""
        for number in range(person, CONVERSIONS + TRAININGS, CLIENTS):
            self.ask(person, number)

    def ask(self, person: int, number: int) -> None:
        """Submit one job; every fifth is a training."""
        client = self.clients[person]
        if (person + number // CLIENTS) % 5 == 0:
            sent = client.predict([handle_file(self.recording)], api_name="/upload_training_audio")
            row = client.predict(sent["job_id"], "Mine", {}, api_name="/start_training")
        else:
            sent = client.predict(handle_file(self.recording), api_name="/upload_target_audio")
            row = client.predict(sent["job_id"], "voice", {}, api_name="/start_conversion")
        self.jobs.append((person, row["id"]))

    def follow(self, number: int) -> None:
        """Follow the first job of one person to its end."""
        wait_for(lambda: number in dict(self.jobs), "jobs to follow")
        client, job_id = self.followers[number], next(job for person, job in self.jobs if person == number)
        self.streamed.append(client.submit(job_id, api_name="/follow_job").result(timeout=900))

    def watch(self) -> None:
        """Ask where a job stands, so many times a second, until everything is over."""
        number = 0
        while not self.over.is_set():
            began = time.monotonic()
            if self.jobs:
                person, job_id = self.jobs[number % len(self.jobs)]
                self.watchers[person].predict(job_id, api_name="/job_status")
                self.answer_s.append(time.monotonic() - began)
            number += 1
            time.sleep(max(0.0, 1 / STATUS_CALLS_PER_S - (time.monotonic() - began)))

    def rows(self) -> list[Row]:
        """All rows that were asked for."""
        return [row for client in self.clients for row in client.predict(api_name="/list_jobs")
                if row["status"] != "uploaded"]  # fmt: skip


def test_fifty_people_are_served_in_order_and_none_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with served(data) as (url, pid):
        crowd = Crowd(url, tmp_path)
        before_mb = resident_mb(pid)
        watching = threading.Thread(target=crowd.watch)
        watching.start()
        with ThreadPoolExecutor(CLIENTS) as asking, ThreadPoolExecutor(STREAMS) as following:
            streams = [following.submit(crowd.follow, number) for number in range(STREAMS)]
            asked = [asking.submit(crowd.ask_all, person) for person in range(CLIENTS)]
            for one in [*asked, *streams]:
                one.result()
            wait_for(lambda: all(row["status"] == "completed" for row in crowd.rows()), "all jobs")
        crowd.over.set()
        watching.join()
        rows, after_mb = crowd.rows(), resident_mb(pid)
    p95_s = float(np.percentile(crowd.answer_s, 95))
    sys.stdout.write(
        f"\n{len(rows)} jobs; job_status {len(crowd.answer_s)} times, median "
        f"{1000 * np.median(crowd.answer_s):.0f} ms, p95 {1000 * p95_s:.0f} ms; "
        f"memory {before_mb:.0f} -> {after_mb:.0f} MB\n"
    )
    assert len(rows) == CONVERSIONS + TRAININGS
    assert [row["status"] for row in crowd.streamed] == ["completed"] * STREAMS
    assert_order(rows, computed(data), data)
    assert p95_s < SLOWEST_STATUS_S
    assert after_mb - before_mb < GROWTH_MB


def assert_order(rows: list[Row], steps: list[tuple[float, float, str]], data: Path) -> None:
    """Never two at once; each class first in, first out; no training computes while a conversion waits."""
    assert all(end <= begin for (_, end, _), (begin, _, _) in pairwise(steps))
    first: dict[str, float] = {}
    for begin, _, job in steps:
        first.setdefault(job, begin)
    registry = Registry(data)
    seq = {row["id"]: row["seq"] for row in registry.list("jobs")}
    registry.close()
    kinds = {row["id"]: row["type"] for row in rows}
    for kind in ("conversion", "training"):
        ids = sorted((job for job, its in kinds.items() if its == kind), key=lambda job: first[job])
        assert [seq[job] for job in ids] == sorted(seq[job] for job in ids)
    trained = [begin for begin, _, job in steps if kinds[job] == "training"]
    for row in rows:
        if row["type"] == "conversion":
            since, until = at(row["created_at"]) + CONVERSION_STARTS_WITHIN_S, first[row["id"]]
            assert not any(since < begin < until for begin in trained)


def test_large_uploads_at_once_arrive_whole(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rate_hz, noise = 48_000, np.random.default_rng(0)
    samples = UPLOAD_MB * 1_000_000 // 2 - 1000
    paths = []
    for number in range(UPLOADS):
        wav = (0.1 * noise.standard_normal(samples)).astype(np.float32)
        paths.append(write(tmp_path / f"{number}.wav", "wav16", wav[:, None], rate_hz))
    with served(data) as (url, _):
        clients = [client_of(url, number) for number in range(UPLOADS)]

        def send(number: int) -> str:
            sent = clients[number].predict(handle_file(paths[number]), api_name="/upload_target_audio")
            return str(sent["files"][0]["sha256"])

        with ThreadPoolExecutor(UPLOADS) as pool:
            arrived = list(pool.map(send, range(UPLOADS)))
    assert arrived == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_ten_thousand_jobs_are_listed_at_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mine = "client"
    rows = [
        new_job(mine, "conversion", status="completed" if seq % 2 else "failed", seq=seq, upload_id="u")
        for seq in range(ROWS)
    ]
    tables: Tables = {"jobs": {row["id"]: row for row in rows}, "models": {}}
    tables[SCHEMA_TABLE] = {"schema": {"version": SCHEMA_VERSION}}
    JournaledStorage(data / "registry.json").write(tables)
    jobs = Jobs(Settings(data_dir=data))
    try:
        took = []
        queries: list[dict[str, Any]] = [
            {},
            {"status": "failed"},
            {"type": "conversion", "status": "completed"},
        ]
        for wanted in queries:
            began = time.monotonic()
            found = jobs.list(Caller(mine), **wanted)
            took.append(time.monotonic() - began)
            assert len(found) == (ROWS if not wanted else ROWS // 2)
    finally:
        jobs.close()
    sys.stdout.write(f"\n{ROWS} jobs listed in {', '.join(f'{1000 * s:.0f} ms' for s in took)}\n")
    assert max(took) < SLOWEST_LIST_S

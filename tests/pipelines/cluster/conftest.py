"""A Ray cluster of three nodes on this machine, each with one GPU that is only declared."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs.processes import WORKER_COMMAND
from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from tests.faults.work import PACE_VARIABLE
from tests.pipelines.jobs.toy_jobs import add_voice, until
from tests.pipelines.toy_rvc import WEIGHTS_VARIABLE, weights_folder
from tests.toy_worker import TOY_WORKER

STARTS = 2  # Ray itself waits 30 s for a node and no longer, which a busy machine may need
# Five times Ray's usual three seconds are long to wait for each node that is killed.
HEALTH_CHECKS = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
CLUSTER_WORKER = (*WORKER_COMMAND, "--tasks", "tests.cluster_tasks")
PACE_S = "0.15"

OpenOn = Callable[..., Jobs]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class ThreeNodes:
    """The cluster; its head keeps its address when it is restarted.

    hold: While this file is there, toy work does not come to its end.
    """

    def __init__(self, hold: Path) -> None:
        self.hold = hold
        self.port = free_port()
        self.start()
        self.address = str(self._cluster.address)

    def start(self) -> None:
        from ray.cluster_utils import Cluster

        for attempt in range(STARTS):
            self._cluster: Any = Cluster()
            try:
                self._cluster.add_node(
                    gcs_server_port=self.port, _system_config=HEALTH_CHECKS, **self._resources()
                )
                self.others = [self.add_node() for _ in range(2)]
            except Exception:
                self._cluster.shutdown()
                if attempt == STARTS - 1:
                    raise
            else:
                return

    def add_node(self) -> Any:  # noqa: ANN401  # Ray's
        return self._cluster.add_node(**self._resources())

    def kill(self, node_id: str) -> None:
        """Let a node that is not the head die at once, and put another in its place."""
        (node,) = [one for one in self.others if one.node_id == node_id]
        self._cluster.remove_node(node, allow_graceful=False)
        self.others.remove(node)

    def shut_down(self) -> None:
        self._cluster.shutdown()

    def _resources(self) -> dict[str, Any]:
        memory = 80 * 1024**2  # the least that Ray takes, nearly
        return {
            "num_cpus": 2,
            "num_gpus": 1,
            "object_store_memory": memory,
            "include_dashboard": False,
        }


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A server that speaks S3, which the environment names; "" where none is installed."""
    if find_spec("moto") is None or find_spec("s3fs") is None:
        yield ""
        return
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
            yield f"127.0.0.1:{port}"
            server.kill()


@pytest.fixture
def bucket(s3_server: str) -> str:
    """The address of a folder in an empty bucket."""
    if not s3_server:
        pytest.skip("no server that speaks S3 is installed (requirements-cluster.txt)")
    import fsspec

    files: Any = fsspec.filesystem("s3", skip_instance_cache=True)
    name = f"timbre-{time.monotonic_ns()}"
    files.mkdir(name)
    return f"s3://{name}/jobs"


@pytest.fixture(scope="session")
def three_nodes(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreeNodes]:
    pytest.importorskip("ray", reason="Ray is not installed (requirements-cluster.txt)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PACE_VARIABLE, PACE_S)  # the nodes hand it on to the workers
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        hold = tmp_path_factory.mktemp("nodes") / "hold"
        patch.setenv("TOY_HOLD", str(hold))
        patch.setenv(WEIGHTS_VARIABLE, str(weights_folder(tmp_path_factory.mktemp("weights"))))
        nodes = ThreeNodes(hold)
        yield nodes
        nodes.shut_down()


@pytest.fixture
def open_on(three_nodes: ThreeNodes, tmp_path: Path) -> Iterator[OpenOn]:
    """Opens jobs that run in the cluster: toy work, or real trainings too where CLUSTER_WORKER does them."""
    with ExitStack() as stack:

        def open_them(worker: Sequence[str] = TOY_WORKER, **settings: object) -> Jobs:
            chosen = Settings.model_validate(
                {"data_dir": tmp_path / "data", "ray_address": three_nodes.address, "sign_output": False}
                | settings
            )
            jobs = Jobs(chosen, worker_command=worker, retry_pauses_s=(0.05, 0.05))
            stack.callback(jobs.close)
            jobs.start()
            add_voice(jobs, tmp_path / "data")
            return jobs

        yield open_them


def joined(jobs: Jobs) -> None:
    """Wait until the server knows the cluster."""
    until(lambda: jobs.dispatcher.health()["cluster"]["fault"] == "")


def node_of(jobs: Jobs, job_id: str) -> str:
    """The id of the node that works on a job, once one does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for node in jobs.dispatcher.health()["cluster"]["nodes"]:
            if job_id in node["jobs"]:
                return str(node["id"])
        time.sleep(0.05)
    raise AssertionError(f"no node works on {job_id}: {os.linesep}{jobs.dispatcher.health()}")

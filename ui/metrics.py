"""The plain routes for machines: /health for whoever watches over the server, /metrics for Prometheus.

/health answers everybody, without a login; /health?only=worker fails only when a restart would help.
/metrics answers requests that were sent on this machine, and with METRICS_TOKEN as bearer token those from
elsewhere; behind a proxy only the token helps.
"""

from __future__ import annotations

import hmac
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.machine import Gpu, Machine
from pipelines.meters import REGISTRY
from pipelines.rows import JOB_TYPES
from ui.arrivals import is_local
from ui.status import MACHINE, health_of, version

if TYPE_CHECKING:
    from starlette.requests import Request

    from ui.services import Services

STATUSES = (
    "uploaded",
    "pending",
    "preprocessing",
    "training",
    "converting",
    "completed",
    "failed",
    "cancelled",
    "interrupted",
)


def routes(services: Services, machine: Machine = MACHINE) -> list[Route]:
    """Return the plain routes /health and /metrics.

    Args:
        services: The page's collaborators.
        machine: Tells of GPUs and memory.
    """
    present = CollectorRegistry()
    present.register(Present(services, machine))

    def health(request: Request) -> JSONResponse:
        facts = health_of(services, machine)
        worker_only = request.query_params.get("only") == "worker"
        works = facts["worker"]["dispatcher"] if worker_only else facts["status"] == "ok"
        return JSONResponse(facts, status_code=200 if works else 503)

    def metrics(request: Request) -> Response:
        if not _may_read(request, services):
            return PlainTextResponse(
                "Metrics are for this machine, or for who sends METRICS_TOKEN as bearer token.\n", 403
            )
        return Response(generate_latest(present) + generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return [Route("/health", health), Route("/metrics", metrics)]


class Present(Collector):
    """What can be read at any time: jobs by state, the queue, the machine.

    Args:
        services: The page's collaborators.
        machine: Tells of GPUs and memory.
    """

    def __init__(self, services: Services, machine: Machine) -> None:
        self._services = services
        self._machine = machine

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are fixed, and asking for them must not start anything."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give every measured value once."""
        work = self._services.jobs.health()
        yield self._jobs()
        yield _gauge("timbre_queue_length", "Jobs that wait for their turn.", work["pending"])
        yield _gauge("timbre_running_jobs", "Jobs that a process works on.", work["running"])
        yield _gauge("timbre_dispatcher_up", "1 while waiting jobs are started.", work["dispatcher"])
        yield _gauge("timbre_dead_letters", "Jobs that were given up after a fault.", self._dead_letters())
        disk = shutil.disk_usage(self._services.settings.data_dir)
        yield _gauge("timbre_disk_free_bytes", "Free bytes on the disk of the data folder.", disk.free)
        memory = self._machine.memory()
        available = None if memory is None else memory.available_bytes
        yield _gauge("timbre_memory_available_bytes", "Main memory that can still be had.", available)
        yield from self._gpus(self._machine.gpus())
        info = GaugeMetricFamily("timbre_info", "The version that runs.", labels=["version"])
        info.add_metric([version()], 1)
        yield info

    def _jobs(self) -> Metric:
        counts = Counter((row["type"], row["status"]) for row in self._services.jobs.registry.list("jobs"))
        family = GaugeMetricFamily("timbre_jobs", "Jobs in the registry.", labels=["type", "status"])
        # Those of which there are none too: a series that begins at its first job misses it.
        every = {(job_type, status) for job_type in JOB_TYPES for status in STATUSES}
        for pair in sorted(every | set(counts)):
            family.add_metric(pair, counts[pair])
        return family

    def _dead_letters(self) -> int:
        return len(self._services.jobs.registry.list("jobs", status="failed", dead_letter=True))

    def _gpus(self, gpus: list[Gpu]) -> Iterator[Metric]:
        used = GaugeMetricFamily("timbre_gpu_memory_used_bytes", "GPU memory in use.", labels=["gpu"])
        total = GaugeMetricFamily("timbre_gpu_memory_total_bytes", "GPU memory in all.", labels=["gpu"])
        load = GaugeMetricFamily("timbre_gpu_load", "Share of time that the GPU computes.", labels=["gpu"])
        for gpu in gpus:
            for family, value in ((used, gpu.used_bytes), (total, gpu.memory_bytes), (load, gpu.load)):
                if value is not None:
                    family.add_metric([str(gpu.index)], value)
        yield from (used, total, load)


def _gauge(name: str, about: str, value: float | None) -> Metric:
    """Return one number; nothing where it is not known."""
    family = GaugeMetricFamily(name, about)
    if value is not None:
        family.add_metric([], float(value))
    return family


def _may_read(request: Request, services: Services) -> bool:
    token = services.settings.metrics_token
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    if token is not None and kind.lower() == "bearer":
        return hmac.compare_digest(sent.strip().encode(), token.get_secret_value().encode())
    return is_local(request.client.host if request.client else None, request.headers)

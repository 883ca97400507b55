"""The plain routes for machines: /health for whoever watches over the server, /metrics for Prometheus.

/health answers everybody, without a login; /health?only=worker fails only when a restart would help.
/metrics answers requests that were sent on this machine, and with METRICS_TOKEN as bearer token those from
elsewhere; behind a proxy only the token helps.

How the server is and what it offers, for people and programs that ask: the endpoints health() and info().

Health tells no names, no paths and no secrets, because the route /health answers everybody.
"""

from __future__ import annotations

import hmac
import shutil
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.monitoring import REGISTRY, Gpu, Machine
from pipelines.store.records import JOB_TYPES
from ui.server.identity import is_local

if TYPE_CHECKING:
    from starlette.requests import Request

    from ui.server.services import Services


Facts = dict[str, Any]
SPARE_BYTES = 500_000_000
"""Free disk below which nothing should be started."""
SCARCE_MEMORY_BYTES = 200_000_000
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
MACHINE = Machine()
_STARTED_S = time.monotonic()


@cache
def version() -> str:
    """Return the version of this program."""
    return str(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"])


def health_of(services: Services, machine: Machine = MACHINE) -> Facts:
    """Return whether the server works, and the facts by which it shows.

    Args:
        services: The page's collaborators.
        machine: Tells of GPUs and memory.

    Returns:
        status ("ok" or "degraded"), reason (sentences that say what to do; "" when ok), version, uptime_s,
        and device, memory, disk, registry, queue and worker with their facts.
    """
    work = services.jobs.dispatcher.health()
    registry = services.jobs.registry
    disk = shutil.disk_usage(services.settings.data_dir)
    memory = machine.memory()
    faults = []
    if not work["dispatcher"]:
        faults.append("No job is started any more; restart the server.")
    if disk.free < SPARE_BYTES:
        faults.append("The disk of the data folder is nearly full; remove old jobs.")
    if registry.fault:
        faults.append(f"The registry could not be written ({registry.fault}); look at the server's log.")
    if memory is not None and memory.available_bytes < SCARCE_MEMORY_BYTES:
        faults.append("The machine is nearly out of memory; stop other programs.")
    return {
        "status": "degraded" if faults else "ok",
        "reason": " ".join(faults),
        "version": version(),
        "uptime_s": round(time.monotonic() - _STARTED_S),
        "device": device_facts(machine),
        "memory": None
        if memory is None
        else {"total_bytes": memory.total_bytes, "available_bytes": memory.available_bytes},
        "disk": {"total_bytes": disk.total, "free_bytes": disk.free},
        "registry": {"writable": not registry.fault, "schema": registry.schema, **registry.counts()},
        "queue": {"waiting": work["pending"], "running": work["running"]},
        "worker": {
            "dispatcher": work["dispatcher"],
            "converter_loaded": work["converter"],
            "processes": None if work["pids"] is None else len(work["pids"]),
        },
    }


def device_facts(machine: Machine) -> Facts:
    """Return what jobs compute on: the GPUs, or the processor's cores where there is none."""
    gpus = [
        {"name": gpu.name, "memory_bytes": gpu.memory_bytes, "used_bytes": gpu.used_bytes, "load": gpu.load}
        for gpu in machine.gpus()
    ]
    return {"kind": "gpu" if gpus else "cpu", "cores": machine.cores, "gpus": gpus}


def info_of(services: Services) -> Facts:
    """Return what the server accepts and offers."""
    settings = services.settings
    return {
        "name": "Timbre",
        "about": "Clone a voice from recordings, and convert any recording into it.",
        "version": version(),
        "limits": {
            "file_size_mb": settings.max_file_size_mb,
            "voice_file_size_mb": settings.max_voice_file_mb,
            "audio_seconds": settings.max_audio_seconds,
            "files": settings.max_files,
            "batch_size_mb": settings.max_batch_mb,
            "decoded_upload_mb": settings.max_decoded_mb,
            "uploads_per_hour": settings.uploads_per_hour,
            "files_per_hour": settings.files_per_hour,
            "starts_per_hour": settings.starts_per_hour,
            "logins_per_hour": settings.logins_per_hour,
            "quota_mb_per_user": settings.quota_mb_per_user,
        },
        "login": services.callers.accounts is not None,
        "input_formats": ["wav", "flac", "mp3", "m4a", "ogg", "opus", "aac"],
        "output_formats": ["wav", "flac", "mp3", "ogg"],
        "job_types": ["preprocessing", "training", "conversion", "batch"],
        "training": settings.allow_training,
        "how_to_call": "Keep the client, which keeps your identity in a cookie, or send Authorization: "
        "Bearer with a token from create_token. A limit of 0 is none.",
    }


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
        work = self._services.jobs.dispatcher.health()
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

"""How the server is and what it offers: the endpoints health() and info(), the routes /health and /metrics.

/health answers everybody, so it tells no names, no paths and no secrets; /health?only=worker fails only when
a restart would help. /metrics answers this machine, and others with METRICS_TOKEN as bearer token.
"""

from __future__ import annotations

import hmac
import shutil
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.monitoring import MACHINE, REGISTRY, Machine
from pipelines.store.records import JOB_TYPES, STATUSES, Row, Rows
from rvc.files import ROOT

if TYPE_CHECKING:
    from ui.server.services import Services

SPARE_BYTES = 500_000_000  # of disk, below which nothing should be started
SCARCE_MEMORY_BYTES = 200_000_000
_STARTED_S = time.monotonic()


@cache
def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def health_of(services: Services, machine: Machine = MACHINE) -> Row:
    """Return status ("ok" or "degraded"), reason (sentences that say what to do), and the facts behind it."""
    work = services.jobs.dispatcher.health()
    registry = services.jobs.registry
    disk = shutil.disk_usage(services.settings.data_dir)
    memory = machine.memory()
    gpus = [{key: fact for key, fact in asdict(gpu).items() if key != "index"} for gpu in machine.gpus()]
    faults = []
    if not work["dispatcher"]:
        faults.append("No job is started any more; restart the server.")
    if disk.free < SPARE_BYTES:
        faults.append("The disk of the data folder is nearly full; remove old jobs, or voices for good.")
    cluster = work["cluster"]
    if cluster is not None and cluster["fault"]:
        faults.append(cluster["fault"])
    if fault := registry.fault:
        faults.append(f"The registry could not be written ({fault}); look at the server's log.")
    if memory is not None and memory.available_bytes < SCARCE_MEMORY_BYTES:
        faults.append("The machine is nearly out of memory; stop other programs.")
    return {
        "status": "degraded" if faults else "ok",
        "reason": " ".join(faults),
        "version": version(),
        "uptime_s": round(time.monotonic() - _STARTED_S),
        "device": {"kind": "gpu" if gpus else "cpu", "cores": machine.cores, "gpus": gpus},
        "memory": None if memory is None else asdict(memory),
        "disk": {"total_bytes": disk.total, "free_bytes": disk.free},
        "registry": {"writable": not fault, "schema": registry.schema, **registry.counts()},
        "queue": {"waiting": work["pending"], "running": work["running"]},
        "worker": {
            "dispatcher": work["dispatcher"],
            "converter_loaded": work["converter"],
            "processes": None if work["pids"] is None else len(work["pids"]),
        },
        "cluster": None if cluster is None else _counts_of(cluster["nodes"]),
    }


def _counts_of(nodes: Rows) -> Row:
    """Return of a cluster what anybody may know."""
    alive = [node for node in nodes if node["alive"]]
    draining = sum(node["draining"] for node in alive)
    return {
        "nodes": len(alive),
        "devices": sum(len(node["devices"]) for node in alive),
        "draining": draining,
    }


def info_of(services: Services) -> Row:
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
            "voice_files": settings.max_voice_files,
            "batch_size_mb": settings.max_batch_mb,
            "decoded_upload_mb": settings.max_decoded_mb,
            "uploads_per_hour": settings.uploads_per_hour,
            "files_per_hour": settings.files_per_hour,
            "starts_per_hour": settings.starts_per_hour,
            "logins_per_hour": settings.logins_per_hour,
            "calls_at_once": settings.calls_at_once,
            "uploads_at_once": settings.uploads_at_once,
            "quota_mb_per_user": settings.quota_mb_per_user,
        },
        "login": services.callers.accounts is not None,
        "input_formats": ["wav", "flac", "mp3", "m4a", "ogg", "opus", "aac"],
        "output_formats": ["wav", "flac", "mp3", "ogg"],
        "job_types": list(JOB_TYPES),
        "training": settings.allow_training,
        "how_to_call": "Keep the client, which keeps your identity in a cookie, or send Authorization: "
        "Bearer with a token from create_token. A limit of 0 is none.",
    }


def routes(services: Services) -> list[Route]:
    present = CollectorRegistry()
    present.register(SnapshotCollector(services, MACHINE))

    def health(request: Request) -> JSONResponse:
        facts = health_of(services)
        worker_only = request.query_params.get("only") == "worker"
        works = facts["worker"]["dispatcher"] if worker_only else facts["status"] == "ok"
        return JSONResponse(facts, status_code=200 if works else 503)

    def metrics(request: Request) -> Response:
        if not _may_read(request, services):
            text = "Metrics are for this machine, or for who sends METRICS_TOKEN as bearer token.\n"
            return PlainTextResponse(text, 403)
        return Response(generate_latest(present) + generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return [Route("/health", health), Route("/metrics", metrics)]


class SnapshotCollector(Collector):
    """What can be read at any time: jobs by state, the queue, the machine."""

    def __init__(self, services: Services, machine: Machine) -> None:
        self._services = services
        self._machine = machine

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are fixed, and asking for them must not start anything."""
        return []

    def collect(self) -> Iterator[Metric]:
        work = self._services.jobs.dispatcher.health()
        registry = self._services.jobs.registry
        disk = shutil.disk_usage(self._services.settings.data_dir)
        memory = self._machine.memory()
        counts: Counter[tuple[str, str]] = Counter(
            registry.scan("jobs", lambda row: (str(row["type"]), str(row["status"])))
        )
        # Those of which there are none too: a series that begins at its first job misses it.
        pairs = counts.keys() | {(job_type, status) for job_type in JOB_TYPES for status in STATUSES}
        jobs: dict[tuple[str, ...], float] = {pair: counts[pair] for pair in sorted(pairs)}
        dead = len(registry.list("jobs", status="failed", dead_letter=True, deleted_at=None))
        available = None if memory is None else memory.available_bytes
        yield _gauge("timbre_jobs", "Jobs in the registry.", jobs, "type", "status")
        yield _gauge("timbre_queue_length", "Jobs that wait for their turn.", {(): work["pending"]})
        yield _gauge("timbre_running_jobs", "Jobs that a process works on.", {(): work["running"]})
        yield _gauge("timbre_dispatcher_up", "1 while waiting jobs are started.", {(): work["dispatcher"]})
        yield _gauge("timbre_dead_letters", "Jobs that were given up after a fault.", {(): dead})
        yield _gauge("timbre_disk_free_bytes", "Free bytes on the disk of the data folder.", {(): disk.free})
        yield _gauge("timbre_memory_available_bytes", "Main memory that can still be had.", {(): available})
        gpus = {(str(gpu.index),): gpu for gpu in self._machine.gpus()}
        for name, about, field in (
            ("timbre_gpu_memory_used_bytes", "GPU memory in use.", "used_bytes"),
            ("timbre_gpu_memory_total_bytes", "GPU memory in all.", "memory_bytes"),
            ("timbre_gpu_load", "Share of time that the GPU computes.", "load"),
        ):
            yield _gauge(name, about, {at: getattr(gpu, field) for at, gpu in gpus.items()}, "gpu")
        yield from _of_nodes(work["cluster"])
        yield _gauge("timbre_info", "The version that runs.", {(version(),): 1}, "version")


def _of_nodes(cluster: Row | None) -> Iterator[Metric]:
    """Return how the machines of a cluster are; nothing where there is none."""
    if cluster is None:
        return
    yield _gauge("timbre_cluster_up", "1 while the cluster can be reached.", {(): not cluster["fault"]})
    nodes = {(node["id"][:8], node["name"]): node for node in cluster["nodes"]}
    for name, about, of in (
        ("timbre_node_up", "1 while a machine of the cluster is there.", lambda node: node["alive"]),
        ("timbre_node_devices", "Devices that are reserved.", lambda node: len(node["devices"])),
        ("timbre_node_jobs", "Jobs that a machine works on.", lambda node: len(node["jobs"])),
        ("timbre_node_draining", "1 while a machine gets no further job.", lambda node: node["draining"]),
        ("timbre_node_failures", "Workers that were lost there.", lambda node: node["failures"]),
    ):
        yield _gauge(name, about, {at: of(node) for at, node in nodes.items()}, "node", "name")


def _gauge(name: str, about: str, values: Mapping[tuple[str, ...], float | None], *labels: str) -> Metric:
    """Return one number for each set of labels; none where it is not known."""
    family = GaugeMetricFamily(name, about, labels=labels)
    for of, value in values.items():
        if value is not None:
            family.add_metric(of, float(value))
    return family


def _may_read(request: Request, services: Services) -> bool:
    token = services.settings.metrics_token
    kind, _, sent = request.headers.get("authorization", "").partition(" ")
    if token is not None and kind.lower() == "bearer":
        return hmac.compare_digest(sent.strip().encode(), token.get_secret_value().encode())
    return services.is_local(request)

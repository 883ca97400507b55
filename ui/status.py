"""How the server is and what it offers, for people and programs that ask: the endpoints health() and info().

Health tells no names, no paths and no secrets, because the route /health answers everybody.
"""

from __future__ import annotations

import shutil
import time
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.machine import Machine

if TYPE_CHECKING:
    from ui.services import Services

Facts = dict[str, Any]

SPARE_BYTES = 500_000_000
"""Free disk below which nothing should be started."""
SCARCE_MEMORY_BYTES = 200_000_000
PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
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
    work = services.jobs.health()
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

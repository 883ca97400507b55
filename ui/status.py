"""How the server is: for people who ask an endpoint, and for machines that poll /health and /metrics."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from pipelines.rows import Caller

if TYPE_CHECKING:
    from starlette.requests import Request

    from ui.services import Services

SPARE_BYTES = 500_000_000
WATCHMAN = Caller(user_id="", admin=True)


def health_of(services: Services) -> dict[str, Any]:
    """Return whether the server works, and the numbers by which it shows."""
    work = services.jobs.health()
    free_bytes = shutil.disk_usage(services.settings.data_dir).free
    faults = []
    if not work["dispatcher"]:
        faults.append("No job is started any more; restart the server.")
    if free_bytes < SPARE_BYTES:
        faults.append("The disk of the data folder is nearly full; remove old jobs.")
    return {
        "status": "degraded" if faults else "ok",
        "reason": " ".join(faults),
        "jobs_waiting": work["pending"],
        "jobs_running": work["running"],
        "converter_loaded": work["converter"],
        "disk_free_bytes": free_bytes,
    }


def info_of(services: Services) -> dict[str, Any]:
    """Return what the server accepts and offers."""
    settings = services.settings
    return {
        "name": "Timbre",
        "about": "Clone a voice from recordings, and convert any recording into it.",
        "limits": {
            "file_size_mb": settings.max_file_size_mb,
            "voice_file_size_mb": settings.max_voice_file_mb,
            "audio_seconds": settings.max_audio_seconds,
            "files": settings.max_files,
            "batch_size_mb": settings.max_batch_mb,
        },
        "input_formats": ["wav", "flac", "mp3", "m4a", "ogg", "opus", "aac"],
        "output_formats": ["wav", "flac", "mp3", "ogg"],
        "job_types": ["preprocessing", "training", "conversion", "batch"],
        "how_to_call": "Keep the client, which keeps your identity in a cookie, or send x-timbre-token.",
    }


def routes(services: Services) -> list[Route]:
    """Return the plain routes /health and /metrics; they need no login and tell no names."""

    def health(_: Request) -> JSONResponse:
        facts = health_of(services)
        return JSONResponse(facts, status_code=200 if facts["status"] == "ok" else 503)

    def metrics(_: Request) -> PlainTextResponse:
        counts = _counts(services)
        lines = ["# HELP timbre_jobs Jobs in the registry by state.", "# TYPE timbre_jobs gauge"]
        lines += [f'timbre_jobs{{status="{state}"}} {number}' for state, number in sorted(counts.items())]
        lines += ["# HELP timbre_disk_free_bytes Free bytes on the disk of the data folder."]
        lines += ["# TYPE timbre_disk_free_bytes gauge"]
        lines += [f"timbre_disk_free_bytes {shutil.disk_usage(services.settings.data_dir).free}"]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    return [Route("/health", health), Route("/metrics", metrics)]


def _counts(services: Services) -> Counter[str]:
    return Counter(str(row["status"]) for row in services.jobs.list(WATCHMAN))

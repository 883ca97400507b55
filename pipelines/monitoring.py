"""What the machine has and how much of it is free, and what is counted while the server runs, for Prometheus.

Where there is no nvidia-smi or /proc/meminfo the answer is empty, never an error. No label names a person.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram

logger = logging.getLogger(__name__)
MEMINFO = Path("/proc/meminfo")
SMI_FIELDS = "index,name,memory.total,memory.used,utilization.gpu"
SMI_TIMEOUT_S = 5.0
KEPT_S = 5.0  # for how long an answer about GPUs is given again: asking takes up to a second
_MIB = 1 << 20

REGISTRY = CollectorRegistry()  # of Timbre's own; the library's default would add what it finds of Python
JOB_SECONDS = Histogram(
    "timbre_job_seconds",
    "Seconds of work of a try, without waiting and pauses, by type of job and by how it ended.",
    ["type", "status"],
    buckets=(1, 5, 15, 60, 180, 600, 1_800, 3_600, 10_800, 43_200),
    registry=REGISTRY,
)
REFUSALS = Counter("timbre_refusals", "Requests that were refused, by reason.", ["reason"], registry=REGISTRY)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU; None is what it does not say (a share of a partitioned one)."""

    index: int  # as CUDA counts without further wishes
    name: str
    memory_bytes: int | None
    used_bytes: int | None  # by whatever program
    load: float | None  # 0..1 over the last second or less


@dataclass(frozen=True, kw_only=True)
class Memory:
    total_bytes: int
    available_bytes: int  # that programs can still have


def memory(source: Path = MEMINFO) -> Memory | None:
    """Return the machine's memory; None where the kernel does not tell."""
    try:
        lines = source.read_text(encoding="ascii").splitlines()
        kib = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value}
        total, available = 1024 * int(kib["MemTotal"]), 1024 * int(kib["MemAvailable"])
    except (OSError, KeyError, ValueError):
        return None
    return Memory(total_bytes=total, available_bytes=available)


def read_gpus(answer: str) -> list[Gpu]:
    """Return the GPUs of which nvidia-smi tells, in CSV without header and units (SMI_FIELDS)."""
    gpus = []
    for line in answer.splitlines():
        parts = [part.strip() for part in line.split(",")]
        # A name may hold a comma; the numbers around it may not.
        if len(parts) <= SMI_FIELDS.count(",") or not parts[0].isdigit():
            continue
        total, used, load = map(_number, parts[-3:])
        gpus.append(
            Gpu(
                index=int(parts[0]),
                name=", ".join(parts[1:-3]),
                memory_bytes=None if total is None else round(total * _MIB),
                used_bytes=None if used is None else round(used * _MIB),
                load=None if load is None else load / 100,
            )
        )
    return gpus


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def ask_nvidia_smi() -> list[Gpu]:
    """Return the GPUs that nvidia-smi knows; none where it is not installed or does not answer."""
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    command = [program, f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi does not answer (%s); nothing is known of the GPU", error)
        return []
    return read_gpus(done.stdout)


class Machine:
    """The facts, with those that are costly kept for a few seconds. Safe for threads."""

    def __init__(self, ask: Callable[[], list[Gpu]] = ask_nvidia_smi) -> None:
        self._ask = ask
        self._mutex = threading.Lock()
        self._gpus: list[Gpu] = []
        self._asked_s = float("-inf")

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def memory(self) -> Memory | None:
        return memory()

    def gpus(self) -> list[Gpu]:
        """Return the GPUs, as they were at most KEPT_S ago."""
        with self._mutex:
            if time.monotonic() - self._asked_s >= KEPT_S:
                self._gpus = self._ask()
                self._asked_s = time.monotonic()
            return list(self._gpus)


MACHINE = Machine()  # which this process runs on

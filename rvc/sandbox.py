"""Child processes that read strangers' files: one order each, with limits of memory, time and disk.

Libraries that parse what a file claims (torch, faiss) may be led to ask for all memory, or to crash. Here
that costs one child. It answers in files that its order names, which whoever started it checks anew.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rvc.errors import CheckpointError, RvcError
from rvc.files import ROOT

logger = logging.getLogger(__name__)

Order = Mapping[str, Any]
REFUSED = 1  # exit status after a sentence on standard output
_LONGEST_SENTENCE = 500
_LOGGED_BYTES = 2_000
# How much address space the libraries take: with CUDA it is several times as much as without.
_STATM = Path("/proc/self/statm")


class TooSlowError(Exception):
    """The child did not end in time and was killed."""


class ChildDiedError(Exception):
    """The child ended without doing its work and without a sentence."""


def run_sandboxed(module: str, order: Order, wall_s: float) -> None:
    """Run `python -m module order`, whose main calls `serve`; it and what it started are gone afterwards.

    The order is JSON-able; its cpu_s, file_bytes (of each file that it writes) and memory_bytes (address
    space beyond what its libraries take) are the limits.

    Raises:
        CheckpointError: With the child's own sentence.
        TooSlowError: It took longer than `wall_s`.
        ChildDiedError: It ended in another way.
    """
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each reserves address space of its own
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(order)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | threads,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=wall_s)
        except subprocess.TimeoutExpired as error:
            raise TooSlowError from error
        finally:
            _end(process)
        if process.returncode == REFUSED and said:
            raise CheckpointError(said.decode(errors="replace")[:_LONGEST_SENTENCE])
        if process.returncode != 0:
            log.seek(max(log.seek(0, os.SEEK_END) - _LOGGED_BYTES, 0))
            last_words = log.read().decode(errors="replace")
            logger.warning("%s ended with status %d: %s", module, process.returncode, last_words)
            raise ChildDiedError


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the child's whole group, whether or not the child itself still lives."""
    if os.name == "posix":
        # Nothing is left of the group, or (so answers macOS) only zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def serve(arguments: list[str], work: Callable[[Order], None]) -> int:
    """Do what a child's command line orders, within its limits; return the exit status."""
    order: Order = json.loads(arguments[0])
    # After the libraries are loaded, before a byte of the file is.
    if os.name == "posix":
        _limit(order)
    try:
        work(order)
    except RvcError as error:
        sys.stdout.write(str(error))
        return REFUSED
    return 0


def _limit(order: Order) -> None:
    """Set the soft limits; a child of this child may need other ones."""
    import resource  # only there is it

    limits = {
        resource.RLIMIT_CPU: order["cpu_s"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: order["file_bytes"],
    }
    if _STATM.exists():
        libraries_bytes = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = libraries_bytes + order["memory_bytes"]
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))

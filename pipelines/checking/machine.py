"""What works on this machine: Python, packages, device, disk, weights, port, and a conversion as a whole.

Takes less than a minute, and leaves nothing behind but notes of which weights were verified.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout
from packaging.requirements import Requirement

from pipelines.checking.findings import Finding
from pipelines.checking.public_server import disk
from pipelines.jobs.processes import WORKER_COMMAND
from pipelines.jobs.service import Jobs
from pipelines.monitoring import MACHINE, Machine
from pipelines.settings import Settings
from pipelines.store.layout import LOCK_NAME, REGISTRY_NAME
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.weights import read_manifest, weight_store
from rvc.errors import RvcError
from rvc.files import ROOT

MISSING = "Missing: {names}; each line says what to do."
COMPLETE = "All that Timbre needs is here: python app.py serves the page."
LEAST_PYTHON = (3, 11)
LEAST_MEMORY_BYTES = 2_000_000_000  # free, for a training of the built-in engine beside the server
TESTS_ALONE = "# Tests and checks"  # where requirements.txt goes on with what only they need
ASK_S = 60.0  # that torch may take to answer
TORCH = (
    "import json, torch; cuda = torch.cuda.is_available(); print(json.dumps({'version': torch.__version__, "
    "'built_for': torch.version.cuda, 'threads': torch.get_num_threads(), "
    "'gpu': torch.cuda.get_device_name(0) if cuda else None}))"
)
EXAMPLE = ROOT / "assets" / "examples" / "recordings" / "visitor.flac"
VOICE = "builtin-kathleen"
BUILT_IN = ("base.safetensors", "encoder.safetensors", "others.safetensors", "speaker_stats.npz")
ME = Caller("doctor")
Found = tuple[bool, str]


def look_around(settings: Settings, worker_command: Sequence[str] = WORKER_COMMAND) -> Iterator[Finding]:
    """Look at one thing after the other; a generator, since some take seconds."""
    looks: dict[str, Callable[[], Found]] = {
        "Python": _python,
        "packages": _packages,
        "device": lambda: _device(MACHINE),
        "threads": lambda: _threads(settings, MACHINE),
        "memory": lambda: _memory(MACHINE),
        "disk": lambda: disk(settings),
        "data folder": lambda: _data_folder(settings),
        "weights": lambda: _weights(settings),
        "port": lambda: _port(settings),
        "browser": lambda: _browser(settings),
        "conversion": lambda: _conversion(settings, worker_command),
    }
    for name, look in looks.items():
        missing, said = look()
        yield Finding(name=name, missing=missing, said=said)


def _python() -> Found:
    if sys.version_info < LEAST_PYTHON:
        return True, f"{sys.version.split()[0]} is too old; install Python 3.11."
    return False, f"{sys.version.split()[0]} at {sys.executable}."


def _packages() -> Found:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8").partition(TESTS_ALONE)[0]
    wanted = [Requirement(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    wrong = [said for said in map(_wrong_with, wanted) if said]
    if wrong:
        return True, f"{', '.join(wrong)}; run pip install -r requirements.txt."
    return False, f"all {len(wanted)} of requirements.txt are here."


def _wrong_with(wanted: Requirement) -> str:
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed"
    fits = wanted.specifier.contains(there, prereleases=True)
    return "" if fits else f"{wanted.name} is {there}, not {wanted.specifier}"


def _device(machine: Machine) -> Found:
    """Ask torch in a process of its own: it takes seconds to load, and this one does without."""
    command = [sys.executable, "-c", TORCH]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)
        torch = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        return True, f"torch does not load ({''.join(last)}); run pip install -r requirements.txt."
    gpus = [gpu.name for gpu in machine.gpus()]
    if torch["gpu"]:
        return False, f"torch {torch['version']} computes on the GPU {torch['gpu']}."
    if gpus:
        why = (
            f"torch {torch['version']} cannot use it: update the driver"
            if torch["built_for"]
            else f"torch {torch['version']} is built for processors: install the build for CUDA"
        )
        return False, f"There is a GPU, {gpus[0]}, but {why}; until then the processor computes."
    return False, f"torch {torch['version']} computes on the processor; the built-in engine needs no GPU."


def _threads(settings: Settings, machine: Machine) -> Found:
    limit = os.environ.get("OMP_NUM_THREADS")
    held = f"; OMP_NUM_THREADS={limit} limits what else computes" if limit else ""
    return False, f"{machine.cores} cores; a training uses {settings.train_threads} (TRAIN_THREADS){held}."


def _memory(machine: Machine) -> Found:
    memory = machine.memory()
    if memory is None:
        return False, "This system does not tell."
    free = f"{memory.available_bytes / 1e9:.1f} of {memory.total_bytes / 1e9:.1f} GB are free"
    if memory.available_bytes < LEAST_MEMORY_BYTES:
        return True, f"{free}, and a training takes {LEAST_MEMORY_BYTES / 1e9:.0f} GB; stop other programs."
    return False, f"{free}."


def _data_folder(settings: Settings) -> Found:
    folder = settings.data_dir
    if not (folder / REGISTRY_NAME).exists():
        return False, f"{folder} is empty yet; what is made goes there (DATA_DIR)."
    try:
        counts = Registry(folder, read_only=True).counts()
    except RvcError as error:
        return True, str(error)
    said = f"{folder} holds {counts['models']} voices and {counts['jobs']} jobs"
    try:
        FileLock(folder / LOCK_NAME, timeout=0).acquire().lock.release()
    except Timeout:
        return False, f"{said}; a server uses it, so commands wait for it, or take --server URL."
    except OSError as error:
        return True, f"{folder} cannot be written to ({error.strerror}); make it writable, or set DATA_DIR."
    return False, f"{said}; nobody uses it now."


def _weights(settings: Settings) -> Found:
    if lacking := [name for name in BUILT_IN if not (ROOT / "assets" / "builtin" / name).is_file()]:
        return True, f"The built-in engine lacks assets/builtin/{lacking[0]}; restore the program's files."
    store = weight_store(settings)
    try:
        here = [name for name in read_manifest() if store.find(name) is not None]
    except RvcError as error:
        return True, str(error)
    of_rvc = f"of RVC's {len(read_manifest())} there are {', '.join(here) or 'none'}"
    way = (
        "HF_HUB_OFFLINE is set, so put files into WEIGHTS_DIR by hand"
        if settings.hf_hub_offline
        else "each is downloaded when it is first needed"
    )
    return False, f"The built-in engine has its own; {of_rvc} ({way})."


def _port(settings: Settings) -> Found:
    host, port = settings.api_host, settings.api_port
    at = f"{host}:{port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if _is_timbre(port):
            return False, f"A Timbre serves at {at}."
        return (
            True,
            f"{at} cannot be used ({error.strerror or error}); choose another with --port or API_PORT.",
        )
    return False, f"{at} is free (API_HOST, API_PORT, or --host and --port)."


def _is_timbre(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2.0) as answer:
            return "dispatcher" in json.load(answer)["worker"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _browser(settings: Settings) -> Found:
    needs = "Any of the last two years, with scripts and cookies of the page allowed"
    here = settings.api_host in ("127.0.0.1", "localhost", "::1")
    if here or settings.require_https:
        return False, f"{needs}; it asks before it opens the microphone."
    return False, (
        f"{needs}; from other machines it opens the microphone over HTTPS alone (deploy/README.md), "
        "not over plain HTTP."
    )


def _conversion(settings: Settings, worker_command: Sequence[str]) -> Found:
    """Convert the example recording as any other is, in a data folder of its own."""
    with tempfile.TemporaryDirectory(prefix="timbre-doctor-") as folder:
        if shutil.disk_usage(folder).free < settings.max_file_size_bytes:
            return True, f"{folder} has no room to try it; free some on its disk, or set TMPDIR."
        own = settings.model_copy(update={"data_dir": Path(folder), "job_timeout": ASK_S})
        jobs = Jobs(own, worker_command=worker_command, retry_pauses_s=())
        began_s = time.monotonic()
        try:
            jobs.start()
            upload = jobs.upload(ME, [(EXAMPLE, EXAMPLE.name)], "target")
            job = jobs.submit(ME, "conversion", upload["id"], model_id=VOICE)
            *_, row = jobs.follow(ME, job["id"])
            spent_s, seconds = time.monotonic() - began_s, upload["files"][0]["seconds"]
            if row["status"] != "completed":
                log = jobs.files.log(ME, job["id"]).strip().splitlines()[-1:]
                why = row["error_message"] or row["message"]
                return True, f"It failed: {why} {''.join(log)}".strip()
        except RvcError as error:
            return True, f"It failed: {error}"
        finally:
            jobs.close()
    return False, f"{EXAMPLE.name}, {seconds:.0f} s, was converted in {spent_s:.0f} s, the start included."

"""One death and what follows: kill, live on, look at what is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.store.registry import Registry, read_registry
from rvc.files import ROOT
from tests.faults.life import WRITE_VARIABLE
from tests.faults.work import PACE_VARIABLE

PATIENCE_S = 240.0
PACE_S = 0.03
LONGEST_WAIT_S = {"upload": 0.05, "preprocessing": 1.5, "training": 4.0, "converting": 1.0}
"""How long each moment lasts at most, about."""

WRITES = 12
"""The registry is written at least as often in a life without deaths."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Death:
    """Who dies when.

    Attributes:
        victim: "server", "worker" or "converter".
        moment: "upload", "preprocessing", "training", "converting" or "write".
        after: How far into that moment, 0..1; for a write, which one.
    """

    victim: str
    moment: str
    after: float

    @staticmethod
    def drawn(seed: int) -> Death:
        """The death of a seed; any six seeds in a row hold every kind."""
        kinds = [
            ("server", "upload"), ("server", "training"), ("worker", "training"), ("server", "write"),
            ("converter", "converting"), ("server", "converting"), ("worker", "preprocessing"),
            ("server", "preprocessing"),
        ]  # fmt: skip
        victim, moment = kinds[seed % len(kinds)]
        return Death(victim=victim, moment=moment, after=random.Random(seed).random())


def life(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Begin a life of the server on a folder."""
    known = os.environ | {"OMP_NUM_THREADS": "1", PACE_VARIABLE: str(PACE_S)} | environment
    log = (folder / "server.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.life", str(folder)],
            cwd=ROOT, env=known, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip


def live_to_the_end(folder: Path) -> list[Row]:
    """Live one life without a death; return the rows it ends with."""
    server = life(folder)
    output, _ = server.communicate(timeout=PATIENCE_S)
    assert server.returncode == 0, (folder / "server.log").read_text()[-3000:]
    rows: list[Row] = json.loads(output.splitlines()[-1])
    return rows


def die(folder: Path, death: Death) -> None:
    """Live until the death has happened, and let who outlives it come to an end."""
    if death.moment == "write":
        server = life(folder, **{WRITE_VARIABLE: str(1 + int(death.after * WRITES))})
        server.communicate(timeout=PATIENCE_S)
        assert server.returncode == -signal.SIGKILL, "the registry was written less often than expected"
        return
    server = life(folder)
    try:
        _wait(lambda: _is_at(folder / "data", death.moment), server, death.moment)
        time.sleep(death.after * LONGEST_WAIT_S[death.moment])
        for pid in [server.pid] if death.victim == "server" else _children(folder, death.victim):
            os.kill(pid, signal.SIGKILL)
        server.communicate(timeout=PATIENCE_S)
    finally:
        server.kill()
    _wait(lambda: not _children(folder, "worker"), None, "the orphans' end")


def left_over(data: Path) -> list[str]:
    """What lies in a data folder that belongs to nobody; empty when all is in order."""
    registry = Registry(data)
    try:
        jobs = {row["id"] for row in registry.list("jobs")}
        models = {row["id"] for row in registry.list("models")}
    finally:
        registry.close()
    folders = {path.name for path in (data / "jobs").iterdir()}
    homes = {path.name for path in (data / "models").glob("*")}
    wrong = [f"job folder {name} without a row" for name in folders - jobs]
    wrong += [f"row of {name} without a folder" for name in jobs - folders]
    wrong += [f"voice folder {name} without a row" for name in homes - models]
    wrong += [f"row of voice {name} without a folder" for name in models - homes]
    half = [
        *data.rglob("*.tmp"),
        *data.rglob("*.partial"),
        *data.rglob(".inputs.*"),
        *data.rglob(".incoming-*"),
    ]
    return wrong + [f"half of something: {path.relative_to(data)}" for path in half]


def trained(folder: Path) -> bytes:
    """The weights of the voice that was trained."""
    (card,) = [
        path for path in (folder / "data" / "models").glob("*/card.json")
        if json.loads(path.read_bytes())["engine"] == "tiny"
    ]  # fmt: skip
    return card.with_name("model.safetensors").read_bytes()


def _is_at(data: Path, moment: str) -> bool:
    if moment == "upload":
        return any((data / "jobs").glob("*/.inputs.*"))
    try:
        jobs = read_registry(data / "registry.json")[1]["jobs"]
    except (OSError, KeyError):
        return False
    return any(row["status"] == moment for row in jobs.values())


def _children(folder: Path, kind: str) -> list[int]:
    """Process ids of the folder's converter, or of all other children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        ours = "pipelines.worker" in words and any(str(folder) in word for word in words)
        if ours and (kind == "converter") == ("--converter" in words):
            found.append(int(path.parent.name))
    return found


def _wait(holds: Callable[[], bool], server: subprocess.Popen[bytes] | None, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        assert server is None or server.poll() is None, f"the life ended before {what}"
        time.sleep(0.002)

"""What lies where in the data folder, and whether it can be used.

registry.json, registry.journal, server.lock, gpu.lock, reserve, clock.json, durations.json
jobs/  models/  archive/  backups/  exports/  cache/  weights/
backups/registry-000012-2026-11-29.json    number and day (registry-2026-11-29.json in earlier versions);
                                           "unsure-" before the day if the clock was not trusted (clock.py)
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rvc.errors import ConfigError

REGISTRY_NAME, LOCK_NAME, RESERVE_NAME, CLOCK_NAME = "registry.json", "server.lock", "reserve", "clock.json"
JOURNAL_NAME = "registry.journal"  # what has changed since registry.json was written (storage.py)
DURATIONS_NAME = "durations.json"  # how long work took on this machine
BACKUPS = "backups"
ARRIVING = ".arriving"  # lies in the folder of an upload or a voice until its row is written
FOLDERS = ("jobs", "models", "archive", BACKUPS, "exports", "cache", "weights")
FILES = (REGISTRY_NAME, JOURNAL_NAME, LOCK_NAME, RESERVE_NAME, CLOCK_NAME, DURATIONS_NAME, "gpu.lock")
UNSURE = "unsure"
_BACKUP = re.compile(rf"registry-(?:(\d{{6,}})-)?(?:(?:{UNSURE}-)?\d{{4}}-\d\d-\d\d|{UNSURE})\.json")


def require_usable(data_dir: Path) -> None:
    """Refuse a data folder in which something has the name of something else, or may not be used."""
    beside = [f".{name}.part" for name in FILES]  # what is written before it takes a file's place
    folders = ("", *FOLDERS)
    for name in (*folders, *FILES, *beside, f"{REGISTRY_NAME}.tmp"):
        path, kind = data_dir / name, "folder" if name in folders else "file"
        if not os.path.lexists(path):
            continue
        if not (path.is_dir() if kind == "folder" else path.is_file()):
            raise ConfigError(f"{path} is not the {kind} that Timbre keeps there; move it away.")
        # A file is replaced as a whole, for which it need not be writable.
        if not os.access(path, os.R_OK | (os.W_OK | os.X_OK if kind == "folder" else 0)):
            do = "read and written" if kind == "folder" else "read"
            raise ConfigError(
                f"{path} cannot be {do}; let whoever runs Timbre do so, or set DATA_DIR to another folder."
            )


def daily_backups(data_dir: Path) -> list[Path]:
    """Return the daily backups, the last made first: by number, those of earlier versions by day."""
    folder = data_dir / BACKUPS
    found = sorted(folder.glob("registry-*.json")) if folder.is_dir() else []
    return sorted((path for path in found if _BACKUP.fullmatch(path.name)), key=_order, reverse=True)


def backup_number(path: Path) -> int:
    """Return the number of a backup; 0 for one of an earlier version."""
    match = _BACKUP.fullmatch(path.name)
    return int(match[1] or 0) if match else 0


def _order(path: Path) -> tuple[int, str]:
    return backup_number(path), path.name

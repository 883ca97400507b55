"""What became of each recording of a batch: written by its work, read by the server and on resuming."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Rows = list[Row]
STATES = Path("work") / "files.json"
RESULTS = "result"
STATE_KEYS = ("status", "reason", "output", "seconds")
"""What the work changes in a row: where it stands, why it failed, the result's name, its length."""


def saved_states(files: Sequence[Row], folder: Path) -> Rows:
    """Return the rows of a batch's recordings as its work left them.

    Args:
        files: Their rows as they were before.
        folder: The job's folder; nothing need ever have been done.
    """
    rows = [dict(file) | state for file, state in zip(files, _saved(files, folder), strict=True)]
    return [row | {"status": "waiting"} if row["status"] == "converting" else row for row in rows]


def save_states(states: Sequence[Row], folder: Path) -> None:
    """Write down, in one step, what has become of the recordings so far.

    Raises:
        OSError: The disk refused.
    """
    path = folder / STATES
    temporary = path.with_suffix(".tmp")
    temporary.write_text(
        json.dumps([{key: state.get(key) for key in STATE_KEYS} for state in states]), encoding="utf-8"
    )
    temporary.replace(path)


def _saved(files: Sequence[Row], folder: Path) -> Rows:
    """Read what was written down; nothing of each recording if there is no such file, or a damaged one."""
    try:
        saved = json.loads((folder / STATES).read_text(encoding="utf-8"))
        if [set(state) for state in saved] == [set(STATE_KEYS)] * len(files):
            return list(saved)
    except FileNotFoundError:
        pass  # the first try
    except (OSError, ValueError, TypeError):
        logger.warning("%s tells nothing of an earlier try", STATES)
    return [{} for _ in files]

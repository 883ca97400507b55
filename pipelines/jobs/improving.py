"""A voice that was made without training and is then trained on: it gets better while it is used.

At every scoring that is the best so far, the voice of that state takes the place of the one that is there. A
voice that was trained before stays as it is until the longer training has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.store.records import Row, has_made_voice, now
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from pipelines.voices.snapshots import Snapshots
from rvc.errors import RvcError

logger = logging.getLogger(__name__)


def improved(row: Row, data: Mapping[str, Any], folder: Path, registry: Registry, library: Library) -> Row:
    """Put a better state in the place of the voice of a running training, and return the job's row.

    `data` is what an event of it tells, `folder` the job's. What cannot be replaced now stays as it was.
    """
    step = (data.get("score") or {}).get("step")
    if not (data.get("is_best") and step and goes_on_from_instant(row)):
        return row
    voice = registry.get("models", row["model_id"])
    if voice is None or voice.get("deleted_at"):
        return row
    try:
        with library.staging("incoming") as bundle:
            Snapshots(folder / "work").bundle(step, bundle)
            library.adopt(row, bundle)
    except (RvcError, OSError):
        logger.exception("the voice stays as it was before step %d", step)
        return row
    result = row["result"] | {"steps": step, "best_step": step, "score": data["score"].get("total")}
    return registry.update("jobs", row["id"], result=result, updated_at=now())


def goes_on_from_instant(row: Row) -> bool:
    """Whether a training began with the voice that it had made without training."""
    return has_made_voice(row) and row["settings"].get("patience_from") == 0


def is_instant(row: Row) -> bool:
    """Whether the voice of a training is one that no step has been taken for."""
    return has_made_voice(row) and row["result"].get("steps") == 0

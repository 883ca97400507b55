"""The row of a voice, as its card gives it."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipelines.store.records import MAX_NAME_CHARACTERS, Row, now
from pipelines.voices import bundle as bundles


def row_of(card: dict[str, Any], folder: Path, model_id: str) -> Row:
    """Return the row of a voice that comes with Timbre; of another, the caller changes what differs."""
    return {
        "id": model_id,
        "user_id": None,
        "model_name": card["name"],
        "model_path": f"models/{model_id}",
        **dict.fromkeys(("training_job_id", "training_audio_path", "quality_snr")),
        "training_duration_seconds": bundles.seconds_of_audio(card),
        "created_at": bundles.moment_of(card.get("created_at")) or now(),
        "builtin": True,
        "engine": card["engine"],
        "version": card["format_version"],
        "encoder": card.get("content_encoder"),
        "sample_rate_hz": card["sample_rate_hz"],
        "f0": card.get("f0", {}),
        "uses_f0": card.get("uses_f0") is not False,
        "deleted_at": None,
        "scores": card.get("training", {}).get("scores"),
        "consent": bundles.consent(card),
        "locked": card.get("locked") is True,
        "told": bundles.public_facts(card),
        "language": bundles.language(card),
        "tone_db": card.get("tone_db"),
        "presets": bundles.presets(card),
        "parents": bundles.parents(card),
        "imported_at": None,
        "size_bytes": bundles.size_bytes(folder),
    }


def origin_of(row: Row) -> str:
    if row["builtin"]:
        return "built in"
    if row["training_job_id"]:
        return "trained"
    return "blended" if row.get("parents") and not row.get("imported_at") else "imported"


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name, numbered if it is taken: taken ones are given in small letters."""
    numbered = (f"{name[: MAX_NAME_CHARACTERS - 6]} ({number})" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one.casefold() not in taken)

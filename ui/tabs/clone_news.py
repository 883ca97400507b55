"""Which of a visitor's jobs are worth showing to who opens the page."""

from __future__ import annotations

import time
from datetime import datetime

from pipelines.store.records import Row, Rows
from ui.server.services import ACTIVE

# How long after its end a training, or a check, is shown to its owner who opens the page.
NEWS_S = 3_600.0
UNFINISHED_NEWS_S = 7 * 86_400.0


def news_of(rows: Rows) -> dict[str, Row]:
    """Return by its type the newest check and the newest training, if it is worth showing; the newer first.

    rows: jobs, the one that was started or resumed last first.
    """
    newest: dict[str, Row] = {}
    for row in rows:
        if row["type"] in ("preprocessing", "training") and row["status"] != "uploaded":
            newest.setdefault(row["type"], row)
    return {type: row for type, row in newest.items() if _is_news(row)}


def _is_news(row: Row) -> bool:
    age_s = time.time() - datetime.fromisoformat(row["updated_at"]).timestamp()
    return row["status"] in ACTIVE or age_s < (NEWS_S if row["status"] == "completed" else UNFINISHED_NEWS_S)

"""A permission that was given is taken back: the voice goes for good, with what it was learned from."""

from __future__ import annotations

import logging
from contextlib import suppress

from pipelines.jobs.service import Jobs
from pipelines.store.records import ENDED, Caller, Row, Rows
from pipelines.voices.permission import blends_of
from rvc.errors import NotAllowedError, UnknownNameError

logger = logging.getLogger(__name__)


def revoke_consent(jobs: Jobs, caller: Caller, model_id: str) -> Row:
    """Remove a voice, its exports, its training and the recordings of it, now and for good.

    Jobs that use it fail. Returns model_id, model_name, removed (what is gone) and remains (sentences on what
    cannot be undone).

    Raises:
        NotAllowedError: Its recordings are at work, of which a voice would come again.
    """
    with jobs.lock:
        row = jobs.library.changeable(caller, model_id)
        learned = _learned_from(jobs, row)
        if any(job["status"] not in ENDED for job in learned):
            raise NotAllowedError(
                f"A training or a check on the recordings of {row['model_name']} waits or runs; stop it "
                "first, then take the permission back."
            )
        remains = beyond_reach(jobs, caller, model_id)
        jobs.delete_voice(caller, model_id, force=True, purge=True)
        for job in learned:
            with suppress(UnknownNameError):  # it went with another one
                jobs.remove(caller, job["id"], purge=True)
    logger.info("consent revoked: voice %s is removed", model_id)
    removed = ["voice", "exports", *(["training"] if learned else [])]
    return {"model_id": row["id"], "model_name": row["model_name"], "removed": removed, "remains": remains}


def beyond_reach(jobs: Jobs, caller: Caller, model_id: str) -> list[str]:
    """Say in sentences what a revocation does not undo."""
    said = ["Copies that were exported or downloaded before, and backups of the server, are not reached."]
    if count := int(jobs.library.stats(caller, model_id)["uses"]):
        said.append(f"What was spoken with it ({count} times) stays: it lies under Jobs.")
    if blends := blends_of(jobs.library, caller, model_id):
        names = ", ".join(blends)
        said.append(f"It is part of these voices, which stay: {names}.")
    return said


def _learned_from(jobs: Jobs, row: Row) -> Rows:
    """Return the training of a voice, and what else worked on the same recordings; it first."""
    training = jobs.registry.get("jobs", str(row.get("training_job_id")))
    if training is None:
        return []
    same = jobs.registry.list("jobs", upload_id=training["upload_id"])
    return [training, *(one for one in same if one["id"] != training["id"])]

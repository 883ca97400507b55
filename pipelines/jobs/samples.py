"""What a training sounds like on its way, and what can be done about it: keep a state, or train on."""

from __future__ import annotations

from pathlib import Path

from pipelines.job_spec import check_training
from pipelines.jobs.improving import is_instant
from pipelines.jobs.job_files import job_of
from pipelines.jobs.service import Jobs
from pipelines.store.records import ENDED, Caller, Row, Rows, checked_count, has_made_voice, now
from pipelines.users.limits import require_room
from pipelines.voices.snapshots import Snapshots
from rvc.engine.options import LITE, engine_defaults
from rvc.errors import ConfigError, NotAllowedError
from rvc.training.settings import RANGES

MORE_STEPS = 200
REFERENCE = 0  # the step under which the recording itself is found


class Samples:
    """The samples of the trainings of one data folder."""

    def __init__(self, jobs: Jobs, jobs_dir: Path) -> None:
        self._jobs = jobs
        self._jobs_dir = jobs_dir

    def list(self, caller: Caller, job_id: str) -> Rows:
        """Return the states of a training that can be heard and kept, the oldest first, 12 at most.

        Each has its step, distance_db (from recordings that it never learned from; lower is better), and
        best, newest and kept: whether its voice is the training's.
        """
        row = self._training(caller, job_id)
        snapshots = self._snapshots(row)
        steps, distances = snapshots.heard(), snapshots.distances()
        finite = {step: distances[step] for step in steps if distances.get(step) is not None}
        best = min(finite, key=lambda step: (finite[step], step), default=None)
        kept = row["result"].get("best_step") if _has_voice(row) else None
        return [
            {
                "step": step,
                "distance_db": distances.get(step),
                "best": step == best,
                "newest": step == steps[-1],
                "kept": step == kept,
            }
            for step in steps
        ]

    def path(self, caller: Caller, job_id: str, step: int) -> Path:
        """Return what a state says; of step 0, how the same sentence was recorded."""
        return self._snapshots(self._training(caller, job_id)).sample(checked_count(step, "step"))

    def keep(self, caller: Caller, job_id: str, step: int) -> Row:
        """Publish a state; return the voice's row.

        Of a completed training it takes the place of the voice that was made, and any other can be kept
        later. One that runs will make another, and one that was stopped at first has made none: then it
        becomes a voice of its own.
        """
        jobs, step = self._jobs, checked_count(step, "step")
        row = self._training(caller, job_id)
        snapshots = self._snapshots(row)
        size_bytes = snapshots.size_bytes(step)
        with jobs.quota.room(caller) as spend, jobs.library.staging("incoming") as folder:
            spend(size_bytes)
            require_room(folder, size_bytes, "this voice")
            jobs.limits.take("starts", caller)
            snapshots.bundle(step, folder)
            with jobs.lock:
                row = self._training(caller, job_id)
                has_voice = _has_voice(row)
                beside = None if has_voice else f"{row['model_name']}, step {step}"
                model = jobs.library.adopt(row, folder, beside=beside)
                if has_voice:
                    result = {**row["result"], "best_step": step}
                    changes = {"result": result, "model_id": model["id"], "updated_at": now()}
                    jobs.dispatcher.announce(jobs.registry.update("jobs", row["id"], **changes))
        return jobs.library.get(caller, model["id"])

    def train_on(self, caller: Caller, job_id: str, steps: int | None = None) -> Row:
        """Queue a completed training again, for so many more steps than it has taken; return its row.

        The voice that it has made stays until the longer training has ended, and is replaced by its best;
        when that is cancelled, the training is completed as before. One that was made without training is
        replaced by every better state on the way. None are as many steps as `further_steps` says.
        """
        row = self._training(caller, job_id)
        steps = further_steps(row) if steps is None else checked_count(steps, "number of steps", least=1)
        if row["status"] != "completed":
            raise NotAllowedError(
                f"This training is {row['status']}; a completed one is trained on, and one that was "
                "stopped is resumed."
            )
        taken = int((row["result"] or {}).get("steps") or 0)
        if not any((self._jobs_dir / row["id"] / "work").glob("*")):
            raise NotAllowedError("What this training has learned is no longer here; train again.")
        if taken + steps > (most := RANGES["total_steps"][1]):
            raise ConfigError(f"That makes more than {most:,} steps; train on for fewer.")
        settings = row["settings"] | {"total_steps": taken + steps, "patience_from": taken}
        check_training(settings)
        longer = {"settings": settings, "progress": taken / (taken + steps)}
        return self._jobs.extend(caller, row["id"], longer)

    def _training(self, caller: Caller, job_id: str) -> Row:
        row = job_of(self._jobs.registry, caller, job_id)
        if row["type"] != "training" or row["status"] == "uploaded":
            raise NotAllowedError(f"This job is no training but of the type {row['type']}; give a training.")
        return row

    def _snapshots(self, row: Row) -> Snapshots:
        return Snapshots(self._jobs_dir / row["id"] / "work")


def further_steps(row: Row) -> int:
    """Say how many steps suit a training that goes on: as for a new one, where it has taken none yet."""
    if not is_instant(row):
        return MORE_STEPS
    seconds = float(row["result"].get("seconds_of_audio") or 0.0)
    return engine_defaults(str(row["settings"].get("engine", LITE))).training_steps(seconds)


def _has_voice(row: Row) -> bool:
    return row["status"] in ENDED and has_made_voice(row)

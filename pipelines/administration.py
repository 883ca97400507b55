"""What only an admin may do: see everybody's jobs and disk, clean up, look at what was given up.

Every call checks the caller. Single jobs are cancelled, retried and resumed through Jobs, which knows admins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines import cleanup
from pipelines.cleanup import CleanUp, bytes_in
from rvc.errors import NotAllowedError

if TYPE_CHECKING:
    from pipelines.jobs import Jobs
    from pipelines.rows import Caller, Rows
    from pipelines.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one user has on this server.

    Attributes:
        user_id: Whose.
        jobs: Number of jobs and uploads.
        voices: Number of voices.
        size_bytes: What both take on the disk.
    """

    user_id: str
    jobs: int
    voices: int
    size_bytes: int


class Administration:
    """The admin's view of one data folder.

    Args:
        jobs: All jobs.
        settings: Data folder and ages.
    """

    def __init__(self, jobs: Jobs, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings

    def clean_up(self, caller: Caller, *, dry_run: bool) -> CleanUp:
        """Remove what had its time and what belongs to nothing, or only tell what it would be.

        Args:
            caller: Who asks.
            dry_run: Whether nothing is removed.

        Raises:
            NotAllowedError: The caller is no admin.
            OSError: The archive could not be written; nothing is removed then.
        """
        _require_admin(caller)
        work = cleanup.find if dry_run else cleanup.carry_out
        with self._jobs.lock:
            return work(self._jobs.registry, self._settings)

    def shares(self, caller: Caller) -> list[Share]:
        """Return what each user has, the largest share first.

        Raises:
            NotAllowedError: The caller is no admin.
        """
        _require_admin(caller)
        registry, data_dir = self._jobs.registry, self._settings.data_dir
        jobs, voices = registry.list("jobs"), registry.list("models", builtin=False)
        shares = []
        for user_id in {str(row["user_id"]) for row in (*jobs, *voices)}:
            own_jobs = [row for row in jobs if str(row["user_id"]) == user_id]
            own_voices = [row for row in voices if str(row["user_id"]) == user_id]
            folders = [data_dir / "jobs" / row["id"] for row in own_jobs]
            folders += [data_dir / "models" / row["id"] for row in own_voices]
            size = sum(bytes_in(folder) for folder in folders)
            shares.append(Share(user_id=user_id, jobs=len(own_jobs), voices=len(own_voices), size_bytes=size))
        return sorted(shares, key=lambda share: (-share.size_bytes, share.user_id))

    def dead_letters(self, caller: Caller) -> Rows:
        """Return the jobs that were given up after a fault, newest first.

        Raises:
            NotAllowedError: The caller is no admin.
        """
        _require_admin(caller)
        return [row for row in self._jobs.list(caller, status="failed") if row["dead_letter"]]


def _require_admin(caller: Caller) -> None:
    if not caller.admin:
        raise NotAllowedError("This is for who runs the server; log in as an admin.")

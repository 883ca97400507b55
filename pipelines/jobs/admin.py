"""What only an admin may do: see everybody's jobs and disk, clean up, look at what was given up.

Every call checks the caller. Single jobs are cancelled, retried and resumed through Jobs, which knows admins.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.jobs import cleanup
from pipelines.jobs.cleanup import CleanUp
from rvc.errors import NotAllowedError

if TYPE_CHECKING:
    from pipelines.jobs.service import Jobs
    from pipelines.settings import Settings
    from pipelines.store.records import Caller, Rows


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
        require_admin(caller)
        work = cleanup.find if dry_run else cleanup.carry_out
        with self._jobs.lock:
            return work(self._jobs.registry, self._settings)

    def shares(self, caller: Caller) -> list[Share]:
        """Return what each user has, the largest share first.

        Raises:
            NotAllowedError: The caller is no admin.
        """
        require_admin(caller)
        registry = self._jobs.registry
        jobs = Counter(str(row["user_id"]) for row in registry.list("jobs"))
        voices = Counter(str(row["user_id"]) for row in registry.list("models", builtin=False))
        shares = [
            Share(
                user_id=user_id,
                jobs=jobs[user_id],
                voices=voices[user_id],
                size_bytes=self._jobs.quota.used(user_id).total,
            )
            for user_id in jobs.keys() | voices.keys()
        ]
        return sorted(shares, key=lambda share: (-share.size_bytes, share.user_id))

    def dead_letters(self, caller: Caller) -> Rows:
        """Return the jobs that were given up after a fault, newest first.

        Raises:
            NotAllowedError: The caller is no admin.
        """
        require_admin(caller)
        return [row for row in self._jobs.list(caller, status="failed") if row["dead_letter"]]


def require_admin(caller: Caller) -> None:
    """Refuse whoever is no admin.

    Raises:
        NotAllowedError: The caller is none.
    """
    if not caller.admin:
        raise NotAllowedError("This is for who runs the server; log in as an admin.")

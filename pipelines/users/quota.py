"""How much of the disk one user may take, and how much each takes.

A user's share is what lies in the folders of their uploads and jobs, and their voices. Before anything is
kept, room is asked for; several wishes of one user at the same time count together.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rvc.errors import LimitError
from rvc.files import bytes_in

if TYPE_CHECKING:
    from pipelines.store.records import Caller
    from pipelines.store.registry import Registry

# Asks for some more bytes before they are written; raises LimitError when there is no room for them.
Spend = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one user takes on the disk, in bytes."""

    jobs: int  # uploads and jobs
    voices: int  # trained and imported

    @property
    def total(self) -> int:
        return self.jobs + self.voices


@dataclass(frozen=True, kw_only=True)
class Share:
    user_id: str
    jobs: int  # number of jobs and uploads
    voices: int  # number of voices
    size_bytes: int  # of both


@dataclass(kw_only=True)
class _Account:
    # Wishes of one user that are under way.
    before: Usage  # what was on the disk before the first
    held: int = 0  # what they take, in bytes
    open: int = 0  # how many they are


class Quota:
    """The share of each user, at most limit_bytes; 0 = any number. Safe for threads."""

    def __init__(self, registry: Registry, jobs_dir: Path, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._registry = registry
        self._jobs_dir = jobs_dir
        self._accounts: dict[str, _Account] = {}
        self._lock = threading.Lock()

    def used(self, user_id: str) -> Usage:
        jobs = self._registry.list("jobs", user_id=user_id)
        voices = self._registry.list("models", user_id=user_id)
        return Usage(
            jobs=sum(bytes_in(self._jobs_dir / row["id"]) for row in jobs),
            voices=sum(int(row["size_bytes"]) for row in voices),
        )

    def shares(self) -> list[Share]:
        """Measure what each user has, the largest share first."""
        jobs = Counter(str(row["user_id"]) for row in self._registry.list("jobs"))
        voices = Counter(str(row["user_id"]) for row in self._registry.list("models", builtin=False))
        shares = [
            Share(user_id=user, jobs=jobs[user], voices=voices[user], size_bytes=self.used(user).total)
            for user in jobs.keys() | voices.keys()
        ]
        return sorted(shares, key=lambda share: (-share.size_bytes, share.user_id))

    def require(self, caller: Caller, more_bytes: int = 0) -> None:
        """Refuse a wish that takes at least so much when there is no room for it."""
        with self.room(caller) as spend:
            spend(more_bytes)

    @contextmanager
    def room(self, caller: Caller) -> Iterator[Spend]:
        """Keep room for what a wish writes until it is done; give it back when the wish fails."""
        if not self.limit_bytes:
            yield lambda _: None
            return
        user_id, mine = caller.user_id, 0
        with self._lock:
            if user_id not in self._accounts:
                self._accounts[user_id] = _Account(before=self.used(user_id))
            account = self._accounts[user_id]
            account.open += 1

        def spend(count: int) -> None:
            nonlocal mine
            with self._lock:
                if account.before.total + account.held + max(count, 1) > self.limit_bytes:
                    jobs, voices = account.before.jobs + account.held, account.before.voices
                    raise LimitError(
                        f"There is no room for this: of your {_mb(self.limit_bytes)} MB, uploads and jobs "
                        f"take {_mb(jobs)} and voices {_mb(voices)}; delete voices, or jobs that have ended, "
                        "and try again."
                    )
                account.held += count
                mine += count

        try:
            yield spend
        except BaseException:
            with self._lock:
                account.held -= mine
            raise
        finally:
            with self._lock:
                account.open -= 1
                if not account.open:
                    del self._accounts[user_id]


def _mb(count: int) -> str:
    return f"{count / 1e6:.4g}" if count < 1e9 else f"{count / 1e6:.0f}"

"""What one user may take of the server: room on the disk, acts in an hour, and what is held at one time.

Room is asked for before anything is kept; several wishes of one user at the same time count together. Acts
are counted by their moments, so a limit of n is never exceeded in any hour. An address may do five times as
much as a user, since people share addresses; without that, a visitor without a login would be a new user
with every new cookie. Nothing of this is stored.
"""

from __future__ import annotations

import ipaddress
import math
import shutil
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rvc.errors import LimitError
from rvc.files import bytes_in, room_in

if TYPE_CHECKING:
    from pipelines.settings import Settings
    from pipelines.store.records import Caller
    from pipelines.store.registry import Registry

HOUR_S = 3_600.0
USERS_PER_ADDRESS = 5
_PRUNE_EVERY = 1_000
# Per kind of act how its refusal begins. An upload is what is taken in; a file counts whatever becomes of it.
_DONE = {
    "uploads": "You have sent in {count} recordings or voices",
    "files": "You have sent {count} files",
    "starts": "You have started {count} jobs",
    "logins": "A password was tried {count} times",
}
# Per kind of what is held at the same time, how its refusal begins.
_HELD = {
    "calls": "{count} calls of yours are under way or not read",
    "bytes": "Calls of yours that are under way hold {count} bytes",
    "uploads": "{count} uploads of yours are under way",
    "streams": "{count} streams of yours are open",
}
# Asks for some more bytes before they are written, or gives some back (below 0); raises LimitError when
# there is no room for them.
Spend = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Usage:
    jobs: int  # what one user's uploads and jobs take on the disk, in bytes
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
    before: Usage  # what was on the disk before the first of the wishes that are under way
    held: int = 0  # what they take, in bytes
    open: int = 0  # how many they are


def require_room(folder: Path, count: int, what: str) -> None:
    """Refuse to write so many bytes to a disk that has no room for them."""
    if room_in(folder) < count:
        raise LimitError(
            f"There is no room for {what} on the server's disk; delete old jobs, or ask its owner."
        )


class Quota:
    """The share of each user, at most limit_bytes; 0 = any number. Safe for threads."""

    def __init__(self, registry: Registry, jobs_dir: Path, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._registry = registry
        self._jobs_dir = jobs_dir
        self._accounts: dict[str, _Account] = {}
        self._arrived: dict[str, dict[Path, int]] = defaultdict(dict)
        self._lock = threading.Lock()

    def used(self, user_id: str) -> Usage:
        jobs = self._registry.list("jobs", user_id=user_id)
        voices = self._registry.list("models", user_id=user_id)
        return Usage(
            jobs=sum(bytes_in(self._jobs_dir / row["id"]) for row in jobs),
            voices=sum(int(row["size_bytes"]) for row in voices),
        )

    def shares(self) -> list[Share]:
        jobs: Counter[str] = Counter(self._registry.scan("jobs", lambda row: str(row["user_id"])))
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

    def arrived(self, caller: Caller, paths: Sequence[Path]) -> None:
        """Note files that were sent in, each alone in its folder: too many push out the oldest.

        They lie in the cache for a day, whether or not a job or a voice has taken a copy.
        """
        shares = [(f"user {caller.user_id}", self.limit_bytes)]
        if caller.address:
            shares.append((f"address {network_of(caller.address)}", self.limit_bytes * USERS_PER_ADDRESS))
        with self._lock:
            for owner, most in shares if self.limit_bytes else ():
                sizes = self._arrived[owner]
                for path in [path for path in sizes if not path.exists()]:
                    del sizes[path]
                sizes |= {path: path.stat().st_size for path in paths if path.exists()}
                surplus = sum(sizes.values()) - most
                for path in list(sizes)[:-1]:
                    if surplus <= 0:
                        break
                    surplus -= sizes.pop(path)
                    shutil.rmtree(path.parent, ignore_errors=True)
                if not sizes:
                    del self._arrived[owner]

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
                if count >= 0 and account.before.total + account.held + max(count, 1) > self.limit_bytes:
                    others = account.held - mine  # what this wish itself has taken goes with it
                    jobs, voices = account.before.jobs + others, account.before.voices
                    raise LimitError(
                        f"There is no room for this: of your {_mb(self.limit_bytes)} MB, uploads and jobs "
                        f"take {_mb(jobs)} and voices {_mb(voices)}; delete jobs that have ended, or voices, "
                        "for good (what was just deleted counts for a day), and try again."
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


class Limits:
    """Counts acts by user and by address; no limit or 0 = any number in an hour. Safe for threads."""

    def __init__(self, per_hour: Mapping[str, int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_hour = per_hour
        self._clock = clock
        self._moments: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._until_pruned = _PRUNE_EVERY

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls({kind: getattr(settings, f"{kind}_per_hour") for kind in _DONE})

    def take(self, kind: str, caller: Caller) -> None:
        """Count one act (uploads, files, starts or logins); one that is refused does not count."""
        limit = self._per_hour.get(kind, 0)
        if not limit:
            return
        with self._lock:
            self._prune()
            moment_s = self._clock()
            counts = self._counts(kind, caller, limit)
            for moments, most in counts:
                while moments and moments[0] <= moment_s - HOUR_S:
                    moments.popleft()
                if len(moments) >= most:
                    raise _refusal(kind, most, moments[len(moments) - most] + HOUR_S - moment_s)
            for moments, _ in counts:
                moments.append(moment_s)

    def give_back(self, kind: str, caller: Caller) -> None:
        with self._lock:
            for moments, _ in self._counts(kind, caller, 1):
                if moments:
                    moments.pop()

    def _counts(self, kind: str, caller: Caller, limit: int) -> list[tuple[deque[float], int]]:
        """Return what is counted for the user and for the address, if there is one, each with its limit."""
        counts = [(self._moments[kind, f"user {caller.user_id}"], limit)]
        if caller.address:
            network = self._moments[kind, f"address {network_of(caller.address)}"]
            counts.append((network, limit * USERS_PER_ADDRESS))
        return counts

    def _prune(self) -> None:
        """Forget those whose last act is over an hour ago, so that strangers cannot fill the memory."""
        self._until_pruned -= 1
        if self._until_pruned <= 0:
            self._until_pruned, oldest_s = _PRUNE_EVERY, self._clock() - HOUR_S
            for key, moments in list(self._moments.items()):
                if not moments or moments[-1] <= oldest_s:
                    del self._moments[key]


def require_share(
    kind: str, caller: Caller, held: Iterable[tuple[Caller, int]], most: int, more: int = 1
) -> None:
    """Refuse `more` of a kind when a caller, or the address, would hold more than its share; 0 = no limit.

    held: what everybody holds just now, as (caller, amount). An address may hold five times as much.
    """
    network = network_of(caller.address)
    of_user = of_address = more
    for other, amount in held if most else ():
        of_user += amount * (other.user_id == caller.user_id)
        of_address += amount * (network_of(other.address) == network)
    if most and (of_user > most or (caller.address and of_address > most * USERS_PER_ADDRESS)):
        said = _HELD[kind].format(count=of_user - more)
        if of_user <= most:
            said = _HELD[kind].format(count=of_address - more).replace("of yours", "of your address")
        raise LimitError(f"{said}, which is the most; wait until one has ended.", retry_after_s=5)


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """Return what is counted as one address: of IPv6 the network of 56 bits that one subscriber may have."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    v4 = parsed if isinstance(parsed, ipaddress.IPv4Address) else parsed.ipv4_mapped
    return str(v4 or ipaddress.ip_network((parsed.packed[:7] + bytes(9), 56)))


def in_words(seconds: float) -> str:
    """Return when to try again: "in 40 seconds", "in 12 minutes"; never too early."""
    unit, length_s = ("minute", 60) if seconds > 60 else ("second", 1)
    whole = max(1, math.ceil(seconds / length_s))
    return f"in {whole} {unit}{'' if whole == 1 else 's'}"


def _refusal(kind: str, most: int, wait_s: float) -> LimitError:
    said = _DONE[kind].format(count=most)
    return LimitError(
        f"{said} within an hour, which is the most; try again {in_words(wait_s)}.",
        retry_after_s=wait_s,
    )

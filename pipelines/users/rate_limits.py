"""How often one user, and one address, may do what costs the server something.

What is counted are the moments of the last hour, so a limit of n is never exceeded in any hour. An address
may do five times as much as a user, since people share addresses; without that, a visitor without a login
would be a new user with every new cookie. Nothing is stored.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rvc.errors import LimitError

if TYPE_CHECKING:
    from pipelines.settings import Settings
    from pipelines.store.records import Caller

HOUR_S = 3_600.0
USERS_PER_ADDRESS = 5
_PRUNE_EVERY = 1_000
# Per kind of act how its refusal begins. An upload is what is taken in; a file counts whatever becomes of it.
_DONE = {
    "uploads": ("You have sent in {}", "recording or voice", "recordings or voices"),
    "files": ("You have sent {}", "file", "files"),
    "starts": ("You have started {}", "job", "jobs"),
    "logins": ("A password was tried {}", "time", "times"),
}


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
        if self._until_pruned > 0:
            return
        self._until_pruned = _PRUNE_EVERY
        oldest_s = self._clock() - HOUR_S
        for key in [key for key, moments in self._moments.items() if not moments or moments[-1] <= oldest_s]:
            del self._moments[key]


def network_of(address: str) -> str:
    """Return what is counted as one address: of IPv6 the network of 64 bits that one subscriber has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    v4 = parsed if isinstance(parsed, ipaddress.IPv4Address) else parsed.ipv4_mapped
    return str(v4 or ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))


def in_words(seconds: float) -> str:
    """Return when to try again: "in 40 seconds", "in 12 minutes"; never too early."""
    unit, length_s = ("minute", 60) if seconds > 60 else ("second", 1)
    whole = max(1, math.ceil(seconds / length_s))
    return f"in {whole} {unit}{'' if whole == 1 else 's'}"


def _refusal(kind: str, most: int, wait_s: float) -> LimitError:
    done, one, many = _DONE[kind]
    count = f"{most} {one if most == 1 else many}"
    return LimitError(
        f"{done.format(count)} within an hour, which is the most; try again {in_words(wait_s)}.",
        retry_after_s=wait_s,
    )

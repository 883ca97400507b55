"""What is old for certain: nothing is removed by its age because the time of day was wrong.

A clock may be years ahead after a new battery, or decades behind until the network sets it; then everything
looks old at once. It was set when, since it was last looked at, it went back, or on by over a day more than
the steady clock did; while no server ran, nothing tells that from a pause, so a pause of over a day counts
too. The time of day is then believed of an age once servers have run for as long since. Those who use Timbre
at weekends never get that far, so the days on which a server ran are counted too: an age of so many days is
also believed after two days more of these, the one that has just begun and one that a jump in a pause took.
A clock that was set for certain, by over a day, ends these as well.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson

from pipelines.store.layout import CLOCK_NAME, REGISTRY_NAME
from rvc.files import atomic_write

logger = logging.getLogger(__name__)
HOUR_S, DAY_S = 3_600.0, 86_400.0
BACK_S = 60.0  # that a clock may be corrected by
MOST_DAYS = 400  # that are counted; a greater age is believed after as many


class Clock:
    """The clock of one data folder, as it was seen last and as it is. Not safe for threads."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / CLOCK_NAME
        self._first_look = True
        self._wall_s, self._steady_s = time.time(), _steady_s()
        self._run_s = 0.0  # of servers, since the clock was perhaps set
        self._uncounted_s = 0.0  # of servers, since a day was counted
        self._days_s: list[float] = []  # when the counted ones began, in order
        ahead_s = self._wall_s - self._read_note(data_dir / REGISTRY_NAME)
        self._judge(ahead_s, certain=ahead_s < 0)

    @property
    def trusted(self) -> bool:
        """Whether servers have run for a day since the clock was perhaps set."""
        return self._run_s >= DAY_S

    def look(self) -> bool:
        """Compare with the steady clock, note the time for later, and return whether it is trusted."""
        wall_s, steady_s = time.time(), _steady_s()
        passed_s, ran_s = steady_s - self._steady_s, self._run_s
        self._run_s += passed_s
        self._uncounted_s += passed_s
        self._judge(wall_s - self._wall_s - passed_s, certain=True)
        self._wall_s, self._steady_s = wall_s, steady_s
        # An hour, for a clock that is set again and again would make days out of minutes.
        if self._uncounted_s >= HOUR_S and not (self._days_s and wall_s - self._days_s[-1] < DAY_S):
            self._days_s = [*self._days_s[-MOST_DAYS - 1 :], wall_s]
            self._uncounted_s = 0.0
        self._note()
        if self._run_s < ran_s or (self._first_look and not self.trusted):
            logger.warning("%s", self.sentence())
        self._first_look = False
        return self.trusted

    def before(self, age_s: float) -> float:
        """Return the time, in seconds since 1970, before which what was made has this age for certain."""
        days = min(math.ceil(age_s / DAY_S), MOST_DAYS)
        believed_s = max(0.0, self._wall_s - age_s)
        if self._run_s >= min(age_s, MOST_DAYS * DAY_S):
            return believed_s
        return min(believed_s, self._days_s[-days - 2]) if len(self._days_s) >= days + 2 else 0.0

    def trust(self) -> None:
        """Take the clock's time for right because a person says so."""
        self._run_s = MOST_DAYS * DAY_S
        self._note()

    def sentence(self) -> str:
        """Say why the time is not trusted, what follows, and what to do."""
        return (
            f"The clock says {_in_words(self._wall_s)}, and it was set, or no server ran for over a day; so "
            "what only it calls old is not removed until servers have run on as many days. If the clock is "
            "right, say so while no server runs: python app.py --clean-up --trust-clock."
        )

    def _judge(self, ahead_s: float, *, certain: bool) -> None:
        """Begin anew if the clock is ahead, or behind, by more than it may be since it was seen last."""
        if not -BACK_S <= ahead_s <= DAY_S:
            self._run_s = 0.0
            if certain and abs(ahead_s) > DAY_S:
                self._days_s, self._uncounted_s = [], 0.0

    def _read_note(self, registry: Path) -> float:
        """Take what an earlier server noted, and return when it saw the clock last, in seconds since 1970."""
        try:
            noted = orjson.loads(self._path.read_bytes())
            seen_s, run_s, uncounted_s = (float(noted[name]) for name in ("seen_s", "run_s", "uncounted_s"))
            days_s = sorted(day_s for day_s in map(float, noted["days_s"]) if day_s <= seen_s)
        except FileNotFoundError:  # new, or of an earlier version: the registry was written by the same clock
            self._run_s = MOST_DAYS * DAY_S
            return registry.stat().st_mtime if registry.exists() else self._wall_s
        except (OSError, ValueError, TypeError, KeyError):
            return self._wall_s
        self._run_s, self._uncounted_s, self._days_s = min(run_s, MOST_DAYS * DAY_S), uncounted_s, days_s
        return seen_s

    def _note(self) -> None:
        note = {
            "seen_s": self._wall_s, "run_s": self._run_s,
            "uncounted_s": self._uncounted_s, "days_s": self._days_s,
        }  # fmt: skip
        with suppress(OSError), atomic_write(self._path) as path:  # on a full disk the older note stays
            path.write_bytes(orjson.dumps(note))


def _steady_s() -> float:
    """Return seconds that no setting of the clock changes, also those that the machine slept where it can."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def _in_words(moment_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):  # a year that no calendar has
        return f"{moment_s:.0f} seconds since 1970"

"""Where a command shows things: sentences and progress on stderr, results alone on stdout.

At a terminal the progress is a bar with the time left, else a line now and then.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.store.records import Row

if TYPE_CHECKING:
    from rich.progress import Progress

TELL_EVERY_S = 15.0
Show = Callable[[Row], None]  # is given a job's row


class Screen:
    """What is printed for people; with `as_json` the results are JSON, one object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._bars: Progress | None = None

    def say(self, sentence: str) -> None:
        """Tell a person something that is no result."""
        if self._bars is not None:
            self._bars.console.print(plain(sentence), markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(plain(sentence) + "\n")
            sys.stderr.flush()

    def result(self, row: Row, text: str) -> None:
        """Print one result: what programs read of it, and what people do."""
        line = json.dumps(row) if self.as_json else "\n".join(map(plain, text.split("\n")))
        if self._bars is not None and sys.stdout.isatty():
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    @contextmanager
    def progress(self) -> Iterator[Show]:
        """Give what shows how far a job is, for as long as the block takes."""
        if not sys.stderr.isatty():
            yield _Lines(self.say).show
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        text = TextColumn("{task.description}", markup=False)
        left = TextColumn("{task.fields[left]}", markup=False)
        # Without redirection: what goes to stdout is not for this console.
        bars = Progress(
            *(text, BarColumn(), TaskProgressColumn(), left),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = bars.add_task("", total=1.0, left="")

        def show(row: Row) -> None:
            bars.update(task, completed=row["progress"], description=doing(row), left=time_left(row))

        with bars:
            self._bars = bars
            try:
                yield show
            finally:
                self._bars = None


class _Lines:
    """Progress where nobody watches: a line when a stage begins, and every quarter of a minute."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._stage, self._told_s = "", float("-inf")

    def show(self, row: Row) -> None:
        moment_s = time.monotonic()
        stage = row["stage"] or row["message"]
        if stage and (stage != self._stage or moment_s - self._told_s >= TELL_EVERY_S):
            self._stage, self._told_s = stage, moment_s
            left = f", {time_left(row)}" if time_left(row) else ""
            self._say(f"{100 * row['progress']:3.0f} %  {doing(row)}{left}")


def doing(row: Row) -> str:
    """Say what a job does now."""
    message = str(row["message"] or row["stage"] or row["status"]).rstrip(".")
    place = f" (number {row['position']} in the queue)" if row.get("position") else ""
    return plain(message + place)


def time_left(row: Row) -> str:
    """Say how long a job will take; "" where nobody knows."""
    seconds = row.get("eta_s")
    if not seconds:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left" if minutes < 60 else f"{minutes / 60:.1f} h left"


def plain(text: str) -> str:
    """Return a line without what a terminal would obey: others may have named what it tells of."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )

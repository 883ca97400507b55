"""Jobs as commands use them: followed to their end, stopped by Ctrl-C, and removed if nobody needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.store.records import Row
from rvc.errors import RvcError
from ui.command_line.backend import Backend
from ui.command_line.exits import FaultError, require_completed
from ui.command_line.files import deliver
from ui.command_line.screen import Screen


def follow(backend: Backend, screen: Screen, row: Row, seen: Callable[[Row], None] = lambda _: None) -> Row:
    """Follow a job to its end, its progress on the screen, and return its row.

    Ctrl-C stops it, as does whatever goes wrong here, and is raised again when it has ended; `seen` hears of
    every row.
    """
    job_id = row["id"]
    with screen.progress() as show:
        try:
            for row in backend.follow(job_id):
                show(row)
                seen(row)
        except BaseException as error:
            by_hand = isinstance(error, KeyboardInterrupt)
            if by_hand:
                screen.say("Stopping: what is under way is saved ...")
            with suppress(RvcError):  # it has ended by itself, or nobody can be asked
                backend.cancel(job_id)
                *_, row = backend.follow(job_id)
                if by_hand:
                    seen(row)
            raise
    return row


def deliver_result(backend: Backend, screen: Screen, row: Row, target: Path | None) -> Row:
    """Follow a job to its end, write its result (to standard output for None), remove it; return its row."""
    with passing(backend, row):
        row = require_completed(follow(backend, screen, row))
        deliver(backend.result(row["id"]), target)
    return row


def tell_made(screen: Screen, target: Path | None, model: Row) -> None:
    """Print what was made in a voice, unless it went to standard output."""
    if target is not None:
        told = {"output": str(target), "status": "completed", "model_id": model["id"]}
        screen.result(told | {"model_name": model["model_name"]}, str(target))


@contextmanager
def passing(backend: Backend, row: Row) -> Iterator[Row]:
    """Remove a job when the block ends, however it ends, unless by a fault, whose log is kept."""
    try:
        yield row
    except FaultError:
        raise
    except BaseException:
        remove(backend, row)
        raise
    remove(backend, row)


def remove(backend: Backend, row: Row) -> None:
    with suppress(RvcError):
        backend.remove(row["id"])

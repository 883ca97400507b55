"""Many recordings -> the same in another voice, one after the other; a bad one never stops the rest.

    work/files.json     what became of each: written after each, read by the server and on resuming
    result/             what is finished, under the names that the person will see

Each recording goes waiting -> converting -> completed | failed (with a reason). Stopping puts the one at hand
back to waiting and keeps what is finished. Starting again by hand does all that is not completed, those that
had failed included. An automatic further try, after a child that died, takes the one at hand for the cause:
it failed, and the rest goes on.

Between two recordings the device is given back, so that other conversions get through; within one, a pause
is obeyed at every piece.
"""

from __future__ import annotations

import itertools
import logging
import re
import unicodedata
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from pipelines.events import Done, Events, Progress, result_of, timed
from pipelines.store.records import RESULTS, STATE_KEYS, STATES, Row, Rows, read_states, save_states
from rvc.errors import AudioError, RvcError
from rvc.files import is_disk_full
from rvc.memory import is_out_of_memory
from rvc.steps import relay

logger = logging.getLogger(__name__)

# Converts the recording of a row into a file; its result is the file's length in seconds.
Convert: TypeAlias = "Callable[[Row, Path], Events[float]]"
SHORTEST_S = 1.0  # what a recording counts for at least in the progress
_BROKE_DOWN = (
    "{name} broke the program down, perhaps for want of memory; cut it into parts, or resume the batch "
    "to try it again."
)
_LONGEST_STEM = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|results)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """How many recordings were converted or failed, and the length of the converted ones together."""

    converted: int
    failed: int
    seconds: float


def convert_all(
    files: Sequence[Row], folder: Path, format: str, convert: Convert, *, attempt: int = 1
) -> Events[BatchResult]:
    """Convert the recordings of a batch; closing the generator keeps what is finished.

    Rows that were refused at the upload have the status "failed" and no "audio". Progress runs over the
    seconds of audio, with data {"file": {"number", ...}} whenever the state of a recording changes.

    Raises:
        AudioError: Not one could be converted.
        OSError: The disk is full.
    """
    states = _begun(files, folder, format, attempt)
    meter = _Meter(states)
    for number, state in enumerate(states):
        if state["status"] == "waiting":
            state["status"] = "converting"
            save_states(states, folder)
            yield meter.at(number)
            try:
                work = timed(_convert_one(state, folder / RESULTS, convert), meter.count_work)
                yield from relay(work, partial(meter.within, number))
            finally:
                if state["status"] == "converting":
                    state["status"] = "waiting"
                save_states(states, folder)
            meter.count(number)
            yield meter.at(number)
        elif state["status"] != files[number].get("status"):
            yield meter.at(number)
    completed = [state for state in states if state["status"] == "completed"]
    if not completed:
        said = next(state["reason"] for state in states if state["reason"])
        raise AudioError(
            said if len(states) == 1 else f"None of the {len(states)} files could be converted: {said}"
        )
    seconds = sum(float(state["seconds"]) for state in completed)
    yield Done(
        result=BatchResult(converted=len(completed), failed=len(states) - len(completed), seconds=seconds)
    )


def result_names(names: Sequence[str], format: str) -> list[str]:
    """Make of what people called their files the names of the results: safe on every system, each once.

    They have at most 95 characters, no folders, and differ in more than case.
    """
    taken: set[str] = set()
    results = []
    for name in names:
        plain = unicodedata.normalize("NFC", Path(name).stem)
        stem = re.sub(r"[^\w ()-]+", "_", plain).strip(" _")[:_LONGEST_STEM].strip(" _") or "recording"
        if _RESERVED.fullmatch(stem):
            stem += "_"
        numbered = itertools.chain([stem], (f"{stem} ({number})" for number in itertools.count(2)))
        unique = next(candidate for candidate in numbered if candidate.casefold() not in taken)
        taken.add(unique.casefold())
        results.append(f"{unique}.{format}")
    return results


def _begun(files: Sequence[Row], folder: Path, format: str, attempt: int) -> Rows:
    """Return where each recording stands at the beginning of a try, and write it down."""
    (folder / STATES).parent.mkdir(exist_ok=True)
    results = folder / RESULTS
    results.mkdir(exist_ok=True)
    for part in results.glob(".*"):
        part.unlink()  # of a writer that was killed
    outputs = result_names([file["name"] for file in files], format)
    states = []
    for file, before, output in zip(files, read_states(files, folder), outputs, strict=True):
        state = {"reason": None, **file, **before, "output": output}
        if "audio" not in file:
            state["output"] = None
        elif state["status"] == "completed" and (results / output).is_file():
            pass
        elif attempt > 1 and state["status"] == "converting":
            state |= {"status": "failed", "reason": _BROKE_DOWN.format(name=file["name"])}
        elif attempt == 1 or state["status"] != "failed":
            state |= {"status": "waiting", "reason": None}
        states.append(state)
    save_states(states, folder)
    return states


def _convert_one(state: Row, results: Path, convert: Convert) -> Generator[Progress, None, None]:
    """Convert one recording and note in its state how that ended."""
    try:
        seconds = yield from result_of(convert(state, results / state["output"]))
        state |= {"status": "completed", "seconds": seconds}
    except RvcError as error:
        logger.warning("refused: %s", error)
        state |= {"status": "failed", "reason": str(error)}
    except Exception as error:
        if is_disk_full(error):
            raise
        # Whatever one recording trips over, the others have a right to their turn.
        logger.exception("a recording of the batch failed")
        fault = f"through a fault of the program ({type(error).__name__})"
        fault = "for want of memory" if is_out_of_memory(error) else fault
        reason = f"{state['name']} failed {fault}"
        state |= {"status": "failed", "reason": f"{reason}; resume the batch to try it again."}


class _Meter:
    """Tells how far a batch is, by the seconds of audio, and how long it will take by its own pace."""

    def __init__(self, states: Rows) -> None:
        self._states = states
        self._weights = [max(float(state["seconds"] or 0.0), SHORTEST_S) for state in states]
        self._done_s = sum(
            w for w, state in zip(self._weights, states, strict=True) if state["status"] != "waiting"
        )
        self._found_s = self._done_s
        self._spent_s = 0.0

    def at(self, number: int) -> Progress:
        """Say that the state of a recording has changed; the device is not needed at this point."""
        state = self._states[number]
        said = {"number": number, **{key: state[key] for key in STATE_KEYS}}
        return self._progress("Converting", number, 0.0, data={"file": said})

    def within(self, number: int, event: Progress) -> Progress:
        """Make of what the work on one recording says a part of the whole."""
        done_s = event.fraction * self._weights[number]
        return self._progress(event.stage, number, done_s, needs_device=event.needs_device)

    def count(self, number: int) -> None:
        """Count a recording as dealt with."""
        self._done_s += self._weights[number]

    def count_work(self, seconds: float) -> None:
        self._spent_s += seconds

    def _progress(self, stage: str, number: int, done_s: float, **more: Any) -> Progress:  # noqa: ANN401
        total_s, at_s = sum(self._weights), self._done_s + done_s
        here_s = at_s - self._found_s
        known = here_s > 0.02 * total_s
        return Progress(
            stage=stage,
            fraction=min(at_s / total_s, 1.0),
            message=f"{number + 1} of {len(self._states)}: {self._states[number]['name']}",
            eta_s=round(self._spent_s * (total_s - at_s) / here_s, 1) if known else None,
            **more,
        )

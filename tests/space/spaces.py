"""Stands for the package of that name on a ZeroGPU Space, as far as Timbre uses it.

Like there, a marked generator runs in a thread of a process that is forked from this one for the call, what
it yields comes back pickled, and a visitor is known by Gradio's request. Calls are noted in SPACES_NOTES. A
file `no-quota` beside it stands for a visitor who has used theirs up.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext

NOTES = Path(os.environ["SPACES_NOTES"])
PROCESSES = multiprocessing.get_context("fork")
marked: list[str] = []


def note(**facts: object) -> None:
    with NOTES.open("a") as notes:
        notes.write(json.dumps(facts) + "\n")


def GPU(task: Callable[..., Iterator[Any]] | None = None, *, duration: Any = 60) -> Any:  # noqa: ANN401
    if task is None:
        return partial(GPU, duration=duration)
    marked.append(task.__name__)

    @wraps(task)
    def lent(*arguments: Any) -> Iterator[Any]:  # noqa: ANN401
        seconds = duration(*arguments) if callable(duration) else duration
        note(seconds=seconds, visitor=LocalContext.request.get(None) is not None)
        if (NOTES.parent / "no-quota").exists():
            raise gr.Error(f"You have exceeded your GPU quota ({seconds}s requested). <a href='#'>More</a>")
        ours, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_in_fork, args=(task, arguments, theirs), daemon=True)
        process.start()
        note(pid=process.pid)
        theirs.close()
        while True:
            try:
                word, value = ours.recv()
            except EOFError:
                raise gr.Error("GPU task aborted") from None
            if word == "end":
                break
            yield value
        process.join()

    return lent


def _in_fork(task: Callable[..., Iterator[Any]], arguments: tuple[Any, ...], out: Connection) -> None:
    def iterate() -> None:
        for value in task(*arguments):
            out.send(("value", value))
        out.send(("end", None))

    with ThreadPoolExecutor() as executor:
        executor.submit(iterate).result()


def _launch(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
    note(launched=marked)
    gr.Blocks.launch = _of_gradio
    return gr.Blocks.launch(*arguments, **options)


_of_gradio, gr.Blocks.launch = gr.Blocks.launch, _launch

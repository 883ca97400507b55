"""A launched page on real jobs and toy work, for tests that call it from outside."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gradio_client import Client  # type: ignore[import-untyped]

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from rvc.files import ROOT
from tests.toy_worker import TOY_WORKER

EXAMPLES = ROOT / "assets" / "examples"
VOICE_FILES = sorted((EXAMPLES / "voice").glob("*.ogg"))
RECORDING = EXAMPLES / "recordings" / "visitor.flac"
PATIENCE_S = 120.0
CHANGED = ("GRADIO_TEMP_DIR", "TOY_STEPS", "TOY_STEP_S", "NO_PROXY", "FORWARDED_ALLOW_IPS")


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A page that answers.

    Attributes:
        url: Where.
        jobs: Its dispatcher.
        data_dir: Its data folder.
    """

    url: str
    jobs: Jobs
    data_dir: Path


@contextmanager
def launched(
    folder: Path,
    *,
    steps: int = 10,
    shared: bool = False,
    worker: Sequence[str] = TOY_WORKER,
    **wishes: object,
) -> Iterator[Launched]:
    """Serve a page whose trainings and conversions take `steps` steps of 20 ms, with these settings.

    One that is `shared` takes nobody for its admin. With another worker, its trainings and conversions are
    that one's.
    """
    before = {name: os.environ.get(name) for name in CHANGED}

    os.environ |= {"TOY_STEPS": str(steps), "TOY_STEP_S": "0.02"}
    os.environ |= {"GRADIO_TEMP_DIR": str(folder / "cache"), "NO_PROXY": "127.0.0.1"}
    from ui.page import build_page, launch_options
    from ui.server.services import Services

    settings = Settings.model_validate({"data_dir": folder / "data", "max_file_size_mb": 5, **wishes})
    settings.data_dir.mkdir(parents=True)
    jobs = Jobs(settings, worker_command=worker, retry_pauses_s=())
    jobs.start()
    services = Services.of(settings, jobs, shared=shared)
    page = build_page(services)
    try:
        page.launch(
            server_name="127.0.0.1",
            server_port=free_port(),
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(services),
        )
        yield Launched(url=str(page.local_url), jobs=jobs, data_dir=settings.data_dir)
    finally:
        page.close(verbose=False)
        jobs.close()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def client_to(page: Launched, **options: object) -> Client:
    """A program that calls the page, and waits as long as a busy machine takes to answer."""
    return Client(page.url, verbose=False, httpx_kwargs={"timeout": PATIENCE_S}, **options)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fail with what it was after two minutes."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)

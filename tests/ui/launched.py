"""A launched page on real jobs and toy work, for tests that call it from outside."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio._backends._asyncio  # noqa: F401 -- here, as pytest's import of it may fail in a server's thread
import pytest
from gradio_client import Client  # type: ignore[import-untyped]

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from rvc.files import ROOT
from tests.toy_live import TOY_LIVE
from tests.toy_worker import TOY_WORKER

EXAMPLES = ROOT / "assets" / "examples"
VOICE_FILES = sorted((EXAMPLES / "voice").glob("*.ogg"))
RECORDING = EXAMPLES / "recordings" / "visitor.flac"
PATIENCE_S = 120.0
# What the page that many files share is set to.
METRICS_TOKEN, FRIEND_SITE = "a-token-for-metrics", "https://friend.example"
SHARED_SETTINGS: dict[str, Any] = {
    "metrics_token": METRICS_TOKEN,
    "allowed_origins": f"{FRIEND_SITE}/, http://lab.example:8080",
    "max_voice_file_mb": 5,
}


@dataclass(frozen=True, kw_only=True)
class Launched:
    """A page that answers."""

    url: str
    jobs: Jobs
    data_dir: Path
    app: Any  # the ASGI application

    @property
    def cache(self) -> Path:
        return self.data_dir.parent / "cache"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no toy work come to its end meanwhile."""
        hold = self.data_dir.parent / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()


@contextmanager
def surroundings(folder: Path, steps: int = 10) -> Iterator[None]:
    """The environment of a page whose trainings and conversions take `steps` steps of 20 ms."""
    cache = str(folder / "cache")
    names = {"GRADIO_TEMP_DIR": cache, "TOY_STEPS": str(steps), "TOY_STEP_S": "0.02", "NO_PROXY": "127.0.0.1"}
    names["TOY_HOLD"] = str(folder / "hold")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FORWARDED_ALLOW_IPS", raising=False)  # a launch sets it
        for name, value in names.items():
            patch.setenv(name, value)
        yield


@contextmanager
def launched(folder: Path, *, steps: int = 10, **options: Any) -> Iterator[Launched]:  # noqa: ANN401
    """A page of `served` in its surroundings."""
    with surroundings(folder, steps), served(folder, **options) as page:
        yield page


@contextmanager
def served(
    folder: Path,
    *,
    shared: bool = False,
    worker: Sequence[str] = TOY_WORKER,
    **wishes: object,
) -> Iterator[Launched]:
    """Serve a page with these settings.

    One that is `shared` takes nobody for its admin. With another worker, its trainings and conversions are
    that one's.
    """
    from ui.page import build_page, launch_options
    from ui.server.services import Services

    settings = Settings.model_validate({"data_dir": folder / "data", "max_file_size_mb": 5, **wishes})
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(settings, worker_command=worker, retry_pauses_s=())
    jobs.live.command = TOY_LIVE
    jobs.start()
    services = Services.of(settings, jobs, shared=shared)
    page = build_page(services)
    try:
        page.launch(
            server_name="127.0.0.1",
            server_port=free_port(),
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(services, page),
        )
        yield Launched(url=str(page.local_url), jobs=jobs, data_dir=settings.data_dir, app=page.app)
    finally:
        page.close(verbose=False)
        jobs.close()


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

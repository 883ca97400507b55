"""A visitor of the page without a browser: the services on toy work, and requests as Gradio hands them on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from starlette.datastructures import Headers

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from tests.toy_worker import TOY_WORKER
from ui.server.published import publish_file
from ui.server.services import Services

ME, SOMEBODY_ELSE = "a-token-of-a-test-1", "a-token-of-a-test-2"


@contextmanager
def services_at(folder: Path, *, started: bool = True, **wishes: object) -> Iterator[Services]:
    """The services of a page that is not served; without a start, jobs wait for ever."""
    settings = Settings.model_validate({"data_dir": folder, "max_file_size_mb": 5, **wishes})
    jobs = Jobs(settings, worker_command=TOY_WORKER, retry_pauses_s=())
    try:
        if started:
            jobs.start()
        yield Services.of(settings, jobs)
    finally:
        jobs.close()


def request(token: str = ME, peer: str = "127.0.0.1", **more: str) -> Any:  # noqa: ANN401
    """A request of somebody's; `x_real_ip=` stands for the header x-real-ip."""
    headers = {"host": "127.0.0.1:7860", "x-timbre-token": token}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    return SimpleNamespace(headers=Headers(headers), cookies={}, client=SimpleNamespace(host=peer))


def sent(path: Path) -> str:
    """A file as a component gives it to a listener."""
    return publish_file(path, path.stem)


def drawn(values: object) -> str:
    """What listeners returned, as text to look into."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return " ".join(drawn(value) for value in values)
    return str(getattr(values, "value", None) if hasattr(values, "_id") else values)

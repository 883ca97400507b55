"""What every test may rely on: a fixed seed, a data folder of its own, one thread, no network."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything is imported that reads them; child processes inherit them.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
for _library in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

# anyio brings a plugin for pytest, so pytest rewrites its modules as they are imported, even with the
# plugin left out. Late, in a server's thread, CPython 3.11 may answer "AST constructor recursion depth
# mismatch".
import anyio._backends._asyncio  # noqa: F401
import numpy as np

# FastAPI imports it late, in which CPython 3.11 answers "KeyError" if the garbage collector then warns.
import pydantic.v1  # noqa: F401
import pytest

from pipelines.settings import Settings, get_settings

if TYPE_CHECKING:
    from tests.ui.launched import Launched

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_MOST_WORKERS = 4  # each loads torch
_LONGEST = (
    "tests/faults",
    "tests/pipelines/training/test_distributed.py",
    "tests/rvc/training/test_group.py",
    "tests/test_browser",
    "tests/hostile/test_listeners.py",
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes share the test files: none for one file, nor for what measures times and memory."""
    alone = [argument for argument in config.args if ".py" in argument] == config.args
    measures = any(word in ("slow", "gpu") for word in str(config.option.markexpr).split()[:1])
    return 0 if measures or (alone and len(config.args) == 1) else min(os.cpu_count() or 1, _MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left with one at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test logged fit to be sent to the process that reports: it may be no valid text."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    random.seed(0)
    np.random.seed(0)
    # Only where a test's imports have loaded it: most tests never do, and it takes seconds.
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """DATA_DIR of this test alone; a developer's .env and environment play no part."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SECRET", raising=False)
    # Children download nothing either; without it they would try, and wait between their tries.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    folder = tmp_path / "data"
    monkeypatch.setenv("DATA_DIR", str(folder))
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def connect_to_this_machine(self: socket.socket, address: tuple[object, ...] | str | bytes) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
            raise OSError(f"A test tried to reach {address[0]}; tests stay on this machine.")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_this_machine)


@pytest.fixture(scope="session")
def _page_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launched, Path]]:
    from tests.ui.launched import SHARED_SETTINGS, served, surroundings

    folder = tmp_path_factory.mktemp("page")
    with ExitStack() as stack:
        with surroundings(folder):
            page = stack.enter_context(served(folder, **SHARED_SETTINGS))
        yield page, folder


@pytest.fixture(scope="module")
def page(_page_of_all: tuple[Launched, Path]) -> Iterator[Launched]:
    """A launched page that the files of one process share: others were there, and nothing runs any more."""
    from tests.ui.launched import surroundings

    page, folder = _page_of_all
    with surroundings(folder):
        yield page

"""The Convert tab's listeners: a batch must not keep others waiting, nor draw over what came after it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import Headers

from tests.ui.launched import RECORDING, Launched, launched, wait_for
from ui.server.services import ACTIVE, Services
from ui.tabs.batch import MANY
from ui.tabs.conversion_settings import AUTOMATIC
from ui.tabs.convert import Shown, _Listeners

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # Gradio's own use of pandas
VISITOR: Any = SimpleNamespace(
    headers=Headers({"x-timbre-token": "a-token-of-a-test-1"}), cookies={}, client=None
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("convert"), steps=100_000) as page:
        yield page


@pytest.fixture
def listeners(page: Launched) -> _Listeners:
    return _Listeners(Services.of(page.jobs._settings, page.jobs))


def begin(listeners: _Listeners, shown: Shown) -> list[tuple[Any, ...]]:
    """Press the button with one recording in the list of many; return what was drawn when it let go."""
    sent = Path(os.environ["GRADIO_TEMP_DIR"]) / "sent" / "visitor.flac"
    sent.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(RECORDING, sent)
    voice = listeners._services.library.list(listeners._services.caller(VISITOR))[0]["id"]
    expert = ["by itself", 0, 0.5, 0.33, 0.5, "wav", AUTOMATIC]
    return list(listeners.convert(shown, voice, MANY, None, [str(sent)], VISITOR, *expert))


def test_the_button_lets_go_of_a_batch_that_is_then_followed_to_its_end(
    page: Launched, listeners: _Listeners
) -> None:
    shown = Shown()
    drawn = begin(listeners, shown)
    caller = listeners._services.caller(VISITOR)
    assert "Convert 1 recording" in drawn[-1][0]
    assert shown.job_id is not None
    assert page.jobs.get(caller, shown.job_id)["status"] in ACTIVE
    rest = listeners.rest(shown, VISITOR)
    next(rest)
    assert "Convert 1 recording" in next(rest)[0]
    listeners.cancel(shown, VISITOR)
    assert "Cancelled" in list(rest)[-1][0]
    assert len(list(listeners.rest(shown, VISITOR))) == 1, "it is followed once"


def test_a_batch_is_no_longer_drawn_when_the_visitor_has_started_something_else(
    page: Launched, listeners: _Listeners
) -> None:
    shown = Shown()
    begin(listeners, shown)
    batch_id, rest = str(shown.job_id), listeners.rest(shown, VISITOR)
    next(rest)
    assert "Convert 1 recording" in next(rest)[0]
    shown.job_id = "another"
    assert list(rest) == []
    caller = listeners._services.caller(VISITOR)
    page.jobs.cancel(caller, batch_id)
    wait_for(lambda: page.jobs.get(caller, batch_id)["status"] not in ACTIVE, "the batch to stop")

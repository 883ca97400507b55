"""The Jobs tab's listeners: which job is shown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import Headers

from pipelines.rows import new_job
from tests.ui.launched import launched
from ui.jobs import Listed, _Listeners
from ui.services import Services

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # Gradio's own use of pandas
VISITOR: Any = SimpleNamespace(
    headers=Headers({"x-timbre-token": "a-token-of-a-test-1"}), cookies={}, client=None
)


def test_the_choice_stays_while_one_looks_and_coming_back_shows_what_was_started_last(tmp_path: Path) -> None:
    with launched(tmp_path) as page:
        services = Services.of(page.jobs._settings, page.jobs)
        owner, listeners, listed = services.caller(VISITOR).user_id, _Listeners(services), Listed()

        def add() -> str:
            row = new_job(owner, "preprocessing", status="completed", seq=page.jobs._next_seq())
            page.jobs.registry.insert("jobs", row)
            return str(row["id"])

        first = add()
        assert listeners.open(listed, VISITOR)[0].value == first
        second = add()
        assert listeners.tick(listed, VISITOR)[0].value == first
        assert listeners.open(listed, VISITOR)[0].value == second
        assert listeners.choose(listed, first, VISITOR)[0].value == first

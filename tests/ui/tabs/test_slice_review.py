"""Slice review: what is drawn of a check, and what each press does; what comes in is a stranger's word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pipelines.store.records import Caller
from tests.ui.launched import VOICE_FILES, wait_for
from tests.ui.visitor import SOMEBODY_ELSE, drawn, request, services_at
from ui.server.services import Services
from ui.tabs.slice_review import PAGE, ReviewState, SliceReview


class Visit:
    """Somebody at the list of slices of a check of theirs."""

    def __init__(self, services: Services, count: int = 4) -> None:
        self.services = services
        self.caller: Caller = services.caller(request())
        files = [(path, path.name) for path in VOICE_FILES[:count]]
        self.job = services.send_and_submit(self.caller, files, "preprocessing", {})["id"]
        wait_for(lambda: services.jobs.get(self.caller, self.job)["status"] == "completed", "the check")
        with gr.Blocks():
            self.review = SliceReview(services)
        answer = self.review.show(self.caller, self.job)
        self.state: ReviewState = answer[self.review.state]
        self.html = drawn(answer[self.review.list])

    def press(self, act: object, which: object = "", *, token: str | None = None) -> Any:  # noqa: ANN401
        event = gr.EventData(None, {"act": act, "id": which})
        answer = self.review.act(self.state, event, request(token) if token else request())
        self.html = drawn(answer)
        return answer

    def rows(self, only: str = "all") -> list[dict[str, Any]]:
        return list(self.services.jobs.reviews.list(self.caller, self.job, only=only)["rows"])

    def rejected(self) -> set[str]:
        return {row["id"] for row in self.rows("rejected")}


@pytest.fixture
def visit(services: Services) -> Visit:
    return Visit(services)


def test_the_slices_of_a_check_are_drawn_the_most_doubtful_first(visit: Visit) -> None:
    assert visit.html.count("<li ") == PAGE
    assert visit.html.index("much quieter than the rest") < visit.html.index("noisy")


def test_a_press_rejects_and_undo_takes_it_back(visit: Visit) -> None:
    one = visit.rows()[0]["id"]
    visit.press("reject", one)
    assert visit.rejected() == {one}
    assert "1 slice is rejected." in visit.html
    assert "; 1 rejected," in visit.html
    visit.press("undo")
    assert visit.rejected() == set()
    assert "Undone. 1 slice is back." in visit.html
    visit.press("undo")
    assert visit.rejected() == set(), "there is nothing more to undo"


def test_a_whole_file_goes_and_comes_back_as_it_was(visit: Visit) -> None:
    first, second = [row for row in visit.rows() if row["file"] == VOICE_FILES[0].name][:2]
    of_it = {row["id"] for row in visit.rows() if row["file"] == first["file"]}
    visit.press("reject", second["id"])
    visit.press("reject_file", first["id"])
    assert visit.rejected() == of_it
    assert f"{len(of_it) - 1} slices are rejected." in visit.html
    visit.press("undo")
    assert visit.rejected() == {second["id"]}
    visit.press("reject_file", first["id"])
    visit.press("restore", first["id"])
    assert visit.rejected() == of_it - {first["id"]}
    visit.press("undo")
    assert visit.rejected() == of_it


def test_filters_and_orders_begin_at_the_first_page(visit: Visit) -> None:
    visit.press("page", "1")
    assert visit.state.offset == PAGE
    visit.press("only", "doubtful")
    assert (visit.state.only, visit.state.offset) == ("doubtful", 0)
    assert visit.html.count("<li ") == len(visit.rows("doubtful")) < PAGE
    visit.press("only", "all")
    visit.press("sort", "order")
    assert visit.state.sort == "order"
    assert visit.html.index("wren-1.ogg, at 0:00") < visit.html.index("wren-1.ogg, at 0:04")


def test_the_last_page_that_is_empty_gives_way_to_the_one_before(visit: Visit) -> None:
    for row in visit.rows()[: PAGE + 1]:
        visit.press("reject", row["id"])
    visit.press("only", "rejected")
    visit.press("page", "1")
    assert visit.html.count("<li ") == 1
    (last,) = [row["id"] for row in visit.rows("rejected")][PAGE:]
    visit.press("restore", last)
    assert visit.state.offset == 0
    assert visit.html.count("<li ") == PAGE


def test_a_sound_is_sent_only_when_it_is_asked_for(visit: Visit) -> None:
    one = visit.rows()[0]["id"]
    sound = visit.press("play", one).constructor_args["sound"]
    assert sound["id"] == one
    assert Path(sound["file"]["path"]).is_file()


def test_too_little_that_is_left_is_said(visit: Visit) -> None:
    for row in {row["file"]: row for row in visit.rows()}.values():
        visit.press("reject_file", row["id"])
    assert "Only 0.0 s are left, and a voice needs at least 10 s" in visit.html


def test_ids_of_nothing_are_refused(visit: Visit) -> None:
    for act in ("play", "reject", "restore", "reject_file", "restore_file"):
        for which in ("", "../x", "0" * 33, "<script>", None, ["x"], {"a": 1}):
            with pytest.raises(gr.Error, match="These recordings have no"):
                visit.press(act, which)
    assert visit.rejected() == set()


def test_wishes_that_mean_nothing_change_nothing(visit: Visit) -> None:
    for act, which in (("page", "9"), ("only", "x"), ("sort", None), ("drop", "x"), (None, None), ([], {})):
        visit.press(act, which)
    assert visit.state == ReviewState(job_id=visit.job)


def test_an_event_of_no_form_changes_nothing(visit: Visit) -> None:
    for data in (None, "x", [1], 3):
        visit.review.act(visit.state, gr.EventData(None, data), request())
    assert visit.state == ReviewState(job_id=visit.job)


def test_nobody_else_reaches_the_slices_by_a_state_that_names_them(visit: Visit) -> None:
    with pytest.raises(gr.Error, match="There is no"):
        visit.press("reject", visit.rows()[0]["id"], token=SOMEBODY_ELSE)
    assert visit.rejected() == set()


def test_without_a_check_nothing_is_drawn_and_nothing_done(data_dir: Path, page_cache: Path) -> None:
    with services_at(data_dir, started=False) as idle, gr.Blocks():
        review, caller = SliceReview(idle), idle.caller(request())
        upload = idle.jobs.upload(caller, [(path, path.name) for path in VOICE_FILES[:2]], "training")["id"]
        assert drawn(review.show(caller, upload)[review.list]) == ""
        assert review.act(ReviewState(), gr.EventData(None, {"act": "undo"}), request()) == gr.skip()


@pytest.fixture(autouse=True)
def no_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TOY_STEPS", "1")
    yield

"""The Clone tab's listeners: what a person reads at each event, and what is kept of what they sent."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from pipelines.store.records import now
from tests.ui.launched import VOICE_FILES, wait_for
from tests.ui.visitor import SOMEBODY_ELSE, drawn, request, sent, services_at
from ui.look.html import CLONE_START
from ui.server.services import DISK_FULL, Services
from ui.tabs.clone import CloneState, CloneTab


@pytest.fixture
def idle(data_dir: Path, page_cache: Path) -> Iterator[Services]:
    with services_at(data_dir, started=False, starts_per_hour=1) as services:
        yield services


def clone(services: Services) -> CloneTab:
    with gr.Blocks():
        return CloneTab(services)


def files() -> list[str]:
    return [sent(path) for path in VOICE_FILES[:2]]


def uploads(services: Services) -> list[Path]:
    return list((services.settings.data_dir / "jobs").iterdir())


def test_a_recording_joins_the_list_under_a_name_of_its_own(idle: Services) -> None:
    tab = clone(idle)
    first = tab.add_recording(sent(VOICE_FILES[0]), None)
    second = tab.add_recording(sent(VOICE_FILES[1]), first[tab.files])
    assert first[tab.microphone] is None
    assert [Path(one).stem for one in second[tab.files]] == ["Recording 1", "Recording 2"]


def test_files_are_checked_and_other_files_stop_the_check_of_the_first(idle: Services) -> None:
    idle.jobs.limits.take = lambda *_: None  # type: ignore[method-assign]
    tab, state = clone(idle), CloneState()
    assert "Checking the recordings" in drawn(tab.check(files(), state, request()))
    first = state.prepare_id
    assert first is not None
    tab.check(files()[:1], state, request())
    caller = idle.caller(request())
    assert idle.jobs.get(caller, first)["status"] == "cancelled"
    assert idle.jobs.get(caller, str(state.prepare_id))["status"] == "pending"
    assert CLONE_START in drawn(tab.check(None, state, request()))
    assert (state.upload_id, state.prepare_id) == (None, None)


def test_what_cannot_be_used_is_listed_while_the_rest_is_checked_and_with_the_report(
    services: Services, tmp_path: Path
) -> None:
    (tmp_path / "notes.wav").write_text("words")
    (tmp_path / "nothing.wav").touch()
    tab, state = clone(services), CloneState()
    bad = [sent(tmp_path / name) for name in ("notes.wav", "nothing.wav")]
    for shown in (
        drawn(tab.check([*files(), *bad], state, request())),
        *iter_until_report(tab, state),
    ):
        assert "2 files are not used:" in shown
        assert "notes.wav is not a recording" in shown
        assert "nothing.wav is empty" in shown
    assert "tm-report" in shown


def iter_until_report(tab: CloneTab, state: CloneState) -> Iterator[str]:
    while state.prepare_id:
        yield drawn(tab.tick(state, request()))
        time.sleep(0.1)


def test_of_a_refused_check_nothing_is_kept(idle: Services) -> None:
    tab, state = clone(idle), CloneState()
    tab.check(files()[:1], state, request())
    kept = uploads(idle)
    refused = drawn(tab.check(files()[:1], state, request()))
    assert "These recordings were not taken" in refused
    assert "an hour" in refused
    assert sorted(uploads(idle)) == sorted(kept)
    assert state.upload_id is None


def test_a_full_disk_is_said_in_words(idle: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(idle.jobs, "upload", full)
    assert DISK_FULL.split(",")[0].split("'s ")[1] in drawn(
        clone(idle).check(files(), CloneState(), request())
    )


def test_a_fault_of_the_machine_that_nobody_can_mend_is_not_dressed_up(
    idle: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(idle.jobs, "upload", broken)
    with pytest.raises(OSError, match="Input/output"):
        clone(idle).check(files(), CloneState(), request())


@pytest.mark.parametrize(
    ("name", "consent", "missing"), [("", True, "Give the voice a name"), ("Wren", False, "permission")]
)
def test_what_is_missing_for_a_training_is_said_and_nothing_starts(
    idle: Services, name: str, consent: bool, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: said.append(text))
    state = CloneState(upload_id="x")
    tab = clone(idle)
    values = {tab.state: state, tab.name: name, tab.consent: consent}
    assert tab.train(values, request()) == gr.skip()
    assert missing in said[0]
    assert state.watched is None


def test_a_training_is_watched_stopped_resumed_and_found_again(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "1000")
    tab = clone(services)
    caller = services.caller(request())
    upload = services.jobs.upload(caller, [(p, p.name) for p in VOICE_FILES[:2]], "training")["id"]
    job = services.submit(caller, "training", upload, {"consent": True}, model_name="Wren")
    again = CloneState()
    assert "Training Wren" in drawn(tab.reattach(again, request()))
    assert again.runs
    assert again.watched is not None
    watched = again.watched
    wait_for(lambda: bool(tab.tick(again, request())) and bool(watched.samples), "a sample")
    first = watched.samples[0][1]
    assert Path(tab.sample(again, first, request())[tab.view.sample]).is_file()
    assert watched.picked in (first, None)
    tab.cancel(again, request())
    wait_for(lambda: services.jobs.get(caller, job["id"])["status"] == "cancelled", "the end")
    assert "press Resume" in drawn(tab.tick(again, request()))
    assert not again.runs
    tab.resume(again, request())
    assert services.jobs.get(caller, job["id"])["status"] in ("pending", "training")
    stranger = CloneState()
    tab.reattach(stranger, request(SOMEBODY_ELSE))
    assert stranger.watched is None


def test_who_cannot_be_told_apart_sees_an_empty_page_and_a_gone_job_is_asked_for_no_more(
    services: Services,
) -> None:
    tab, state = clone(services), CloneState(prepare_id="0" * 32)
    tab.tick(state, request())
    assert state.prepare_id is None
    tab.reattach(state, request("short"))
    assert state.watched is None
    assert tab.sample(state, "samples/1.wav", request()) == gr.skip()


def test_only_news_are_shown_to_who_opens_the_page(idle: Services) -> None:
    caller = idle.caller(request())
    upload = idle.jobs.upload(caller, [(p, p.name) for p in VOICE_FILES[:2]], "training")["id"]
    job = idle.submit(caller, "training", upload, {"consent": True}, model_name="Wren")["id"]
    for status, updated_at, shown in (
        ("completed", now(), True),
        ("completed", "2020-01-01T00:00:00.000+00:00", False),
        ("cancelled", "2020-01-01T00:00:00.000+00:00", False),
    ):
        idle.jobs.registry.update("jobs", job, status=status, updated_at=updated_at)
        state = CloneState()
        clone(idle).reattach(state, request())
        assert (state.watched is not None) == shown, (status, updated_at)

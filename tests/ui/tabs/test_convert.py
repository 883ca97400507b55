"""The Convert tab's listeners: what a person sees from the choice of a voice to the picture of the result."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.pipelines.jobs.toy_jobs import add_voice
from tests.ui.launched import RECORDING, VOICE_FILES
from tests.ui.visitor import SOMEBODY_ELSE, drawn, request, sent
from ui.server.services import Services
from ui.tabs.batch import MANY, ONE, SHOWN_FILES, files_table, suited_to_number
from ui.tabs.conversion_settings import AUTOMATIC
from ui.tabs.convert import DRAWN, Shown, _Listeners, _voice_name, _what_was_done

EXPERT = (AUTOMATIC, 0, 0.5, 0.5, 1.0, "wav", AUTOMATIC)
BUILT_IN = "builtin-kathleen"


def convert(services: Services, shown: Shown, voice: str | None, number: str, *wanted: Any) -> list[Any]:  # noqa: ANN401
    one, many = (None, list(wanted)) if number == MANY else (wanted[0] if wanted else None, None)
    return list(_Listeners(services).convert(shown, voice, number, one, many, request(), *EXPERT))


def test_a_recording_is_converted_heard_and_seen(services: Services) -> None:
    shown, listeners = Shown(), _Listeners(services)
    assert listeners.picture(shown, request()) is None
    steps = convert(services, shown, BUILT_IN, ONE, sent(RECORDING))
    assert all(len(step) == DRAWN for step in steps)
    assert "Converting into Kathleen" in drawn(steps[0])
    assert "in the voice Kathleen, 3.2 semitones up" in drawn(steps[-1])
    before = next(value for value in steps[-1] if str(value).endswith(".flac"))
    assert Path(before).read_bytes() == RECORDING.read_bytes()
    assert listeners.picture(shown, request()) is not None


def test_many_recordings_are_converted_into_one_zip(services: Services) -> None:
    shown = Shown()
    steps = convert(services, shown, BUILT_IN, MANY, sent(RECORDING), sent(VOICE_FILES[0]))
    assert "Convert 2 recordings into Kathleen" in drawn(steps[0])
    steps = list(_Listeners(services).rest(shown, request()))
    assert "2 of 2 done" in drawn(steps[-1])
    assert "2 recordings as Kathleen.zip" in drawn(steps[-1])


@pytest.mark.parametrize(
    ("voice", "number", "missing"),
    [(None, ONE, "Choose a voice"), (BUILT_IN, ONE, "the example"), (BUILT_IN, MANY, "a .zip")],
)
def test_what_is_missing_is_said(services: Services, voice: str | None, number: str, missing: str) -> None:
    with pytest.warns(UserWarning, match=missing):
        assert len(convert(services, Shown(), voice, number)) == 1
    assert services.jobs.list(services.caller(request())) == []


def test_a_refusal_and_a_full_disk_are_said_and_nothing_is_kept(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (step,) = convert(services, Shown(), "0" * 32, ONE, sent(RECORDING))
    assert "This recording was not converted" in step[0]
    assert "no voice" in step[0]
    (step,) = convert(services, Shown(), "0" * 32, MANY, sent(RECORDING))
    assert "These recordings were not converted" in step[0]
    assert list((services.settings.data_dir / "jobs").iterdir()) == []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(services.jobs, "upload", full)
    (step,) = convert(services, Shown(), BUILT_IN, ONE, sent(RECORDING))
    assert "disk is full" in step[0]


def test_a_conversion_is_found_again_and_stopped_by_its_owner(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_STEPS", "3000")
    caller, listeners = services.caller(request()), _Listeners(services)
    upload = services.jobs.upload(caller, [(RECORDING, "visitor.flac")], "target")["id"]
    job = services.submit(caller, "conversion", upload, {}, model_id=BUILT_IN)["id"]
    assert len(list(listeners.reattach(Shown(), request(SOMEBODY_ELSE)))) == 1
    assert len(list(listeners.reattach(Shown(), request("short")))) == 1
    shown = Shown()
    steps = listeners.reattach(shown, request())
    next(steps)
    assert "Converting into Kathleen" in drawn(next(steps))
    assert shown.job_id == job
    listeners.cancel(shown, request())
    assert "Stopped" in drawn(list(steps)[-1])


def test_the_choice_of_a_voice_stays_while_it_can(services: Services) -> None:
    listeners = _Listeners(services)
    first, *_ = listeners.voices(None, request()).choices
    assert listeners.voices(None, request()).value == first[1]
    assert listeners.voices(BUILT_IN, request()).value == BUILT_IN
    assert listeners.voices("0" * 32, request()).value == first[1]
    assert listeners.suit(None, "lite", request()) == (gr.skip(),) * 5
    assert listeners.suit(BUILT_IN, "lite", request())[0] == "lite"


def test_voices_of_one_name_can_be_told_apart(services: Services) -> None:
    caller = services.caller(request())
    add_voice(services.jobs, services.settings.data_dir)
    services.jobs.registry.update("models", "voice", user_id=caller.user_id, model_name="Kathleen")
    labels = [label for label, _ in _Listeners(services).voices(None, request()).choices]
    assert "Kathleen (voice)" in labels
    assert "Kathleen (builti)" in labels
    assert _voice_name(services, caller, None) == "a voice that is gone"


@pytest.mark.parametrize(
    ("moved", "told"), [(None, "Listen to both"), (0.0, "its own pitch"), (-2.5, "2.5 semitones down")]
)
def test_what_was_done_to_the_pitch_is_said(moved: float | None, told: str) -> None:
    assert told in _what_was_done({"result": {"transpose_semitones": moved}}, "Wren")


def test_one_or_many_is_asked_for_by_the_parts_that_are_shown() -> None:
    for how, many in ((ONE, False), (MANY, True)):
        source, example, files, button = suited_to_number(how)
        assert (source.visible, example.visible, files.visible) == (not many, not many, many)
        assert button.value == ("Convert all" if many else "Convert")


def test_a_long_batch_is_cut_on_the_page_and_says_so() -> None:
    files = [{"name": f"<{n}>", "status": "completed", "seconds": 1.0} for n in range(SHOWN_FILES + 7)]
    files[0] |= {"status": "failed", "reason": "It is <silent>.", "seconds": None}
    html = files_table(files)
    assert f"{SHOWN_FILES + 6} of {SHOWN_FILES + 7} done, 1 failed" in html
    assert "And 7 more" in html
    assert "&lt;silent&gt;" in html
    assert "<0>" not in html

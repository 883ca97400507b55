"""The Voices tab's listeners: a voice shown, renamed, exported, taken in and deleted; tokens and the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from tests.pipelines.jobs.toy_jobs import add_voice
from tests.ui.launched import RECORDING
from tests.ui.visitor import ME, SOMEBODY_ELSE, drawn, request, sent, services_at
from ui.look.html import NO_VOICES
from ui.server.services import Services
from ui.tabs import account, voices

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:gradio")


@pytest.fixture
def services(data_dir: Path, page_cache: Path) -> Iterator[Services]:
    with services_at(data_dir, started=False) as services:
        add_voice(services.jobs, data_dir)
        owner = services.caller(request()).user_id
        services.jobs.registry.update("models", "voice", user_id=owner)
        yield services


def test_a_voice_is_shown_and_only_its_owner_may_change_it(services: Services) -> None:
    listeners = voices._Listeners(services)
    choice, details, use, form, export, download, actions, name, question = listeners.show("voice", request())
    assert choice.value == "voice"
    assert "Toy" in details
    assert (use.visible, export.visible, actions.visible, name) == (True, True, True, "Toy")
    assert (form.visible, download.visible, question.visible) == (False, False, False)
    built_in = listeners.show("builtin-kathleen", request())
    assert not built_in[6].visible
    theirs = listeners.show("voice", request(SOMEBODY_ELSE))
    assert theirs[0].value != "voice"


def test_without_any_voice_the_tab_says_how_to_get_one(services: Services, tmp_path: Path) -> None:
    services.library._builtin_dir = tmp_path / "none"
    shown = voices._Listeners(services).show(None, request(SOMEBODY_ELSE))
    assert NO_VOICES in shown
    assert [one.visible for one in shown if hasattr(one, "visible")] == [False] * 7


def test_a_voice_is_renamed_and_a_bad_name_is_refused_in_words(services: Services) -> None:
    listeners = voices._Listeners(services)
    assert "Wren" in drawn(listeners.rename("voice", " Wren ", request()))
    for model_id, name, token, told in (
        ("voice", "", ME, "no name"),
        ("builtin-kathleen", "Mine", ME, "comes with Timbre"),
        ("voice", "Mine", SOMEBODY_ELSE, "no voice"),
        (None, "Mine", ME, "not the id"),
    ):
        with pytest.raises(gr.Error, match=told):
            listeners.rename(model_id, name, request(token))
    assert services.library.get(services.caller(request()), "voice")["model_name"] == "Wren"


def test_a_voice_that_was_exported_is_taken_in_again(services: Services) -> None:
    listeners = voices._Listeners(services)
    button, download = listeners.export("voice", "bundle", request())
    assert (button.visible, download.visible) == (False, True)
    # As the browser sends it back.
    bundle = sent(Path(str(download.value["path"] if isinstance(download.value, dict) else download.value)))
    taken = listeners.take_in([bundle], "Copy", request(SOMEBODY_ELSE))
    assert len(taken) == 11
    assert "Copy" in taken[1]
    with pytest.raises(gr.Error, match="bundle"):
        listeners.export("voice", "rvc", request())
    with pytest.raises(gr.Error, match="zip"):
        listeners.take_in([sent(RECORDING)], "", request())


def test_importing_nothing_is_answered_with_what_is_missing(services: Services) -> None:
    with pytest.warns(UserWarning, match="Add the files"):
        assert len(voices._Listeners(services).take_in(None, "", request())) == 11


def test_a_voice_is_deleted_after_a_question_and_only_by_its_owner(services: Services) -> None:
    listeners = voices._Listeners(services)
    question, asked = listeners.ask("voice", request())
    assert question.visible
    assert "Delete Toy for good?" in asked
    with pytest.raises(gr.Error, match="no voice"):
        listeners.delete("voice", request(SOMEBODY_ELSE))
    assert listeners.delete("voice", request())[0].value != "voice"
    with pytest.raises(gr.Error, match="no voice"):
        listeners.ask("voice", request())


def test_a_token_is_made_shown_once_and_revoked(services: Services) -> None:
    listeners = account._Listeners(services)
    with pytest.warns(UserWarning, match="Give the token a name"):
        listeners.create(" ", request())
    with pytest.warns(UserWarning, match="Choose a token"):
        listeners.revoke(None, request())
    code, name, _, tokens, revoke, _ = listeners.create("My laptop", request())
    assert code.visible
    assert name == ""
    secret = code.value.partition('token = "')[2].partition('"')[0]
    bearer = request()
    bearer.headers = type(bearer.headers)({"authorization": f"Bearer {secret}"})
    assert services.caller(bearer).user_id == services.caller(request()).user_id
    assert 'Client("http://127.0.0.1:7860"' in code.value
    with pytest.raises(gr.Error, match="cannot make tokens"):
        listeners.create("Another", bearer)
    ((line, token_id),) = tokens.choices
    assert line.startswith("My laptop · made just now")
    assert secret not in drawn(listeners.show(request()))
    assert revoke.visible
    assert not listeners.revoke(token_id, request())[1].visible
    with pytest.raises(gr.Error, match="not valid"):
        listeners.show(bearer)


def test_who_has_no_room_deletes_what_has_ended_and_what_runs_stays(services: Services) -> None:
    listeners, caller = account._Listeners(services), services.caller(request())
    targets = [services.jobs.upload(caller, [(RECORDING, "a.flac")], "target")["id"] for _ in range(2)]
    jobs = [services.submit(caller, "conversion", each, {}, model_id="voice")["id"] for each in targets]
    services.jobs.cancel(caller, jobs[0])
    used, _, _, clear = listeners.show(request())
    assert clear.visible
    assert "You use 0.0 MB" not in used
    question, *_ = listeners.clear(request())
    assert not question.visible
    left = {row["id"] for row in services.jobs.list(caller)}
    assert left == {targets[1], jobs[1]}

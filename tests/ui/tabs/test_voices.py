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
from ui.tabs.account import AccountPart
from ui.tabs.voices import VoicesTab

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:gradio")


@pytest.fixture
def services(data_dir: Path, page_cache: Path) -> Iterator[Services]:
    with services_at(data_dir, started=False) as services:
        add_voice(services.jobs, data_dir)
        owner = services.caller(request()).user_id
        services.jobs.registry.update("models", "voice", user_id=owner)
        yield services


@pytest.fixture
def tab(services: Services) -> VoicesTab:
    with gr.Blocks():
        return VoicesTab(services)


@pytest.fixture
def account(services: Services) -> AccountPart:
    with gr.Blocks():
        return AccountPart(services)


def test_a_voice_is_shown_and_only_its_owner_may_change_it(tab: VoicesTab) -> None:
    shown = tab.show("voice", request())
    assert set(shown) == set(tab.drawn)
    assert shown[tab.choice].value == "voice"
    assert "Toy" in shown[tab.details]
    assert shown[tab.name] == "Toy"
    assert all(shown[part].visible for part in (tab.use, tab.export_button, tab.actions))
    assert not any(shown[part].visible for part in (tab.form, tab.download, tab.question))
    assert not tab.show("builtin-kathleen", request())[tab.actions].visible
    assert tab.show("voice", request(SOMEBODY_ELSE))[tab.choice].value != "voice"


def test_without_any_voice_the_tab_says_how_to_get_one(
    tab: VoicesTab, services: Services, tmp_path: Path
) -> None:
    services.library._builtin_dir = tmp_path / "none"
    shown = tab.show(None, request(SOMEBODY_ELSE))
    assert shown.pop(tab.details) == NO_VOICES
    assert shown.pop(tab.name) == ""
    assert [one.visible for one in shown.values()] == [False] * 7


def test_a_voice_is_renamed_and_a_bad_name_is_refused_in_words(tab: VoicesTab, services: Services) -> None:
    assert tab.rename("voice", " Wren ", request())[tab.name] == "Wren"
    for model_id, name, token, told in (
        ("voice", "", ME, "no name"),
        ("builtin-kathleen", "Mine", ME, "comes with Timbre"),
        ("voice", "Mine", SOMEBODY_ELSE, "no voice"),
        (None, "Mine", ME, "not the id"),
    ):
        with pytest.raises(gr.Error, match=told):
            tab.rename(model_id, name, request(token))
    assert services.library.get(services.caller(request()), "voice")["model_name"] == "Wren"


def test_a_voice_that_was_exported_is_taken_in_again(tab: VoicesTab) -> None:
    exported = tab.export("voice", "bundle", request())
    download = exported[tab.download]
    assert (exported[tab.export_button].visible, download.visible) == (False, True)
    # As the browser sends it back.
    bundle = sent(Path(str(download.value["path"] if isinstance(download.value, dict) else download.value)))
    taken = tab.import_voice([bundle], "Copy", request(SOMEBODY_ELSE))
    assert set(taken) == {*tab.drawn, tab.bundle, tab.bundle_name}
    assert "Copy" in taken[tab.details]
    with pytest.raises(gr.Error, match="bundle"):
        tab.export("voice", "rvc", request())
    with pytest.raises(gr.Error, match="zip"):
        tab.import_voice([sent(RECORDING)], "", request())


def test_importing_nothing_is_answered_with_what_is_missing(tab: VoicesTab) -> None:
    with pytest.warns(UserWarning, match="Add the files"):
        assert tab.import_voice(None, "", request()) == gr.skip()


def test_a_voice_is_deleted_after_a_question_and_only_by_its_owner(tab: VoicesTab) -> None:
    asked = tab.ask("voice", request())
    assert asked[tab.question].visible
    assert "Delete Toy for good?" in asked[tab.asked]
    with pytest.raises(gr.Error, match="no voice"):
        tab.delete("voice", request(SOMEBODY_ELSE))
    assert tab.delete("voice", request())[tab.choice].value != "voice"
    with pytest.raises(gr.Error, match="no voice"):
        tab.ask("voice", request())


def test_a_token_is_made_shown_once_and_revoked(account: AccountPart, services: Services) -> None:
    with pytest.warns(UserWarning, match="Give the token a name"):
        assert account.create(" ", request()) == gr.skip()
    with pytest.warns(UserWarning, match="Choose a token"):
        assert account.revoke(None, request()) == gr.skip()
    made = account.create("My laptop", request())
    code = made[account.code]
    assert code.visible
    assert made[account.name] == ""
    secret = code.value.partition('token = "')[2].partition('"')[0]
    bearer = request()
    bearer.headers = type(bearer.headers)({"authorization": f"Bearer {secret}"})
    assert services.caller(bearer).user_id == services.caller(request()).user_id
    assert 'Client("http://127.0.0.1:7860"' in code.value
    with pytest.raises(gr.Error, match="cannot make tokens"):
        account.create("Another", bearer)
    ((line, token_id),) = made[account.tokens].choices
    assert line.startswith("My laptop · made just now")
    assert secret not in drawn(list(account.show(request()).values()))
    assert made[account.revoke_button].visible
    assert not account.revoke(token_id, request())[account.tokens].visible
    with pytest.raises(gr.Error, match="not valid"):
        account.show(bearer)


def test_who_has_no_room_deletes_what_has_ended_and_what_runs_stays(
    account: AccountPart, services: Services
) -> None:
    caller = services.caller(request())
    targets = [services.jobs.upload(caller, [(RECORDING, "a.flac")], "target")["id"] for _ in range(2)]
    jobs = [services.submit(caller, "conversion", each, {}, model_id="voice")["id"] for each in targets]
    services.jobs.cancel(caller, jobs[0])
    shown = account.show(request())
    assert shown[account.clear_button].visible
    assert "You use 0.0 MB" not in shown[account.used]
    assert not account.clear(request())[account.question].visible
    left = {row["id"] for row in services.jobs.list(caller)}
    assert left == {targets[1], jobs[1]}

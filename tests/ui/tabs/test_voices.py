"""The Voices tab's listeners: a voice shown, renamed, exported, taken in and deleted; tokens and the disk."""

from __future__ import annotations

import json
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
from ui.tabs.convert import ConvertTab
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
    assert shown.pop(tab.pitch.how) is None
    within = {*tab.blend.drawn, *tab.permission.drawn} - {tab.blend.part, tab.permission.part}  # hidden
    assert not any(one.visible for part, one in shown.items() if part not in within)


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
    assert "Delete Toy?" in asked[tab.asked]
    assert asked[tab.told] == ""
    with pytest.raises(gr.Error, match="no voice"):
        tab.delete("voice", "", request(SOMEBODY_ELSE))
    assert tab.delete("voice", "", request())[tab.choice].value != "voice"
    with pytest.raises(gr.Error, match="The voice Toy was deleted; choose another"):
        tab.ask("voice", request())
    with pytest.raises(gr.Error, match="The voice Toy was deleted; choose another"):
        tab.rename("voice", "Wren", request())


def test_who_deletes_a_voice_that_jobs_use_is_asked_about_them(tab: VoicesTab, services: Services) -> None:
    caller = services.caller(request())
    target = services.jobs.upload(caller, [(RECORDING, "a.flac")], "target")["id"]
    assert tab.ask("voice", request())[tab.told] == ""
    job = services.submit(caller, "conversion", target, {}, model_id="voice")["id"]
    with pytest.raises(gr.Error, match="in use by 1 conversion; "):  # it began after the question
        tab.delete("voice", "", request())
    asked = tab.ask("voice", request())
    assert "It is in use by 1 conversion, which will fail." in asked[tab.asked]
    tab.delete("voice", asked[tab.told], request())
    row = services.jobs.get(caller, job)
    assert (row["status"], row["error_message"]) == ("failed", "The voice Toy was deleted; choose another.")


def test_a_deleted_voice_is_listed_with_the_time_it_has_and_comes_back(
    tab: VoicesTab, services: Services
) -> None:
    assert not tab.show(None, request())[tab.trash.part].visible
    deleted = tab.delete("voice", "", request())
    assert deleted[tab.trash.part].visible
    ((line, model_id),) = deleted[tab.trash.choice].choices
    assert model_id == deleted[tab.trash.choice].value == "voice"
    assert line == "Toy · deleted just now · about 24.0 h left"
    assert not tab.show(None, request(SOMEBODY_ELSE))[tab.trash.part].visible
    with pytest.raises(gr.Error, match="no voice"):
        tab.restore("voice", request(SOMEBODY_ELSE))
    back = tab.restore("voice", request())
    assert back[tab.choice].value == "voice"
    assert not back[tab.trash.part].visible
    with pytest.raises(gr.Error, match="not deleted"):
        tab.restore("voice", request())
    with pytest.raises(gr.Error, match="not among the deleted ones"):  # an old page's list
        tab.purge("voice", None, request())
    tab.delete("voice", "", request())
    gone = tab.purge("voice", "builtin-kathleen", request())
    assert gone[tab.choice].value == "builtin-kathleen"
    assert not gone[tab.trash.part].visible
    assert services.jobs.registry.get("models", "voice") is None


def test_a_list_that_is_older_than_a_deletion_heals(
    tab: VoicesTab, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another tab of the page, or a program, has deleted what is chosen in this one."""
    services.jobs.delete_voice(services.caller(request()), "voice")
    shown = tab.show("voice", request())
    assert "is gone; this is another one" in capsys.readouterr().out
    assert shown[tab.choice].value not in (None, "voice")
    healed = tab.heal("voice", request())
    assert 'value="voice"' not in healed[tab.choice].props["cards"]
    kept = tab.heal("builtin-kathleen", request())
    assert set(kept) == {*tab.trash.drawn, tab.question}
    assert not kept[tab.question].visible


def test_what_is_chosen_reaches_the_listeners_also_when_it_is_gone_from_the_list(
    tab: VoicesTab, services: Services
) -> None:
    """Else Gradio answers, with a list of ids."""
    with gr.Blocks():
        convert = ConvertTab(services)
    for part in (tab.choice, tab.trash.choice, convert.voice):
        assert part.preprocess("0" * 32) == "0" * 32
        assert part.preprocess(None) is None
        with pytest.raises(gr.Error, match="no entry of the list"):
            part.preprocess(["x"])
        assert part.get_block_name() in ("radio", "html")
        again = part.__class__("a", render=False)
        assert again.preprocess("b") == "b"


def unknown_pitch(services: Services) -> None:
    folder = services.settings.data_dir / "models" / "voice"
    card = json.loads((folder / "card.json").read_text(encoding="utf-8")) | {"f0": {}}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    services.jobs.registry.update("models", "voice", f0={}, uses_f0=True)


def test_it_is_said_that_a_voice_does_not_know_its_pitch_until_it_is_set(
    tab: VoicesTab, services: Services
) -> None:
    note = "Automatic pitch does nothing for this voice until its pitch is set on the Voices tab."
    with gr.Blocks():
        convert = ConvertTab(services)
    unknown_pitch(services)
    assert note in tab.show("voice", request())[tab.details]

    def cards(chosen: str) -> str:
        shown = convert.voices(chosen, "lite", True, 0, request())
        return str(shown[convert.voice].props["cards"])

    assert note in cards("voice")
    assert note not in cards("builtin-kathleen")
    shown = tab.set_pitch("voice", "low", None, None, request())
    assert set(shown) == set(tab.drawn)
    assert note not in shown[tab.details]
    assert "120 Hz in the middle, 84 to 180 Hz" in shown[tab.details]
    assert note not in cards("voice")
    services.jobs.registry.update("models", "voice", uses_f0=False, f0={})
    assert "trained without F0" in cards("voice")
    assert not tab.show("voice", request())[tab.pitch.part].visible


def test_the_pitch_is_set_by_a_number_or_a_recording_and_only_by_the_owner(
    tab: VoicesTab, services: Services
) -> None:
    assert [part.visible for part in tab.pitch.suited("number").values()] == [True, False]
    assert [part.visible for part in tab.pitch.suited("recording").values()] == [False, True]
    tab.set_pitch("voice", "number", 98.0, None, request())
    assert services.library.get(services.caller(request()), "voice")["f0"]["median_hz"] == 98.0
    tab.set_pitch("voice", "recording", 98.0, sent(RECORDING), request())
    assert 99 < services.library.get(services.caller(request()), "voice")["f0"]["median_hz"] < 103
    for how in (None, "number", "recording"):
        with pytest.warns(UserWarning, match="Say where the voice lies"):
            assert tab.set_pitch("voice", how, None, None, request()) == gr.skip()
    for model_id, token, told in (
        ("voice", SOMEBODY_ELSE, "no voice"),
        ("builtin-kathleen", ME, "comes with Timbre"),
        (None, ME, "not the id"),
    ):
        with pytest.raises(gr.Error, match=told):
            tab.set_pitch(model_id, "low", None, None, request(token))
    with pytest.raises(gr.Error, match="no voice's; give one"):
        tab.set_pitch("voice", "number", 5.0, None, request())


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

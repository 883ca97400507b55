"""The Admin page: who may see and do what, whatever the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pipelines.store.records import Caller, new_id, new_job
from rvc.errors import NotAllowedError
from tests.cheap_accounts import accounts_of
from tests.pipelines.jobs.toy_jobs import add_voice
from tests.ui.launched import RECORDING, surroundings
from tests.ui.visitor import request, services_at
from ui.server.services import Services, admin_of
from ui.tabs.admin import ACTIVE_ONES, EVERYTHING, FAILED, GIVEN_UP, AdminLink, AdminPage
from ui.tabs.admin_cards import jobs_table, limits_card, short_user


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("admin")
    with surroundings(folder), services_at(folder / "data") as services:
        yield services


@pytest.fixture
def tab(services: Services) -> AdminPage:
    return tab_of(services)


def tab_of(services: Services) -> AdminPage:
    with gr.Blocks():
        return AdminPage(services)


REMOTE = [
    {"peer": "10.0.0.7"},
    {"x_forwarded_for": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"fastly_client_ip": "127.0.0.1"},
    {"host": "voices.example.org"},
    {"origin": "https://voices.example.org"},
    {"referer": "https://voices.example.org/"},
]


@pytest.mark.parametrize("asked", REMOTE, ids=str)
def test_without_a_login_only_this_machine_is_the_admin(services: Services, asked: dict[str, str]) -> None:
    assert admin_of(services, request()).admin
    with pytest.raises(NotAllowedError):
        admin_of(services, request(**asked))


def test_nobody_is_the_admin_of_a_shared_page_without_a_login(services: Services) -> None:
    with pytest.raises(NotAllowedError):
        admin_of(Services.of(services.settings, services.jobs, shared=True), request())


def test_with_a_login_its_admins_are_and_nobody_else(services: Services, tmp_path: Path) -> None:
    users = accounts_of(tmp_path, "root", "anna")
    settings = services.settings.model_copy(update={"auth_file": users.path})
    services = Services.of(settings, services.jobs, shared=True)
    token = {}
    for account in filter(None, map(users.get, ("root", "anna"))):
        made = services.callers.tokens.create(account.name, "personal", "x", account=account.id)
        token[account.name] = made[0]
    assert admin_of(services, request(peer="10.0.0.7", authorization=f"Bearer {token['root']}")).admin
    for asked in (request(authorization=f"Bearer {token['anna']}"), request()):
        with pytest.raises(NotAllowedError):
            admin_of(services, asked)
    with pytest.raises(NotAllowedError):
        admin_of(services, None)


def test_every_listener_refuses_who_is_no_admin(tab: AdminPage) -> None:
    stranger = request(peer="10.0.0.7")
    public = {name for name in vars(AdminPage) if not name.startswith("_")}
    assert public == {"wire", "open", "choose", "pick", "cancel", "resume", "retry", "look", "remove"}
    for name in ("choose", "cancel", "resume", "retry"):
        with pytest.raises(gr.Error, match="who runs the server"):
            getattr(tab, name)(EVERYTHING, new_id(), stranger)
    for name in ("look", "remove"):
        with pytest.raises(gr.Error, match="who runs the server"):
            getattr(tab, name)(stranger)
    with pytest.raises(gr.Error, match="who runs the server"):
        tab.pick(EVERYTHING, gr.EventData(None, {"job": new_id()}), stranger)
    for sent in ({"job": "../x"}, {}, None, "x"):
        with pytest.raises(gr.Error, match="not the id"):
            tab.pick(EVERYTHING, gr.EventData(None, sent), request())
    refused = tab.open(EVERYTHING, None, stranger)
    assert set(refused) == {tab.refused, tab.column}
    assert "who runs the server" in refused[tab.refused].value
    assert refused[tab.column].visible is False


def test_the_way_to_the_page_is_shown_to_admins_alone(services: Services) -> None:
    with gr.Blocks():
        link = AdminLink(services)
    assert link.show(request(peer="10.0.0.7")).visible is False
    assert 'href="admin"' in str(link.show(request()).value)


def test_before_anybody_did_anything_the_tab_says_so(tmp_path: Path) -> None:
    with services_at(tmp_path / "data", started=False) as fresh:
        tab = tab_of(fresh)
        assert "No jobs yet" in tab.choose(EVERYTHING, None, request())[tab.list]
        assert "Choose another list" in tab.choose(FAILED, None, request())[tab.list]
        assert "Nothing was given up" in tab.choose(GIVEN_UP, None, request())[tab.list]


def add(services: Services, user: str, **fields: Any) -> str:  # noqa: ANN401
    """A job of somebody, with a log, as an earlier day left it."""
    caller = Caller(user)
    upload = services.jobs.upload(caller, [(RECORDING, "visitor.flac")], "target")
    row = new_job(
        user, "preprocessing", status="failed", seq=services.jobs.next_seq(), upload_id=upload["id"]
    )
    row |= {"input_job_id": upload["id"], "files": services.jobs.registry.get("jobs", upload["id"])["files"]}  # type: ignore[index]
    services.jobs.registry.insert("jobs", row | fields)
    folder = services.settings.data_dir / "jobs" / row["id"]
    folder.mkdir()
    (folder / "worker.log").write_text("Traceback <b>of the fault</b>")
    return str(row["id"])


def test_jobs_of_everybody_are_listed_and_dead_letters_are_retried_by_hand(
    services: Services, tab: AdminPage
) -> None:
    letter = add(services, "anna", dead_letter=True, attempts=3, error_message="It failed 3 times.")
    refused = add(services, "berta", error_message="The recording is too short.")

    def ids(shown: str) -> set[str]:
        return set(re.findall(r'data-job="(\w+)"', tab.choose(shown, None, request())[tab.list]))

    assert {letter, refused} <= ids(EVERYTHING)
    assert ids(FAILED) == {letter, refused}
    assert ids(GIVEN_UP) == {letter}
    assert ids(ACTIVE_ONES) == set()
    shown = tab.pick(GIVEN_UP, gr.EventData(None, {"job": letter}), request())
    assert shown[tab.chosen] == letter
    assert "It failed 3 times." in shown[tab.details]
    assert "anna" in shown[tab.details]
    buttons = tab.buttons
    assert [shown[button].visible for button in buttons] == [False, False, True]
    assert "&lt;b&gt;of the fault" in shown[tab.log].value
    tab.retry(GIVEN_UP, letter, request())
    last = list(services.jobs.follow(Caller("root", admin=True), letter))[-1]
    assert last["status"] == "completed"
    assert last["user_id"] == "anna"
    assert ids(GIVEN_UP) == set()


def test_a_batch_is_shown_file_by_file_and_goes_on_rather_than_starts_again(
    services: Services, tab: AdminPage
) -> None:
    upload = services.jobs.upload(Caller("anna"), [(RECORDING, "visitor.flac")], "batch")
    row = new_job("anna", "batch", status="cancelled", seq=services.jobs.next_seq(), upload_id=upload["id"])
    files = [one | {"status": "failed", "reason": "It is all noise."} for one in upload["files"]]
    services.jobs.registry.insert("jobs", row | {"input_job_id": upload["id"], "files": files})
    (services.settings.data_dir / "jobs" / row["id"]).mkdir()
    shown = tab.choose(EVERYTHING, row["id"], request())
    assert "It is all noise." in shown[tab.details]
    assert [shown[one].visible for one in tab.buttons[1:]] == [True, False]


def test_a_clean_up_is_shown_before_it_is_done(services: Services, tab: AdminPage) -> None:
    old = add(services, "anna", updated_at="2020-01-01T00:00:00.000+00:00")
    looked = tab.look(request())
    assert "A clean-up would remove " in looked[tab.found].value
    assert looked[tab.remove_button].visible is True
    assert services.jobs.registry.get("jobs", old) is not None
    removed = tab.remove(request())
    assert "Removed: " in removed[tab.found].value
    assert removed[tab.remove_button].visible is False
    assert "anna" in removed[tab.shares]
    assert services.jobs.registry.get("jobs", old) is None
    assert not (services.settings.data_dir / "jobs" / old).exists()


def test_a_clean_up_names_the_voices_whose_day_in_the_trash_is_over(
    services: Services, tab: AdminPage
) -> None:
    add_voice(services.jobs, services.settings.data_dir)
    services.jobs.delete_voice(Caller("me"), "voice")
    assert "nothing to clean up" in tab.look(request())[tab.found].value
    services.jobs.registry.update("models", "voice", deleted_at="2020-01-01T00:00:00.000+00:00")
    looked = tab.look(request())[tab.found].value
    assert "A clean-up would remove " in looked
    assert "Toy of me, deleted Jan 1, 2020" in looked
    tab.remove(request())
    assert not (services.settings.data_dir / "models" / "voice").exists()


def test_opening_the_tab_shows_the_server_and_no_secret(services: Services, tab: AdminPage) -> None:
    opened = tab.open(EVERYTHING, None, request())
    assert set(opened) == set(tab.drawn)
    assert 'type="search"' in opened[tab.shares]
    everything = str(list(opened.values()))
    assert "processor cores" in everything or "GPU" in everything
    assert (services.settings.data_dir / "secret").read_text() not in everything
    assert str(services.settings.data_dir) not in everything


def test_the_limits_of_a_user_are_shown_and_which_there_are_none(services: Services) -> None:
    wishes = {"uploads_per_hour": 71, "starts_per_hour": 72, "quota_mb_per_user": 0}
    shown = limits_card(services.settings.model_copy(update=wishes))
    for name, value in (("UPLOADS", "71"), ("STARTS", "72")):
        assert f"<dt>{name}_PER_HOUR</dt><dd>{value}</dd>" in shown
    assert "<dt>QUOTA_MB_PER_USER</dt><dd>no limit</dd>" in shown


def test_visitors_are_shown_by_a_short_name() -> None:
    assert short_user("visitor-" + "ab" * 16) == "visitor ababab"
    assert short_user("client-" + "cd" * 16) == "client cdcdcd"
    assert short_user("anna-lena") == "anna-lena"


def test_what_people_typed_is_no_markup_in_the_tables() -> None:
    row = new_job("<b>eve", "training", status="failed", seq=1, model_name="<script>x</script>")
    html = jobs_table([row | {"position": None}], row["id"])
    assert "<b>" not in html
    assert "<script>" not in html
    assert 'aria-current="true"' in html

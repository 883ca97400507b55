"""The Admin tab: who may see and do what, whatever the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from starlette.datastructures import Headers

from pipelines.store.records import Caller, new_id, new_job
from rvc.errors import NotAllowedError
from tests.cheap_accounts import accounts_of
from tests.ui.launched import RECORDING, Launched, launched
from ui.server.services import Services, admin_of
from ui.tabs.admin import ACTIVE_ONES, EVERYTHING, FAILED, GIVEN_UP, AdminTab, limits_card, short_user

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # Gradio's own use of pandas
HOST = {"host": "127.0.0.1:7860"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("admin")) as page:
        yield page


def services_of(page: Launched, *, shared: bool = False, users: Path | None = None) -> Services:
    settings = page.jobs._settings.model_copy(update={"auth_file": users})
    return Services.of(settings, page.jobs, shared=shared)


def request(peer: str = "127.0.0.1", **headers: str) -> Any:  # noqa: ANN401
    sent = (
        HOST
        | {"x-timbre-token": "a-token-of-a-test-1"}
        | {k.replace("_", "-"): v for k, v in headers.items()}
    )
    client = SimpleNamespace(host=peer)
    return SimpleNamespace(headers=Headers(sent), cookies={}, client=client)


@pytest.fixture
def tab(page: Launched) -> AdminTab:
    return tab_of(page)


def tab_of(page: Launched) -> AdminTab:
    with gr.Blocks():
        return AdminTab(services_of(page))


REMOTE = [
    {"peer": "10.0.0.7"},
    {"x_forwarded_for": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
    {"host": "voices.example.org"},
]


@pytest.mark.parametrize("asked", REMOTE, ids=str)
def test_without_a_login_only_this_machine_is_the_admin(page: Launched, asked: dict[str, str]) -> None:
    assert admin_of(services_of(page), request()).admin
    with pytest.raises(NotAllowedError):
        admin_of(services_of(page), request(**asked))


def test_nobody_is_the_admin_of_a_shared_page_without_a_login(page: Launched) -> None:
    with pytest.raises(NotAllowedError):
        admin_of(services_of(page, shared=True), request())


def test_with_a_login_its_admins_are_and_nobody_else(page: Launched, tmp_path: Path) -> None:
    users = accounts_of(tmp_path, "root", "anna").path
    services = services_of(page, shared=True, users=users)
    token = {name: services.callers.tokens.create(name, "personal", "x")[0] for name in ("root", "anna")}
    assert admin_of(services, request("10.0.0.7", authorization=f"Bearer {token['root']}")).admin
    for asked in (request(authorization=f"Bearer {token['anna']}"), request()):
        with pytest.raises(NotAllowedError):
            admin_of(services, asked)
    with pytest.raises(NotAllowedError):
        admin_of(services, None)


def test_every_listener_refuses_who_is_no_admin(tab: AdminTab) -> None:
    stranger = request("10.0.0.7")
    public = {name for name in vars(AdminTab) if not name.startswith("_")}
    assert public == {"wire", "show", "open", "choose", "cancel", "resume", "retry", "look", "remove"}
    for name in ("open", "choose", "cancel", "resume", "retry"):
        with pytest.raises(gr.Error, match="who runs the server"):
            getattr(tab, name)(EVERYTHING, new_id(), stranger)
    for name in ("look", "remove"):
        with pytest.raises(gr.Error, match="who runs the server"):
            getattr(tab, name)(stranger)
    assert tab.show(stranger).visible is False
    assert tab.show(request()).visible is True


def test_before_anybody_did_anything_the_tab_says_so(tmp_path: Path) -> None:
    with launched(tmp_path) as fresh:
        tab = tab_of(fresh)
        assert "No jobs yet" in tab.choose(EVERYTHING, None, request())[tab.details]
        assert "Choose another list" in tab.choose(FAILED, None, request())[tab.details]
        assert "Nothing was given up" in tab.choose(GIVEN_UP, None, request())[tab.details]


def add(page: Launched, user: str, **fields: Any) -> str:  # noqa: ANN401
    """A job of somebody, with a log, as an earlier day left it."""
    caller = Caller(user)
    upload = page.jobs.upload(caller, [(RECORDING, "visitor.flac")], "target")
    row = new_job(user, "preprocessing", status="failed", seq=page.jobs._next_seq(), upload_id=upload["id"])
    row |= {"input_job_id": upload["id"], "files": page.jobs.registry.get("jobs", upload["id"])["files"]}  # type: ignore[index]
    page.jobs.registry.insert("jobs", row | fields)
    folder = page.data_dir / "jobs" / row["id"]
    folder.mkdir()
    (folder / "worker.log").write_text("Traceback <b>of the fault</b>")
    return str(row["id"])


def test_jobs_of_everybody_are_listed_and_dead_letters_are_retried_by_hand(
    page: Launched, tab: AdminTab
) -> None:
    letter = add(page, "anna", dead_letter=True, attempts=3, error_message="It failed 3 times.")
    refused = add(page, "berta", error_message="The recording is too short.")

    def ids(shown: str) -> set[str]:
        return {job_id for _, job_id in tab.choose(shown, None, request())[tab.choice].choices}

    assert {letter, refused} <= ids(EVERYTHING)
    assert ids(FAILED) == {letter, refused}
    assert ids(GIVEN_UP) == {letter}
    assert ids(ACTIVE_ONES) == set()
    shown = tab.choose(GIVEN_UP, letter, request())
    assert "It failed 3 times." in shown[tab.details]
    assert "anna" in shown[tab.details]
    buttons = tab.buttons
    assert [shown[button].visible for button in buttons] == [False, False, True]
    assert "&lt;b&gt;of the fault" in shown[tab.log].value
    tab.retry(GIVEN_UP, letter, request())
    last = list(page.jobs.follow(Caller("root", admin=True), letter))[-1]
    assert last["status"] == "completed"
    assert last["user_id"] == "anna"
    assert ids(GIVEN_UP) == set()


def test_a_batch_is_shown_file_by_file_and_goes_on_rather_than_starts_again(
    page: Launched, tab: AdminTab
) -> None:
    upload = page.jobs.upload(Caller("anna"), [(RECORDING, "visitor.flac")], "batch")
    row = new_job("anna", "batch", status="cancelled", seq=page.jobs._next_seq(), upload_id=upload["id"])
    files = [one | {"status": "failed", "reason": "It is all noise."} for one in upload["files"]]
    page.jobs.registry.insert("jobs", row | {"input_job_id": upload["id"], "files": files})
    (page.data_dir / "jobs" / row["id"]).mkdir()
    shown = tab.choose(EVERYTHING, row["id"], request())
    assert "It is all noise." in shown[tab.details]
    assert [shown[one].visible for one in tab.buttons[1:]] == [True, False]


def test_a_clean_up_is_shown_before_it_is_done(page: Launched, tab: AdminTab) -> None:
    old = add(page, "anna", updated_at="2020-01-01T00:00:00.000+00:00")
    looked = tab.look(request())
    assert "would remove 1 old job" in looked[tab.found].value
    assert looked[tab.remove_button].visible is True
    assert page.jobs.registry.get("jobs", old) is not None
    removed = tab.remove(request())
    assert "Removed 1 old job" in removed[tab.found].value
    assert removed[tab.remove_button].visible is False
    assert "anna" in removed[tab.shares]
    assert page.jobs.registry.get("jobs", old) is None
    assert not (page.data_dir / "jobs" / old).exists()


def test_opening_the_tab_shows_the_server_and_no_secret(page: Launched, tab: AdminTab) -> None:
    opened = tab.open(EVERYTHING, None, request())
    assert set(opened) == set(tab.drawn)
    everything = str(list(opened.values()))
    assert "processor cores" in everything or "GPU" in everything
    assert (page.data_dir / "secret").read_text() not in everything
    assert str(page.data_dir) not in everything


def test_the_limits_of_a_user_are_shown_and_which_there_are_none(page: Launched) -> None:
    wishes = {"uploads_per_hour": 71, "starts_per_hour": 72, "quota_mb_per_user": 0}
    shown = limits_card(page.jobs._settings.model_copy(update=wishes))
    for name, value in (("UPLOADS", "71"), ("STARTS", "72")):
        assert f"<dt>{name}_PER_HOUR</dt><dd>{value}</dd>" in shown
    assert "<dt>QUOTA_MB_PER_USER</dt><dd>no limit</dd>" in shown


def test_visitors_are_shown_by_a_short_name() -> None:
    assert short_user("visitor-" + "ab" * 16) == "visitor ababab"
    assert short_user("client-" + "cd" * 16) == "client cdcdcd"
    assert short_user("anna-lena") == "anna-lena"

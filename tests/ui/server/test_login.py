"""Logging in from Python and by hand, tokens; and other people's things are as if they were not there."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AuthenticationError  # type: ignore[import-untyped]

from pipelines.users.accounts import Accounts
from tests.cheap_accounts import accounts_of, password_of
from tests.ui.launched import RECORDING, Launched, client_to, launched
from tests.ui.raw_http import Answer, ask
from tests.ui.strangers import refusal, same_answer_everywhere, things_of
from ui.server.login import AT_ONCE

PASSWORDS = {name: password_of(name) for name in ("ada", "bob", "root")}


def users_file(folder: Path) -> Path:
    return accounts_of(folder, *PASSWORDS).path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    folder = tmp_path_factory.mktemp("login")
    with launched(folder, auth_file=users_file(folder), logins_per_hour=0) as page:
        yield page


def client_of(page: Launched, name: str) -> Client:
    return client_to(page, auth=(name, PASSWORDS[name]))


@pytest.fixture(scope="module")
def ada(page: Launched) -> Client:
    return client_of(page, "ada")


@pytest.fixture(scope="module")
def bob(page: Launched) -> Client:
    return client_of(page, "bob")


@pytest.fixture(scope="module")
def things(ada: Client) -> dict[str, str]:
    """One of everything, of Ada's: ids by the name of the parameter that takes them."""
    return things_of(ada)


def post_login(page: Launched, name: str, password: str, **headers: str) -> Answer:
    return ask(
        page.url,
        "/login",
        method="POST",
        body=urlencode({"username": name, "password": password}),
        content_type="application/x-www-form-urlencoded",
        **headers,
    )


def test_a_client_logs_in_and_is_that_user(page: Launched, ada: Client) -> None:
    assert ada.predict(api_name="/account")["user_id"] == "ada"
    assert ada.predict(api_name="/account")["admin"] is False
    assert client_of(page, "root").predict(api_name="/account")["admin"] is True
    assert ada.predict(api_name="/info")["login"] is True


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong password"), ("nobody", PASSWORDS["ada"])])
def test_a_wrong_password_and_an_unknown_user_are_answered_alike(
    page: Launched, name: str, password: str
) -> None:
    with pytest.raises(AuthenticationError):
        client_to(page, auth=(name, password))
    answer = post_login(page, name, password)
    assert answer.status == 401
    assert answer.text == '{"detail":"The name or the password is wrong; try again."}'
    assert answer.header("set-cookie") is None


def test_without_a_login_nothing_is_answered(page: Launched) -> None:
    with pytest.raises(AuthenticationError):
        client_to(page)
    form = ask(page.url, "/")
    assert (form.status, "Password" in form.text, "gradio" in form.text) == (200, True, False)
    event = '{"data": [], "event_id": null, "fn_index": 0, "session_hash": "x", "event_data": null}'
    tries = [
        ("GET", "/config", None),
        ("GET", "/gradio_api/info", None),
        ("GET", f"/gradio_api/file={page.data_dir}/registry.json", None),
        ("GET", "/gradio_api/queue/data?session_hash=x", None),
        ("GET", "/gradio_api/heartbeat/x", None),
        ("POST", "/gradio_api/upload", "x"),
        ("POST", "/gradio_api/queue/join", event),
        ("POST", "/gradio_api/call/list_models", '{"data": []}'),
        ("POST", "/gradio_api/cancel", '{"session_hash": "x", "fn_index": 0, "event_id": "x"}'),
        ("POST", "/login/", "username=ada"),
        ("GET", "/login/../config", None),
        ("GET", "//config", None),
    ]
    for method, path, body in tries:
        answer = ask(page.url, path, method=method, body=body, content_type="application/json")
        assert answer.status in (401, 404), path
    forged = f"timbre_login_{'0' * 8}=tms_{'0' * 16}_{'0' * 64}"
    assert ask(page.url, "/config", cookie=forged).status == 401


def test_other_people_s_ids_are_answered_like_unknown_ones_by_every_endpoint(
    ada: Client, bob: Client, things: dict[str, str]
) -> None:
    same_answer_everywhere(bob, things)
    assert things["model_id"] in [row["id"] for row in ada.predict(api_name="/list_models")]
    assert ada.predict(things["job_id"], api_name="/job_status")["status"] == "completed"
    assert ada.predict(api_name="/list_tokens")


def test_lists_hold_one_s_own_and_an_admin_s_everybody_s(
    page: Launched, bob: Client, things: dict[str, str]
) -> None:
    root = client_of(page, "root")
    assert all(row["builtin"] for row in bob.predict(api_name="/list_models"))
    for user_id in ("", "ada"):
        assert things["job_id"] not in [row["id"] for row in bob.predict(user_id, api_name="/list_jobs")]
        assert things["job_id"] in [row["id"] for row in root.predict(user_id, api_name="/list_jobs")]
    assert things["model_id"] in [row["id"] for row in root.predict(api_name="/list_models")]
    assert bob.predict(api_name="/list_tokens") == []
    assert root.predict(api_name="/list_tokens") == [], "tokens are nobody else's business"


def test_a_personal_token_acts_for_its_user_until_it_is_revoked(page: Launched, ada: Client) -> None:
    made = ada.predict("My laptop", api_name="/create_token")
    for header in ({"Authorization": f"Bearer {made['token']}"}, {"x-timbre-token": made["token"]}):
        program = client_to(page, headers=header)
        assert program.predict(api_name="/account")["user_id"] == "ada"
        sent = program.predict(handle_file(RECORDING), api_name="/upload_target_audio")
        assert ada.predict(sent["job_id"], api_name="/job_status")["id"] == sent["job_id"]
    assert "cannot make tokens" in refusal(program, "another", api_name="/create_token")
    (listed,) = [row for row in ada.predict(api_name="/list_tokens") if row["id"] == made["id"]]
    assert listed["last_used_at"]
    assert made["token"] not in str(listed)
    ada.predict(made["id"], api_name="/revoke_token")
    with pytest.raises(AuthenticationError):
        client_to(page, headers={"Authorization": f"Bearer {made['token']}"})


def cookie_of(page: Launched, name: str) -> str:
    line = post_login(page, name, PASSWORDS[name], accept="text/html").header("set-cookie") or ""
    return line.partition(";")[0]


def test_a_login_ends_with_the_logout(page: Launched) -> None:
    answer = post_login(page, "ada", PASSWORDS["ada"], accept="text/html")
    assert (answer.status, answer.header("location")) == (303, "./")
    line = answer.header("set-cookie") or ""
    assert {"HttpOnly", "SameSite=Lax"} <= set(line.split("; "))
    cookie = line.partition(";")[0]
    assert ask(page.url, "/config", cookie=cookie).status == 200
    assert ask(page.url, "/login", cookie=cookie).header("location") == "./"
    gone = ask(page.url, "/logout", method="POST", cookie=cookie)
    assert (gone.status, gone.header("location")) == (303, "./")
    assert "Max-Age=0" in (gone.header("set-cookie") or "")
    assert ask(page.url, "/config", cookie=cookie).status == 401


def test_no_link_and_no_other_site_can_log_somebody_out(page: Launched) -> None:
    cookie = cookie_of(page, "ada")
    for method in ("GET", "HEAD"):
        for path in ("/logout", "/logout?all_session=true", "/logout/", "//logout"):
            answer = ask(page.url, path, method=method, cookie=cookie)
            assert answer.status in (307, 404, 405), path
            assert "Max-Age=0" not in (answer.header("set-cookie") or "")
    assert ask(page.url, "/logout", cookie=cookie).status == 405
    assert ask(page.url, "/logout", cookie=cookie).header("allow") == "POST"
    for origin in ("https://elsewhere.example", "null"):
        answer = ask(page.url, "/logout", method="POST", cookie=cookie, origin=origin)
        assert (answer.status, answer.header("set-cookie")) == (403, None)
    assert ask(page.url, "/config", cookie=cookie).status == 200
    same = page.url.rstrip("/")
    assert ask(page.url, "/logout", method="POST", cookie=cookie, origin=same).status == 303
    assert ask(page.url, "/config", cookie=cookie).status == 401


def test_the_way_out_is_found_behind_a_prefix_of_a_proxy_too(page: Launched) -> None:
    config = ask(page.url, "/config", cookie=cookie_of(page, "ada")).text
    assert re.findall(r'action=\\"([^"\\]*)\\"', config) == ["logout"], "relative to the page"


def test_only_a_few_passwords_are_verified_at_once(page: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    verify, lock, now, most = Accounts.verify, threading.Lock(), 0, 0

    def counted(self: Accounts, name: str, password: str) -> object:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        try:
            return verify(self, name, password)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(Accounts, "verify", counted)
    with ThreadPoolExecutor(10) as crowd:
        answers = list(crowd.map(lambda n: post_login(page, f"user{n}", "a guess"), range(10)))
    assert {answer.status for answer in answers} == {401}
    assert 1 <= most <= AT_ONCE


def test_another_site_cannot_log_somebody_in(page: Launched) -> None:
    answer = post_login(page, "ada", PASSWORDS["ada"], origin="https://elsewhere.example")
    assert (answer.status, answer.header("set-cookie")) == (403, None)


def test_what_is_no_login_at_all_is_refused(page: Launched) -> None:
    assert ask(page.url, "/login", method="POST", body="x" * 20_000).status == 413
    assert post_login(page, "ada", "x" * 5_000).status == 401
    assert post_login(page, "", "").status == 401
    assert "<img" not in post_login(page, "<img src=x>", "y", accept="text/html").text


def test_guesses_are_limited_by_user_and_by_address(tmp_path: Path) -> None:
    wishes: dict[str, Any] = {
        "auth_file": users_file(tmp_path),
        "logins_per_hour": 3,
        "trusted_proxies": "127.0.0.1",
    }
    with launched(tmp_path, **wishes) as page:
        home = {"x_forwarded_for": "192.0.2.1"}
        for _ in range(5):
            assert post_login(page, "ada", PASSWORDS["ada"], **home).status == 200, "a success is no guess"
        guesses = [post_login(page, "ada", "guess", x_forwarded_for="192.0.2.9").status for _ in range(5)]
        assert guesses == [401, 401, 401, 429, 429]
        refused = post_login(page, "ada", PASSWORDS["ada"], x_forwarded_for="192.0.2.10")
        assert refused.status == 429
        assert re.search(r"tried 3 times within an hour.*try again in \d+ minutes", refused.text)
        assert 3_000 < int(refused.header("retry-after") or 0) <= 3_600
        assert post_login(page, "ada", PASSWORDS["ada"], **home).status == 200, (
            "nobody can lock her out at home"
        )
        many = [post_login(page, f"user{n}", "guess", x_forwarded_for="192.0.2.11").status for n in range(17)]
        assert many == [401] * 15 + [429] * 2


def test_guesses_by_odd_names_count_for_whom_they_mean_and_for_nobody_else(tmp_path: Path) -> None:
    users = accounts_of(tmp_path, "ren\u00e9", "ada").path
    wishes: dict[str, Any] = {"auth_file": users, "logins_per_hour": 2, "trusted_proxies": "127.0.0.1"}
    with launched(tmp_path, **wishes) as page:
        home = {"x_forwarded_for": "192.0.2.1"}
        assert post_login(page, "ada", PASSWORDS["ada"], **home).status == 200
        for name in ("ada at 192.0.2.1", "192.0.2.1 ada", "anywhere ada"):
            for _ in range(2):
                post_login(page, name, "guess", x_forwarded_for="192.0.2.9")
        assert post_login(page, "ada", PASSWORDS["ada"], **home).status == 200
        spelt = [f"ren{e}" for e in ("\u00e9", "e\u0301", "\u00e9", "e\u0301")]
        guesses = [post_login(page, name, "guess", x_forwarded_for="192.0.2.8").status for name in spelt]
        assert guesses == [401, 401, 429, 429]


def test_files_too_many_are_refused_before_they_are_received(tmp_path: Path) -> None:
    with launched(tmp_path, files_per_hour=2) as page:
        cache = tmp_path / "cache"
        for n in range(4):
            part = {"files": ("a.wav", b"some bytes", "audio/wav")}
            # Nobody whose address is believed has passed these on.
            answer = httpx.post(
                f"{page.url}gradio_api/upload",
                files=part,
                headers={"x-timbre-token": "a-secret-of-my-own", "x-forwarded-for": f"192.0.2.{n}"},
            )
            kept = len([path for path in cache.rglob("*") if path.is_file()])
            if n < 2:
                assert answer.status_code == 200
                continue
            assert (answer.status_code, kept) == (429, 2)
            assert re.fullmatch(
                r"You have sent 2 files within an hour.*try again in 60 minutes\.", answer.text.strip()
            )


def test_a_full_quota_refuses_files_and_says_what_to_delete(tmp_path: Path) -> None:
    with launched(tmp_path, quota_mb_per_user=1.5) as page:
        client = client_to(page)
        first = client.predict(handle_file(RECORDING), api_name="/upload_target_audio")
        said = refusal(client, handle_file(RECORDING), api_name="/upload_target_audio")
        assert re.search(r"of your 1\.5 MB, uploads and jobs take [\d.]+ and voices 0; delete", said)
        assert client.predict(api_name="/account")["jobs_mb"] > 0.5
        client.predict(first["job_id"], purge=True, api_name="/delete_job")
        assert client.predict(api_name="/account")["jobs_mb"] == 0
        client.predict(handle_file(RECORDING), api_name="/upload_target_audio")

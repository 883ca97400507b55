"""Tokens and logins of a user who was removed, on a server that runs, and when the name is used again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.commands import remove_user
from pipelines.settings import get_settings
from pipelines.users.accounts import Accounts
from tests.cheap_accounts import accounts_of, password_of
from tests.ui.launched import Launched, client_to, launched, wait_for
from tests.ui.raw_http import ask
from tests.ui.strangers import refusal


@pytest.fixture
def users(tmp_path: Path) -> Accounts:
    return accounts_of(tmp_path, "ada", "bob")


@pytest.fixture
def page(tmp_path: Path, users: Accounts) -> Iterator[Launched]:
    with launched(tmp_path, auth_file=users.path) as page:
        yield page


def ways_in(page: Launched, name: str) -> list[dict[str, str]]:
    """Headers of a personal token and of a login."""
    client = client_to(page, auth=(name, password_of(name)))
    token = client.predict("laptop", api_name="/create_token")["token"]
    cookies = "; ".join(f"{key}={value}" for key, value in client.cookies.items())
    return [{"authorization": f"Bearer {token}"}, {"x_timbre_token": token}, {"cookie": cookies}]


def statuses(page: Launched, ways: list[dict[str, str]]) -> set[int]:
    return {ask(page.url, "/config", **way).status for way in ways}


def test_a_removed_user_is_out_at_once_and_whoever_has_the_name_next_has_no_old_tokens(
    page: Launched, users: Accounts
) -> None:
    old, others = ways_in(page, "ada"), ways_in(page, "bob")
    assert statuses(page, old + others) == {200}
    settings = get_settings().model_copy(update={"auth_file": users.path, "data_dir": page.data_dir})
    assert any("server that uses the data folder" in line for line in remove_user(settings, "ada"))
    assert statuses(page, old) == {401}
    wait_for(lambda: not page.jobs.registry.list("tokens", user_id="ada"), "the rows of dead tokens to go")
    users.put("ada", password_of("ada"))
    assert statuses(page, old) == {401}
    assert statuses(page, others + ways_in(page, "ada")) == {200}
    assert statuses(page, old) == {401}


def test_tokens_that_come_back_with_a_backup_are_dead_too(page: Launched, users: Accounts) -> None:
    old = ways_in(page, "ada")
    kept = page.jobs.registry.list("tokens")
    users.remove("ada")
    assert statuses(page, old) == {401}
    users.put("ada", password_of("ada"))
    for row in kept:
        page.jobs.registry.insert("tokens", row)
    assert statuses(page, old) == {401}
    assert statuses(page, ways_in(page, "ada")) == {200}
    assert page.jobs.registry.get("tokens", kept[0]["id"]) is None


def test_accounts_and_tokens_from_before_there_were_ids_work_until_the_user_is_made_again(
    page: Launched, users: Accounts
) -> None:
    document = json.loads(users.path.read_text())
    del document["users"]["ada"]["id"]
    users.path.write_text(json.dumps(document))
    old = ways_in(page, "ada")
    for row in page.jobs.registry.list("tokens", user_id="ada"):
        page.jobs.registry.insert("tokens", {key: value for key, value in row.items() if key != "account"})
    assert statuses(page, old) == {200}
    rows = page.jobs.registry.list("tokens", user_id="ada")
    users.remove("ada")
    users.put("ada", password_of("ada"))
    for row in rows:
        page.jobs.registry.insert("tokens", row)
    assert statuses(page, old) == {401}


def test_without_a_login_tokens_of_users_stand_for_nobody(tmp_path: Path, page: Launched) -> None:
    (token, *_) = ways_in(page, "ada")
    rows = page.jobs.registry.list("tokens", user_id="ada")
    with launched(tmp_path / "open") as other:
        for row in rows:
            other.jobs.registry.insert("tokens", row)
        client = client_to(other, headers={"Authorization": token["authorization"]})
        assert "not valid" in refusal(client, api_name="/account")

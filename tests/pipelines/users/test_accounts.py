"""The file of users, and the tokens that stand for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher

from pipelines.store.registry import Registry
from pipelines.users.accounts import Accounts
from pipelines.users.tokens import LOGIN_LIFE, MOST, Tokens
from rvc.errors import ConfigError, NotAllowedError, UnknownNameError
from tests.cheap_accounts import CHEAP

PASSWORD = "correct horse battery"
DEEP = [
    "[" * 200_000,
    '{"users":' * 100_000,
    '{"users": {"ada": {"hash": ' + "[" * 50_000 + "]" * 50_000 + "}}}",
]


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "users.json", hasher=CHEAP)


class Calendar:
    """A time of day that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def tokens(tmp_path: Path, calendar: Calendar) -> Iterator[Tokens]:
    registry = Registry(tmp_path / "data")
    yield Tokens(registry, clock=calendar)
    registry.close()


def test_only_the_right_password_of_the_right_user_is_accepted(accounts: Accounts) -> None:
    accounts.put("ada", PASSWORD, admin=True)
    accounts.put("bob", PASSWORD + "!")
    found = accounts.verify("ada", PASSWORD)
    assert found is not None
    assert (found.name, found.admin) == ("ada", True)
    for name, password in [("ada", PASSWORD + "!"), ("bob", PASSWORD), ("carl", PASSWORD), ("ada", "")]:
        assert accounts.verify(name, password) is None


def test_the_file_holds_no_password_and_is_for_its_owner_alone(accounts: Accounts) -> None:
    accounts.put("ada", PASSWORD)
    assert PASSWORD not in accounts.path.read_text()
    assert json.loads(accounts.path.read_text())["users"]["ada"]["hash"].startswith("$argon2id$")
    assert accounts.path.stat().st_mode & 0o077 == 0
    assert [path.name for path in accounts.path.parent.iterdir()] == ["users.json"]


def test_an_unknown_user_costs_a_verification_too(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            asked.append(str(hash)[:10])
            return super().verify(hash, password)

    accounts = Accounts(tmp_path / "users.json", hasher=Counting(time_cost=1, memory_cost=8, parallelism=1))
    accounts.put("ada", PASSWORD)
    accounts.verify("ada", "wrong password")
    accounts.verify("nobody", "wrong password")
    assert asked == ["$argon2id$"] * 2


def test_adding_again_changes_the_password_and_keeps_the_role(accounts: Accounts) -> None:
    before = accounts.put("ada", PASSWORD, admin=True)
    after = accounts.put("ada", "another password")
    assert after.admin
    assert before.stamp != after.stamp
    assert accounts.verify("ada", PASSWORD) is None
    assert accounts.verify("ada", "another password") is not None


def test_a_change_of_the_file_counts_without_a_restart(accounts: Accounts) -> None:
    other = Accounts(accounts.path, hasher=CHEAP)
    accounts.put("ada", PASSWORD)
    assert other.get("ada") is not None
    accounts.put("bob", PASSWORD)
    assert other.get("bob") is not None
    document = json.loads(accounts.path.read_text())
    del document["users"]["ada"]
    accounts.path.write_text(json.dumps(document))
    assert other.get("ada") is None
    accounts.path.write_text("{")
    assert other.get("bob") is not None, "a file that is being edited locks nobody out"
    accounts.path.unlink()
    assert other.get("bob") is None


@pytest.mark.parametrize(
    "name", ["", "a b", "../ada", "a/b", "visitor-1", "client-1", "x" * 65, "a\nb", "-ada", "ada\x00"]
)
def test_a_name_that_is_none_is_refused_and_nothing_is_written(name: str, accounts: Accounts) -> None:
    with pytest.raises(ConfigError, match="cannot be a login name"):
        accounts.put(name, PASSWORD)
    assert not accounts.path.exists()


def test_short_passwords_and_names_that_are_mixed_up_are_refused(accounts: Accounts) -> None:
    accounts.put("Ada", PASSWORD)
    before = accounts.path.read_bytes()
    with pytest.raises(ConfigError, match="8 to 1000"):
        accounts.put("bob", "short")
    with pytest.raises(ConfigError, match="a user Ada already"):
        accounts.put("ada", PASSWORD)
    assert accounts.path.read_bytes() == before


def test_an_account_keeps_its_id_with_a_new_password_and_a_new_account_has_another(
    accounts: Accounts,
) -> None:
    first = accounts.put("ada", PASSWORD)
    assert first.id
    assert accounts.put("ada", PASSWORD + "!").id == first.id
    assert accounts.put("bob", PASSWORD).id != first.id
    accounts.remove("ada")
    assert accounts.verify("ada", PASSWORD + "!") is None
    assert accounts.put("ada", PASSWORD).id not in ("", first.id)
    with pytest.raises(UnknownNameError, match="no user 'carl'"):
        accounts.remove("carl")


def test_a_file_from_before_there_were_ids_works_on(accounts: Accounts) -> None:
    document = {"users": {"ada": {"hash": CHEAP.hash(PASSWORD), "admin": True}}}
    accounts.path.write_text(json.dumps(document))
    old = accounts.verify("ada", PASSWORD)
    assert old is not None
    assert (old.id, old.admin) == ("", True)
    assert accounts.put("ada", PASSWORD).id == ""
    accounts.remove("ada")
    assert accounts.put("ada", PASSWORD).id != ""


@pytest.mark.parametrize("content", ["{", *DEEP], ids=lambda content: content[:24])
def test_a_damaged_file_changes_nothing_for_a_server_that_runs(content: str, accounts: Accounts) -> None:
    accounts.put("ada", PASSWORD)
    assert accounts.get("ada") is not None
    accounts.path.write_text(content)
    assert accounts.get("ada") is not None
    with pytest.raises(ConfigError, match="not a file of users"):
        accounts.put("bob", PASSWORD)
    with pytest.raises(ConfigError, match="not a file of users"):
        accounts.remove("ada")
    assert accounts.path.read_text() == content


@pytest.mark.parametrize("place", ["file/users.json", "folder"])
def test_a_file_that_cannot_be_written_is_a_sentence(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="AUTH_FILE"):
        Accounts(tmp_path / place, hasher=CHEAP).put("ada", PASSWORD)


def test_the_same_letters_in_another_form_are_the_same(accounts: Accounts) -> None:
    accounts.put("Zoe\u0308", "pass wo\u0308rd")
    assert accounts.verify("Zo\u00eb", "pass w\u00f6rd") is not None


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"users": []}', '{"users": {"ada": {}}}', '{"users": {}}', '{"users": {"ada": 1}}', *DEEP],
    ids=lambda content: content[:24],
)
def test_a_file_that_lets_nobody_in_is_refused_at_the_start(content: str, accounts: Accounts) -> None:
    accounts.path.write_text(content)
    with pytest.raises(ConfigError, match=r"AUTH_FILE .*--add-user"):
        accounts.require()
    accounts.path.unlink()
    with pytest.raises(ConfigError, match="--add-user"):
        accounts.require()


def test_a_token_stands_for_its_user_until_it_is_revoked(tokens: Tokens) -> None:
    token, row = tokens.create("ada", "personal", " My  laptop ")
    found = tokens.find(token, "personal")
    assert found is not None
    assert (found["user_id"], row["name"]) == ("ada", "My laptop")
    with pytest.raises(UnknownNameError, match="no token"):
        tokens.revoke("bob", row["id"])
    assert tokens.revoke("ada", row["id"])["id"] == row["id"]
    assert tokens.find(token, "personal") is None
    with pytest.raises(UnknownNameError):
        tokens.revoke("ada", row["id"])


def test_nothing_but_the_whole_token_is_accepted(tokens: Tokens) -> None:
    token, row = tokens.create("ada", "personal", "x")
    other, _ = tokens.create("bob", "personal", "x")
    assert tokens.find(token, "login") is None
    mixed = token.rsplit("_", 1)[0] + "_" + other.rsplit("_", 1)[1]
    for wrong in ("", "tmb_", row["id"], token[:-1], token + "0", mixed, token.replace("tmb", "tms"), "\x00"):
        assert tokens.find(wrong, "personal") is None


def test_the_registry_never_holds_a_token(tokens: Tokens, tmp_path: Path) -> None:
    token, _ = tokens.create("ada", "personal", "x")
    login, _ = tokens.create("ada", "login", "browser")
    kept = "".join(path.read_text() for path in (tmp_path / "data").glob("registry.*"))
    for text in (token, login):
        assert text not in kept
        assert text.rsplit("_", 1)[1] not in kept


def test_a_list_says_when_each_was_used_and_shows_no_logins(tokens: Tokens, calendar: Calendar) -> None:
    token, _ = tokens.create("ada", "personal", "one")
    tokens.create("ada", "personal", "two")
    tokens.create("ada", "login", "browser")
    tokens.create("bob", "personal", "other")
    assert [(row["name"], row["last_used_at"]) for row in tokens.list("ada")] == [
        ("two", None),
        ("one", None),
    ]
    calendar.now += timedelta(hours=1)
    tokens.find(token, "personal")
    assert tokens.list("ada")[1]["last_used_at"].startswith("2026-01-02T01:00")
    assert set(tokens.list("ada")[0]) == {"id", "name", "created_at", "last_used_at"}


def test_a_login_lasts_while_it_is_used(tokens: Tokens, calendar: Calendar) -> None:
    login, _ = tokens.create("ada", "login", "browser", stamp="s")
    for _ in range(5):
        calendar.now += LOGIN_LIFE - timedelta(hours=1)
        assert tokens.find(login, "login") is not None
    calendar.now += LOGIN_LIFE + timedelta(hours=1)
    assert tokens.find(login, "login") is None
    another, _ = tokens.create("ada", "login", "browser")
    tokens.end(another)
    assert tokens.find(another, "login") is None


def test_a_clock_that_was_wrong_for_a_while_ends_nothing(tokens: Tokens, calendar: Calendar) -> None:
    right = calendar.now
    login, _ = tokens.create("ada", "login", "browser")
    personal, _ = tokens.create("ada", "personal", "laptop")
    calendar.now = right + timedelta(days=10_000)
    assert tokens.find(login, "login") is None, "as far as is known it is long over"
    during, _ = tokens.create("ada", "login", "browser")
    assert tokens.find(during, "login") is not None
    assert tokens.find(personal, "personal") is not None
    calendar.now = right + timedelta(hours=1)
    for token, kind in ((login, "login"), (during, "login"), (personal, "personal")):
        assert tokens.find(token, kind) is not None  # type: ignore[arg-type]
    assert tokens.list("ada")[0]["last_used_at"].startswith("2026-01-02T01:00"), "a use to come counts as now"
    calendar.now += LOGIN_LIFE + timedelta(hours=1)
    assert tokens.find(during, "login") is None, "its life counts from a time that has been"


def test_logins_of_a_wrong_clock_do_not_push_out_those_in_use(tokens: Tokens, calendar: Calendar) -> None:
    right = calendar.now
    calendar.now = right + timedelta(days=10_000)
    ahead = [tokens.create("ada", "login", "script")[0] for _ in range(MOST["login"] // 2)]
    calendar.now = right
    later = [tokens.create("ada", "login", "browser")[0] for _ in range(MOST["login"] // 2 + 1)]
    assert all(tokens.find(login, "login") for login in later)
    assert sum(tokens.find(login, "login") is not None for login in ahead) == len(ahead) - 1


def test_tokens_have_an_upper_number_and_old_logins_make_room(tokens: Tokens) -> None:
    for n in range(MOST["personal"]):
        tokens.create("ada", "personal", f"{n}")
    with pytest.raises(NotAllowedError, match="revoke one"):
        tokens.create("ada", "personal", "one more")
    logins = [tokens.create("ada", "login", "script")[0] for _ in range(MOST["login"] + 3)]
    assert sum(tokens.find(login, "login") is not None for login in logins) == MOST["login"]
    assert tokens.find(logins[-1], "login") is not None

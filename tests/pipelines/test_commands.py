"""Adding a user from the command line, and the warning where there is none."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

import app
from pipelines.settings import get_settings
from pipelines.users.accounts import Accounts

PASSWORD = "a password of Ada's"


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTH_FILE", str(tmp_path / "users.json"))
    return tmp_path / "users.json"


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_user_is_added_and_can_log_in(
    users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, PASSWORD, PASSWORD)
    assert app.main(["--add-user", "ada", "--admin"]) == 0
    assert "ada can log in, as an admin" in capsys.readouterr().out
    account = Accounts(users).verify("ada", PASSWORD)
    assert account is not None
    assert account.admin
    typed(monkeypatch, "another password", "another password")
    assert app.main(["--add-user", "ada"]) == 0
    assert "ada has a new password, as an admin" in capsys.readouterr().out
    assert Accounts(users).verify("ada", PASSWORD) is None


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("ada", (PASSWORD, PASSWORD + "x"), "differ"),
        ("ada", ("short", "short"), "8 to 1000"),
        ("a b", (PASSWORD, PASSWORD), "cannot be a login name"),
        ("ada", (), "8 to 1000"),
    ],
)
def test_what_cannot_be_is_said_and_writes_nothing(  # noqa: PLR0913  # fixtures
    name: str,
    lines: tuple[str, ...],
    said: str,
    users: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed(monkeypatch, *lines)
    assert app.main(["--add-user", name]) == 1
    assert said in capsys.readouterr().err
    assert not users.exists()


def test_without_a_file_for_users_it_is_said_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--add-user", "ada"]) == 1
    assert "AUTH_FILE=users.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "users", "warns"),
    [
        ([], False, False),
        (["--host", "localhost"], False, False),
        (["--host", "::1"], False, False),
        (["--host", "0.0.0.0"], False, True),
        (["--host", "192.0.2.1"], False, True),
        (["--share"], False, True),
        (["--share", "--host", "0.0.0.0"], True, False),
    ],
)
def test_a_page_that_is_open_to_strangers_warns(arguments: list[str], users: bool, warns: bool) -> None:
    settings = get_settings()
    if users:
        settings = settings.model_copy(update={"auth_file": Path("users.json")})
    given = app.read_arguments(arguments)
    said = app.warning_of(given, given.host or settings.api_host, settings)
    assert ("AUTH_FILE" in said) is warns


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "0"], "'0' is not a port; give a number from 1 to 65535"),
        (["--port", "99999"], "'99999' is not a port"),
        (["--port", "http"], "'http' is not a port"),
        (["--admin"], "--admin goes with --add-user"),
        (["--dry-run"], "--dry-run goes with --clean-up"),
    ],
)
def test_arguments_that_could_not_have_an_effect_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        app.read_arguments(arguments)
    assert said in capsys.readouterr().err

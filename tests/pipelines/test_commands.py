"""Adding and removing a user from the command line, and the warning where there is none."""

from __future__ import annotations

import io
import socket
import sys
from itertools import combinations
from pathlib import Path

import pytest

import app
from pipelines.settings import get_settings
from pipelines.store.registry import Registry
from pipelines.users.accounts import Accounts
from pipelines.users.tokens import Tokens
from rvc.errors import ConfigError
from tests.cheap_accounts import accounts_of
from tests.ui.launched import free_port

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


def test_a_user_is_removed_with_their_tokens_and_it_is_said_what_stays(
    users: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = accounts_of(users.parent, "ada", "bob")
    registry = Registry(data_dir)
    for account in (accounts.get("ada"), accounts.get("bob")):
        assert account is not None
        Tokens(registry).create(account.name, "personal", "laptop", account=account.id)
    registry.close()
    assert app.main(["--remove-user", "ada"]) == 0
    said = capsys.readouterr().out
    assert "ada cannot log in any more" in said
    assert "jobs and voices stay" in said
    assert Accounts(users).get("ada") is None
    assert Accounts(users).get("bob") == accounts.get("bob")
    registry = Registry(data_dir)
    assert [row["user_id"] for row in registry.list("tokens")] == ["bob"]
    registry.close()
    assert app.main(["--remove-user", "ada"]) == 1
    assert "no user 'ada'" in capsys.readouterr().err


def test_a_person_at_a_terminal_is_asked_before_a_user_is_removed(
    users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts_of(users.parent, "ada")
    before = users.read_bytes()
    typed(monkeypatch, "n", "y")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert app.main(["--remove-user", "ada"]) == 1
    assert "can still log in" in capsys.readouterr().err
    assert users.read_bytes() == before
    assert app.main(["--remove-user", "ada"]) == 0
    assert Accounts(users).get("ada") is None


def test_a_name_in_another_unicode_form_is_the_same_user_and_asked_about(
    users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts_of(users.parent, "r\u00e9mi")
    before = users.read_bytes()
    typed(monkeypatch, "n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert app.main(["--add-user", "re\u0301mi"]) == 1
    assert "keeps the password" in capsys.readouterr().err
    assert users.read_bytes() == before


WHOLE_COMMANDS = {
    "--backup": ["copy.json"],
    "--restore": ["copy.json"],
    "--clean-up": [],
    "--check": [],
    "--add-user": ["ada"],
    "--remove-user": ["bob"],
    "--demo-only": [],
}


@pytest.mark.parametrize(("one", "other"), list(combinations(WHOLE_COMMANDS, 2)))
def test_of_two_commands_none_is_left_out_in_silence(
    one: str, other: str, users: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts_of(users.parent, "bob")
    before = users.read_bytes()
    with pytest.raises(SystemExit) as caught:
        app.main([one, *WHOLE_COMMANDS[one], other, *WHOLE_COMMANDS[other]])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert one in said
    assert other in said
    assert "one at a time" in said
    assert users.read_bytes() == before
    assert not data_dir.exists()


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


NOWHERE = [
    "192.0.2.1",
    "no-such-host.invalid",
    "http://0.0.0.0",
    "0.0.0.0:7860",
    "-",
    "x" * 300,
    "[::1",
    "..",
    " ",
]


@pytest.mark.parametrize("host", NOWHERE)
def test_a_host_that_is_none_of_this_machine_is_named(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = get_settings()
    ways = [(["--host", host], settings), ([], settings.model_copy(update={"api_host": host}))]
    for given, of in ways:
        with pytest.raises(ConfigError, match=r"no address of this machine .*127\.0\.0\.1.*--host"):
            app.where_to_serve(app.read_arguments(given), of)
    monkeypatch.setenv("GRADIO_SERVER_NAME", host)
    with pytest.raises(ConfigError, match=r"no address of this machine"):
        app.where_to_serve(app.read_arguments([]), settings)


def test_a_taken_port_is_told_from_an_unknown_host() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Port {port} on 127\.0\.0\.1 cannot be used .*--port"):
            app.where_to_serve(app.read_arguments(["--port", str(port)]), get_settings())


@pytest.mark.parametrize("value", ["x", "99999", "0", "-1", "", "7860.5", "1e4"])
@pytest.mark.parametrize("given", [[], ["--port", "17860"]])
def test_a_port_of_gradio_s_variable_that_is_none_is_a_sentence(
    value: str, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_SERVER_PORT", value)
    with pytest.raises(ConfigError, match=r"^GRADIO_SERVER_PORT: .* is not a port; give a number"):
        app.where_to_serve(app.read_arguments(given), get_settings())


@pytest.mark.parametrize("name", ["GRADIO_NUM_PORTS", "GRADIO_NODE_NUM_PORTS", "GRADIO_DEBUG"])
def test_other_numbers_that_gradio_reads_are_looked_at_before(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "many")
    with pytest.raises(ConfigError, match=rf"^{name}: 'many' is not a number"):
        app.where_to_serve(app.read_arguments([]), get_settings())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_host_of_this_machine_is_served_on(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    assert app.where_to_serve(app.read_arguments(["--host", host, "--port", str(port)]), get_settings()) == (
        host,
        port,
    )
    monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
    assert app.where_to_serve(app.read_arguments(["--host", host]), get_settings()) == (host, port)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data-dir", "~nobody-of-this-name/x"], "leads nowhere"),
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

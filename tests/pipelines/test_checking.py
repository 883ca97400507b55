"""What is said of a server before it is opened to strangers: one test a line, and that nothing is changed."""

from __future__ import annotations

import os
import shutil
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

import app
from pipelines.checking.public_server import CHECKS, check_server
from pipelines.settings import Settings, get_settings
from pipelines.store.backup import back_up_daily
from pipelines.store.registry import Registry
from rvc.files import ROOT
from tests.cheap_accounts import accounts_of

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))


def public(folder: Path, **changes: Any) -> Settings:  # noqa: ANN401
    """Settings of a server that lacks nothing, but for the changes."""
    complete = {
        "data_dir": folder / "data",
        "auth_file": accounts_of(folder, "root", "ada").path,
        "require_https": True,
        "trusted_proxies": "10.0.0.2",
        "quota_mb_per_user": 5_000,
        "secret": "a secret that is long enough",
    }
    return Settings.model_validate(complete | changes)


def said_of(name: str, settings: Settings) -> tuple[bool, str]:
    (finding,) = [one for one in check_server(settings) if one.name == name]
    assert finding.said.endswith(".")
    assert "\n" not in finding.said
    return finding.missing, finding.said


def test_nothing_is_missing_where_all_is_set(tmp_path: Path) -> None:
    settings = public(tmp_path)
    assert [one.name for one in check_server(settings) if one.missing] == []
    assert not settings.data_dir.exists()


@pytest.mark.parametrize("content", [None, "", "{}", '{"users": {}}', "[" * 100_000])
def test_login(content: str | None, tmp_path: Path) -> None:
    assert said_of("login", public(tmp_path)) == (False, "2 users can log in, 1 of them as admins.")
    assert "AUTH_FILE is not set" in said_of("login", public(tmp_path, auth_file=None))[1]
    users = tmp_path / "users.json"
    users.chmod(0o644)
    assert "can read" in said_of("login", public(tmp_path / "other", auth_file=users))[1]
    users.unlink()
    if content is not None:
        users.write_text(content)
    missing, said = said_of("login", public(tmp_path / "other", auth_file=users))
    assert missing
    assert "--add-user" in said


def test_a_login_without_an_admin_is_said(tmp_path: Path) -> None:
    users = accounts_of(tmp_path / "few", "ada").path
    missing, said = said_of("login", public(tmp_path, auth_file=users))
    assert not missing
    assert "--admin" in said


@pytest.mark.parametrize(
    ("name", "changes", "missing", "words"),
    [
        ("HTTPS", {}, False, "REQUIRE_HTTPS=1"),
        ("HTTPS", {"require_https": False}, True, "in the clear"),
        ("origins", {}, False, "no other web site"),
        ("origins", {"allowed_origins": "https://friend.example"}, False, "https://friend.example"),
        ("proxies", {}, False, "10.0.0.2"),
        ("proxies", {"trusted_proxies": ""}, True, "REQUIRE_HTTPS refuses everybody"),
        ("proxies", {"trusted_proxies": "", "require_https": False}, True, "the proxy's address."),
        ("proxies", {"trusted_proxies": "10.0.0.2,0.0.0.0/0"}, True, "anybody can pretend"),
        ("proxies", {"trusted_proxies": "::/0"}, True, "anybody can pretend"),
        ("quota", {}, False, "5000 MB"),
        ("quota", {"quota_mb_per_user": 0}, True, "fill the disk"),
        (
            "limits",
            {},
            False,
            "within an hour: 600 uploads, 20000 files, 600 starts of jobs, 20 tries to log in",
        ),
        ("limits", {}, False, "at once: 60 calls, 6 uploads."),
        ("limits", {"calls_at_once": 0}, True, "CALLS_AT_ONCE = 0"),
        ("limits", {"logins_per_hour": 0, "files_per_hour": 0}, True, "FILES_PER_HOUR, LOGINS_PER_HOUR = 0"),
        ("metrics", {}, False, "this machine alone"),
        ("metrics", {"metrics_token": "a token for metrics"}, False, "METRICS_TOKEN is set"),
    ],
)
def test_a_setting(name: str, changes: dict[str, Any], missing: bool, words: str, tmp_path: Path) -> None:
    found = said_of(name, public(tmp_path, **changes))
    assert found[0] is missing
    assert words in found[1]


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_of("disk", public(tmp_path)) == (False, f"1000.0 GB are free for {tmp_path / 'data'}.")
    (tmp_path / "file").write_text("x")
    assert said_of("disk", public(tmp_path, data_dir=tmp_path / "file"))[0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**9))
    missing, said = said_of("disk", public(tmp_path))
    assert missing
    assert "1.0 GB" in said
    assert said_of("disk", public(tmp_path, max_decoded_mb=900))[0] is False


def test_secret(tmp_path: Path) -> None:
    assert said_of("secret", public(tmp_path))[0] is False
    random = public(tmp_path, secret=None)
    assert "first start" in said_of("secret", random)[1]
    kept = random.secret
    missing, said = said_of("secret", random)
    assert not missing
    assert kept not in said
    path = random.data_dir / "secret"
    path.chmod(0o640)
    assert said_of("secret", random) == (True, f"Others on this machine can read {path}; chmod 600 it.")
    path.write_text("short")
    assert said_of("secret", random)[0]
    path.unlink()
    path.mkdir()
    assert "cannot be read" in said_of("secret", random)[1]


def test_backups(tmp_path: Path) -> None:
    settings = public(tmp_path)
    assert "nothing to back up yet" in said_of("backups", settings)[1]
    assert "--backup FILE --with-voices" in said_of("backups", settings)[1]
    Registry(settings.data_dir).close()
    missing, said = said_of("backups", settings)
    assert missing
    assert "none" in said
    made = back_up_daily(settings.data_dir)
    assert made is not None
    assert said_of("backups", settings)[0] is False
    long_ago = time.time() - 5 * 86_400
    os.utime(made, (long_ago, long_ago))
    missing, said = said_of("backups", settings)
    assert missing
    assert "5 days old" in said


def everything_in(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_the_command_says_a_line_each_and_its_status_tells(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything_in(tmp_path)
    assert app.main(["--check"]) == 1
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == list(CHECKS)
    assert lines[-1].startswith("Missing for a public server: login, HTTPS, proxies, quota;")
    assert everything_in(tmp_path) == before

    settings = public(tmp_path)
    for name in ("auth_file", "trusted_proxies", "quota_mb_per_user"):
        monkeypatch.setenv(name.upper(), str(getattr(settings, name)))
    monkeypatch.setenv("REQUIRE_HTTPS", "1")
    get_settings.cache_clear()
    before = everything_in(tmp_path)
    assert app.main(["--check"]) == 0
    assert "Nothing that a public server must have is missing." in capsys.readouterr().out
    assert everything_in(tmp_path) == before


def test_the_page_on_deploying_has_a_line_for_each() -> None:
    text = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    section = text.split("## A public server")[1].split("\n## ")[0]
    named = [line.split("**")[1] for line in section.splitlines() if "**" in line]
    assert named == list(CHECKS)

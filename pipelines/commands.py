"""What is done on the command line while no server runs: clean up, back up, restore, add a user."""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace
from pathlib import Path

from pipelines.jobs import cleanup
from pipelines.settings import Settings
from pipelines.store.backup import back_up, restore
from pipelines.store.registry import Registry
from pipelines.users.accounts import Accounts
from rvc.errors import ConfigError


def run_command(arguments: Namespace, settings: Settings) -> list[str]:
    """Do what the command line asks for instead of serving; return lines to show."""
    lines: list[str] = []
    if arguments.backup is not None:
        rows = back_up(settings.data_dir, arguments.backup)
        lines.append(f"Backed up {rows} jobs and voices to {arguments.backup}.")
    if arguments.restore is not None:
        lines += restore_backup(settings, arguments.restore)
    if arguments.clean_up:
        lines += clean_up(settings, dry_run=arguments.dry_run)
    # Care for the data folder goes before a user.
    return lines or [add_user(settings, arguments.add_user, admin=arguments.admin)]


def clean_up(settings: Settings, *, dry_run: bool) -> list[str]:
    """Remove what had its time and what belongs to nothing, or tell what it would be; lines to show."""
    registry = Registry(settings.data_dir)
    try:
        found = (cleanup.find if dry_run else cleanup.remove)(registry, settings, untouched_s=0.0)
    finally:
        registry.close()
    lines = [f"job {row['id']} ({row['type']}, {row['status']}, {row['updated_at']})" for row in found.jobs]
    lines += [f"upload {row['id']} ({row['created_at']})" for row in found.uploads]
    lines += [f"voice {row['id']} ({row['model_name']}, deleted {row['deleted_at']})" for row in found.voices]
    lines += [str(path.relative_to(settings.data_dir)) for path in found.orphans]
    return [*lines, found.sentence(done=not dry_run)]


def restore_backup(settings: Settings, source: Path) -> list[str]:
    """Put a backup in the registry's place; return lines to show."""
    done = restore(settings.data_dir, source)
    lines = [f"Restored {done.rows} jobs and voices from {source}."]
    if done.aside is not None:
        lines.append(f"What was there before is kept in {done.aside}.")
    if done.lost:
        lines.append(f"{done.lost} voices of the backup have no files any more; delete them on the page.")
    if done.tokens:
        count = f"{done.tokens} personal token{'s' if done.tokens > 1 else ''}"
        lines.append(f"{count} came with it, valid even if revoked since; revoke them again on the page.")
    return lines


def add_user(settings: Settings, name: str, *, admin: bool) -> str:
    """Add a user, or change the password of one; return what was done, in a sentence.

    A person at a terminal is asked; otherwise the password is read from two lines of the standard input.
    """
    if settings.auth_file is None:
        raise ConfigError(
            "AUTH_FILE names no file for users; set it, in .env for example as AUTH_FILE=users.json, and try "
            "again."
        )
    accounts = Accounts(settings.auth_file)
    known = settings.auth_file.exists() and accounts.get(name) is not None
    if known and sys.stdin.isatty():
        answer = input(f"There is a user {name}. Change the password? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            raise ConfigError(f"Nothing was changed; {name} keeps the password.")
    password, again = _asked("Password: "), _asked("The same again: ")
    if password != again:
        raise ConfigError("The two passwords differ, so nothing was changed; try again.")
    account = accounts.put(name, password, admin=admin)
    role = "an admin" if account.admin else "a user"
    done = f"{account.name} has a new password" if known else f"{account.name} can log in"
    return f"{done}, as {role}; the file is {settings.auth_file}."


def _asked(prompt: str) -> str:
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")

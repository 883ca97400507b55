"""What is done on the command line while no server runs: clean up, back up, restore, add or remove a user."""

from __future__ import annotations

import getpass
import sys
from argparse import Namespace
from pathlib import Path

from pipelines.jobs import cleanup
from pipelines.settings import Settings
from pipelines.store.backup import back_up
from pipelines.store.clock import Clock
from pipelines.store.layout import REGISTRY_NAME
from pipelines.store.registry import Registry
from pipelines.users.accounts import Accounts, normal
from pipelines.users.tokens import Tokens
from pipelines.voices.archive import back_up_all, restore_any
from rvc.errors import ConfigError


def run_command(arguments: Namespace, settings: Settings) -> list[str]:
    """Do what the command line asks for instead of serving; return lines to show."""
    if arguments.backup is not None:
        return make_backup(settings, arguments.backup, with_voices=arguments.with_voices)
    if arguments.restore is not None:
        return restore_backup(settings, arguments.restore)
    if arguments.clean_up:
        return clean_up(settings, dry_run=arguments.dry_run, trust_clock=arguments.trust_clock)
    if arguments.remove_user is not None:
        return remove_user(settings, arguments.remove_user)
    return [add_user(settings, arguments.add_user, admin=arguments.admin)]


def clean_up(settings: Settings, *, dry_run: bool, trust_clock: bool = False) -> list[str]:
    """Remove what had its time and what belongs to nothing, or tell what it would be; lines to show.

    ConfigError where some of it is old only by a clock that is not trusted, unless it is said to be right.
    """
    registry, doubt = Registry(settings.data_dir), ""
    try:
        clock = Clock(settings.data_dir)
        if not trust_clock and cleanup.doubtful(registry, settings, clock, untouched_s=0.0):
            doubt = clock.sentence()
        if doubt and not dry_run:
            raise ConfigError(doubt)
        if trust_clock and not dry_run:
            clock.trust()
        found = (cleanup.find if dry_run else cleanup.remove)(registry, settings, untouched_s=0.0)
    finally:
        registry.close()
    lines = [f"job {row['id']} ({row['type']}, {row['status']}, {row['updated_at']})" for row in found.jobs]
    lines += [f"upload {row['id']} ({row['created_at']})" for row in found.uploads]
    lines += [f"{row['type']} {row['id']} (deleted {row['deleted_at']})" for row in found.deleted]
    lines += [f"voice {row['id']} ({row['model_name']}, deleted {row['deleted_at']})" for row in found.voices]
    lines += [f"preset {row['id']} ({row['name']}, of {row['user_id']})" for row in found.presets]
    lines += [str(path.relative_to(settings.data_dir)) for path in found.orphans]
    return [*lines, found.sentence(done=not dry_run), *([doubt] if doubt else [])]


def make_backup(settings: Settings, target: Path, *, with_voices: bool) -> list[str]:
    """Copy the registry, maybe with the voices' files; return lines to show."""
    if not with_voices:
        return [f"Backed up {back_up(settings.data_dir, target)} jobs and voices to {target}."]
    done = back_up_all(settings.data_dir, target)
    lines = [f"Backed up {done.rows} jobs and voices, and the files of {done.voices} voices, to {target}."]
    if done.lost:
        lines.append(f"{done.lost} voices have no files, so there are none in the backup.")
    return lines


def restore_backup(settings: Settings, source: Path) -> list[str]:
    """Put a backup in the registry's place; return lines to show."""
    done = restore_any(settings.data_dir, source)
    lines = [f"Restored {done.rows} jobs and voices from {source}."]
    if done.voices:
        lines.append(f"The files of {done.voices} voices were put back.")
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
    accounts = _accounts(settings)
    known = accounts.get(normal(name)) is not None
    if known and not _agrees(f"There is a user {name}. Change the password?"):
        raise ConfigError(f"Nothing was changed; {name} keeps the password.")
    password, again = _asked("Password: "), _asked("The same again: ")
    if password != again:
        raise ConfigError("The two passwords differ, so nothing was changed; try again.")
    account = accounts.put(name, password, admin=admin)
    role = "an admin" if account.admin else "a user"
    done = f"{account.name} has a new password" if known else f"{account.name} can log in"
    return f"{done}, as {role}; the file is {settings.auth_file}."


def remove_user(settings: Settings, name: str) -> list[str]:
    """Take a user out of the file, and their tokens and logins out of the registry; return lines to show."""
    accounts = _accounts(settings)
    if accounts.get(normal(name)) is not None and not _agrees(f"Remove the user {name}?"):
        raise ConfigError(f"Nothing was changed; {name} can still log in.")
    account = accounts.remove(name)
    lines = [f"{account.name} cannot log in any more; a running server refuses their tokens and logins too."]
    if (settings.data_dir / REGISTRY_NAME).exists():
        try:
            registry = Registry(settings.data_dir)
        except ConfigError:
            lines.append("Their tokens and logins are removed by the server that uses the data folder.")
        else:
            try:
                ended = Tokens(registry).end_all(account.name, account.id)
            finally:
                registry.close()
            lines.append(f"Their tokens and logins ({ended}) are removed.")
    return [
        *lines,
        "Their jobs and voices stay: an admin sees, fetches and deletes them on the page, and whoever is "
        f"added as {account.name} again has them.",
    ]


def _accounts(settings: Settings) -> Accounts:
    if settings.auth_file is None:
        raise ConfigError(
            "AUTH_FILE names no file for users; set it, in .env for example as AUTH_FILE=users.json, and try "
            "again."
        )
    return Accounts(settings.auth_file)


def _agrees(question: str) -> bool:
    """Ask a person at a terminal; where there is none, what was called for is meant."""
    return not sys.stdin.isatty() or input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _asked(prompt: str) -> str:
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")

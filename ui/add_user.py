"""`python app.py --add-user NAME`: asks for a password twice and writes it into the file of users."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

from pipelines.accounts import Accounts
from rvc.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.settings import Settings


def add_user(settings: Settings, name: str, *, admin: bool) -> str:
    """Add a user, or change the password of one.

    A person at a terminal is asked; otherwise the password is read from two lines of the standard input.

    Args:
        settings: Names the file.
        name: The login name.
        admin: Whether the user becomes an admin.

    Returns:
        What was done, in a sentence.

    Raises:
        ConfigError: No file is named, the name or the password cannot be used, the two passwords differ, or
            the person does not want to replace the password. The file is as it was.
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
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.readline().rstrip("\r\n")

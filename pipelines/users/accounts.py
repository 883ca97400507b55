"""Who may log in: a file {"users": {"ada": {"hash": "$argon2id$...", "admin": true, "id": "5f0c..."}}}.

`python app.py --add-user NAME` and `--remove-user NAME` write it; it is read again when it changes. The id is
made with the account and stays with a new password: what belongs to an account (tokens) does not pass on to
a later one of the same name. A password is never kept, only its argon2 hash. An unknown name costs the same
time as a wrong password, so that nobody learns from it which names exist.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from rvc.errors import ConfigError, UnknownNameError
from rvc.files import atomic_write

logger = logging.getLogger(__name__)

SHORTEST_PASSWORD, LONGEST_PASSWORD = 8, 1_000
_NAME = re.compile(r"\w[\w.@+-]{0,63}")
NOT_A_LOGIN = ("visitor-", "client-")  # how ids begin of those who use Timbre without a login


@dataclass(frozen=True, kw_only=True)
class Account:
    name: str  # of the login; also the owner's id in every row
    hash: str  # argon2, with its parameters
    admin: bool
    id: str = ""  # random; "" of an account from before there were ids

    @property
    def stamp(self) -> str:
        """A value that changes with the password: logins of an earlier one end."""
        return hashlib.sha256(self.hash.encode()).hexdigest()[:16]


class Accounts:
    """The users of one file, which need not exist before the first is added. Safe for threads.

    on_removed: Told of an account that was there when the file was last read, and is not any more.
    """

    def __init__(
        self,
        path: Path,
        *,
        hasher: PasswordHasher | None = None,
        on_removed: Callable[[Account], None] = lambda _: None,
    ) -> None:
        self.path = path
        self._hasher = hasher or PasswordHasher()
        self._on_removed = on_removed
        self._users: dict[str, Account] = {}
        self._read_at: tuple[int, int, int] | None = None

    def require(self) -> None:
        if not self.path.is_file() or not self.all():
            raise ConfigError(
                f"AUTH_FILE {self.path} names no user, so nobody could log in; add one with "
                "python app.py --add-user NAME."
            )
        self._refresh()
        _ = self._nobody  # now, so that the first unknown name costs no more than others

    def all(self) -> list[Account]:
        """Return the users as they are in the file now; a ConfigError if it is not one of users."""
        return list(_read(self.path).values())

    def get(self, name: str) -> Account | None:
        self._refresh()
        return self._users.get(name)

    def verify(self, name: str, password: str) -> Account | None:
        """Return the user if the password is theirs; takes as long when there is no such user.

        Costs about 64 MB and a tenth of a second of a processor: let only a few run at once.
        """
        account = self.get(normal(name))
        try:
            known = account.hash if account else self._nobody
            self._hasher.verify(known, normal(password)[:LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return None
        return account

    def put(self, name: str, password: str, *, admin: bool = False) -> Account:
        name = normal(name)
        if not _NAME.fullmatch(name) or name.startswith(NOT_A_LOGIN):
            raise ConfigError(
                f"{name[:64]!r} cannot be a login name; use letters, digits and . _ - @ +, at most 64 of "
                "them, and do not begin with visitor- or client-."
            )
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise ConfigError(
                f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; choose another one."
            )
        users = _read(self.path, or_nobody=True)
        if alike := [other for other in users if other != name and other.casefold() == name.casefold()]:
            raise ConfigError(
                f"There is a user {alike[0]} already; choose a name that nobody can mix up with it."
            )
        known = users.get(name)
        users[name] = Account(
            name=name,
            hash=self._hasher.hash(normal(password)),
            admin=admin or (known is not None and known.admin),
            id=secrets.token_hex(8) if known is None else known.id,
        )
        self._write(users)
        return users[name]

    def remove(self, name: str) -> Account:
        users = _read(self.path, or_nobody=True)
        account = users.pop(normal(name), None)
        if account is None:
            raise UnknownNameError(f"There is no user {name[:64]!r} in {self.path}; look for the name there.")
        self._write(users)
        return account

    def _write(self, users: dict[str, Account]) -> None:
        document = {"users": {user.name: _kept(user) for user in users.values()}}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path, private=True) as path:
                path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"AUTH_FILE {self.path} cannot be written ({error.strerror}), so nothing was changed; make "
                "room or give the right to, and try again."
            ) from error

    @cached_property
    def _nobody(self) -> str:
        # The hash of a password that nobody has.
        return self._hasher.hash(secrets.token_urlsafe(32))

    def _refresh(self) -> None:
        """Read the file if it has changed; one that cannot be read any more changes nothing."""
        try:
            facts = self.path.stat()
        except OSError:
            if self._read_at is not None:
                logger.error("AUTH_FILE %s is gone; nobody can log in", self.path)  # noqa: TRY400
            self._users, self._read_at = {}, None
            return
        read_at = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
        if read_at == self._read_at:
            return
        before, self._read_at = self._users, read_at
        try:
            self._users = _read(self.path)
        except ConfigError as error:
            logger.error("%s Until then, those of before can log in.", error)  # noqa: TRY400
            return
        ids = {(user.name, user.id) for user in self._users.values()}
        for gone in before.values():
            if (gone.name, gone.id) not in ids:
                self._on_removed(gone)


def normal(text: str) -> str:
    """Return the text in the one form that every keyboard's way of writing it has in common."""
    return unicodedata.normalize("NFC", text)


def _kept(user: Account) -> dict[str, Any]:
    return {"hash": user.hash, "admin": user.admin} | ({"id": user.id} if user.id else {})


def _read(path: Path, *, or_nobody: bool = False) -> dict[str, Account]:
    try:
        users: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["users"]
        return {
            name: Account(
                name=name,
                hash=str(user["hash"]),
                admin=user.get("admin") is True,
                id=str(user.get("id") or ""),
            )
            for name, user in users.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if or_nobody and isinstance(error, FileNotFoundError):
            return {}
        raise ConfigError(
            f"AUTH_FILE {path} is not a file of users ({type(error).__name__}); restore it, or move it away "
            "and add the users again with python app.py --add-user NAME."
        ) from error

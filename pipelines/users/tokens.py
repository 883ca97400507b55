"""Tokens that stand for a user: those of logged-in browsers and clients, and personal ones for programs.

    tmb_<id>_<secret>   a personal token: has a name, is shown once, is valid until it is revoked
    tms_<id>_<secret>   a login: is in a cookie, ends with the logout, a new password, or 30 days without use

The registry keeps the sha256 of each, never the token itself: whoever reads the registry cannot log in. (A
slow hash is for passwords; these are 256 random bits, which nobody guesses.) With each is kept the id of the
account that made it; whoever gets the same name later does not get the tokens. The clock is not trusted: one
that was wrong for a while ends nothing for good.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from pipelines.store.records import Row, Rows, as_text, checked_name
from pipelines.store.registry import Registry
from rvc.errors import NotAllowedError, UnknownNameError

Kind = Literal["personal", "login"]
PREFIXES: dict[Kind, str] = {"personal": "tmb", "login": "tms"}
LOGIN_LIFE = timedelta(days=30)  # without use
USE_NOTED_EVERY = timedelta(minutes=10)  # a write of the registry for every request would be too much
MOST: dict[Kind, int] = {"personal": 50, "login": 100}
PUBLIC = ("id", "name", "created_at", "last_used_at")
_TOKEN = re.compile(r"(tmb|tms)_([0-9a-f]{16})_([0-9a-f]{64})")


def looks_like_one(text: str, kind: Kind) -> bool:
    return text.startswith(PREFIXES[kind] + "_")


class Tokens:
    """The tokens of one registry, by a clock in UTC. Safe for threads."""

    def __init__(
        self, registry: Registry, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._registry = registry
        self._clock = clock

    def create(
        self, user_id: str, kind: Kind, name: str, *, account: str = "", stamp: str = ""
    ) -> tuple[str, Row]:
        """Make a token; return it, for the only time, and its row.

        It is bound to an account by its id ("": a user without one), a login also to the password's stamp.
        """
        name = checked_name(name, "token")
        self._end_all(user_id, lambda row: _account_of(row) != account)  # of an earlier user of the name
        self._make_room(user_id, kind)
        token_id, secret = secrets.token_hex(8), secrets.token_hex(32)
        moment = as_text(self._clock())
        row = {
            "id": token_id, "user_id": user_id, "kind": kind, "name": name,
            "account": account, "digest": _digest(secret), "stamp": stamp,
            "created_at": moment, "last_used_at": moment if kind == "login" else None,
        }  # fmt: skip
        return f"{PREFIXES[kind]}_{token_id}_{secret}", _public(self._registry.insert("tokens", row))

    def find(self, token: str, kind: Kind) -> Row | None:
        """Return id, user_id, account and stamp of a valid token, and note its use; None otherwise."""
        match = _TOKEN.fullmatch(token)
        row = self._registry.get("tokens", match[2]) if match else None
        if match is None or row is None or match[1] != PREFIXES[kind] or row["kind"] != kind:
            return None
        if not hmac.compare_digest(row["digest"], _digest(match[3])):
            return None
        moment = self._clock()
        used = datetime.fromisoformat(row["last_used_at"]) if row["last_used_at"] else None
        if kind == "login" and used is not None and moment - used > LOGIN_LIFE:
            return None  # the row stays: the clock may be wrong
        if used is None or used > moment or moment - used >= USE_NOTED_EVERY:
            self._registry.update_many("tokens", [row["id"]], last_used_at=as_text(moment))
        kept = {name: row[name] for name in ("id", "user_id", "stamp")}
        return kept | {"account": _account_of(row)}

    def list(self, user_id: str) -> Rows:
        """Return id, name, created_at and last_used_at of a user's personal tokens, newest first."""
        rows = self._registry.list("tokens", user_id=user_id, kind="personal")
        return [_public(row) for row in reversed(rows)]

    def revoke(self, user_id: str, token_id: str) -> Row:
        row = self._registry.get("tokens", str(token_id))
        if row is None or row["user_id"] != user_id or row["kind"] != "personal":
            raise UnknownNameError(
                f"There is no token {str(token_id)[:64]!r}; list your tokens to see their ids."
            )
        self._registry.delete("tokens", [row["id"]])
        return _public(row)

    def end(self, token: str) -> None:
        if (row := self.find(token, "login")) is not None:
            self._registry.delete("tokens", [row["id"]])

    def end_all(self, user_id: str, account: str) -> int:
        """End the tokens and logins of an account; return how many they were."""
        return self._end_all(user_id, lambda row: _account_of(row) == account)

    def _end_all(self, user_id: str, where: Callable[[Row], bool]) -> int:
        rows = self._registry.list("tokens", where, user_id=user_id)
        self._registry.delete("tokens", [row["id"] for row in rows])
        return len(rows)

    def _make_room(self, user_id: str, kind: Kind) -> None:
        rows = self._registry.list("tokens", user_id=user_id, kind=kind)
        if kind == "personal" and len(rows) >= MOST[kind]:
            raise NotAllowedError(f"You have {len(rows)} tokens, which is the most; revoke one first.")
        if kind == "login":
            moment = as_text(self._clock())
            by_use = sorted(rows, key=lambda row: min(row["last_used_at"], moment))
            surplus = max(0, len(rows) + 1 - MOST[kind])
            self._registry.delete("tokens", [row["id"] for row in by_use[:surplus]])


def _account_of(row: Row) -> str:
    return str(row.get("account", ""))  # older rows have none


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _public(row: Row) -> Row:
    return {name: row[name] for name in PUBLIC}

"""What this server alone computes from its secret, with one key a purpose: no answer for one helps another.

    visitor-<32 digits>   a browser; its cookie holds the digits and a signature of them
    client-<40 digits>    a program with a secret of its own, from which they are computed

Earlier, one key was used for both, and a program's id had 32 digits: they were those of a visitor's signature
when its secret was the visitor's digits. Such cookies are still valid; such ids are replaced at the start.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from pipelines.store.registry import Registry

OWNED = ("jobs", "models", "tokens", "presets")  # tables whose rows have an owner
_OLD_CLIENT = re.compile(r"client-([0-9a-f]{32})")


class Signatures:
    def __init__(self, secret: str) -> None:
        self._old = secret.encode()
        self._visitor, self._client = (
            hmac.digest(self._old, f"timbre {purpose}".encode(), "sha256")
            for purpose in ("visitor", "client")
        )

    def of_visitor(self, digits: str) -> str:
        """Return the signature of a visitor, 40 digits."""
        return _digits(self._visitor, digits)

    def is_of_visitor(self, digits: str, signature: str) -> bool:
        valid = (self.of_visitor(digits), _digits(self._old, digits))
        return any(hmac.compare_digest(signature, one) for one in valid)

    def client_id(self, own_secret: str) -> str:
        return self._renewed(_digits(self._old, own_secret)[:32])

    def renew_ids(self, registry: Registry) -> None:
        """Give what belongs to clients by their old ids to them by their new ones, in one step."""
        with registry.as_one():
            for table in OWNED:
                if not any(_OLD_CLIENT.fullmatch(str(owner)) for owner in registry.values(table, "user_id")):
                    continue
                rows = registry.list(table, lambda row: bool(_OLD_CLIENT.fullmatch(str(row.get("user_id")))))
                new_ids = {row["id"]: self._renewed(row["user_id"].removeprefix("client-")) for row in rows}
                registry.update_each(
                    table, {row_id: {"user_id": new_id} for row_id, new_id in new_ids.items()}
                )

    def _renewed(self, old_digits: str) -> str:
        return "client-" + _digits(self._client, old_digits)


def _digits(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:40]

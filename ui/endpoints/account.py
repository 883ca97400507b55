"""One's own account, its tokens, and the server."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

import gradio as gr

from pipelines.store.records import Caller, Row, Rows
from ui.endpoints.registration import Endpoints, endpoint
from ui.server.monitoring import health_of, info_of
from ui.server.services import validate_id
from ui.tabs.account import create_token


class AccountEndpoints(Endpoints):
    @endpoint()
    def account(self, caller: Caller) -> Row:
        """Tell who you are to this server, and how much of its disk you use.

        Returns:
            user_id, admin, jobs_mb, voices_mb, and quota_mb (0: no limit).
        """
        used = self._jobs.quota.used(caller.user_id)
        return {
            "user_id": caller.user_id,
            "admin": caller.admin,
            "jobs_mb": round(used.jobs / 1e6, 3),
            "voices_mb": round(used.voices / 1e6, 3),
            "quota_mb": self._services.settings.quota_mb_per_user,
        }

    @endpoint()
    def create_token(self, request: gr.Request, name: str) -> Row:
        """Make a personal token, with which a program acts in your name until you revoke it.

        Send it as the header "Authorization: Bearer TOKEN". A token itself cannot make tokens.

        Args:
            name: What you call it, for example the program that uses it.

        Returns:
            token (keep it: it is never shown again), id, name and created_at.
        """
        token, row = create_token(self._services, request, name)
        return row | {"token": token}

    @endpoint()
    def list_tokens(self, caller: Caller) -> Rows:
        """List your personal tokens, newest first; the tokens themselves are not kept.

        Returns:
            id, name, created_at and last_used_at of each.
        """
        return self._services.callers.tokens.list(caller.user_id)

    @endpoint()
    def revoke_token(self, caller: Caller, token_id: str) -> Row:
        """End a personal token for good.

        Args:
            token_id: From list_tokens.

        Returns:
            The row of the token that is gone.
        """
        return self._services.callers.tokens.revoke(caller.user_id, validate_id(token_id, "token"))

    @endpoint()
    def health(self) -> Row:
        """Tell whether the server works: device, memory, disk, registry, queue, worker, version.

        Returns:
            status "ok" or "degraded", the reason, and the facts.
        """
        return health_of(self._services)

    @endpoint()
    def info(self) -> Row:
        """Tell what this server accepts and offers: version, limits, formats, settings.

        Returns:
            The facts by name.
        """
        return info_of(self._services)

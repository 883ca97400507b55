"""The named endpoints about one's own account: who one is, what one uses, tokens, and deleting jobs.

No `from __future__ import annotations` here: Gradio reads the return annotation as an object.
"""

# ruff: noqa: D417 -- `request` comes from Gradio; the docstrings are for those who call from outside

import gradio as gr

from pipelines.removal import remove_job
from ui.account import create_token
from ui.api import Row, Rows
from ui.services import Services, plain_errors, plain_id


class AccountEndpoints:
    """Endpoints about the caller, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._tokens = services.callers.tokens

    def account(self, request: gr.Request) -> Row:
        """Tell who you are to this server, and how much of its disk you use.

        Returns:
            user_id, admin, jobs_mb, voices_mb, and quota_mb (0: no limit).
        """
        with plain_errors():
            caller = self._services.caller(request)
            used = self._services.jobs.quota.used(caller.user_id)
            return {
                "user_id": caller.user_id,
                "admin": caller.admin,
                "jobs_mb": round(used.jobs / 1e6, 3),
                "voices_mb": round(used.voices / 1e6, 3),
                "quota_mb": self._services.settings.quota_mb_per_user,
            }

    def create_token(self, name: str, request: gr.Request) -> Row:
        """Make a personal token, with which a program acts in your name until you revoke it.

        Send it as the header "Authorization: Bearer TOKEN". A token itself cannot make tokens.

        Args:
            name: What you call it, for example the program that uses it.

        Returns:
            token (keep it: it is never shown again), id, name and created_at.
        """
        with plain_errors():
            token, row = create_token(self._services, request, name)
            return row | {"token": token}

    def list_tokens(self, request: gr.Request) -> Rows:
        """List your personal tokens, newest first; the tokens themselves are not kept.

        Returns:
            id, name, created_at and last_used_at of each.
        """
        with plain_errors():
            return self._tokens.list(self._services.caller(request).user_id)

    def revoke_token(self, token_id: str, request: gr.Request) -> Row:
        """End a personal token for good.

        Args:
            token_id: From list_tokens.

        Returns:
            The row of the token that is gone.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return self._tokens.revoke(caller.user_id, plain_id(token_id, "token"))

    def delete_job(self, job_id: str, request: gr.Request) -> Row:
        """Delete a job that has ended, or an upload, with its files; voices that it made stay.

        Args:
            job_id: A job or an upload of yours.

        Returns:
            The row of the job that is gone.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return remove_job(self._services.jobs, caller, plain_id(job_id, "job"))

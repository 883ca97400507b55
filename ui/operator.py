"""Who runs the server: an admin; without users whoever sits at this machine, unless the page is shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.administration import require_admin
from pipelines.rows import Caller
from ui.arrivals import is_local

if TYPE_CHECKING:
    import gradio as gr

    from ui.services import Services


def admin_of(services: Services, request: gr.Request | None) -> Caller:
    """Return who sent a request as an admin.

    Raises:
        NotAllowedError: It is no admin's.
    """
    caller = services.caller(request)
    peer = request.client.host if request is not None and request.client else None
    if request is not None and services.local_admin and is_local(peer, request.headers):
        caller = Caller(caller.user_id, admin=True)
    require_admin(caller)
    return caller

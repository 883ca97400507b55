"""How a request came: from this very machine or from outside, encrypted or not, sent by which site's page.

Uvicorn has already put the forwarded client and scheme in place, of the proxies in TRUSTED_PROXIES and of
no others (`believe_proxies`). What is told by headers that anybody can send is never taken as permission:
a forwarded header can only make a request *less* trusted.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pipelines.settings import Settings

FORWARDED = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
)
"""Headers that proxies add."""


def believe_proxies(settings: Settings) -> None:
    """Have uvicorn take the client and the scheme from the trusted proxies' headers, and from no others'.

    Call it before the server starts. Without it uvicorn believes whoever connects from this machine.
    """
    os.environ["FORWARDED_ALLOW_IPS"] = settings.trusted_proxies


def is_local(peer: str | None, headers: Mapping[str, str]) -> bool:
    """Whether a request was sent on this machine to this machine, and passed on by nobody.

    Args:
        peer: The address that it came from.
        headers: Its headers, to be read without regard to case.

    A proxy on this machine that adds no header gives itself away by the name that the browser asked for,
    and so does a site whose name was made to lead here.
    """
    if peer is None or any(name in headers for name in FORWARDED):
        return False
    return _is_loopback(peer) and _is_loopback(_host_of(headers.get("host", "")))


def is_same_site(headers: Mapping[str, str]) -> bool:
    """Whether the page that sent a request came from the server that it is sent to, or no page sent it.

    Args:
        headers: The request's headers, to be read without regard to case.

    X-Forwarded-Host counts from anybody here: a page cannot set it without asking first, and other sites'
    pages are refused when they ask.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    if headers.get("sec-fetch-site") == "same-origin":
        return True  # no script can set this header
    sent_by = origin.lower().partition("://")[2]
    asked_for = (headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower())
    return bool(sent_by) and sent_by in asked_for


def _host_of(host: str) -> str:
    """Return a Host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)

"""What a person writes into .env: lists that are checked, and names that were meant to be settings.

A file .env may hold other programs' variables too, so a name that Timbre does not know is no error; one
that looks like a setting of Timbre is worth a warning, because a limit that is silently not set is worse.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

_ALIKE = 0.8
"""Share of letters in common, 0..1, from which a name is taken for a misspelt setting."""


def entries(text: str) -> list[str]:
    """Return the entries of a comma-separated list, without the spaces around them."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def checked_origins(text: str) -> str:
    """Return a comma-separated list of origins, lower-case, as browsers send them.

    Raises:
        ValueError: An entry is not scheme://host or scheme://host:port.
    """
    origins = [entry.rstrip("/").lower() for entry in entries(text)]
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
            raise ValueError(f"{origin!r} is not an origin such as https://example.org")
        if not parts.hostname or "*" in origin or "@" in origin:
            raise ValueError(f"{origin!r} names no single site; list each one")
    return ",".join(origins)


def checked_proxies(text: str) -> str:
    """Return a comma-separated list of addresses and networks.

    Raises:
        ValueError: An entry is neither.
    """
    for entry in entries(text):
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise ValueError(f"{entry!r} is not an address or a network such as 10.0.0.0/8") from None
    return ",".join(entries(text))


def unknown_names(path: Path, known: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names in a file of variables that look like settings and are none.

    Args:
        path: The file; nothing is unknown in one that does not exist.
        known: The settings' names, upper-case.

    Returns:
        (name in the file, the setting that it resembles).
    """
    if not path.is_file():
        return []
    settings = set(known)
    found = []
    for name in dotenv_values(path, interpolate=False):
        if name.upper() not in settings:
            alike = difflib.get_close_matches(name.upper(), settings, n=1, cutoff=_ALIKE)
            found += [(name, alike[0])] if alike else []
    return found

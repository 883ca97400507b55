"""What a server that is open to strangers must have, and what follows from how it is set.

Looks at settings and files alone: needs no server, and changes nothing.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.checking.findings import Finding
from pipelines.settings import Settings, entries
from pipelines.store.layout import REGISTRY_NAME, daily_backups
from pipelines.users.accounts import Accounts
from rvc.errors import ConfigError

MISSING = "Missing for a public server: {names}; see deploy/README.md."
COMPLETE = "Nothing that a public server must have is missing."
OLD_BACKUP_S = 2 * 86_400.0
LIMITS = {  # settings, and what they count
    "uploads_per_hour": "uploads",
    "files_per_hour": "files",
    "starts_per_hour": "starts of jobs",
    "logins_per_hour": "tries to log in",
    "calls_at_once": "calls",
    "uploads_at_once": "uploads",
}


def check_server(settings: Settings) -> list[Finding]:
    findings = []
    for name, look in CHECKS.items():
        missing, said = look(settings)
        findings.append(Finding(name=name, missing=missing, said=said))
    return findings


def _login(settings: Settings) -> tuple[bool, str]:
    if settings.auth_file is None:
        return (
            True,
            "AUTH_FILE is not set: whoever reaches the page uses it, trains on it and fills its disk.",
        )
    try:
        users = Accounts(settings.auth_file).all()
    except ConfigError as error:
        return True, str(error)
    if not users:
        return True, f"{settings.auth_file} names no user; add one with python app.py --add-user NAME."
    if _others_read(settings.auth_file):
        return True, f"Others on this machine can read {settings.auth_file}; chmod 600 it."
    admins = sum(user.admin for user in users)
    care = "" if admins else "; the Admin page is nobody's, add one with --add-user NAME --admin"
    return False, f"{len(users)} users can log in, {admins} of them as admins{care}."


def _https(settings: Settings) -> tuple[bool, str]:
    if settings.require_https:
        return False, "REQUIRE_HTTPS=1: what a proxy did not take over TLS is sent there or refused."
    return True, "REQUIRE_HTTPS is not set: passwords, tokens and recordings may travel in the clear."


def _origins(settings: Settings) -> tuple[bool, str]:
    if settings.allowed_origins:
        return False, f"Pages of {settings.allowed_origins} may call the API, as whoever looks at them."
    return False, "ALLOWED_ORIGINS is not set: no other web site's page may call the API."


def _proxies(settings: Settings) -> tuple[bool, str]:
    networks = [ipaddress.ip_network(entry, strict=False) for entry in entries(settings.trusted_proxies)]
    if not networks:
        shut_out = ", and REQUIRE_HTTPS refuses everybody" if settings.require_https else ""
        return True, f"TRUSTED_PROXIES is not set: all visitors have the proxy's address{shut_out}."
    if any(network.prefixlen == 0 for network in networks):
        return True, "TRUSTED_PROXIES holds every address: anybody can pretend to come from anywhere."
    return (
        False,
        f"What {settings.trusted_proxies} say of a visitor's address is believed, nobody else's word.",
    )


def _quota(settings: Settings) -> tuple[bool, str]:
    if settings.quota_mb_per_user:
        return False, f"One user may take {settings.quota_mb_per_user:g} MB of the disk."
    return True, "QUOTA_MB_PER_USER is not set: one user can fill the disk."


def _limits(settings: Settings) -> tuple[bool, str]:
    if none := [name.upper() for name in LIMITS if not getattr(settings, name)]:
        return True, f"{', '.join(none)} = 0: one user, or guesser of passwords, may do it without end."
    hourly, at_once = (
        ", ".join(f"{getattr(settings, name)} {what}" for name, what in LIMITS.items() if name.endswith(end))
        for end in ("_per_hour", "_at_once")
    )
    return False, (
        f"One user may do within an hour: {hourly}, an address five times as much; at once: {at_once}."
    )


def disk(settings: Settings) -> tuple[bool, str]:
    folder = settings.data_dir
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return True, f"DATA_DIR {folder} is no folder that whoever runs this check can write to."
    free = shutil.disk_usage(there).free
    if free < settings.max_decoded_bytes:
        return True, (
            f"{free / 1e9:.1f} GB are free for {folder}, less than one upload may take (MAX_DECODED_MB "
            f"{settings.max_decoded_mb:g}); make room, or lower it."
        )
    return False, f"{free / 1e9:.1f} GB are free for {folder}."


def _secret(settings: Settings) -> tuple[bool, str]:
    path = settings.data_dir / "secret"
    if settings.configured_secret is not None:
        return False, "SECRET is set; whoever knows it can be any visitor."
    try:
        usable = len(path.read_text(encoding="ascii", errors="replace").strip()) >= 16
    except FileNotFoundError:
        return False, f"SECRET is not set: the first start makes one and keeps it in {path}."
    except OSError as error:
        return True, f"{path} cannot be read ({error.strerror}); make it a readable file, or set SECRET."
    if not usable:
        return True, f"{path} holds no usable secret; delete it, and a new one is made."
    if _others_read(path):
        return True, f"Others on this machine can read {path}; chmod 600 it."
    return False, f"SECRET is not set: {path} keeps a random one; without it visitors lose what is theirs."


def _backups(settings: Settings) -> tuple[bool, str]:
    alone = (
        "they hold the registry alone: --backup FILE --with-voices adds the voices, and only a copy of "
        "DATA_DIR has the jobs' files"
    )
    if not (settings.data_dir / REGISTRY_NAME).exists():
        return False, f"There is nothing to back up yet; a server makes one a day, and {alone}."
    ages_s = [time.time() - path.stat().st_mtime for path in daily_backups(settings.data_dir)]
    if not ages_s or min(ages_s) > OLD_BACKUP_S:
        when = "none" if not ages_s else f"{min(ages_s) / 86_400:.0f} days old"
        return True, f"The newest backup is {when}; a server that runs makes one a day: look at its log."
    return (
        False,
        f"{len(ages_s)} daily backups, the newest {max(0.0, min(ages_s)) / 3_600:.0f} h old; {alone}.",
    )


def _metrics(settings: Settings) -> tuple[bool, str]:
    if settings.metrics_token is not None:
        return False, "METRICS_TOKEN is set: /metrics answers whoever sends it."
    return False, "METRICS_TOKEN is not set: /metrics answers this machine alone."


def _others_read(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)


CHECKS: dict[str, Callable[[Settings], tuple[bool, str]]] = {
    "login": _login,
    "HTTPS": _https,
    "origins": _origins,
    "proxies": _proxies,
    "quota": _quota,
    "limits": _limits,
    "disk": disk,
    "secret": _secret,
    "backups": _backups,
    "metrics": _metrics,
}

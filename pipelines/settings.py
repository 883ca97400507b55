"""Every environment variable that Timbre reads, once, with its bounds.

A variable is the upper-case name of a field (MAX_FILE_SIZE_MB), set in the environment or in a file called
.env in the folder where Timbre is started; .env.example lists them all. An empty value means the default.

What a person writes into .env: lists that are checked, and names that were meant to be settings.

A file .env may hold other programs' variables too, so a name that Timbre does not know is no error; one
that looks like a setting of Timbre is worth a warning, because a limit that is silently not set is worse.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import os
import secrets
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rvc.errors import ConfigError

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


logger = logging.getLogger(__name__)
_SHORTEST_SECRET = 16


def _absolute(path: Path) -> Path:
    # Child processes may start elsewhere.
    return path.expanduser().resolve()


class Settings(BaseSettings):
    """What a person who runs Timbre may set; frozen.

    Attributes:
        data_dir: Folder of everything that Timbre keeps (jobs, voices, registry); absolute.
        max_file_size_mb: Largest file of an upload, in MB (10**6 bytes).
        max_voice_file_mb: Largest file of a voice that is imported, in MB; an index of RVC has up to 620.
        max_audio_seconds: Longest recording, in seconds.
        max_decoded_mb: Most MB on the disk of one upload, with its decoded recordings.
        max_files: Most files in one upload.
        max_batch_mb: Largest sum of the recordings of one batch, unpacked, in MB.
        job_timeout: Seconds that preparing or converting may compute before it is stopped.
        training_timeout: Seconds that a training or a batch may compute before it is stopped.
        max_concurrent_jobs: How many jobs may compute on the device at the same time.
        cleanup_days: Days after which finished jobs and their files are archived and removed.
        upload_expiry_s: Seconds after which an upload that was never used is removed.
        api_host: Address on which the page and the API are served.
        api_port: Port on which they are served.
        auth_file: File of the users who may log in; absolute; None: no login.
        uploads_per_hour: Recordings and voices that one user may send in within an hour; 0 = any number.
        files_per_hour: Files that one user may send within an hour; 0 = any number.
        starts_per_hour: Jobs that one user may start within an hour; 0 = any number.
        logins_per_hour: Passwords that may be tried for one user within an hour; 0 = any number.
        quota_mb_per_user: MB that uploads, jobs and voices of one user may take; 0 = any number.
        converter_idle_s: Seconds without work after which the warm converter leaves memory.
        cancel_grace_s: Seconds that a cancelled job has to save and leave before it is killed.
        max_pause_s: Longest pause, in seconds, that conversions may force on a training at a stretch.
        train_threads: Processor threads of a training; by default all.
        weights_dir: Folder of published weights that were downloaded by hand; searched first; absolute.
        unverified_weights: Whether files in weights_dir are used though they are not the published ones.
        hf_hub_offline: Whether nothing is ever downloaded; the name is the one that other programs know.
        log_level: DEBUG, INFO, WARNING or ERROR.
        log_format: text for people, json for machines that collect logs.
        progress_interval_s: Longest silence, in seconds, between two rows that a follower of a job is sent.
        allow_training: Whether voices can be trained here; conversions always can.
        allowed_origins: Web sites that may call the API from a browser, comma-separated; this one always may.
        require_https: Whether what does not come over HTTPS is refused.
        trusted_proxies: Addresses of the proxies whose X-Forwarded-* headers are believed, comma-separated.
        metrics_token: What /metrics asks for as bearer token from other machines; None: it answers none.
        configured_secret: SECRET as it was set, or None; read `secret` instead.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    data_dir: Annotated[Path, AfterValidator(_absolute)] = Path("data")
    max_file_size_mb: float = Field(default=100, gt=0, le=4_000)
    max_voice_file_mb: float = Field(default=700, gt=0, le=4_000)
    max_audio_seconds: float = Field(default=5_400, ge=1, le=86_400)
    max_decoded_mb: float = Field(default=8_000, gt=0)
    max_files: int = Field(default=500, ge=1, le=1_000)
    max_batch_mb: float = Field(default=2_000, gt=0, le=100_000)
    job_timeout: float = Field(default=3_600, gt=0)
    training_timeout: float = Field(default=86_400, gt=0)
    max_concurrent_jobs: int = Field(default=1, ge=1, le=64)
    cleanup_days: float = Field(default=30, gt=0)
    upload_expiry_s: float = Field(default=86_400, gt=0)
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=7_860, ge=1, le=65_535)
    auth_file: Annotated[Path, AfterValidator(_absolute)] | None = None
    uploads_per_hour: int = Field(default=600, ge=0)
    files_per_hour: int = Field(default=3_000, ge=0)
    starts_per_hour: int = Field(default=600, ge=0)
    logins_per_hour: int = Field(default=20, ge=0)
    quota_mb_per_user: float = Field(default=0, ge=0)
    converter_idle_s: float = Field(default=600, ge=0)
    cancel_grace_s: float = Field(default=5, ge=0)
    max_pause_s: float = Field(default=600, ge=0)
    train_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    weights_dir: Annotated[Path, AfterValidator(_absolute)] | None = None
    unverified_weights: bool = False
    hf_hub_offline: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    progress_interval_s: float = Field(default=2, ge=0.1, le=60)
    allow_training: bool = True
    allowed_origins: Annotated[str, AfterValidator(checked_origins)] = ""
    require_https: bool = False
    trusted_proxies: Annotated[str, AfterValidator(checked_proxies)] = ""
    metrics_token: SecretStr | None = Field(default=None, min_length=_SHORTEST_SECRET)
    configured_secret: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("secret", "SECRET"), min_length=_SHORTEST_SECRET
    )

    @property
    def max_file_size_bytes(self) -> int:
        """Largest file of an upload, in bytes."""
        return round(self.max_file_size_mb * 1_000_000)

    @property
    def max_batch_bytes(self) -> int:
        """Largest sum of the recordings of one batch, in bytes."""
        return round(self.max_batch_mb * 1_000_000)

    @property
    def max_sent_bytes(self) -> int:
        """Largest file of any kind that is let in at all, in bytes."""
        return round(max(self.max_file_size_mb, self.max_voice_file_mb) * 1_000_000)

    @property
    def max_decoded_bytes(self) -> int:
        """Most bytes on the disk of one upload, with its decoded recordings."""
        return round(self.max_decoded_mb * 1_000_000)

    @property
    def quota_bytes(self) -> int:
        """Bytes that uploads, jobs and voices of one user may take; 0 = any number."""
        return round(self.quota_mb_per_user * 1_000_000)

    @property
    def secret(self) -> str:
        """Key that signs the owners' cookies: SECRET, or a random one kept in DATA_DIR/secret.

        Raises:
            ConfigError: The kept file has been emptied or cut.
        """
        if self.configured_secret is not None:
            return self.configured_secret.get_secret_value()
        return _kept_secret(self.data_dir / "secret")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the environment and .env, once per process.

    Raises:
        ConfigError: A variable has a value that is not allowed; the message names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]).upper()
        raise ConfigError(f"{name}: {first['msg']}; correct it in the environment or in .env.") from error


def warn_of_misspelt_names() -> None:
    """Log the names in .env that look like settings and are none; call it when logging is set up."""
    env_file = Settings.model_config.get("env_file")
    for unknown, meant in unknown_names(Path(str(env_file or os.devnull)), setting_names()):
        logger.warning("%s in .env is no setting of Timbre and has no effect; %s is one.", unknown, meant)


def setting_names() -> list[str]:
    """Return the names of all variables, as they stand in .env.example."""
    return ["SECRET" if name == "configured_secret" else name.upper() for name in Settings.model_fields]


def _kept_secret(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Exclusive: of two processes that start together, one writes and the other reads.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_text(encoding="ascii", errors="replace").strip()
    else:
        kept = secrets.token_urlsafe(32)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(kept)
        logger.info("wrote a new secret to %s", path)
    if len(kept) < _SHORTEST_SECRET:
        raise ConfigError(f"{path} holds no usable secret; delete it, and a new one is made.")
    return kept

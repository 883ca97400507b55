"""Every environment variable that Timbre reads, once, with its bounds.

A variable is the upper-case name of a field (MAX_FILE_SIZE_MB), set in the environment or in a file called
.env in the folder where Timbre is started; .env.example explains them all. An empty value means the default.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rvc.errors import ConfigError

logger = logging.getLogger(__name__)
_ALIKE = 0.8  # share of letters in common, 0..1, from which a name is taken for a misspelt setting
_SHORTEST_SECRET = 16


def entries(text: str) -> list[str]:
    """Return the entries of a comma-separated list, without the spaces around them."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _checked_origins(text: str) -> str:
    """Return a comma-separated list of scheme://host or scheme://host:port, as browsers send them."""
    origins = [entry.rstrip("/").lower() for entry in entries(text)]
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin:
            raise ValueError(f"{origin!r} is not an origin such as https://example.org")
        if not parts.hostname or "*" in origin or "@" in origin:
            raise ValueError(f"{origin!r} names no single site; list each one")
    return ",".join(origins)


def _checked_proxies(text: str) -> str:
    for entry in entries(text):
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise ValueError(f"{entry!r} is not an address or a network such as 10.0.0.0/8") from None
    return ",".join(entries(text))


def _checked_secret(secret: SecretStr) -> SecretStr:
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("it holds characters that are no UTF-8") from None
    return secret


def _in_bytes(*names: str) -> property:
    """Return a property: the largest of some limits in MB, in whole bytes."""
    return property(lambda settings: round(max(getattr(settings, name) for name in names) * 1_000_000))


def absolute(path: Path) -> Path:
    """Return a path that also holds where child processes start; a ValueError if it leads nowhere."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:  # ~ of nobody, a circle of links
        raise ValueError(f"{str(path)!r} leads nowhere ({error})") from None


Folder = Annotated[Path, AfterValidator(absolute)]
# No number may be infinite, or so large that a date or a timer could not be computed from it.
_MOST_DAYS = 36_500
Days = Annotated[float, Field(allow_inf_nan=False, le=_MOST_DAYS)]
Seconds = Annotated[float, Field(allow_inf_nan=False, le=_MOST_DAYS * 86_400)]
Megabytes = Annotated[float, Field(allow_inf_nan=False, le=1e9)]
Secret = Annotated[SecretStr, Field(min_length=_SHORTEST_SECRET), AfterValidator(_checked_secret)]
PerHour = Annotated[int, Field(ge=0, le=10**9)]
AtOnce = Annotated[int, Field(ge=0, le=100_000)]


class Settings(BaseSettings):
    """What a person who runs Timbre may set; frozen. MB are 10**6 bytes; a quota or a limit of 0 is none."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    data_dir: Folder = Path("data")
    max_file_size_mb: Megabytes = Field(default=100, gt=0, le=4_000)
    max_voice_file_mb: Megabytes = Field(default=700, gt=0, le=4_000)  # an index of RVC has up to 620
    max_audio_seconds: Seconds = Field(default=5_400, ge=1, le=86_400)
    max_decoded_mb: Megabytes = Field(default=8_000, gt=0)  # of one upload on the disk, recordings decoded
    max_files: int = Field(default=500, ge=1, le=1_000)  # of one upload to convert
    max_voice_files: int = Field(default=5_000, ge=1, le=20_000)  # of one upload of a voice
    max_batch_mb: Megabytes = Field(default=2_000, gt=0, le=100_000)  # of all recordings, unpacked
    job_timeout: Seconds = Field(default=3_600, gt=0)  # seconds that preparing or converting may compute
    training_timeout: Seconds = Field(default=86_400, gt=0)  # seconds for a training, a batch or a song
    max_concurrent_jobs: int = Field(default=1, ge=1, le=64)  # that compute on the device
    max_converters: int = Field(default=0, ge=0, le=1_024)  # warm ones; 0: one, in a cluster one a device
    max_gpus: int = Field(default=0, ge=0, le=64)  # of a training; 0: those of this machine, in a cluster 8
    ray_address: str = ""  # of a Ray cluster on which jobs run; "auto" finds one of this machine
    shared_dir: str = ""  # a folder, or an address such as s3://bucket/timbre, through which its files go
    cleanup_days: Days = Field(default=30, gt=0)  # until ended jobs and lost visitors' presets are removed
    upload_expiry_s: Seconds = Field(default=86_400, gt=0)  # for uploads that were never used
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=7_860, ge=1, le=65_535)
    auth_file: Folder | None = None
    uploads_per_hour: PerHour = 600
    files_per_hour: PerHour = 20_000
    starts_per_hour: PerHour = 600
    logins_per_hour: PerHour = 20
    calls_at_once: AtOnce = 60  # of one user, waiting and followed ones included
    uploads_at_once: AtOnce = 6
    quota_mb_per_user: Megabytes = Field(default=0, ge=0)
    converter_idle_s: Seconds = Field(default=600, ge=0)  # until the warm converter leaves memory
    cancel_grace_s: Seconds = Field(default=5, ge=0)  # to save and leave before the kill
    max_pause_s: Seconds = Field(default=600, ge=0)  # that conversions may force on a training at a stretch
    train_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1_024)
    weights_dir: Folder | None = None  # downloaded by hand; searched first
    unverified_weights: bool = False  # use what is there though it is not as published
    hf_hub_offline: bool = False  # never download; other programs know the name
    mark_output: bool = True  # an inaudible watermark in every result
    sign_output: bool = True  # a C2PA manifest too, where requirements-c2pa.txt is installed
    signing_key: Folder | None = None  # of the operator, in PEM; else one of this installation is made
    signing_certificate: Folder | None = None  # its chain in PEM, the leaf first
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    progress_interval_s: Seconds = Field(default=2, ge=0.1, le=60)  # longest silence to a follower of a job
    allow_training: bool = True
    spaces_zero_gpu: bool = False  # on a ZeroGPU Space, which says so itself
    allowed_origins: Annotated[str, AfterValidator(_checked_origins)] = ""
    require_https: bool = False
    trusted_proxies: Annotated[str, AfterValidator(_checked_proxies)] = ""
    metrics_token: Secret | None = None
    configured_secret: Secret | None = Field(  # read `secret` instead
        default=None, validation_alias=AliasChoices("secret", "SECRET")
    )

    max_file_size_bytes = _in_bytes("max_file_size_mb")
    max_batch_bytes = _in_bytes("max_batch_mb")
    max_sent_bytes = _in_bytes("max_file_size_mb", "max_voice_file_mb")  # of any kind that is let in at all
    max_decoded_bytes = _in_bytes("max_decoded_mb")
    quota_bytes = _in_bytes("quota_mb_per_user")

    @property
    def secret(self) -> str:
        """Key that signs the owners' cookies: SECRET, or a random one kept in DATA_DIR/secret."""
        if self.configured_secret is not None:
            return self.configured_secret.get_secret_value()
        return _kept_secret(self.data_dir / "secret")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the environment and .env, once per process; a ConfigError names a variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]).upper()
        raise ConfigError(f"{name}: {first['msg']}; correct it in the environment or in .env.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"The settings in .env cannot be read ({error}); correct the file.") from error


def warn_of_misspelt_names() -> None:
    """Log the names in .env that look like settings and are none: a limit that is silently not set."""
    known = setting_names()
    env_file = Path(str(Settings.model_config.get("env_file") or os.devnull))
    for name in dotenv_values(env_file, interpolate=False) if env_file.is_file() else ():
        alike = difflib.get_close_matches(name.upper(), known, n=1, cutoff=_ALIKE)
        if alike and name.upper() not in known:
            logger.warning("%s in .env is no setting of Timbre and has no effect; %s is one.", name, alike[0])


def setting_names() -> list[str]:
    """Return the names of all variables, as they stand in .env.example."""
    return ["SECRET" if name == "configured_secret" else name.upper() for name in Settings.model_fields]


def _kept_secret(path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Exclusive: of two processes that start together, one writes and the other reads.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            kept = path.read_text(encoding="ascii", errors="replace").strip()
        else:
            kept = secrets.token_urlsafe(32)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(kept)
            except OSError:
                path.unlink()  # on a full disk; an empty one would be taken for damaged
                raise
            logger.info("wrote a new secret to %s", path)
    except OSError as error:
        raise ConfigError(
            f"{path}, which keeps the server's secret, cannot be used ({error.strerror}); make it a file "
            "that whoever runs Timbre can read, or set SECRET."
        ) from error
    if len(kept) < _SHORTEST_SECRET:
        raise ConfigError(f"{path} holds no usable secret; delete it, and a new one is made.")
    return kept

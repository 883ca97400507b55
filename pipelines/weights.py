"""Published weights: a name in assets/manifest.json -> a verified file on this machine.

    WEIGHTS_DIR         what a person downloaded by hand, searched first; never written to
    DATA_DIR/weights    what was downloaded here: whole files only, and one that is on its way as *.part

A file counts only with the published size and SHA-256; what was verified is remembered until it changes. With
UNVERIFIED_WEIGHTS a file of the right name in WEIGHTS_DIR counts as it is: for encoders of one's own.
How a file comes over the network: download.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from pipelines.download import EVENT_S, Patience, UnreachableError, download
from pipelines.events import Done, Events, Progress, result_of
from pipelines.settings import Settings, get_settings
from rvc.engine.options import RVC
from rvc.errors import ConfigError, DownloadError, UnknownNameError
from rvc.files import ROOT, atomic_write
from rvc.training.settings import TrainSettings

logger = logging.getLogger(__name__)

MANIFEST = ROOT / "assets" / "manifest.json"
_PLAIN_PATH = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)
SEPARATOR = "htdemucs"
_TWO_FILES = "send in its vocals and its backing as two files"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

Steps = Generator[Progress, None, None]


@dataclass(frozen=True, kw_only=True)
class Weight:
    file: str
    url: str
    bytes: int | None
    sha256: str
    licence: str
    used_by: str
    note: str = ""  # what a person should know who uses it
    instead: tuple[str, ...] = ()  # names of others that serve as well

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        safe = address.scheme == "https" or (address.scheme == "http" and address.hostname in _LOOPBACK)
        # A path that leaves its folder, or a name that another system reads differently, is nobody's weight.
        if not _PLAIN_PATH.fullmatch(self.file) or not safe or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError(
                f"The manifest's entry for {self.file!r} is not usable; restore {MANIFEST.name}."
            )


class WeightStore:
    def __init__(  # noqa: PLR0913 -- by name, and all have a default
        self,
        folder: Path,
        own_folder: Path | None = None,
        *,
        offline: bool = False,
        unverified: bool = False,
        manifest: Mapping[str, Weight] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.folder = folder
        self._own_folder = own_folder
        self._offline = offline
        self._unverified = unverified
        self._manifest = read_manifest() if manifest is None else manifest
        self._patience = patience or Patience()

    def fetch(self, name: str) -> Events[Path]:
        weight = self._weight(name)
        yield _progress(weight, "Looking for weights", 0)
        if (found := self.find(name)) is None:
            yield from self._download(weight)
            found = self.folder / weight.file
        yield Done(result=found)

    def find(self, name: str) -> Path | None:
        """Return the verified file of this name, or one that serves as well; None if none is here."""
        weight = self._weight(name)
        for each in (weight, *(self._weight(other) for other in weight.instead)):
            for path in self._places(each):
                if self._is_the_one(path, each):
                    return path
        return None

    def _weight(self, name: str) -> Weight:
        if name not in self._manifest:
            known = ", ".join(self._manifest)
            raise UnknownNameError(f"Unknown weights {str(name)[:64]!r}. Choose one of: {known}.")
        return self._manifest[name]

    def _places(self, weight: Weight) -> list[Path]:
        """Where a file may lie; in a person's own folder also without the publisher's sub-folder."""
        own = [] if self._own_folder is None else [self._own_folder / weight.file]
        if self._own_folder is not None and "/" in weight.file:
            own.append(self._own_folder / Path(weight.file).name)
        return [*own, self.folder / weight.file]

    def _is_the_one(self, path: Path, weight: Weight) -> bool:
        """Whether this is the published file; a sum is computed once per file and change of it."""
        if not path.is_file():
            return False
        if self._unverified and self._own_folder is not None and path.is_relative_to(self._own_folder):
            return True
        if self._verified().get(str(path)) == _mark(path, weight):
            return True
        if not _has_the_sum(path, weight):
            logger.warning("%s is not the published file, so it is not used", path)
            return False
        self._remember(path, weight)
        return True

    def _verified(self) -> dict[str, Any]:
        try:
            marks = json.loads((self.folder / "verified.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return marks if isinstance(marks, dict) else {}

    def _remember(self, path: Path, weight: Weight) -> None:
        """Note that a file was verified; a note that is lost only costs a second, so nothing is locked."""
        marks, noted = self._verified() | {str(path): _mark(path, weight)}, self.folder / "verified.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(noted) as temporary:
                temporary.write_text(json.dumps(marks, indent=1), encoding="utf-8")
        except OSError as error:
            logger.warning("%s could not be written: %s", noted, error)

    def _download(self, weight: Weight) -> Steps:
        if self._offline:
            raise self._out_of_reach(weight, "HF_HUB_OFFLINE is set")
        target = self.folder / weight.file
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock", timeout=0, thread_local=False)
        while True:
            try:
                lock.acquire()
                break
            except Timeout:
                yield _progress(weight, "Waiting for another download", 0)
                time.sleep(EVENT_S)
        try:
            if not self._is_the_one(target, weight):
                yield from self._receive_verified(weight, target)
        finally:
            lock.release()

    def _receive_verified(self, weight: Weight, target: Path) -> Steps:
        """Download to a part, verify it, and give it its name; a part that fails gets one fresh start."""
        part = target.with_name(f"{target.name}.part")
        for path in (part, target):
            if path.is_dir() or part.is_symlink():  # a link would be written through
                raise self._out_of_reach(weight, f"{path} is in the way")
        for fresh in (not part.exists(), True):
            try:
                for had in download(weight.url, part, weight.bytes, self._patience):
                    yield _progress(weight, "Downloading weights", had)
            except UnreachableError as error:
                raise self._out_of_reach(weight, str(error)) from error
            if _has_the_sum(part, weight):
                part.replace(target)
                self._remember(target, weight)
                logger.info("downloaded %s: %.1f MB", weight.file, target.stat().st_size / 1e6)
                return
            part.unlink(missing_ok=True)
            if fresh:  # otherwise what lay there may have been the fault
                break
        raise self._out_of_reach(weight, "what is there now is not the published file")

    def _out_of_reach(self, weight: Weight, reason: str) -> DownloadError:
        file, used_by = weight.file, f"{weight.used_by[0].upper()}{weight.used_by[1:]}"
        file += "" if weight.bytes is None else f" ({weight.bytes / 1e6:.0f} MB)"
        place = (self._own_folder or self.folder) / weight.file
        if wrong := [path for path in self._places(weight) if path.is_file()]:
            reason += f", and {wrong[0]} is not the published file"
        return DownloadError(
            f"{used_by}: {file} is needed and cannot be downloaded ({reason}); fetch {weight.url} and save "
            f"it as {place}."
        )


@lru_cache(maxsize=1)
def read_manifest(path: Path = MANIFEST) -> Mapping[str, Weight]:
    try:
        entries: dict[str, dict[str, Any]] = json.loads(path.read_bytes())
        return {
            name: Weight(**{**entry, "instead": tuple(entry.get("instead", ()))})
            for name, entry in entries.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); restore it.") from error


def pretrained(version: str, sample_rate_hz: int, *, uses_f0: bool) -> tuple[str, str]:
    folder = "pretrained_v2" if version == "v2" else "pretrained"
    kind, rate = ("f0" if uses_f0 else ""), f"{sample_rate_hz // 1000}k"
    return f"{folder}/{kind}G{rate}", f"{folder}/{kind}D{rate}"


def fetch_pretrained(
    settings: TrainSettings, store: WeightStore
) -> Generator[Progress, None, Sequence[Path]]:
    """Get what a training begins with, generator and discriminators; nothing if it has no use for them.

    Raises:
        DownloadError: One cannot be had; tells both ways out.
    """
    if settings.engine != RVC or settings.from_scratch:
        return ()
    names = pretrained(settings.version, settings.sample_rate_hz, uses_f0=settings.f0)
    found: list[Path] = []
    for name in names:
        try:
            path = yield from result_of(store.fetch(name), until=0.0)
        except DownloadError as error:
            others = [other for other in names if other != name and store.find(other) is None]
            also = "".join(f", likewise {other}.pth" for other in others)
            raise DownloadError(
                f"{str(error).rstrip('.')}{also}; or set from_scratch to begin with random initial weights, "
                "which takes hours of recordings and days of a GPU."
            ) from error
        found.append(path)
    return found


def separator_installed() -> bool:
    return find_spec("demucs_infer") is not None


def fetch_separator(store: WeightStore) -> Generator[Progress, None, Path]:
    """Get what takes vocals out of a song.

    Raises:
        ConfigError: The packages of requirements-songs.txt are not installed.
        DownloadError: The weights cannot be had.
    """
    if not separator_installed():
        raise ConfigError(
            "This server cannot take vocals out of a song: pip install -r requirements-songs.txt is missing; "
            f"{_TWO_FILES}."
        )
    try:
        return (yield from result_of(store.fetch(SEPARATOR), until=0.0))
    except DownloadError as error:
        raise DownloadError(f"{str(error).rstrip('.')}; or {_TWO_FILES}.") from error


def weight_store(settings: Settings | None = None) -> WeightStore:
    settings = settings or get_settings()
    offline, unverified = settings.hf_hub_offline, settings.unverified_weights
    own = settings.weights_dir
    return WeightStore(settings.data_dir / "weights", own, offline=offline, unverified=unverified)


def _mark(path: Path, weight: Weight) -> list[Any]:
    """What a file that was verified looks like until somebody changes it."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, weight.sha256]


def _has_the_sum(path: Path, weight: Weight) -> bool:
    if weight.bytes not in (None, path.stat().st_size):
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == weight.sha256


def _progress(weight: Weight, stage: str, had: int) -> Progress:
    total = weight.bytes or 0
    of_all = f" of {total / 1e6:.0f}" if total else ""
    return Progress(
        stage=stage,
        fraction=min(had / total, 1.0) if total else 0.0,
        message=f"{weight.file}: {had / 1e6:.0f}{of_all} MB",
        data={"bytes": had, "total_bytes": weight.bytes},
    )

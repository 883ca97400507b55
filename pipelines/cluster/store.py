"""Files by their content in a folder, or at an address, that all machines of a cluster reach.

    objects/<first two digits>/<sha256>     one file, whatever it is called
    lists/<name>.json                       {path: {"sha256", "bytes"}}

What is fetched is checked against its hash before it takes its place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from rvc.errors import ConfigError
from rvc.files import atomic_write

logger = logging.getLogger(__name__)
BLOCK_BYTES = 1 << 20
TRIES = 5  # to read a file as it is, while it is being written to
FRESH_S = 86_400.0  # an object is written again when it is older, so that the clean-up knows it is in use
KEPT_S = 7 * 86_400.0  # without being written again, until an object is removed
Listing = dict[str, dict[str, Any]]


class SharedStore:
    """The store at a path or an fsspec address; the settings of a cloud come from the environment.

    Safe for threads. OSError, and what the address's own library raises, where it cannot be reached.
    """

    def __init__(self, address: str) -> None:
        import fsspec

        try:
            self._fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"SHARED_DIR: {address!r} cannot be used ({error}); correct it.") from error
        self._root = str(root).rstrip("/")
        self._is_folder = "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else ())
        self._digests: dict[tuple[str, int, int], str] = {}  # of files of this machine as they are

    def put(self, path: Path) -> dict[str, Any]:
        """Keep a file, unless one of the same content is kept; return how a listing names it."""
        for _ in range(TRIES):
            size, digest = path.stat().st_size, self._digest_of(path)
            target = self._object(digest)
            if self._is_fresh(target, size):
                return {"sha256": digest, "bytes": size}
            with path.open("rb") as file:
                if not self._write(target, file, digest):
                    continue
            if (kept := self._fs.info(target)["size"]) != size:
                raise OSError(f"the shared folder has kept {kept} of the {size} bytes of {path.name}")
            return {"sha256": digest, "bytes": size}
        raise OSError(f"{path.name} changes faster than it can be read")

    def get(self, entry: Mapping[str, Any], destination: Path) -> None:
        """Fetch a file; OSError if what is kept is another, which is removed then and can be put again."""
        source = self._object(entry["sha256"])
        destination.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(destination) as path:
            with path.open("wb") as out, self._fs.open(source, "rb") as kept:
                digest = _copied(kept, out)
            if digest != entry["sha256"]:
                with suppress(FileNotFoundError):
                    self._fs.rm_file(source)
                raise OSError(f"{destination.name} came damaged from the shared folder")

    def has(self, entry: Mapping[str, Any], path: Path) -> bool:
        """Whether a file of this machine is what a listing names."""
        try:
            return path.stat().st_size == entry["bytes"] and self._digest_of(path) == entry["sha256"]
        except OSError:
            return False

    def write_listing(self, name: str, listing: Listing) -> None:
        content = json.dumps(listing).encode()
        path = f"{self._root}/lists/{name}.json"
        if self._is_folder:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(Path(path)) as part:
                part.write_bytes(content)
        else:
            self._fs.pipe_file(path, content)

    def read_listing(self, name: str) -> Listing | None:
        try:
            found: Listing = json.loads(self._fs.cat_file(f"{self._root}/lists/{name}.json"))
        except FileNotFoundError:
            return None
        return found

    def remove_listing(self, name: str) -> None:
        path = f"{self._root}/lists/{name}.json"
        if self._fs.exists(path):
            self._fs.rm_file(path)

    def clean_up(self) -> int:
        """Remove objects and listings that nothing has used for long; return how many."""
        found = {
            path: info
            for folder in ("objects", "lists")
            for path, info in self._fs.find(f"{self._root}/{folder}", detail=True).items()
        }
        old = [path for path, info in found.items() if time.time() - _written_s(info) > KEPT_S]
        for path in old:
            self._fs.rm_file(path)
        return len(old)

    def _object(self, digest: str) -> str:
        return f"{self._root}/objects/{digest[:2]}/{digest}"

    def _is_fresh(self, path: str, size: int) -> bool:
        """Whether an object is there, as large as it should be, and was written not long ago."""
        try:
            info = self._fs.info(path)
        except FileNotFoundError:
            return False
        return bool(info["size"] == size) and time.time() - _written_s(info) <= FRESH_S

    def _digest_of(self, path: Path) -> str:
        state = path.stat()
        key = (str(path), state.st_mtime_ns, state.st_size)
        if (digest := self._digests.get(key)) is None:
            with path.open("rb") as file:
                digest = self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return digest

    def _write(self, target: str, file: BinaryIO, digest: str) -> bool:
        """Write an object, and return whether the file still has that content."""
        if self._is_folder:  # where what is half written would be seen
            target_path = Path(target)
            part = target_path.with_name(f".{digest}.{secrets.token_hex(8)}.part")  # others write it too
            target_path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("wb") as out:
                    same = _copied(file, out) == digest
                    out.flush()
                    os.fsync(out.fileno())
                if same:
                    part.replace(target_path)
            finally:
                part.unlink(missing_ok=True)
            return same
        out = self._fs.open(target, "wb")
        try:
            if same := _copied(file, out) == digest:
                out.close()
        except BaseException:
            _discard(out)
            raise
        if not same:
            _discard(out)
        return same


def _copied(source: BinaryIO, out: BinaryIO) -> str:
    """Copy a file and return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    while block := source.read(BLOCK_BYTES):
        digest.update(block)
        out.write(block)
    return digest.hexdigest()


def _discard(out: Any) -> None:  # noqa: ANN401  # a file of fsspec
    """Throw away what was written so far."""
    try:
        out.discard()
    finally:
        with suppress(AttributeError):
            out.closed = True  # else it would be closed, and so kept, when it is collected


def _written_s(info: Mapping[str, Any]) -> float:
    """Return when an object was written; now where the address does not tell, so that it is never removed."""
    moment = info.get("mtime") or info.get("LastModified") or info.get("last_modified")
    if isinstance(moment, datetime):
        return moment.timestamp()
    return float(moment) if isinstance(moment, int | float) else time.time()

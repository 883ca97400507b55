"""The store of files by their content, in a folder and at an address."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pipelines.cluster.store import FRESH_S, KEPT_S, SharedStore
from rvc.errors import ConfigError


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def test_what_nothing_has_used_for_long_is_removed(tmp_path: Path, shared: Path) -> None:
    store = SharedStore(str(shared))
    paths = []
    for name, age_s in {"old": KEPT_S + 60, "again": KEPT_S + 60, "new": 0.0}.items():
        (tmp_path / name).write_text(name)
        digest = store.put(tmp_path / name)["sha256"]
        paths.append(shared / "objects" / digest[:2] / digest)
        os.utime(paths[-1], (time.time() - age_s, time.time() - age_s))
    store.put(tmp_path / "again")  # used once more, after more than FRESH_S
    for name, age_s in {"old": KEPT_S + 60, "new": 0.0}.items():
        store.write_listing(name, {})
        os.utime(shared / "lists" / f"{name}.json", (time.time() - age_s, time.time() - age_s))
    assert KEPT_S > FRESH_S
    assert store.clean_up() == 2
    assert [path.exists() for path in paths] == [False, True, True]
    assert [store.read_listing(name) for name in ("old", "new")] == [None, {}]


def test_what_an_address_does_not_date_is_never_removed(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SharedStore(str(shared))
    (tmp_path / "a").write_bytes(b"a")
    digest = store.put(tmp_path / "a")["sha256"]
    os.utime(shared / "objects" / digest[:2] / digest, (1.0, 1.0))
    files = type(store._fs)
    undated = {"mtime": None, "LastModified": "yesterday"}
    info = files.info
    monkeypatch.setattr(files, "info", lambda self, path, **options: info(self, path, **options) | undated)
    assert store.clean_up() == 0
    monkeypatch.undo()
    assert store.clean_up() == 1


class _Upload:
    """A file of an object store as fsspec has them: what is closed is kept, also when it is collected."""

    def __init__(self, most: int) -> None:
        self.most, self.closed, self.kept, self.discarded = most, False, b"", False

    def write(self, block: bytes) -> None:
        if len(self.kept + block) > self.most:
            raise OSError("the line is broken")
        self.kept += block

    def discard(self) -> None:
        self.discarded = True


def test_a_file_that_could_not_be_written_whole_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SharedStore("memory://half")
    (tmp_path / "a").write_bytes(b"a" * 100)
    upload = _Upload(most=10)
    with monkeypatch.context() as patch:
        patch.setattr(store._fs, "open", lambda *_: upload)
        with pytest.raises(OSError, match="the line is broken"):
            store.put(tmp_path / "a")
    assert upload.discarded
    assert upload.closed, "so that nothing closes it later"
    entry = store.put(tmp_path / "a")
    store.get(entry, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"a" * 100
    store._fs.pipe_file(store._object(entry["sha256"]), b"a")  # cut short: it is written again
    store.put(tmp_path / "a")
    store.get(entry, tmp_path / "b")
    monkeypatch.setattr(store, "_write", lambda target, file, digest: True)
    (tmp_path / "c").write_bytes(b"c")
    store._fs.pipe_file(store._object(store._digest_of(tmp_path / "c")), b"")
    with pytest.raises(OSError, match="has kept 0 of the 1 bytes of c"):
        store.put(tmp_path / "c")


def test_an_address_that_nothing_can_read_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"SHARED_DIR: 'nothing://here' cannot be used \(.*correct it"):
        SharedStore("nothing://here")


def test_a_listing_is_plain_json(shared: Path, tmp_path: Path) -> None:
    store = SharedStore(str(shared))
    (tmp_path / "a").write_bytes(b"a")
    store.write_listing("x", {"jobs/1/a": store.put(tmp_path / "a")})
    (entry,) = json.loads((shared / "lists" / "x.json").read_text()).values()
    assert entry["bytes"] == 1
    assert store.read_listing("x") == {"jobs/1/a": entry}
    assert store.read_listing("y") is None

"""Small files that claim to be large: they cost a child a little, and the server that takes them nothing."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.recordings.uploads import receive_batch
from pipelines.settings import Settings
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.errors import CheckpointError, LimitError
from rvc.lite.weights import load_part
from rvc.vits.voice_model import load_voice_file
from tests.hostile.bad_files import voice, zipped
from tests.hostile.heavy_voices import HEAVY, index_that_claims
from tests.process_tree import said_by

ME = Caller("me")
SERVER_MB, CHILD_MB = 50.0, 900.0  # by which a server may grow, and what a child may take, torch and all


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    registry = Registry(tmp_path / "data")
    yield Library(tmp_path / "data", registry)
    registry.close()


def imported(folder: Path, what: str, content: bytes) -> dict[str, Any]:
    """What a process that imports this file says of it."""
    (folder / what).write_bytes(content)
    return said_by("tests.hostile.heavy_voices", folder, folder / what)


@pytest.mark.skipif(sys.platform != "linux", reason="tells memory by /proc")
@pytest.mark.parametrize("what", HEAVY)
def test_the_server_stays_small_while_a_heavy_voice_is_refused(tmp_path: Path, what: str) -> None:
    content = HEAVY[what]()
    assert len(content) < 5_000_000
    said = imported(tmp_path, what, content)
    (one,) = said["imports"]
    assert one["answer"].split(":")[0] in ("CheckpointError", "LimitError"), one
    assert one["answer"].endswith("."), one
    assert one["grown_mb"] < SERVER_MB, one
    assert said["child_mb"] < CHILD_MB, said
    assert said["left"] == []


def test_what_a_zip_unpacks_to_is_asked_for_before_a_byte_is_written(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {**voice(), "model.safetensors": bytes(3_000_000)}
    (tmp_path / "a.zip").write_bytes(zipped(files))
    asked: list[int] = []

    def none_left(count: int) -> None:
        asked.append(count)
        written = [path for path in (tmp_path / "data" / "models").rglob("*") if path.is_file()]
        assert written == []
        raise LimitError("full.")

    with pytest.raises(LimitError, match="full"):
        library.import_voice(ME, [tmp_path / "a.zip"], None, none_left)
    assert asked == [sum(map(len, files.values()))]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=201_000_000))
    with pytest.raises(LimitError, match="no room for this voice on the server's disk"):
        library.import_voice(ME, [tmp_path / "a.zip"])
    (tmp_path / "b.zip").write_bytes(zipped({f"{n}.wav": bytes(900_000) for n in range(3)}))
    (tmp_path / "job").mkdir()
    with pytest.raises(Exception, match="no room for these recordings on the server's disk"):
        receive_batch([(tmp_path / "b.zip", "b.zip")], tmp_path / "job", Settings())
    assert list((tmp_path / "data" / "models").iterdir()) == []
    assert list((tmp_path / "job").iterdir()) == []


def test_a_quota_counts_what_an_import_keeps_and_no_more(library: Library, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({f"Toy/{name}": data for name, data in voice().items()}))
    spent: list[int] = []
    row = library.import_voice(ME, [tmp_path / "a.zip"], "Another name", spent.append)
    assert abs(sum(spent) - row["size_bytes"]) < 100  # its card has the name


def test_an_index_in_a_bundle_is_judged_when_it_comes_in(library: Library, tmp_path: Path) -> None:
    for what, content, said in (
        ("claims", index_that_claims(600_000_000), r"index\.faiss (is not a readable|cannot be read)"),
        ("other size", index_that_claims(16 * 32, 32), "holds vectors of 32 numbers and the voice needs 64"),
        ("no index", b"RIFF" + bytes(100), "is not a readable faiss index"),
        ("nothing", b"", "is not a readable faiss index"),
    ):
        (tmp_path / "a.zip").write_bytes(zipped({**voice(), "index.faiss": content}))
        with pytest.raises(CheckpointError, match=said):
            library.import_voice(ME, [tmp_path / "a.zip"])
        assert list((tmp_path / "data" / "models").iterdir()) == [], what
    (tmp_path / "a.zip").write_bytes(zipped({**voice(), "index.faiss": index_that_claims(16 * 64)}))
    assert library.import_voice(ME, [tmp_path / "a.zip"])["model_name"] == "x"


@pytest.mark.parametrize("length", [1_000_001, 1 << 40, (1 << 64) - 1])
def test_no_reader_of_weights_reads_a_header_of_more_than_a_megabyte(
    library: Library, tmp_path: Path, length: int
) -> None:
    path = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", length) + header.ljust(min(length, 2_000_000)) + bytes(4))
    with pytest.raises(CheckpointError, match=r"^model\.safetensors is damaged or of another kind"):
        load_voice_file(path)
    with pytest.raises(CheckpointError, match=f"a header of {length} bytes"):
        load_part(path, "w")
    (tmp_path / "a.zip").write_bytes(zipped({**voice(), "model.safetensors": path.read_bytes()}))
    with pytest.raises(CheckpointError, match="damaged or of another kind; export it again"):
        library.import_voice(ME, [tmp_path / "a.zip"])

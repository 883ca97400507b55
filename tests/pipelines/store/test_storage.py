"""The registry's journal: a step that was done is never lost, one that was not done is never seen."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from pipelines.store import storage
from pipelines.store.layout import JOURNAL_NAME, REGISTRY_NAME
from pipelines.store.records import new_job
from pipelines.store.registry import Registry, read_registry
from pipelines.store.storage import JournaledStorage, Written
from rvc.errors import ConfigError
from rvc.files import ROOT


def job(number: int, **fields: object) -> dict[str, Any]:
    return new_job("me", "training", status="pending", seq=number) | {"id": f"{number:032x}"} | fields


def killed(folder: Path, target: Path) -> Path:
    """What a server that is killed now leaves: a copy of its folder."""
    shutil.copytree(folder, target)
    (target / "server.lock").unlink(missing_ok=True)
    return target


def rows_in(folder: Path) -> list[dict[str, Any]]:
    registry = Registry(folder)
    try:
        return registry.list("jobs")
    finally:
        registry.close()


def test_a_kill_at_any_byte_loses_nothing_that_was_done(tmp_path: Path) -> None:
    registry, done, sizes = Registry(tmp_path / "data"), [], [0]
    journal = tmp_path / "data" / JOURNAL_NAME
    steps: list[Callable[[], object]] = [
        lambda: registry.insert("jobs", job(1)),
        lambda: registry.update("jobs", job(1)["id"], message="é" * 9, settings={"steps": 3}),
        lambda: registry.insert("jobs", job(2)),
        lambda: registry.delete("jobs", [job(1)["id"]]),
        lambda: registry.insert("jobs", job(2, message="again")),
    ]
    done.append(registry.list("jobs"))
    for step in steps:
        step()
        done.append(registry.list("jobs"))
        sizes.append(journal.stat().st_size)
    content = journal.read_bytes()
    registry.close()
    (tmp_path / "data" / REGISTRY_NAME).write_bytes(before_all(tmp_path))
    for length in range(len(content) + 1):
        journal.write_bytes(content[:length])
        whole = sum(size <= length for size in sizes) - 1
        if length < sizes[1]:
            whole = 0
        assert read_registry(tmp_path / "data" / REGISTRY_NAME)[1]["jobs"] == {
            r["id"]: r for r in done[whole]
        }
    # And a server goes on from there.
    for length in (len(content) - 1, sizes[2] + 20, sizes[1], 3):
        journal.write_bytes(content[:length])
        home = killed(tmp_path / "data", tmp_path / f"of-{length}")
        registry = Registry(home)
        registry.insert("jobs", job(7))
        again = killed(home, tmp_path / f"again-{length}")
        registry.close()
        assert rows_in(home) == rows_in(again)
        assert rows_in(home)[-1]["seq"] == 7


@pytest.mark.parametrize("seed", range(3))
def test_a_long_journal_that_is_cut_anywhere_has_every_step_before(tmp_path: Path, seed: int) -> None:
    random, home = Random(seed), tmp_path / "data"
    registry, journal = Registry(home), home / JOURNAL_NAME
    sizes, done = [0], [registry.list("jobs")]
    for number in range(60):
        known = [row["id"] for row in done[-1]]
        match random.choice(("insert", "insert", "update", "delete", "several")) if known else "insert":
            case "insert":
                registry.insert("jobs", job(number, message="ß→" * random.randrange(40)))
            case "update":
                registry.update("jobs", random.choice(known), progress=number / 60)
            case "delete":
                registry.delete("jobs", [random.choice(known)])
            case _:
                with registry.as_one():
                    registry.update_many("jobs", known, message=str(number))
                    registry.insert("jobs", job(number))
        done.append(registry.list("jobs"))
        sizes.append(journal.stat().st_size)
    content = journal.read_bytes()
    registry.close()
    (home / REGISTRY_NAME).write_bytes(before_all(tmp_path))
    last_records = range(sizes[-3], sizes[-1] + 1)
    for length in [*last_records[:: max(1, len(last_records) // 400)], *random.sample(range(sizes[-1]), 200)]:
        journal.write_bytes(content[:length])
        whole = max(sum(size <= length for size in sizes) - 1, 0)
        read = read_registry(home / REGISTRY_NAME)[1]["jobs"]
        assert read == {row["id"]: row for row in done[whole]}, f"cut at byte {length}"


def test_a_kill_at_any_moment_of_folding_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps come before and while the document is written whole; each copy is what a kill would leave."""
    registry, home = Registry(tmp_path / "data"), tmp_path / "data"
    moments: dict[str, list[dict[str, Any]]] = {}

    def look(moment: str) -> None:
        killed(home, tmp_path / moment)
        moments[moment] = registry.list("jobs")

    announce, follow = JournaledStorage.announce, JournaledStorage.follow

    def looked_announce(self: JournaledStorage, written: Written) -> None:
        registry.insert("jobs", job(20))  # in the thread that folds, which has the lock
        registry.delete("jobs", [job(3)["id"]])
        look("written")
        announce(self, written)
        look("announced")

    def looked_follow(self: JournaledStorage, written: Written, since: int) -> None:
        look("replaced")
        follow(self, written, since)
        look("folded")

    monkeypatch.setattr(JournaledStorage, "announce", looked_announce)
    monkeypatch.setattr(JournaledStorage, "follow", looked_follow)
    for number in range(10):
        registry.insert("jobs", job(number))
    registry.update_many("jobs", [job(5)["id"]], message="later")
    monkeypatch.setattr(storage, "LEAST_FOLDED_BYTES", 5_000)
    registry.insert("jobs", job(11))
    assert registry._folding is not None
    registry._folding.join()
    registry.insert("jobs", job(12))
    look("after")
    assert (tmp_path / "after" / REGISTRY_NAME).read_bytes().count(b"\n") > 10
    assert (tmp_path / "after" / JOURNAL_NAME).stat().st_size < 5_000
    registry.close()
    assert list(moments) == ["written", "announced", "replaced", "folded", "after"]
    for moment, rows in moments.items():
        assert {row["id"]: row for row in rows_in(tmp_path / moment)} == {row["id"]: row for row in rows}, (
            moment
        )


@pytest.mark.parametrize("pause_s", [0.05, 0.2, 0.4])
def test_a_process_that_is_killed_while_it_writes_loses_no_step_that_it_had_done(
    tmp_path: Path, pause_s: float
) -> None:
    """Rows are written whole now and then meanwhile, and the next server writes on where this one ended."""
    for done_before in range(0, 4_000, 1_000):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(done_before)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline(), "it has not begun"
        time.sleep(pause_s)
        writer.kill()
        told = [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line[-1:] == "\n"]
        writer.wait()
        writer.stdout.close()
        seqs = [row["seq"] for row in rows_in(tmp_path) if row["seq"] >= done_before]
        expected = list(range(done_before, told[-1] + 1))
        assert seqs in (expected, [*expected, told[-1] + 1])
        assert {row["message"] for row in rows_in(tmp_path) if row["seq"] in expected[:-1]} == {"done"}


WRITER = """
import sys
from pathlib import Path
from pipelines.store import storage
from pipelines.store.registry import Registry
from tests.pipelines.store.test_storage import job
storage.LEAST_FOLDED_BYTES = 20_000
registry, since = Registry(Path(sys.argv[1])), int(sys.argv[2])
for number in range(since, since + 1_000):
    if number > since:
        registry.update("jobs", job(number - 1)["id"], message="done")
    registry.insert("jobs", job(number))
    print(number, flush=True)
"""


def before_all(tmp_path: Path) -> bytes:
    """The document of a registry without rows."""
    Registry(tmp_path / "empty").close()
    return (tmp_path / "empty" / REGISTRY_NAME).read_bytes()


def test_a_disk_that_takes_a_part_of_a_write_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Halves(io.FileIO):
        def write(self, content: memoryview) -> int:  # type: ignore[override]
            return super().write(content[: len(content) // 2 + 1])

    pieces = [b"a" * 1_000, b"b" * 333, b"c"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode, buffering: Halves(path, mode))
        written = storage.write_gently(tmp_path / "document", pieces)
    content = (tmp_path / "document").read_bytes()
    assert content == b"".join(pieces)
    assert written == Written(zlib.crc32(content), len(content))


def test_a_crash_between_the_document_and_its_journal_repeats_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "data")
    registry.insert("jobs", job(1))
    registry.insert("jobs", job(2))
    journal = (tmp_path / "data" / JOURNAL_NAME).read_bytes()
    registry.delete("jobs", [job(1)["id"]])
    registry.close()
    assert not (tmp_path / "data" / JOURNAL_NAME).exists(), "a server that ends leaves one file"
    (tmp_path / "data" / JOURNAL_NAME).write_bytes(journal)
    assert [row["seq"] for row in rows_in(tmp_path / "data")] == [2]


@pytest.mark.parametrize("at", [0.3, 0.6])
def test_damage_within_the_journal_is_refused_and_left_as_it_is(tmp_path: Path, at: float) -> None:
    registry = Registry(tmp_path / "data")
    for number in range(1, 6):
        registry.insert("jobs", job(number))
    home = killed(tmp_path / "data", tmp_path / "killed")
    registry.close()
    content = bytearray((home / JOURNAL_NAME).read_bytes())
    content[int(at * len(content))] ^= 1
    (home / JOURNAL_NAME).write_bytes(content)
    for opened in (Registry, lambda folder: read_registry(folder / REGISTRY_NAME)):
        with pytest.raises(ConfigError, match=r"damaged journal \(line \d of registry\.journal\); .*backup"):
            opened(home)
    assert (home / JOURNAL_NAME).read_bytes() == content


def test_a_step_that_the_disk_cuts_leaves_rows_and_journal_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "data")
    registry.insert("jobs", job(1))
    journal = (tmp_path / "data" / JOURNAL_NAME).read_bytes()
    written, calls = os.pwrite, 0

    def cut(handle: int, content: bytes, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return written(handle, content[:10], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", cut)
        with pytest.raises(OSError, match="quota"):
            registry.update("jobs", job(1)["id"], status="failed")
        assert "quota" in registry._storage.fault
    assert registry.list("jobs")[0]["status"] == "pending"
    assert (tmp_path / "data" / JOURNAL_NAME).read_bytes() == journal
    registry.update("jobs", job(1)["id"], status="cancelled")
    assert registry.fault == ""
    registry.close()
    assert rows_in(tmp_path / "data")[0]["status"] == "cancelled"


def test_who_reads_beside_the_server_sees_whole_steps_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LEAST_FOLDED_BYTES", 3_000)  # so that the document is written now and then
    registry = Registry(tmp_path)
    stop, seen = threading.Event(), []

    def read_over_and_over() -> None:
        while not stop.is_set():
            seen.append(len(read_registry(tmp_path / REGISTRY_NAME)[1]["jobs"]))

    reader = threading.Thread(target=read_over_and_over)
    reader.start()
    for number in range(0, 80, 2):
        with registry.as_one():
            registry.insert("jobs", job(number))
            registry.insert("jobs", job(number + 1))
    stop.set()
    reader.join()
    registry.close()
    assert seen == sorted(seen)
    assert not any(count % 2 for count in seen)


def test_the_journal_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LEAST_FOLDED_BYTES", 5_000)
    registry = Registry(tmp_path)
    registry.insert("jobs", job(1))
    lengths = []
    for number in range(60):
        registry.update("jobs", job(1)["id"], message=str(number))
        lengths.append((tmp_path / JOURNAL_NAME).stat().st_size if (tmp_path / JOURNAL_NAME).exists() else 0)
    assert max(lengths) < 20_000, "it is folded beside, so a little grows meanwhile"
    assert orjson.loads((tmp_path / REGISTRY_NAME).read_bytes())["jobs"]
    registry.close()


def test_a_change_is_written_without_the_other_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, lines, append = Registry(tmp_path), [], JournaledStorage.append

    def noted(self: JournaledStorage, line: bytes) -> None:
        lines.append(line)
        append(self, line)

    with registry.as_one():
        for number in range(300):
            registry.insert("jobs", job(number))
    monkeypatch.setattr(JournaledStorage, "append", noted)
    registry.update("jobs", job(7)["id"], status="failed")
    registry.close()
    (line,) = lines
    assert len(line) < 2 * len(orjson.dumps(job(7)))

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.records import new_job
from pipelines.store.registry import SCHEMA_VERSION, InUseError, Registry
from pipelines.store.storage import JournaledStorage
from rvc.errors import ConfigError


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = Registry(tmp_path)
    yield opened
    opened.close()


def job(number: int, **fields: object) -> dict[str, Any]:
    moment = "2025-01-01T00:00:00.000+00:00"
    row = new_job("me", "training", status="pending", seq=number)
    return row | {"id": f"{number:032x}", "created_at": moment, "updated_at": moment} | fields


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    first.insert("jobs", job(1, settings={"steps": 3}))
    first.update("jobs", job(1)["id"], status="training", progress=0.5)
    first.insert("jobs", job(2))
    first.delete("jobs", [job(2)["id"]])
    first.close()
    again = Registry(tmp_path)
    (row,) = again.list("jobs")
    again.close()
    assert (row["status"], row["progress"], row["settings"]) == ("training", 0.5, {"steps": 3})


def test_rows_are_found_by_id_by_field_and_by_condition_oldest_first(registry: Registry) -> None:
    for number in range(1, 6):
        registry.insert("jobs", job(number, status="pending" if number % 2 else "failed"))
    assert registry.get("jobs", job(3)["id"]) == registry.list("jobs", lambda row: row["seq"] == 3)[0]
    assert [row["seq"] for row in registry.list("jobs", status="pending")] == [1, 3, 5]
    assert registry.get("jobs", "no such id") is None
    assert registry.list("models") == []
    with pytest.raises(KeyError):
        registry.update("jobs", "no such id", status="failed")


def test_a_row_that_was_read_or_given_is_a_copy(registry: Registry) -> None:
    given = job(1, settings={"list": [1]})
    registry.insert("jobs", given)
    given["settings"]["list"].append(2)
    read = registry.get("jobs", given["id"])
    assert read is not None
    read["settings"]["list"].append(3)
    registry.list("jobs")[0]["settings"]["list"].append(4)
    again = registry.get("jobs", given["id"])
    assert again is not None
    assert again["settings"] == {"list": [1]}


def test_inserting_an_id_again_replaces_the_row(registry: Registry) -> None:
    registry.insert("usage", {"id": "a", "uses": 1, "old": True})
    registry.insert("usage", {"id": "a", "uses": 2})
    assert registry.list("usage") == [{"id": "a", "uses": 2}]


def test_the_version_changes_with_every_write_and_only_then(registry: Registry) -> None:
    seen = [registry.version]
    registry.insert("jobs", job(1))
    seen.append(registry.version)
    registry.update("jobs", job(1)["id"], progress=0.1)
    seen.append(registry.version)
    registry.list("jobs")
    registry.update_many("jobs", [], progress=0.2)
    assert registry.version == seen[-1]
    assert len(set(seen)) == 3


def test_several_changes_are_written_in_one_step_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    registry.insert("jobs", job(1))
    append, steps = JournaledStorage.append, []

    def counted(self: JournaledStorage, line: bytes) -> None:
        steps.append(line)
        append(self, line)

    monkeypatch.setattr(JournaledStorage, "append", counted)
    with registry.as_one():
        registry.update("jobs", job(1)["id"], status="completed")
        for uses in (1, 2):
            registry.insert("usage", {"id": "voice", "uses": uses})
        assert registry.list("usage") == [{"id": "voice", "uses": 2}]
    assert len(steps) == 1
    with pytest.raises(ZeroDivisionError), registry.as_one():
        registry.delete("jobs", [job(1)["id"]])
        _ = 1 / 0
    assert len(steps) == 1
    assert registry.list("jobs", status="completed")
    registry.close()
    assert json.loads((tmp_path / "registry.json").read_text())["usage"] == {
        "voice": {"id": "voice", "uses": 2}
    }


def test_a_step_that_fails_leaves_rows_in_their_order(registry: Registry) -> None:
    for number in (1, 2, 3):
        registry.insert("jobs", job(number))
    with pytest.raises(ZeroDivisionError), registry.as_one():
        registry.delete("jobs", [job(1)["id"]])
        registry.insert("jobs", job(4))
        registry.update("jobs", job(2)["id"], status="completed")
        _ = 1 / 0
    assert registry.list("jobs") == [job(1), job(2), job(3)]


def test_a_second_server_on_the_same_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    with pytest.raises(ConfigError, match=r"Another Timbre server already uses the data folder .*DATA_DIR"):
        Registry(tmp_path)
    first.close()
    Registry(tmp_path).close()


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_data_folder_that_cannot_be_used_is_named_with_the_way_out(tmp_path: Path, inside: str) -> None:
    taken = tmp_path / "a-file"
    taken.write_text("mine")
    with pytest.raises(ConfigError, match=r"The data folder .*a-file.* cannot be used .*DATA_DIR"):
        Registry(taken / inside)
    assert taken.read_text() == "mine"


def test_a_file_that_a_crash_left_beside_the_registry_is_not_read(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.insert("jobs", job(1))
    registry.close()
    (tmp_path / "registry.json.tmp").write_text('{"jobs": {"half')
    again = Registry(tmp_path)
    again.insert("jobs", job(2))
    again.close()
    assert set(json.loads((tmp_path / "registry.json").read_text())["jobs"]) == {job(1)["id"], job(2)["id"]}


def test_threads_lose_no_update(registry: Registry) -> None:
    def write(worker: int) -> None:
        for number in range(10):
            registry.insert("jobs", job(worker * 100 + number))

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.list("jobs")) == 40


def test_an_unreadable_registry_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text("{half")
    with pytest.raises(ConfigError, match="not readable JSON"):
        Registry(tmp_path)
    assert (tmp_path / "registry.json").read_text() == "{half"
    (tmp_path / "registry.json").write_text("[]")
    with pytest.raises(ConfigError, match="no tables"):
        Registry(tmp_path)


def test_a_registry_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    document = {"schema": {"schema": {"version": SCHEMA_VERSION + 1}}, "jobs": {}}
    (tmp_path / "registry.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="newer Timbre"):
        Registry(tmp_path)


def test_an_older_registry_is_brought_up_and_kept_beside(tmp_path: Path) -> None:
    document = {"jobs": {job(1)["id"]: job(1)}}
    (tmp_path / "registry.json").write_text(json.dumps(document))
    registry = Registry(tmp_path)
    assert registry.list("jobs") == [job(1)]
    registry.close()
    assert json.loads((tmp_path / "registry.v0.json").read_text()).keys() == {"jobs"}
    written = json.loads((tmp_path / "registry.json").read_text())
    assert written["schema"]["schema"]["version"] == SCHEMA_VERSION


def test_a_thousand_rows_are_read_and_changed_in_no_time(tmp_path: Path) -> None:
    rows = {job(number)["id"]: job(number, settings={"steps": number}) for number in range(1000)}
    document = {"schema": {"schema": {"version": SCHEMA_VERSION}}, "jobs": rows}
    (tmp_path / "registry.json").write_text(json.dumps(document))
    registry = Registry(tmp_path)
    started = time.thread_time()
    for _ in range(5):
        assert len(registry.list("jobs")) == 1000
        registry.get("jobs", job(500)["id"])
    reading_s = (time.thread_time() - started) / 5
    started = time.thread_time()
    registry.update("jobs", job(500)["id"], status="failed")
    writing_s = time.thread_time() - started
    registry.close()
    assert reading_s < 0.2
    assert writing_s < 0.5


def test_a_registry_is_read_beside_its_writer_and_never_written(tmp_path: Path) -> None:
    nowhere = Registry(tmp_path / "nowhere", read_only=True)
    assert nowhere.list("jobs") == []
    assert not (tmp_path / "nowhere").exists()
    writer = Registry(tmp_path)
    writer.insert("jobs", job(1))
    with pytest.raises(InUseError, match="already uses"):
        Registry(tmp_path)
    reader = Registry(tmp_path, read_only=True)
    assert reader.list("jobs") == writer.list("jobs")
    with pytest.raises(RuntimeError):
        reader.insert("jobs", job(2))
    reader.close()
    writer.insert("jobs", job(3))
    writer.close()
    assert len(Registry(tmp_path, read_only=True).list("jobs")) == 2

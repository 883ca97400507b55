from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.records import Caller, new_job
from pipelines.voices.library import EXPORT_LIFE_S, Library
from rvc.errors import CheckpointError, ConfigError, LimitError, NotAllowedError, RvcError, UnknownNameError
from tests.hostile import bad_files
from tests.toy_worker import write_voice

ME, OTHER, ADMIN = Caller("me"), Caller("other"), Caller("root", admin=True)


def zipped(path: Path, entries: Mapping[str, bytes | str]) -> Path:
    path.write_bytes(bad_files.zipped(entries))
    return path


def voice_files(tmp_path: Path, name: str = "Toy") -> dict[str, bytes | str]:
    folder = write_voice(tmp_path / f"voice-{time.monotonic_ns()}", name)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def imported(
    library: Library, tmp_path: Path, caller: Caller = ME, name: str | None = None
) -> dict[str, Any]:
    return library.import_voice(caller, [zipped(tmp_path / "voice.zip", voice_files(tmp_path))], name)


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "data" / "models").iterdir()]


def test_an_imported_voice_is_listed_with_what_its_card_says(library: Library, tmp_path: Path) -> None:
    row = imported(library, tmp_path, name="  My   voice ")
    assert row["model_name"] == "My voice"
    assert (row["engine"], row["sample_rate_hz"], row["encoder"]) == ("toy", 24_000, "toy")
    assert row["f0"]["median_hz"] == 110.0
    assert (row["user_id"], row["builtin"], row["uses"]) == ("me", False, 0)
    assert row["training_duration_seconds"] == 1.5
    assert library.get(ME, row["id"]) == row
    assert [voice["model_name"] for voice in library.list(ME)] == ["My voice", "Alto"]
    assert json.loads((library.folder(ME, row["id"]) / "card.json").read_text())["name"] == "My voice"


def test_what_is_exported_can_be_imported_again(library: Library, tmp_path: Path) -> None:
    row = imported(library, tmp_path)
    archive = library.export_bundle(ME, row["id"])
    again = library.import_voice(OTHER, [archive])
    assert row["id"] not in archive.name
    assert again["id"] != row["id"]
    same = ("model_name", "engine", "f0", "sample_rate_hz", "size_bytes")
    assert {name: again[name] for name in same} == {name: row[name] for name in same}
    first, second = library.folder(ME, row["id"]), library.folder(OTHER, again["id"])
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_voices_of_others_are_like_voices_that_do_not_exist(library: Library, tmp_path: Path) -> None:
    row = imported(library, tmp_path)
    for model_id in (row["id"], "0" * 32):
        for ask in (library.get, library.folder, library.delete, library.stats, library.export_bundle):
            with pytest.raises(UnknownNameError) as error:
                ask(OTHER, model_id)
            assert str(error.value) == f"There is no voice '{model_id}'; list the voices to see their ids."
        with pytest.raises(UnknownNameError):
            library.rename(OTHER, model_id, "Stolen")
    assert [voice["builtin"] for voice in library.list(OTHER)] == [True]
    assert library.get(ADMIN, row["id"]) == row
    assert row in library.list(ADMIN)


def test_a_renamed_voice_has_its_name_in_the_card_too(library: Library, tmp_path: Path) -> None:
    row = imported(library, tmp_path)
    assert library.rename(ME, row["id"], "Zoë")["model_name"] == "Zoë"
    assert json.loads((library.folder(ME, row["id"]) / "card.json").read_text())["name"] == "Zoë"
    for name in ("", "  ", "x" * 81, "a\x00b", None):
        with pytest.raises(ConfigError):
            library.rename(ME, row["id"], name)  # type: ignore[arg-type]
    assert library.get(ME, row["id"])["model_name"] == "Zoë"


def test_a_voice_that_is_deleted_for_good_is_gone_with_its_files_and_statistics(
    library: Library, tmp_path: Path
) -> None:
    row = imported(library, tmp_path)
    library.record_use(row["id"], [2.0])
    library.delete(ME, row["id"], purge=True)
    assert leftovers(tmp_path) == []
    assert [voice["builtin"] for voice in library.list(ME)] == [True]
    library.record_use(row["id"], [2.0])  # a conversion that ends after the voice was deleted
    with pytest.raises(UnknownNameError):
        library.stats(ME, row["id"])


def test_uses_are_counted_for_own_and_for_built_in_voices(library: Library, tmp_path: Path) -> None:
    for model_id in (imported(library, tmp_path)["id"], "builtin-alto"):
        library.record_use(model_id, [2.0])
        library.record_use(model_id, [3.5])
        stats = library.stats(ME, model_id)
        assert (stats["model_id"], stats["uses"], stats["seconds_converted"]) == (model_id, 2, 5.5)
        assert stats["last_used_at"] is not None


def test_built_in_voices_are_everybodys_and_nobody_changes_them(library: Library, tmp_path: Path) -> None:
    for caller in (ME, OTHER, ADMIN):
        assert library.get(caller, "builtin-alto")["model_name"] == "Alto"
        assert library.folder(caller, "builtin-alto") == tmp_path / "builtin" / "alto"
        with pytest.raises(NotAllowedError, match="Alto comes with Timbre"):
            library.delete(caller, "builtin-alto")
        with pytest.raises(NotAllowedError):
            library.rename(caller, "builtin-alto", "Mine")
    assert (tmp_path / "builtin" / "alto" / "card.json").exists()
    assert zipfile.is_zipfile(library.export_bundle(ME, "builtin-alto"))


@pytest.mark.parametrize("model_id", ["..", "../jobs", "/etc", "builtin-../../data", "", "a\x00b", None, 7])
def test_no_id_becomes_a_path(model_id: str, library: Library) -> None:
    for ask in (library.get, library.folder, library.delete, library.export_bundle):
        with pytest.raises(UnknownNameError):
            ask(ME, model_id)


def wrong_zips(good: dict[str, bytes | str]) -> dict[str, dict[str, bytes | str]]:
    card = json.loads(good["card.json"])
    weights = bytes(good["model.safetensors"])  # type: ignore[arg-type]

    def with_card(**changes: object) -> dict[str, bytes | str]:
        return good | {"card.json": json.dumps(card | changes)}

    return {
        "a path that climbs": good | {"../evil.json": "{}"},
        "a path that climbs inside": good | {"x/../card.json": "{}"},
        "an absolute path": good | {"/tmp/evil": "x"},
        "a path of another system": good | {"..\\evil": "x"},
        "a file of another name": good | {"run.py": "x"},
        "two folders": {f"a/b/{name}": content for name, content in good.items()},
        "voices in two folders": {"a/card.json": good["card.json"], "b/model.safetensors": weights},
        "no weights": {"card.json": good["card.json"]},
        "no card": {"model.safetensors": weights},
        "nothing": {},
        "many files": good | {f"{number}.txt": "x" for number in range(100)},
        "a card that is no JSON": good | {"card.json": "{"},
        "a card that is a list": good | {"card.json": "[]"},
        "a card of bottomless depth": good | {"card.json": "[" * 100_000},
        "a card of a newer format": with_card(format_version=2),
        "a card without an engine": with_card(engine=None),
        "a card with a wild rate": with_card(sample_rate_hz=7),
        "a card with a wrong part": with_card(f0=[1]),
        "a huge card": good | {"card.json": b" " * 1_000_001},
        "weights that are too short": good | {"model.safetensors": weights[:-1]},
        "weights with something behind": good | {"model.safetensors": weights + b"x"},
        "weights that are a pickle": good | {"model.safetensors": b"\x80\x04\x95" + bytes(50)},
        "weights that are empty": good | {"model.safetensors": b""},
    }


def test_a_zip_that_is_no_voice_is_refused_and_leaves_nothing(library: Library, tmp_path: Path) -> None:
    good = voice_files(tmp_path)
    for what, entries in wrong_zips(good).items():
        archive = zipped(tmp_path / "wrong.zip", entries)
        with pytest.raises(CheckpointError) as error:
            library.import_voice(ME, [archive])
        sentence = str(error.value)
        assert sentence.endswith("."), what
        assert str(tmp_path) not in sentence, what
        assert leftovers(tmp_path) == [], what
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(CheckpointError, match="not a zip"):
        library.import_voice(ME, [tmp_path / "text.zip"])
    with pytest.raises(RvcError):
        library.import_voice(ME, [zipped(tmp_path / "good.zip", good)], "x" * 100)
    assert leftovers(tmp_path) == []
    assert [voice["builtin"] for voice in library.list(ME)] == [True]


def test_a_link_in_a_zip_is_refused(library: Library, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "link.zip", voice_files(tmp_path))
    link = zipfile.ZipInfo("index.faiss")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as added:
        added.writestr(link, "/etc/passwd")
    with pytest.raises(CheckpointError):
        library.import_voice(ME, [archive])
    assert leftovers(tmp_path) == []


def test_a_zip_that_unpacks_to_too_much_is_refused_before_and_a_lying_one_after(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = voice_files(tmp_path)
    monkeypatch.setattr("pipelines.voices.bundle.MAX_UNPACKED_BYTES", 1_000_000)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("model.safetensors", bytes(2_000_000))
        packed.writestr("card.json", good["card.json"])
    with pytest.raises(CheckpointError, match="unpacks to more"):
        library.import_voice(ME, [bomb])
    directory = bytearray(bomb.read_bytes())
    size = directory.index(b"PK\x01\x02") + 24
    assert int.from_bytes(directory[size : size + 4], "little") == 2_000_000
    directory[size : size + 4] = (1000).to_bytes(4, "little")
    bomb.write_bytes(directory)
    with pytest.raises(CheckpointError, match="damaged"):
        library.import_voice(ME, [bomb])
    assert leftovers(tmp_path) == []


def test_a_zip_that_holds_less_than_it_says_is_refused(library: Library, tmp_path: Path) -> None:
    archive = tmp_path / "short.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in voice_files(tmp_path).items():
            packed.writestr(name, content)
    directory = bytearray(archive.read_bytes())
    size = directory.index(b"PK\x01\x02") + 24
    stated = int.from_bytes(directory[size : size + 4], "little")
    directory[size : size + 4] = (stated + 1).to_bytes(4, "little")
    archive.write_bytes(directory)
    with pytest.raises(CheckpointError, match="a file is not as long as it says; export the voice again"):
        library.import_voice(ME, [archive])
    assert leftovers(tmp_path) == []


def test_a_folder_around_the_files_and_what_macos_adds_are_no_obstacle(
    library: Library, tmp_path: Path
) -> None:
    entries = {f"Toy/{name}": content for name, content in voice_files(tmp_path).items()}
    entries |= {"__MACOSX/Toy/._card.json": "x", "Toy/.DS_Store": "x", "Toy/._card.json": "x"}
    row = library.import_voice(ME, [zipped(tmp_path / "mac.zip", entries)])
    assert sorted(path.name for path in library.folder(ME, row["id"]).iterdir()) == [
        "card.json",
        "model.safetensors",
    ]


def test_a_voice_that_is_offered_to_all_is_built_in_from_then_on(library: Library, tmp_path: Path) -> None:
    row = imported(library, tmp_path)
    library.offer_to_all(row["id"])
    for caller in (ME, OTHER):
        assert row["id"] in [voice["id"] for voice in library.list(caller)]
        assert (library.folder(caller, row["id"]) / "card.json").exists()
        with pytest.raises(NotAllowedError):
            library.delete(caller, row["id"])


@pytest.mark.parametrize("voice", ["imported", "builtin-alto"])
def test_a_voice_is_exported_once_until_it_changes(library: Library, tmp_path: Path, voice: str) -> None:
    model_id = imported(library, tmp_path)["id"] if voice == "imported" else voice
    exports = tmp_path / "data" / "exports"
    first = library.export_bundle(ME, model_id)
    content = first.read_bytes()
    os.utime(first, (time.time() - EXPORT_LIFE_S + 5,) * 2)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(library.export_bundle, caller, model_id) for caller in (ME, ADMIN) * 20]
    assert {one.result() for one in asked} == {first}
    assert first.read_bytes() == content
    assert list(exports.iterdir()) == [first]
    assert time.time() - first.stat().st_mtime < EXPORT_LIFE_S / 2  # whoever asked last has a day
    if voice == "imported":
        library.rename(ME, model_id, "Renamed")
        second = library.export_bundle(ME, model_id)
        with zipfile.ZipFile(second) as archive:
            assert json.loads(archive.read("card.json"))["name"] == "Renamed"
        assert list(exports.iterdir()) == [second]


def test_an_export_asks_for_room_first(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = imported(library, tmp_path)
    kept = library.export_bundle(ME, "builtin-alto")
    monkeypatch.setattr("rvc.files.SPARE_BYTES", 1 << 62)
    with pytest.raises(LimitError, match="no room for this export on the server's disk; delete old jobs"):
        library.export_bundle(ME, row["id"])
    assert library.export_bundle(ME, "builtin-alto") == kept
    assert list(kept.parent.iterdir()) == [kept]


def test_a_broken_built_in_voice_does_not_hide_the_others(library: Library, tmp_path: Path) -> None:
    (tmp_path / "builtin" / "broken").mkdir()
    (tmp_path / "builtin" / "broken" / "card.json").write_text("{")
    assert [voice["model_name"] for voice in library.list(ME)] == ["Alto"]


def test_a_voice_says_where_it_came_from_and_what_its_maker_stated(library: Library, tmp_path: Path) -> None:
    files = voice_files(tmp_path)
    card = json.loads(files["card.json"]) | {"created_at": "2024-05-06T07:08:09+02:00", "licence": "CC0"}
    card |= {"consent": {"statement": "Mine.", "given_at": "2024-05-06T05:00:00+00:00"}}
    card |= {"facts": {"epoch": 200, "author": "Ann\ne", "odd": [1]}}
    path = zipped(tmp_path / "told.zip", files | {"card.json": json.dumps(card)})
    row = library.import_voice(ME, [path])
    assert (row["origin"], row["created_at"]) == ("imported", "2024-05-06T05:08:09+00:00")
    assert row["imported_at"] > row["created_at"]
    assert row["consent"] == {"statement": "Mine.", "given_at": "2024-05-06T05:00:00+00:00"}
    assert row["told"] == {"licence": "CC0", "epoch": 200, "author": "Ann e"}
    job = new_job("me", "training", status="completed", seq=0, model_name="Mine", upload_id="u")
    trained = library.adopt(job, write_voice(tmp_path / "trained"))
    shown = library.get(ME, trained["id"])
    assert (shown["origin"], shown["imported_at"], shown["consent"]) == ("trained", None, None)
    assert library.get(ME, "builtin-alto")["origin"] == "built in"


@pytest.mark.parametrize(
    "wrong",
    [
        {"created_at": "yesterday"},
        {"created_at": 5},
        {"consent": ["yes"]},
        {"consent": {"statement": 5, "given_at": "never"}},
        {"training": {"seconds_of_audio": "many"}},
        {"training": {"seconds_of_audio": -1}},
        {"training": {"seconds_of_audio": True}},
        {"licence": {"a": 1}, "facts": "none", "info": 5},
    ],
)
def test_what_is_not_of_its_kind_is_left_out(
    library: Library, tmp_path: Path, wrong: dict[str, object]
) -> None:
    files = voice_files(tmp_path)
    card = json.loads(files["card.json"]) | {"training": {}} | wrong
    row = library.import_voice(ME, [zipped(tmp_path / "x.zip", files | {"card.json": json.dumps(card)})])
    assert (row["consent"], row["training_duration_seconds"]) == (None, None)
    assert row["created_at"] >= row["imported_at"][:10]
    assert set(row["told"]) <= {"info"}


def test_a_statement_of_a_simple_yes_or_of_words_is_a_statement(library: Library, tmp_path: Path) -> None:
    for said, kept in ((True, "Given by the person who made it"), ("My own\n voice", "My own voice")):
        files = voice_files(tmp_path)
        card = json.dumps(json.loads(files["card.json"]) | {"consent": said})
        row = library.import_voice(ME, [zipped(tmp_path / "x.zip", files | {"card.json": card})])
        assert row["consent"] == {"statement": kept}

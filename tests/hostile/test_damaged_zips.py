"""Damaged zips of every method: each is whole after all or refused in its sentence, by both who read zips."""

from __future__ import annotations

import errno
import random
import shutil
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import zips
from pipelines.recordings.uploads import receive_batch, receive_voice
from pipelines.settings import Settings
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.errors import AudioError, CheckpointError, RvcError
from rvc.sandbox import ChildDiedError, Order, run_sandboxed
from tests.hostile.bad_files import SEED, bent, recording, voice, zipped

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
MANY, FEW = 150, 5
SETTINGS = Settings(max_file_size_mb=5, max_files=50, max_batch_mb=10, max_decoded_mb=50)


def damaged(method: str, count: int) -> Iterator[bytes]:
    """Zips of a voice and a recording that are cut or bent, and some of which one field is wrong."""
    chance = random.Random(f"{SEED} {method}")
    whole = zipped({**voice(), "a.wav": recording()}, METHODS[method])
    directory = whole.index(b"PK\x01\x02")
    for number in range(count):
        content = bytearray(whole)
        if number % 3 == 0:  # anywhere
            content = bytearray(bent(whole, chance))
        elif number % 3 == 1:  # in the directory
            for _ in range(chance.randrange(1, 6)):
                content[chance.randrange(directory, len(whole))] = chance.randrange(256)
        else:  # where a file begins: its header, and the first bytes of its stream
            begins = whole.index(b"PK\x03\x04", chance.choice([0, 100]))
            for _ in range(chance.randrange(1, 4)):
                content[begins + chance.randrange(4, 120)] ^= 1 << chance.randrange(8)
        yield bytes(content[: chance.randrange(30, len(content))] if number % 10 == 9 else content)


def of_one_wrong_field() -> dict[str, bytes]:
    whole = zipped({**voice(), "a.wav": recording()}, zipfile.ZIP_LZMA)

    def with_field(at: int, value: bytes, sign: bytes = b"PK\x01\x02", behind: int = 0) -> bytes:
        place = whole.index(sign) + at + behind
        return whole[:place] + value + whole[place + len(value) :]

    end = whole.index(b"PK\x05\x06")
    stream = 30 + len("card.json")
    return {
        "a method that nobody has": with_field(10, b"\x63\0"),
        "a version of tomorrow": with_field(6, b"\xff\xff"),
        "a name that is no text": with_field(8, b"\0\x08").replace(b"card.json", b"\xff\xfe\xfd.json"),
        "an offset beyond the end": with_field(42, b"\xfe\xff\xff\xff"),
        "extra fields of no length": with_field(30, b"\xff\xff"),
        "several disks": whole[:end] + b"PK\x06\x07" + struct.pack("<LQL", 7, 0, 9) + whole[end:],
        "properties of a wrong length": with_field(stream, b"\0\0\xff\xff", b"PK\x03\x04"),
        "a dictionary of 4 GB": with_field(stream, b"\x09\x04\x05\0\x5d\xff\xff\xff\xff", b"PK\x03\x04"),
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_child_answers_whatever_is_wrong(method: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "a.zip", tmp_path / "unpacked"
    cases = [*damaged(method, MANY), *of_one_wrong_field().values()]
    refused = whole = 0
    for content in cases:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            listed = zips.read({"path": str(path)})
            assert set(listed) <= {"answer", "fault"}, listed
            if "fault" in listed:
                refused += 1
                continue
            sizes = {number: size for number, _, size, *_ in listed["answer"] if size < 5_000_000}
            order = {"path": str(path), "folder": str(folder), "total_bytes": sum(sizes.values())}
            folder.mkdir()
            unpacked = zips.read(order | {"wanted": list(sizes)})
        assert set(unpacked) <= {"answer", "fault"}, unpacked
        faults = unpacked.get("answer", dict.fromkeys(sizes, unpacked.get("fault")))
        assert set(faults.values()) <= {"damaged", "lying"}
        left = {int(place.name): place.stat().st_size for place in folder.iterdir()}
        assert left == {number: size for number, size in sizes.items() if number not in faults}
        refused, whole = refused + bool(faults), whole + (not faults)
        shutil.rmtree(folder)
    assert refused >= len(cases) / 3
    assert whole


@pytest.mark.parametrize("method", [*METHODS, "one field"])
def test_each_reader_says_its_sentence_and_leaves_nothing(method: str, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "data")
    library = Library(tmp_path / "data", registry)
    models, job, sent = tmp_path / "data" / "models", tmp_path / "job", tmp_path / "a.zip"
    cases = list(of_one_wrong_field().values() if method == "one field" else damaged(method, FEW))
    for content in cases:
        sent.write_bytes(content)
        with pytest.raises(CheckpointError) as refusal:
            library.import_voice(Caller("me"), [sent])
        assert str(refusal.value).endswith("."), content
        assert list(models.iterdir()) == []
        for receive in (receive_batch, receive_voice):
            job.mkdir()
            try:
                receive([(sent, "a.zip")], job, SETTINGS)
            except RvcError as error:
                assert isinstance(error, AudioError)
                assert str(error).endswith(".")
                assert list(job.iterdir()) == []
            else:
                assert {path.name for path in job.iterdir()} == {"inputs"}
                assert all(path.name[:3].isdigit() for path in (job / "inputs").iterdir())
            shutil.rmtree(job)
    registry.close()


@pytest.mark.parametrize("method", ["deflated", "bzip2", "lzma"])
def test_files_that_begin_with_nonsense_are_damaged(method: str, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "data")
    library = Library(tmp_path / "data", registry)
    sent, job = tmp_path / "a.zip", tmp_path / "job"
    job.mkdir()
    sent.write_bytes(_of_nonsense(zipped(voice(), METHODS[method])))
    with pytest.raises(CheckpointError, match="not a zip, or it is damaged; export the voice again"):
        library.import_voice(Caller("me"), [sent])
    assert list((tmp_path / "data" / "models").iterdir()) == []
    registry.close()
    sent.write_bytes(_of_nonsense(zipped({"a.wav": recording()}, METHODS[method])))
    for receive in (receive_batch, receive_voice):
        with pytest.raises(AudioError, match=r"a\.wav is damaged or of a kind that cannot be read; zip the"):
            receive([(sent, "a.zip")], job, SETTINGS)
        assert list(job.iterdir()) == []


def _of_nonsense(whole: bytes) -> bytes:
    """The zip, the stream of each of whose files begins with ones."""
    content, at = bytearray(whole), -1
    while (at := content.find(b"PK\x03\x04", at + 1)) >= 0:
        begins = at + 30 + int.from_bytes(content[at + 26 : at + 28], "little")
        content[begins : begins + 12] = b"\xff" * 12
    return bytes(content)


def test_what_the_system_says_of_its_disk_is_no_damage_of_the_zip(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"a.wav": recording()}))
    listed = zips.files_in(tmp_path / "a.zip", _REFUSALS)
    with pytest.raises(OSError, match="No such file or directory"):
        zips.extract(tmp_path / "a.zip", listed, tmp_path / "absent", _REFUSALS)


_REFUSALS = zips.Refusals(error=AudioError, too_many="1.", damaged="2.", encrypted="3.", lying="4.")


@pytest.mark.parametrize("long", ["before the pointer", "where it points"])
def test_no_end_record_that_a_reader_may_take_hides_a_long_directory(tmp_path: Path, long: str) -> None:
    """Of two records of the 64-bit form one states a short directory; which is taken, Pythons differ in."""
    whole = zipped({"a.wav": recording()})
    at, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    sizes = [5_000_000, end - at] if long == "where it points" else [end - at, 5_000_000]
    records = b"".join(
        b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 1, 1, size, at) for size in sizes
    )
    pointer = b"PK\x06\x07" + struct.pack("<LQL", 0, end, 1)
    (tmp_path / "a.zip").write_bytes(whole[:end] + records + pointer + whole[end:])
    assert zips.read({"path": str(tmp_path / "a.zip")}) == {"fault": "too_many"}


@pytest.mark.parametrize("end", ["killed", "full disk"])
def test_an_unpacking_that_breaks_off_leaves_nothing(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "data")
    library = Library(tmp_path / "data", registry)
    voices, songs, job = tmp_path / "voice.zip", tmp_path / "songs.zip", tmp_path / "job"
    voices.write_bytes(zipped({f"Toy/{name}": content for name, content in voice().items()}))
    songs.write_bytes(zipped({"a.wav": recording(), "b.wav": recording()}))
    job.mkdir()
    run = run_sandboxed

    def broken_off(module: str, order: Order, wall_s: float) -> bytes:
        if "folder" not in order:
            return run(module, order, wall_s)
        (Path(order["folder"]) / "0").write_bytes(b"half of it")
        if end == "killed":
            raise ChildDiedError
        return b'{"errno": %d}' % errno.ENOSPC

    monkeypatch.setattr("pipelines.zips.run_sandboxed", broken_off)
    expected = (OSError, "No space left") if end == "full disk" else (RvcError, "damaged")
    with pytest.raises(expected[0], match=expected[1]):
        library.import_voice(Caller("me"), [voices])
    for receive in (receive_batch, receive_voice):
        with pytest.raises(expected[0], match=expected[1]):
            receive([(songs, "songs.zip")], job, SETTINGS)
    assert list((tmp_path / "data" / "models").iterdir()) == []
    assert list(job.iterdir()) == []
    registry.close()

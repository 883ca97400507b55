"""Recordings in bulk: each judged by itself, a zip as a whole, and nothing left when it is refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import pipelines.zips
from pipelines.conversion.batch import result_names
from pipelines.recordings.uploads import receive_batch
from pipelines.settings import Settings
from rvc.errors import AudioError, LimitError
from tests.hostile.bad_files import zipped
from tests.sounds import KINDS, tone, write

SETTINGS = Settings(max_file_size_mb=1, max_audio_seconds=60, max_files=5, max_batch_mb=2)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    return write(tmp_path / "sound", "wav16", tone(1.0, 8_000), 8_000).read_bytes()


def sent(tmp_path: Path, content: bytes, name: str = "songs.zip") -> list[tuple[Path, str]]:
    path = tmp_path / "sent"
    path.write_bytes(content)
    return [(path, name)]


def refusal(files: list[tuple[Path, str]], job: Path, settings: Settings = SETTINGS) -> str:
    with pytest.raises(AudioError) as caught:
        receive_batch(files, job, settings)
    assert list(job.iterdir()) == []
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert str(job.parent) not in sentence
    return sentence


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_kept_as_it_came(kind: str, tmp_path: Path, job: Path) -> None:
    path = write(tmp_path / "upload", kind, tone(1.5, 48_000), 48_000)
    (row,) = receive_batch([(path, "take 1.xyz")], job, SETTINGS)
    assert (row["name"], row["status"], row["reason"]) == ("take 1.xyz", "waiting", None)
    assert row["seconds"] == pytest.approx(1.5, abs=0.3)
    assert (job / row["original"]).read_bytes() == path.read_bytes()
    assert [item.name for item in job.iterdir()] == ["inputs"]


def test_a_zip_gives_its_recordings_in_order_and_leaves_out_what_systems_add(
    tmp_path: Path, job: Path, sound: bytes
) -> None:
    clutter = {"__MACOSX/a/._b.wav": b"x", "a/.DS_Store": b"x", "a/": b"", "Thumbs.db": b"x"}
    clutter |= {"a/Desktop.ini": b"x", "a/__MACOSX/x.wav": b"x"}
    content = zipped({"a/b.wav": sound, **clutter, "a/c.txt": b"words", "d.wav": sound})
    rows = receive_batch(sent(tmp_path, content), job, SETTINGS)
    assert [(row["name"], row["status"]) for row in rows] == [
        ("b.wav", "waiting"),
        ("c.txt", "failed"),
        ("d.wav", "waiting"),
    ]
    assert "c.txt is not a recording" in rows[1]["reason"]
    assert [(job / row["original"]).read_bytes() for row in rows if row["status"] == "waiting"] == [sound] * 2
    assert len(list((job / "inputs").iterdir())) == 2


def test_files_and_zips_may_come_together_but_not_too_many(tmp_path: Path, job: Path, sound: bytes) -> None:
    (tmp_path / "single").write_bytes(sound)
    single = (tmp_path / "single", "single.wav")
    files = [single, *sent(tmp_path, zipped({f"{n}.wav": sound for n in range(4)}))]
    assert len(receive_batch(files, job, SETTINGS)) == 5
    (tmp_path / "other").mkdir()
    assert "6 files" in refusal([single, *files], tmp_path / "other")
    many = zipped({f"{n}.wav": sound for n in range(6)})
    assert "holds 6 files" in refusal(sent(tmp_path, many), tmp_path / "other")


def test_the_bytes_of_all_together_are_bounded(tmp_path: Path, job: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(900_000))
    assert "2.7 MB in all" in refusal([(tmp_path / "big", f"{n}.wav") for n in range(3)], job)
    three = zipped({f"{n}.wav": bytes(900_000) for n in range(3)})
    assert len(three) < 10_000
    assert "unpacks to 2.7 MB" in refusal(sent(tmp_path, three), job)
    assert "a.wav has 1.5 MB" in refusal(sent(tmp_path, zipped({"a.wav": bytes(1_500_000)})), job)


def test_a_file_that_is_too_large_is_listed_and_the_others_go_on(
    tmp_path: Path, job: Path, sound: bytes
) -> None:
    (tmp_path / "big").write_bytes(bytes(1_100_000))
    (tmp_path / "good").write_bytes(sound)
    rows = receive_batch([(tmp_path / "big", "big.wav"), (tmp_path / "good", "good.wav")], job, SETTINGS)
    assert [row["status"] for row in rows] == ["failed", "waiting"]
    assert "1.1 MB" in rows[0]["reason"]


def _link(sound: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link.wav")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def _encrypted(sound: bytes) -> bytes:
    content = bytearray(zipped({"a.wav": sound}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + at] |= 1
    return bytes(content)


def _lying_size(sound: bytes) -> bytes:
    """A zip whose directory promises 100 bytes of a file that unpacks to 900,000."""
    content = bytearray(zipped({"a.wav": bytes(900_000)}))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", 100)
    return bytes(content)


def _quine(sound: bytes) -> bytes:
    """Entries that all lie over the same data."""
    content = bytearray(zipped({f"{n}.wav": bytes(300_000) + bytes([n]) for n in range(5)}))
    first = content.index(b"PK\x01\x02")
    at = first
    while (at := content.find(b"PK\x01\x02", at + 1)) > 0:
        content[at + 42 : at + 46] = content[first + 42 : first + 46]
    return bytes(content)


def _sixty_four(sound: bytes) -> bytes:
    """A zip of the 64-bit form that promises a directory of many GB."""
    content = zipped({"a.wav": sound})
    end = content.index(b"PK\x05\x06")
    record = b"PK\x06\x06" + bytes(36) + struct.pack("<QQ", 2**34, 0)
    return content[:end] + record + b"PK\x06\x07" + bytes(16) + content[end:]


def _long_directory(sound: bytes) -> bytes:
    content = bytearray(zipped({"a.wav": sound}))
    at = content.index(b"PK\x05\x06") + 12
    content[at : at + 4] = struct.pack("<I", pipelines.zips.MAX_DIRECTORY_BYTES + 1)
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda sound: zipped({"../a.wav": sound}), "points elsewhere"),
        (lambda sound: zipped({"/etc/a.wav": sound}), "points elsewhere"),
        (lambda sound: zipped({"C:\\a.wav": sound}), "points elsewhere"),
        (lambda sound: zipped({"a/../../b.wav": sound}), "points elsewhere"),
        (lambda sound: zipped({"a\nb.wav": sound}), "points elsewhere"),
        (lambda sound: zipped({}), "no files"),
        (lambda sound: zipped({"folder/": b""}), "no files"),
        (lambda sound: zipped({"a.txt": b"words"}), "a.txt is not a recording"),
        (lambda sound: zipped({"a.txt": b"words", "b.txt": b"more"}), "None of the 2 files"),
        (lambda sound: zipped({"a.wav": sound})[:-30], "damaged"),
        (lambda sound: zipped({"a.wav": sound})[: len(sound) // 20], "damaged"),
        (lambda sound: b"PK\x03\x04" + bytes(100), "damaged"),
        (_link, "a link"),
        (_encrypted, "password"),
        (_lying_size, "damaged"),
        (_quine, "damaged"),
        (_sixty_four, "too many files"),
        (_long_directory, "too many files"),
    ],
)
def test_a_zip_that_is_not_in_order_is_refused_as_a_whole(
    make: Callable[[bytes], bytes], said: str, tmp_path: Path, job: Path, sound: bytes
) -> None:
    assert said in refusal(sent(tmp_path, make(sound)), job)


def test_a_zip_of_the_64_bit_form_is_one_too(tmp_path: Path, job: Path, sound: bytes) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("a.wav", "w", force_zip64=True) as entry:
        entry.write(sound)
    content = out.getvalue()
    end = content.index(b"PK\x05\x06")
    _, _, _, _, count, length, offset, _ = struct.unpack("<4s4H2LH", content[end : end + 22])
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, offset)
    pointer = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    short = content[end : end + 8] + b"\xff" * 12 + content[end + 20 :]
    (row,) = receive_batch(sent(tmp_path, content[:end] + record + pointer + short), job, SETTINGS)
    assert (job / row["original"]).read_bytes() == sound


def test_what_is_wrong_with_one_file_of_a_zip_is_said_of_it_alone(
    tmp_path: Path, job: Path, sound: bytes
) -> None:
    inner, large = zipped({"b.wav": sound}), bytes(1_500_000)
    files = {"a.wav": sound, "in.wav": inner, "big.wav": large, "b.wav": sound}
    content = bytearray(zipped(files, zipfile.ZIP_STORED))
    content[content.rindex(b"RIFF") + 2_000] ^= 0xFF
    rows = receive_batch(sent(tmp_path, bytes(content)), job, SETTINGS)
    assert [row["status"] for row in rows] == ["waiting", "failed", "failed", "failed"]
    for row, said in zip(
        rows[1:], ("in.wav is a zip", "big.wav has 1.5 MB", "b.wav is damaged"), strict=True
    ):
        assert said in row["reason"]
    assert [path.name for path in (job / "inputs").iterdir()] == ["000.original.wav"]


def test_a_zip_that_is_not_in_order_does_not_keep_the_others_out(
    tmp_path: Path, job: Path, sound: bytes
) -> None:
    (tmp_path / "bad").write_bytes(zipped({"../a.wav": sound}))
    (tmp_path / "good").write_bytes(sound)
    rows = receive_batch([(tmp_path / "bad", "songs.zip"), (tmp_path / "good", "good.wav")], job, SETTINGS)
    assert [(row["name"], row["status"]) for row in rows] == [
        ("songs.zip", "failed"),
        ("good.wav", "waiting"),
    ]
    assert "songs.zip holds a link" in rows[0]["reason"]


def test_room_is_asked_for_before_anything_is_written(tmp_path: Path, job: Path, sound: bytes) -> None:
    asked: list[int] = []

    def none_left(count: int) -> None:
        asked.append(count)
        raise LimitError("full.")

    with pytest.raises(LimitError):
        receive_batch(sent(tmp_path, zipped({"a.wav": sound})), job, SETTINGS, none_left)
    assert asked == [len(sound)]
    assert list(job.iterdir()) == []


def test_results_are_called_as_the_recordings_were_each_once_and_safe_everywhere() -> None:
    names = ["a.wav", "A.mp3", "../../etc/passwd", "C:\\x\\b.wav", "CON.wav", "  .wav", "ü+*?|\0.flac"]
    names += ["x" * 300 + ".wav", "x" * 300 + ".mp3", "results.json", "a (2).wav", "-rf.wav", "a.b.wav", "💥"]
    results = result_names(names, "ogg")
    assert results[:2] == ["a.ogg", "A (2).ogg"]
    assert results[2] == "passwd.ogg"
    assert len({name.casefold() for name in results}) == len(names)
    for name in results:
        assert name.endswith(".ogg")
        assert len(name) <= 95
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert not name.startswith(".")
        assert name.split(".")[0].lower() not in ("con", "results")

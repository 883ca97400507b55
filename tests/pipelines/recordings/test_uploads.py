from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from pipelines.recordings.sources import readable_name
from pipelines.recordings.uploads import StoredFile, receive
from pipelines.settings import Settings
from rvc.audio.reader import AudioInfo, probe
from rvc.errors import AudioError, LimitError
from tests.sounds import CONTAINERS, KINDS, PACKED, PLAIN, tone, write, write_silence

RATE = 48_000


@pytest.fixture
def settings() -> Settings:
    return Settings(max_file_size_mb=5, max_audio_seconds=60, max_files=3)


def refusal(files: list[tuple[Path, str]], folder: Path, settings: Settings) -> str:
    """The sentence with which an upload is refused; it must leave nothing behind."""
    with pytest.raises(AudioError) as error:
        receive(files, folder, settings)
    assert not folder.exists()
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert str(folder) not in sentence
    return sentence


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_kept_and_decoded_to_mono_float_at_its_own_rate(
    kind: str, tmp_path: Path, settings: Settings
) -> None:
    source = write(tmp_path / "upload.tmp", kind, tone(1.5, RATE, channels=2), RATE)
    (stored,) = receive([(source, "My voice.mp3")], tmp_path / "job", settings)
    original, audio = tmp_path / "job" / stored.original, tmp_path / "job" / stored.audio
    assert original.read_bytes() == source.read_bytes()
    assert original.suffix == f".{CONTAINERS[kind]}"
    assert stored.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (stored.name, stored.channels, stored.sample_rate_hz) == ("My voice.mp3", 2, RATE)
    assert stored.size_bytes == source.stat().st_size
    info = sf.info(audio)
    assert (info.format, info.subtype, info.channels, info.samplerate) == ("WAV", "FLOAT", 1, RATE)
    assert info.frames / RATE == pytest.approx(stored.seconds)


def test_a_recording_is_probed_once(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[str | None] = []

    def counting(path: Path, *, name: str | None = None) -> AudioInfo:
        probed.append(name)
        return probe(path, name=name)

    for module in ("pipelines.recordings.uploads", "rvc.audio.reader"):
        monkeypatch.setattr(f"{module}.probe", counting)
    source = write(tmp_path / "a", "mp3", tone(1, RATE), RATE)
    receive([(source, "a.mp3")], tmp_path / "job", settings)
    assert probed == ["a.mp3"]


def test_files_keep_their_order_and_may_share_a_name(tmp_path: Path, settings: Settings) -> None:
    files = [
        (write(tmp_path / f"{hz}", "wav16", tone(1, 16_000, hz=hz), 16_000), "take.wav")
        for hz in (200, 300, 400)
    ]
    stored = receive(files, tmp_path / "job", settings)
    assert [file.audio for file in stored] == ["inputs/000.wav", "inputs/001.wav", "inputs/002.wav"]
    assert [file.sha256 for file in stored] == [hashlib.sha256(p.read_bytes()).hexdigest() for p, _ in files]
    assert sorted(path.name for path in (tmp_path / "job").iterdir()) == ["inputs"]


def test_a_stored_file_survives_json(tmp_path: Path, settings: Settings) -> None:
    source = write(tmp_path / "a", "flac", tone(1, RATE), RATE)
    (stored,) = receive([(source, "a.flac")], tmp_path / "job", settings)
    row = json.loads(json.dumps({**stored.to_json(), "key of a later version": 1}))
    assert StoredFile.from_json(row) == stored
    del row["note"]  # of an earlier version
    assert StoredFile.from_json(row) == stored


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"just words, just words\n" * 50, "is not a recording"),
        (b"PK\x03\x04" + bytes(500), "is a zip archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "is a PNG picture"),
        (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(1_000), "is a damaged AAC file"),
        (b"RIFF\x00\x00\x00\x00WAVE", "is cut short"),
    ],
)
def test_what_is_no_recording_is_refused(
    content: bytes, said: str, tmp_path: Path, settings: Settings
) -> None:
    source = tmp_path / "tmp1234"
    source.write_bytes(content)
    assert refusal([(source, "Grandma.wav")], tmp_path / "job", settings).startswith(f"Grandma.wav {said}")


@pytest.mark.parametrize("offset", [0.0, 0.3, -0.01])
@pytest.mark.parametrize("peak", [0.0, 5e-5])
def test_silence_is_refused_whatever_its_offset(
    peak: float, offset: float, tmp_path: Path, settings: Settings
) -> None:
    source = write(tmp_path / "a", "wavfloat", tone(2, RATE) / 0.3 * peak + np.float32(offset), RATE)
    assert "a.wav is silent; check the microphone" in refusal([(source, "a.wav")], tmp_path / "job", settings)


@pytest.mark.parametrize(("kind", "peak_db"), [("wav16", -50), ("wavfloat", -62), ("wavfloat", -78)])
def test_a_quiet_recording_is_not_silence(
    kind: str, peak_db: float, tmp_path: Path, settings: Settings
) -> None:
    wave = (tone(2, RATE) / 0.3 * 10 ** (peak_db / 20)).astype(np.float32)
    source = write(tmp_path / "a", kind, wave, RATE)
    assert len(receive([(source, "a.wav")], tmp_path / "job", settings)) == 1


def test_less_than_half_a_second_is_refused_and_half_a_second_is_not(
    tmp_path: Path, settings: Settings
) -> None:
    short = write(tmp_path / "short", "wav16", tone(0.4, RATE), RATE)
    assert "hm.wav is only 0.40 seconds long" in refusal([(short, "hm.wav")], tmp_path / "job", settings)
    longer = write(tmp_path / "longer", "wav16", tone(0.5, RATE), RATE)
    assert receive([(longer, "hm.wav")], tmp_path / "job", settings)[0].seconds == 0.5


def test_eight_channels_are_mixed_and_nine_are_refused(tmp_path: Path, settings: Settings) -> None:
    source = write(tmp_path / "a", "wav16", tone(1, RATE, channels=8), RATE)
    (stored,) = receive([(source, "room.wav")], tmp_path / "eight", settings)
    assert stored.channels == 8
    assert sf.info(tmp_path / "eight" / stored.audio).channels == 1
    source = write(tmp_path / "a", "wav16", tone(1, RATE, channels=9), RATE)
    sentence = refusal([(source, "room.wav")], tmp_path / "job", settings)
    assert sentence == "room.wav has 9 channels; export it with at most 8."


def test_samples_that_are_not_numbers_are_refused(tmp_path: Path, settings: Settings) -> None:
    wave = tone(15, 16_000)
    wave[-1] = np.nan
    source = write(tmp_path / "a", "wavfloat", wave, 16_000)
    assert "not numbers" in refusal([(source, "a.wav")], tmp_path / "job", settings)


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_file_cut_in_half_is_refused(kind: str, tmp_path: Path, settings: Settings) -> None:
    source = write(tmp_path / "a", kind, tone(4, RATE), RATE)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    sentence = refusal([(source, "lost end")], tmp_path / "job", settings)
    assert "cut short" in sentence or "damaged" in sentence


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_sound_cut_in_half_is_kept_as_far_as_it_goes(
    kind: str, tmp_path: Path, settings: Settings
) -> None:
    source = write(tmp_path / "a", kind, tone(4, RATE), RATE)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    (stored,) = receive([(source, "lost end")], tmp_path / "job", settings)
    assert stored.seconds == pytest.approx(2.0, abs=0.05)


def test_two_hours_are_refused_without_decoding_them(tmp_path: Path) -> None:
    source = write_silence(tmp_path / "a", 7_200, 4_000)
    tracemalloc.start()
    sentence = refusal([(source, "lecture.wav")], tmp_path / "job", Settings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sentence == "lecture.wav is longer than 90 minutes; cut it into shorter recordings."
    assert peak < 5_000_000


def test_a_length_that_no_header_states_is_counted(tmp_path: Path, settings: Settings) -> None:
    source = write(tmp_path / "a", "aac", tone(8, 16_000), 16_000)
    strict = settings.model_copy(update={"max_audio_seconds": 5})
    assert "long.aac is longer than 5 seconds" in refusal([(source, "long.aac")], tmp_path / "job", strict)


def test_too_large_too_many_and_none_are_refused(tmp_path: Path, settings: Settings) -> None:
    large = write(tmp_path / "large", "wav16", tone(55, RATE), RATE)
    sentence = refusal([(large, "large.wav")], tmp_path / "job", settings)
    assert sentence.startswith("large.wav has 5.28 MB; upload files of at most 5 MB")
    small = write(tmp_path / "small", "wav16", tone(1, 16_000), 16_000)
    assert "You chose 4 files; upload at most 3" in refusal([(small, "a")] * 4, tmp_path / "job", settings)
    assert "No file was chosen" in refusal([], tmp_path / "job", settings)
    assert "gone.wav does not exist" in refusal([(tmp_path / "no", "gone.wav")], tmp_path / "job", settings)


def test_one_bad_file_refuses_all_and_leaves_what_was_there(tmp_path: Path, settings: Settings) -> None:
    good = write(tmp_path / "good", "wav16", tone(1, RATE), RATE)
    silent = write(tmp_path / "silent", "wav16", tone(1, RATE) * 0, RATE)
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "job.json").write_text("{}")
    with pytest.raises(AudioError, match=r"two\.wav is silent"):
        receive([(good, "one.wav"), (silent, "two.wav")], folder, settings)
    assert [path.name for path in folder.iterdir()] == ["job.json"]
    assert good.exists()


def test_no_room_on_the_disk_is_said_before_anything_is_copied(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "a", "wav16", tone(1, RATE), RATE)
    monkeypatch.setattr("rvc.files.SPARE_BYTES", 1 << 62)
    with pytest.raises(LimitError, match=r"no room for a\.wav on the server's disk; delete old jobs"):
        receive([(source, "a.wav")], tmp_path / "job", settings)
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\song.wav", "song.wav"),
        ("naïve, テスト.flac", "naïve, テスト.flac"),
        ("a\nb\x00c\x1b[31m.wav", "abc[31m.wav"),
        ("   ", "unnamed file"),
        ("", "unnamed file"),
        ("..", ".."),
    ],
)
def test_names_are_shown_without_paths_and_control_characters(typed: str, shown: str) -> None:
    assert readable_name(typed) == shown


def test_long_names_keep_their_two_ends() -> None:
    name = readable_name("x" * 500 + ".flac")
    assert len(name) == 120
    assert name.endswith(".flac")

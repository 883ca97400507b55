"""What recordings were cut to: what is doubtful in it, and that a training gets nothing that was rejected."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipelines.events import finish
from pipelines.job_spec import PrepareSettings
from pipelines.recordings.pieces import (
    PEAKS,
    REJECTED,
    Piece,
    Rejections,
    checked_files,
    checked_ids,
    figures,
    figures_of,
    load_pieces,
    save_pieces,
)
from pipelines.recordings.prepare import load_prepared, load_slices, prepare
from pipelines.recordings.uploads import StoredFile, receive
from pipelines.settings import Settings
from rvc.errors import AudioError, ConfigError, UnknownNameError
from tests.voices import MAN, WOMAN, speak, spoken_samples, with_noise

RATE_HZ = 24_000
Wave = NDArray[np.float32]


def recordings() -> dict[str, Wave]:
    """Clear speech, four lines too short for a slice, noise, one that is cut off, and another voice."""
    wavs = {"clear": 0.3 * speak(WOMAN, 14.0, rate_hz=RATE_HZ, seed=1)}
    wavs |= {f"line{n}": 0.3 * speak(WOMAN, 0.9, rate_hz=RATE_HZ, seed=10 + n) for n in range(4)}
    quiet = 0.3 * speak(WOMAN, 6.0, rate_hz=RATE_HZ, seed=2, pause_s=1.0)
    wavs["noisy"] = with_noise(quiet, 4.0, spoken_samples(quiet, RATE_HZ), seed=3)
    loud = speak(WOMAN, 6.0, rate_hz=RATE_HZ, seed=4)
    wavs["clipped"] = np.clip(6.0 * loud / np.abs(loud).max(), -0.9, 0.9).astype(np.float32)
    wavs["other"] = 0.3 * speak(MAN, 5.0, rate_hz=RATE_HZ, seed=5)
    return wavs


def upload(folder: Path, wavs: dict[str, Wave]) -> list[StoredFile]:
    source = folder.with_name(f"{folder.name}-source")
    source.mkdir(parents=True)
    for name, wav in wavs.items():
        sf.write(source / f"{name}.wav", wav, RATE_HZ, subtype="PCM_24")
    return receive([(source / f"{name}.wav", f"{name}.wav") for name in wavs], folder, Settings())


def prepared_at(folder: Path, wavs: dict[str, Wave]) -> Path:
    finish(prepare(upload(folder, wavs), folder, PrepareSettings()))
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_at(tmp_path_factory.mktemp("pieces") / "job", recordings())


@pytest.fixture
def pieces(job: Path) -> list[Piece]:
    (job / REJECTED).unlink(missing_ok=True)
    return load_pieces(job / "prepared")


def of_file(pieces: list[Piece], name: str) -> list[Piece]:
    return [piece for piece in pieces if piece.file == f"{name}.wav"]


def sounds(slices: list[Any]) -> list[bytes]:
    return sorted(sf.read(piece.path, dtype="float32")[0].tobytes() for piece in slices)


def test_every_piece_is_known_by_its_recording_and_where_it_begins(job: Path, pieces: list[Piece]) -> None:
    assert len({piece.id for piece in pieces}) == len(pieces)
    for piece in pieces:
        assert piece.id == f"{piece.file_id}-{round(piece.start_s * RATE_HZ)}"
        assert piece.end_s > piece.start_s
        wav, rate_hz = sf.read(job / "prepared" / "slices" / piece.path, dtype="float32")
        assert wav.size / rate_hz == pytest.approx(piece.seconds, abs=1e-3)
        peaks = bytes.fromhex(piece.peaks)
        assert len(peaks) == PEAKS
        assert max(peaks) == pytest.approx(255 * np.abs(wav).max(), abs=1)


def test_the_ids_are_the_same_after_another_preparation(
    tmp_path: Path, job: Path, pieces: list[Piece]
) -> None:
    wavs = recordings()
    again = prepared_at(tmp_path / "again", {"first": wavs["noisy"], "clear": wavs["clear"]})
    ids = {piece.id for piece in load_pieces(again / "prepared")}
    assert ids == {piece.id for name in ("noisy", "clear") for piece in of_file(pieces, name)}


def test_what_speaks_against_a_piece_is_said_and_the_worst_is_the_most_doubtful(pieces: list[Piece]) -> None:
    assert all("noisy" in piece.reasons for piece in of_file(pieces, "noisy"))
    assert all("clipped" in piece.reasons for piece in of_file(pieces, "clipped"))
    assert all(not piece.reasons and piece.doubt == 0 for piece in of_file(pieces, "clear"))
    assert any({"low", "other_speaker"} & set(piece.reasons) for piece in of_file(pieces, "other"))
    for piece in pieces:
        assert bool(piece.reasons) == (piece.doubt > 0)
        assert piece.doubt <= 1


def test_the_slices_of_a_training_hold_nothing_that_was_rejected(
    tmp_path: Path, job: Path, pieces: list[Piece]
) -> None:
    """One short line, one slice and one whole recording are as if they had never been recorded."""
    line, first = of_file(pieces, "line1")[0], of_file(pieces, "clear")[0]
    noisy = of_file(pieces, "noisy")[0].file_id
    Rejections(frozenset([line.id, first.id]), frozenset([noisy])).save(job)
    slices = load_slices(job, tmp_path / "work", goes_on=False)
    names = Counter(name for piece in slices for name in piece.source_name.split(", "))
    assert names["line1.wav"] == names["noisy.wav"] == 0
    assert names["clear.wav"] == len(of_file(pieces, "clear")) - 1
    wavs = recordings()
    never = prepared_at(
        tmp_path / "never", {name: wav for name, wav in wavs.items() if name not in ("line1", "noisy")}
    )
    begins = first.start_s
    expected = [
        piece
        for piece in load_slices(never, tmp_path / "other", goes_on=False)
        if (piece.source_name, piece.start_s) != ("clear.wav", begins)
    ]
    assert sounds(slices) == sounds(expected)


def test_rejected_and_restored_is_as_before(tmp_path: Path, job: Path, pieces: list[Piece]) -> None:
    before = load_prepared(job).slices
    assert load_slices(job, tmp_path / "a", goes_on=False) == before
    Rejections().with_rejected([pieces[0].id], [], pieces).with_restored([pieces[0].id], [], pieces).save(job)
    assert load_slices(job, tmp_path / "b", goes_on=False) == before


def test_a_training_keeps_the_set_that_it_began_with(tmp_path: Path, job: Path, pieces: list[Piece]) -> None:
    work = tmp_path / "work"
    Rejections(frozenset([pieces[0].id])).save(job)
    begun = load_slices(job, work, goes_on=False)
    Rejections(frozenset([pieces[1].id])).save(job)
    assert load_slices(job, work, goes_on=True) == begun
    assert load_slices(job, work, goes_on=False) == begun
    newer = load_slices(job, tmp_path / "newer", goes_on=False)
    assert sounds(newer) != sounds(begun)
    assert load_slices(job, tmp_path / "older", goes_on=True) == load_prepared(job).slices


def test_too_little_that_is_left_is_refused_with_the_way_out_and_nothing_is_kept(
    tmp_path: Path, job: Path, pieces: list[Piece]
) -> None:
    Rejections(files=frozenset(piece.file_id for piece in pieces if piece.file != "other.wav")).save(job)
    with pytest.raises(
        AudioError, match=r"you rejected \(\d+\), .* hold \d\.\d s .* at least 10 s; restore some"
    ):
        load_slices(job, tmp_path / "work", goes_on=False)
    assert not (tmp_path / "work" / REJECTED).exists()


def test_a_recording_comes_back_as_it_was_before_it_was_rejected(pieces: list[Piece]) -> None:
    clear = of_file(pieces, "clear")
    one = Rejections().with_rejected([clear[0].id], [], pieces)
    whole = one.with_rejected([], [clear[0].file_id], pieces)
    assert figures(pieces, whole)["rejected"] == len(clear)
    assert whole.with_restored([], [clear[0].file_id], pieces) == one
    without_one = whole.with_restored([clear[1].id], [], pieces)
    assert [without_one.covers(piece) for piece in clear] == [n != 1 for n in range(len(clear))]
    assert without_one.with_restored([], [clear[0].file_id], pieces) == Rejections()


def test_what_was_rejected_is_counted(job: Path, pieces: list[Piece]) -> None:
    Rejections(frozenset([pieces[0].id, "of-another-set"])).save(job)
    found = figures_of(job)
    assert (found["slices"], found["rejected"]) == (len(pieces), 1)
    assert found["left_s"] + found["rejected_s"] == pytest.approx(found["seconds"], abs=0.11)


@pytest.mark.parametrize("asked", ["x", [1], {"a": 1}, [["x"]]])
def test_ids_that_are_no_list_of_texts_are_refused(pieces: list[Piece], asked: object) -> None:
    for check in (checked_ids, checked_files):
        with pytest.raises(ConfigError, match="not a list of ids"):
            check(asked, pieces)


def test_ids_of_nothing_are_refused_by_name(pieces: list[Piece]) -> None:
    with pytest.raises(UnknownNameError, match="no slice 'nope'"):
        checked_ids([pieces[0].id, "nope"], pieces)
    with pytest.raises(UnknownNameError, match="no recording 'nope'"):
        checked_files(["nope"], pieces)
    assert checked_files(["clear.wav", pieces[-1].file_id], pieces) == {pieces[0].file_id, pieces[-1].file_id}


def test_a_damaged_list_is_said_so(tmp_path: Path) -> None:
    (tmp_path / REJECTED).write_text("[")
    with pytest.raises(ConfigError, match="damaged"):
        Rejections.load(tmp_path)
    with pytest.raises(AudioError, match="prepare them"):
        load_pieces(tmp_path)


def test_five_thousand_pieces_are_read_and_counted_at_once(tmp_path: Path, pieces: list[Piece]) -> None:
    many = [replace(pieces[0], id=f"{pieces[0].file_id}-{n}") for n in range(5_000)]
    save_pieces(many, tmp_path)
    begun = time.perf_counter()
    assert figures(load_pieces(tmp_path), Rejections(frozenset(["x"])))["slices"] == 5_000
    assert time.perf_counter() - begun < 1.0

"""Features: each slice is worked on once, and what changed is worked on again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rvc.errors import AudioError
from rvc.training.dataset import Slice, TrainingSet, extract_features
from tests.tiny_task import TinyTask, drain, write_tones

LENGTHS_S = [1.0, 1.2, 1.4]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A slice on disk."""

    path: Path
    seconds: float


def pieces(folder: Path, lengths_s: Sequence[float] = LENGTHS_S) -> list[Piece]:
    """Tones on disk."""
    return [Piece(path=p, seconds=s) for p, s in zip(write_tones(folder, lengths_s), lengths_s, strict=True)]


def extract(task: TinyTask, slices: Sequence[Piece], folder: Path, seed: int = 0) -> list[Slice]:
    """Extract all."""
    return drain(extract_features(task, slices, folder, seed))[1]


def same(one: Slice, other: Slice) -> bool:
    """Whether two slices are equal to the last bit."""
    return one.key == other.key and all(torch.equal(one.features[n], other.features[n]) for n in one.features)


def test_progress_counts_the_slices(tmp_path: Path) -> None:
    assert list(extract_features(TinyTask(), pieces(tmp_path / "s"), tmp_path / "f", 0)) == [1, 2, 3]


def test_a_second_run_reads_what_the_first_one_wrote(tmp_path: Path) -> None:
    slices = pieces(tmp_path / "slices")
    first, second = TinyTask(), TinyTask()
    before = extract(first, slices, tmp_path / "features")
    after = extract(second, slices, tmp_path / "features")
    assert (first.extracted, second.extracted) == (3, 0)
    assert all(same(one, other) for one, other in zip(before, after, strict=True))


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    slices, task = pieces(tmp_path / "slices"), TinyTask()
    steps = extract_features(task, slices, tmp_path / "features", 0)
    assert [next(steps), next(steps)] == [1, 2]
    steps.close()
    extract(task, slices, tmp_path / "features")
    assert task.extracted == 3


def test_only_what_changed_is_extracted_again_and_the_old_is_deleted(tmp_path: Path) -> None:
    slices, task = pieces(tmp_path / "slices"), TinyTask()
    extract(task, slices, tmp_path / "features")
    extract(task, [*slices[:2], *pieces(tmp_path / "new", [0.9])], tmp_path / "features")
    assert task.extracted == 4
    assert len(list((tmp_path / "features").iterdir())) == 3


def test_another_engine_version_or_seed_extracts_all_again(tmp_path: Path) -> None:
    slices, task = pieces(tmp_path / "slices"), TinyTask()
    zero = extract(task, slices, tmp_path / "features")
    one = extract(task, slices, tmp_path / "features", seed=1)
    task.features_key = "tiny 2"
    extract(task, slices, tmp_path / "features", seed=1)
    assert task.extracted == 9
    assert not same(zero[0], one[0])


def test_features_of_a_slice_do_not_depend_on_the_others_or_on_its_name(tmp_path: Path) -> None:
    slices = pieces(tmp_path / "slices")
    moved = Piece(path=slices[2].path.rename(tmp_path / "moved.flac"), seconds=slices[2].seconds)
    alone = extract(TinyTask(), [moved], tmp_path / "a")
    among = extract(TinyTask(), [moved, *slices[:2]], tmp_path / "b")
    assert same(alone[0], among[0])


def test_a_damaged_cache_file_is_made_again(tmp_path: Path) -> None:
    slices, task = pieces(tmp_path / "slices"), TinyTask()
    before = extract(task, slices, tmp_path / "features")
    victim = min((tmp_path / "features").iterdir())
    part = victim.read_bytes()[:200]
    victim.unlink()  # the features in `before` are mapped from the file and must keep it
    victim.write_bytes(part)
    after = extract(task, slices, tmp_path / "features")
    assert task.extracted == 4
    assert all(same(one, other) for one, other in zip(before, after, strict=True))


def test_the_same_recording_twice_counts_once(tmp_path: Path) -> None:
    slices = pieces(tmp_path / "slices")
    found = extract(TinyTask(), [*slices, slices[0]], tmp_path / "features")
    assert len(found) == 3
    assert TrainingSet.divide(found).seconds == pytest.approx(3.6)


def test_training_and_held_out_slices_are_all_slices_and_share_none(tmp_path: Path) -> None:
    data = TrainingSet.divide(extract(TinyTask(), pieces(tmp_path / "slices"), tmp_path / "features"))
    assert (len(data.train), len(data.held_out), len(data.slices)) == (2, 1, 3)
    assert not {piece.key for piece in data.train} & {piece.key for piece in data.held_out}


def test_a_missing_slice_and_no_slices_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.flac .*prepare the recordings again"):
        extract(TinyTask(), [Piece(path=tmp_path / "gone.flac", seconds=1.0)], tmp_path / "features")
    with pytest.raises(AudioError, match="no slices"):
        extract(TinyTask(), [], tmp_path / "features")

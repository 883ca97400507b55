"""Checkpoints: whole or not there, damage is noticed, the good ones are kept."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rvc.errors import CheckpointError
from rvc.training.checkpoints import MAGIC, CheckpointStore


def state_of(step: int) -> dict[str, Any]:
    """A state like a task's: tensors, numbers, None and strings in dicts and lists."""
    return {
        "weights": {"layer": torch.full((3, 4), float(step))},
        "optimizer": [{"lr": 0.1, "betas": [0.8, 0.99], "step": step}],
        "best": None,
        "total": float("inf"),
        "name": "a",
    }


def saved_steps(store: CheckpointStore) -> list[int]:
    """Steps that lie in the folder, sorted."""
    return sorted(int(path.stem[-8:]) for path in store.folder.glob("*.ckpt"))


def damage(path: Path, position: int) -> None:
    """Flip one bit of one byte."""
    raw = bytearray(path.read_bytes())
    raw[position] ^= 0x10
    path.write_bytes(raw)


def test_what_another_process_of_the_group_tidied_up_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, left = tmp_path / "step-00000001.partial", tmp_path / "step-00000002.partial"
    left.touch()
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone, left]))
    CheckpointStore(tmp_path)
    assert not left.exists()


def test_a_saved_state_comes_back_as_it_was(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(7, None, state_of(7))
    state = store.read(7)
    assert torch.equal(state["weights"].pop("layer"), torch.full((3, 4), 7.0))
    expected = state_of(7)
    del expected["weights"]["layer"]
    assert state == expected


def test_where_nothing_was_saved_nothing_is_found(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path).newest() is None
    with pytest.raises(CheckpointError, match="no checkpoint of step 3"):
        CheckpointStore(tmp_path).read(3)


def test_the_last_two_are_kept_and_what_each_calls_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for step, best in [(10, 10), (20, 20), (30, 20), (40, 20), (50, 50)]:
        store.save(step, best, state_of(step))
    assert saved_steps(store) == [20, 40, 50]
    store.save(60, 50, state_of(60))
    assert saved_steps(store) == [50, 60]


def test_a_changed_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    path = store.save(10, None, state_of(10))
    whole = path.read_bytes()
    positions = np.random.default_rng(0).integers(0, len(whole), 60).tolist()
    for position in [0, len(MAGIC) + 3, len(MAGIC) + 66, len(whole) - 1, *positions]:
        path.write_bytes(whole)
        damage(path, position)
        with pytest.raises(CheckpointError, match="damaged"):
            store.read(10)


@pytest.mark.parametrize("kept_bytes", [0, 10, 90, 1000, -1])
def test_a_cut_file_is_noticed(tmp_path: Path, kept_bytes: int) -> None:
    store = CheckpointStore(tmp_path)
    path = store.save(10, None, state_of(10))
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(CheckpointError, match="damaged"):
        store.read(10)


def test_the_one_before_takes_the_place_of_a_damaged_one_and_says_so(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(10, 10, state_of(10))
    damage(store.save(20, 10, state_of(20)), 500)
    found = store.newest()
    assert found is not None
    assert found.step == 10
    assert "step-00000020.ckpt" in found.message
    assert "step 10" in found.message
    assert found.state["optimizer"][0]["step"] == 10


def test_a_damaged_one_is_never_counted_among_the_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(10, 10, state_of(10))
    damage(store.save(20, 10, state_of(20)), 500)
    store.newest()
    store.save(15, 10, state_of(15))
    assert saved_steps(store) == [10, 15]
    assert not list(tmp_path.glob("*.damaged"))


def test_when_all_are_damaged_there_is_no_silent_new_start(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for step in (10, 20):
        store.save(step, None, state_of(step))
    for path in tmp_path.glob("*.ckpt"):
        damage(path, 300)
    for _ in range(2):  # and not at the second try either
        with pytest.raises(CheckpointError, match=r"All checkpoints .* damaged .*start a new training"):
            CheckpointStore(tmp_path).newest()


def test_when_only_set_aside_ones_remain_there_is_no_silent_new_start(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    good = store.save(10, None, state_of(10))
    damage(store.save(20, None, state_of(20)), 300)
    assert store.newest() is not None
    good.unlink()
    with pytest.raises(CheckpointError, match="All checkpoints"):
        store.newest()


def test_half_a_file_from_a_power_cut_is_swept_away_and_never_read(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    good = store.save(10, None, state_of(10))
    (tmp_path / "step-00000020.partial").write_bytes(good.read_bytes()[:400])
    found = CheckpointStore(tmp_path).newest()
    assert found is not None
    assert found.step == 10
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010.ckpt"]


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(10, None, state_of(10))
    with pytest.raises(AttributeError, match="local"):
        store.save(20, None, {"unsavable": lambda: None})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010.ckpt"]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.mkdir, (self.folder,))


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path: Path) -> None:
    packed = io.BytesIO()
    torch.save({"weights": Trap(tmp_path / "sprung")}, packed)
    rest = b'{"step": 10, "best_step": null}\n' + packed.getvalue()
    line = MAGIC + hashlib.sha256(rest).hexdigest().encode() + b"\n"
    store = CheckpointStore(tmp_path / "checkpoints")
    (store.folder / "step-00000010.ckpt").write_bytes(line + rest)
    with pytest.raises(CheckpointError, match="something else than weights"):
        store.read(10)
    assert not (tmp_path / "sprung").exists()

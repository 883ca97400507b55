"""A bundle is whole or not there, and an older one stays until then."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from rvc.training.checkpoints import new_bundle


def test_a_bundle_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    place = tmp_path / "job" / "bundle"
    with new_bundle(place) as folder:
        (folder / "card.json").write_text("new")
        assert not place.exists()
    assert [path.name for path in place.iterdir()] == ["card.json"]
    assert [path.name for path in place.parent.iterdir()] == ["bundle"]


def test_a_bundle_takes_the_place_of_an_older_one_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    for name in ("old.txt", "new.txt"):
        with new_bundle(tmp_path / "bundle") as folder:
            (folder / name).write_text(name)
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_error_leaves_the_older_bundle_and_nothing_else(tmp_path: Path) -> None:
    with new_bundle(tmp_path / "bundle") as folder:
        (folder / "card.json").write_text("old")
    with pytest.raises(RuntimeError, match="half way"), new_bundle(tmp_path / "bundle") as folder:
        (folder / "card.json").write_text("new")
        raise RuntimeError("half way")
    assert (tmp_path / "bundle" / "card.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_closing_a_generator_inside_leaves_nothing(tmp_path: Path) -> None:
    def work() -> Generator[None, None, None]:
        with new_bundle(tmp_path / "bundle") as folder:
            (folder / "card.json").write_text("half")
            yield

    steps = work()
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".bundle.partial").mkdir()
    (tmp_path / ".bundle.partial" / "model.safetensors").write_text("half")
    with new_bundle(tmp_path / "bundle") as folder:
        (folder / "card.json").write_text("new")
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["card.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

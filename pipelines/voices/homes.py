"""Where the folders of voices lie, how one takes another's place, and what a crash may leave of that.

models/<id>/              a voice; with ARRIVING in it, one whose row may not be written
models/.deleted-<id>/     one that was deleted, or is being replaced
models/.incoming-*, .outgoing-*    voices that are unpacked or packed
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from pipelines.store.layout import ARRIVING

LEAVING = ".deleted-"


def leaving_of(home: Path) -> Path:
    return home.with_name(f"{LEAVING}{home.name}")


def home_of(leaving: Path) -> Path:
    return leaving.with_name(leaving.name.removeprefix(LEAVING))


def is_only_copy(path: Path, known: Collection[str]) -> bool:
    """Whether a folder is all there is of a voice, by the ids that rows have: it was to be replaced."""
    home = home_of(path)
    return path.name.startswith(LEAVING) and home.name in known and not home.exists()


def replace(home: Path, bundle: Path) -> None:
    """Put a bundle where a voice may be: whenever the power fails, one of the two can be had."""
    leaving = leaving_of(home)
    home.parent.mkdir(parents=True, exist_ok=True)
    if home.exists():
        shutil.rmtree(leaving, ignore_errors=True)
        home.replace(leaving)
    try:
        bundle.replace(home)
    except OSError:
        if leaving.exists():
            leaving.replace(home)
        raise
    shutil.rmtree(leaving, ignore_errors=True)


def sweep(models: Path, known: Collection[str]) -> None:
    """Remove what an interrupted import, export or deletion left; a voice half replaced is as it was."""
    for path in models.glob(f"{LEAVING}*"):
        if is_only_copy(path, known):
            path.replace(home_of(path))
    for pattern in (".incoming-*", ".outgoing-*", f"{LEAVING}*"):
        for path in models.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
    for mark in models.glob(f"*/{ARRIVING}"):
        if mark.parent.name in known:
            mark.unlink()
        else:
            shutil.rmtree(mark.parent, ignore_errors=True)

"""Voices as other programs have them: what came in is told apart, and RVC's files become a bundle and back.

    a bundle      one zip of card.json, model.safetensors and maybe index.faiss (bundle.py)
    RVC's files   a .pth, maybe with the "added" .index; or one zip that holds them, beside whatever else

What a file is, its content says, not its name. Zips are read in a child process (pipelines/zips.py), and so
is the rest, by torch and faiss (rvc/vits/exchange.py), which are never loaded here. Room for what will
be written is asked for first.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines import zips
from pipelines.store.records import MAX_NAME_CHARACTERS, now
from pipelines.voices.bundle import (
    CARD,
    INDEX,
    REFUSALS,
    REQUIRED,
    WEIGHTS,
    files_of_voice,
    unpack,
    write_card,
)  # fmt: skip
from rvc.engine.card import FORMAT_VERSION
from rvc.errors import CheckpointError
from rvc.sandbox import ChildDiedError, TooSlowError, run_sandboxed

WALL_S, CPU_S = 600.0, 400
MEMORY_BYTES = 4_000_000_000
FILE_BYTES = 1_100_000_000  # a little more than the largest voice model that is read

ENGINE = "rvc"
_WAY_OUT = "give the .zip that Timbre exported, or a .pth with its .index"
_MODULE = "rvc.vits.exchange"
_VOICE, _INDEX = ".pth", ".index"
_ARCHIVES = (".zip", ".rar", ".7z")
# What a training goes on from; such files are often shared beside the voice that came of it.
_TRAINING = re.compile(r"(?:f0)?([gd])(?:_\d+|\d\dk)", re.IGNORECASE)
# The end of voice_e200_s4000 and voice_200e_4000s.
_OF_WHEN = re.compile(r"_(?:e\d+|\d+e)(?:_(?:s\d+|\d+s))?\Z", re.IGNORECASE)
_PICKLE, _FAISS = b"\x80", b"I"
_LONGEST_NAME = 100

Room = Callable[[int], None]


def import_files(files: Sequence[Path], folder: Path, unpacked: Path, room_for: Room) -> None:
    """Make a bundle, in `folder`, of one zip, or of a .pth and maybe its .index; else CheckpointError.

    Both folders exist and are empty; the caller removes `unpacked`, which takes what a zip holds. `room_for`
    refuses, by an error, so many bytes before they are written.
    """
    kinds, held = {path: _kind(path) for path in files}, []
    for path in [path for path, kind in kinds.items() if kind == "zip"]:
        held = zips.files_in(path, REFUSALS)
        if any(PurePosixPath(packed.name).name == "data.pkl" for packed in held):
            kinds[path] = "voice"  # torch.save writes a zip too
    if list(kinds.values()) == ["zip"]:
        shared = _unpack(files[0], held, folder, unpacked, room_for)
    else:
        shared = _sorted_out(kinds)
        room_for(sum(path.stat().st_size for path in shared))
    if shared:
        _import(*shared, folder=folder)


def export_files(bundle: Path, folder: Path, name: str) -> list[Path]:
    """Write a voice of the engine "rvc" into an empty folder: a .pth, and its added_....index."""
    index = bundle / INDEX
    order = {
        "export_from": str(bundle / WEIGHTS),
        "index": str(index) if index.is_file() else None,
        "voice_to": str(folder / f"{_plain(name)}.pth"),
    }
    _run(order, "The voice")
    return sorted(folder.iterdir())


def _kind(path: Path) -> str:
    """Tell by its first bytes what a file is: "zip", "voice", "index" or "" for anything else."""
    if zips.is_zip(path):
        return "zip"
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLE):
        return "voice"
    return "index" if start.startswith(_FAISS) and start.isalnum() else ""


def _unpack(
    archive: Path,
    held: Sequence[zips.Packed],
    folder: Path,
    unpacked: Path,
    room_for: Room,
) -> list[Path]:
    """Unpack a zip: a bundle into `folder`, then there is nothing to return; else RVC's voice and index."""
    names = {PurePosixPath(packed.name).name for packed in held}
    # The same name may lie in two folders of the zip.
    shared = {
        unpacked / f"of {packed.number}" / _safe(PurePosixPath(packed.name).name): packed
        for packed in held
        if packed.name.lower().endswith((_VOICE, _INDEX))
    }
    kinds = {path: "voice" if path.name.lower().endswith(_VOICE) else "index" for path in shared}
    has_voice = "voice" in kinds.values()
    if not has_voice and not names & REQUIRED:
        raise CheckpointError(_no_voice(sorted(names)))
    is_bundle = CARD in names or not has_voice
    if is_bundle:
        wanted = {folder / name: packed for name, packed in files_of_voice(held).items()}
    else:
        wanted = {path: shared[path] for path in _chosen(kinds)}
    unpack(archive, wanted, unpacked, room_for)
    if is_bundle:
        return []
    # A zip that is called .pth is a voice, or refused by the child that reads voices.
    found = {path: _kind(path) for path in wanted}
    voices = {path for path, kind in found.items() if kind == "zip" and kinds[path] == "voice"}
    return _sorted_out(found | dict.fromkeys(voices, "voice"))


def _sorted_out(kinds: Mapping[Path, str]) -> list[Path]:
    for path, kind in kinds.items():
        if kind == "zip":
            raise CheckpointError(f"{path.name} is a zip beside other files; give it alone.")
        if not kind:
            raise CheckpointError(f"{path.name} is not a zip of a voice, a .pth or an .index; {_WAY_OUT}.")
    return _chosen(kinds)


def _chosen(kinds: Mapping[Path, str]) -> list[Path]:
    """Choose the one voice, and its index if there is one and it is clear which."""
    voices = [path for path, kind in kinds.items() if kind == "voice"]
    indexes = [path for path, kind in kinds.items() if kind == "index"]
    best = min(map(_rank, voices), default=0)
    voices = [path for path in voices if _rank(path) == best]
    if len(voices) > 1:
        raise CheckpointError(f"There are {len(voices)} voices, {_listed(voices)}; give one of them.")
    if not voices:
        what = "an index without its voice" if indexes else "no file of a voice"
        raise CheckpointError(f"There is {what}; {_WAY_OUT}.")
    if len(indexes) > 1:
        # RVC programs leave an empty index, the trained one, beside the real one.
        indexes = [path for path in indexes if not path.name.lower().startswith("trained")]
    if len(indexes) > 1:
        named = re.escape(_OF_WHEN.sub("", voices[0].stem))
        of_its_name = re.compile(rf"(?<![^\W_]){named}(?![^\W_])", re.IGNORECASE)
        indexes = [path for path in indexes if of_its_name.search(path.stem)] or indexes
    if len(indexes) > 1:
        raise CheckpointError(
            f"{voices[0].name} comes with {len(indexes)} indexes, {_listed(indexes)}; give it with its own, "
            "the 'added' one, alone."
        )
    return voices + indexes


def _rank(voice: Path) -> int:
    """Put a voice before what a training goes on from, and there its voice before its judges."""
    training = _TRAINING.fullmatch(voice.stem)
    return "gd".index(training[1].lower()) + 1 if training else 0


def _listed(paths: Sequence[Path]) -> str:
    names = [path.name for path in paths[:3]]
    more = [f"{len(paths) - 3} more"] if len(paths) > 3 else []
    *first, last = names + more
    return f"{', '.join(first)} and {last}"


def _no_voice(names: Sequence[str]) -> str:
    """Say of a zip that there is no voice in it, and what to do."""
    archives = [_safe(name) for name in names if name.lower().endswith(_ARCHIVES)]
    indexes = [_safe(name) for name in names if name.lower().endswith(_INDEX)]
    if archives:
        return (
            f"No voice (.pth) is in the zip, but another archive, {archives[0]}; unpack it and give what it "
            "holds."
        )
    if indexes:
        return (
            f"No voice (.pth) is in the zip, only an index, {indexes[0]}; give the .pth that belongs to it."
        )
    return f"No voice (.pth) is in the zip; {_WAY_OUT}."


def _import(voice: Path, index: Path | None = None, *, folder: Path) -> None:
    order = {
        "import_from": str(voice.resolve()),
        "index": str(index.resolve()) if index else None,
        "weights_to": str(folder / WEIGHTS),
        "index_to": str(folder / INDEX),
        "card_to": str(folder / CARD),
    }
    _run(order, voice.name)
    said: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    name = said.get("facts", {}).get("model_name") or voice.stem
    shown = "".join(character if character.isprintable() else " " for character in str(name))
    name = " ".join(shown.split())[:MAX_NAME_CHARACTERS] or "Voice"
    write_card(folder, said | {"format_version": FORMAT_VERSION, "name": name, "created_at": now()})


def _run(order: Mapping[str, Any], name: str) -> None:
    limits = {"memory_bytes": MEMORY_BYTES, "cpu_s": CPU_S, "file_bytes": FILE_BYTES}
    try:
        run_sandboxed(_MODULE, {**order, **limits}, WALL_S)
    except TooSlowError as error:
        raise CheckpointError(
            f"{name} takes more than {WALL_S / 60:.0f} minutes to convert; try again without its index."
        ) from error
    except ChildDiedError as error:
        raise CheckpointError(
            f"{name} cannot be read within its limits of memory, time and disk, so it is damaged or too "
            "large; get it again from where it came from."
        ) from error


def _plain(name: str) -> str:
    """Give a name that every system and program takes for a file: some RVC programs read ASCII only."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9-]+", "_", ascii_only).strip("_") or "voice"


def _safe(name: str) -> str:
    """Give a stranger's file name without what could be more than a name; its end stays."""
    return re.sub(r"[^\w. -]+", "_", name)[-_LONGEST_NAME:]

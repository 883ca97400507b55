"""Voices as other programs have them: what came in is told apart, and RVC's files become a bundle and back.

    a bundle      one zip of card.json, model.safetensors and maybe index.faiss (bundle.py)
    RVC's files   a .pth, maybe with the "added" .index; or one zip that holds them, beside whatever else

What a file is, its content says, not its name. torch and faiss read it in a child process
(rvc/vits/exchange.py), so that neither is ever loaded here; one at a time, because each takes memory.
"""

from __future__ import annotations

import json
import re
import threading
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines import zips
from pipelines.store.records import MAX_NAME_CHARACTERS, now
from pipelines.voices.bundle import CARD, INDEX, REFUSALS, WEIGHTS, extract, unpack, write_card
from rvc.engine.card import FORMAT_VERSION
from rvc.errors import CheckpointError
from rvc.sandbox import ChildDiedError, TooSlowError, run_sandboxed

WALL_S, CPU_S = 600.0, 400
MEMORY_BYTES = 4_000_000_000
FILE_BYTES = 1_100_000_000  # a little more than the largest voice model that is read

ENGINE = "rvc"
_WAY_OUT = "give the .zip that Timbre exported, or a .pth with its .index"
_MODULE = "rvc.vits.exchange"
_KINDS = {".pth": "voice", ".index": "index"}
_PICKLE, _FAISS = b"\x80", b"I"
_LONGEST_NAME = 100
_ONE_AT_A_TIME = threading.Lock()


def import_files(files: Sequence[Path], folder: Path, unpacked: Path) -> None:
    """Make a bundle, in `folder`, of one zip, or of a .pth and maybe its .index; else CheckpointError.

    Both folders exist and are empty; the caller removes `unpacked`, which takes what a zip holds.
    """
    zipped = len(files) == 1 and _kind(files[0]) == "zip"
    shared = _unpack(files[0], folder, unpacked) if zipped else _sorted_out(files)
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
    """Tell by its content what a file is: "zip", "voice", "index" or "" for anything else."""
    if zipfile.is_zipfile(path):
        with zips.opened(path, REFUSALS) as zipped:
            # torch.save writes a zip too.
            return "voice" if _names(zipped).get("data.pkl") else "zip"
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_PICKLE):
        return "voice"
    return "index" if start.startswith(_FAISS) and start.isalnum() else ""


def _names(zipped: zipfile.ZipFile) -> dict[str, list[zipfile.ZipInfo]]:
    found: dict[str, list[zipfile.ZipInfo]] = {}
    for info in zips.files_of(zipped):
        found.setdefault(PurePosixPath(info.filename).name, []).append(info)
    return found


def _unpack(archive: Path, folder: Path, unpacked: Path) -> list[Path]:
    """Unpack a zip: a bundle into `folder`, then there is nothing to return; else RVC's voice and index."""
    with zips.opened(archive, REFUSALS) as zipped:
        names = _names(zipped)
        wanted = {
            # The same name may lie in two folders of the zip.
            unpacked / str(number) / _safe(name): info
            for name, infos in names.items()
            if name.lower().endswith(tuple(_KINDS))
            for number, info in enumerate(infos)
        }
        kinds = {path: _KINDS[path.suffix.lower()] for path in wanted}
        if CARD in names or "voice" not in kinds.values():
            unpack(zipped, folder)
            return []
        chosen = _chosen(kinds)
        for path in chosen:
            path.parent.mkdir(exist_ok=True)
        extract(zipped, {path: wanted[path] for path in chosen})
    return _sorted_out(chosen)


def _sorted_out(files: Sequence[Path]) -> list[Path]:
    kinds = {path: _kind(path) for path in files}
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
    if len(voices) > 1:
        raise CheckpointError(f"There are {len(voices)} voices; give one at a time.")
    if not voices:
        what = "an index without its voice" if indexes else "no file of a voice"
        raise CheckpointError(f"There is {what}; {_WAY_OUT}.")
    if len(indexes) > 1:
        # RVC programs leave an empty index, the trained one, beside the real one.
        indexes = [path for path in indexes if "trained" not in path.name]
    if len(indexes) > 1:
        raise CheckpointError(
            f"{voices[0].name} comes with {len(indexes)} indexes; give it with the 'added' one alone."
        )
    return voices + indexes


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
        with _ONE_AT_A_TIME:
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

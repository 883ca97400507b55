"""Voices as other programs have them: what came in is told apart, and RVC's files become a bundle and back.

    a bundle      one zip of card.json, model.safetensors and maybe index.faiss (bundles.py)
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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pipelines.voices.bundle as bundles
from pipelines.store.records import MAX_NAME_CHARACTERS, now
from pipelines.voices.bundle import CARD, FORMAT_VERSION, INDEX, WEIGHTS
from rvc.errors import CheckpointError
from rvc.sandbox import ChildDiedError, TooSlowError, run_child

WALL_S, CPU_S = 600.0, 400
MEMORY_BYTES = 4_000_000_000
FILE_BYTES = 1_100_000_000
"""A little more than the largest voice model that is read."""

ENGINE = "rvc"
_WAY_OUT = "give the .zip that Timbre exported, or a .pth with its .index"
_MODULE = "rvc.vits.exchange"
_KINDS = {".pth": "voice", ".index": "index"}
_PICKLE, _FAISS = b"\x80", b"I"
_LONGEST_NAME = 100
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class SharedVoice:
    """A voice as RVC programs share it.

    Attributes:
        voice: The .pth file.
        index: Its index, if there is one.
    """

    voice: Path
    index: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Both, or the voice alone."""
        return [self.voice] if self.index is None else [self.voice, self.index]


def take_in(files: Sequence[Path], folder: Path, unpacked: Path) -> None:
    """Make a bundle of what came in.

    Args:
        files: One zip, or a .pth and maybe its .index; their names are what messages call them.
        folder: An existing, empty folder that becomes the bundle.
        unpacked: Another one, for what a zip holds; the caller removes it.

    Raises:
        CheckpointError: It is not one voice, not whole, or one that Timbre cannot use.
    """
    if len(files) == 1 and _kind(files[0]) == "zip":
        shared = _unpack(files[0], folder, unpacked)
    else:
        shared = _sorted_out(files)
    if shared is not None:
        _import(shared, folder)


def give_out(bundle: Path, folder: Path, name: str) -> list[Path]:
    """Write a voice as RVC programs read it.

    Args:
        bundle: Folder of a voice of the engine "rvc".
        folder: An existing, empty folder.
        name: What the voice is called.

    Returns:
        The files: a .pth, and an added_....index if the voice has an index.

    Raises:
        CheckpointError: The bundle is damaged.
    """
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
    with path.open("rb") as file:
        start = file.read(4)
    if zipfile.is_zipfile(path):
        with bundles.opened(path) as zipped:
            # torch.save writes a zip too.
            return "voice" if _names(zipped).get("data.pkl") else "zip"
    if start.startswith(_PICKLE):
        return "voice"
    return "index" if start.startswith(_FAISS) and start.isalnum() else ""


def _names(zipped: zipfile.ZipFile) -> dict[str, list[zipfile.ZipInfo]]:
    """List the files of a zip by name, whatever their folders."""
    found: dict[str, list[zipfile.ZipInfo]] = {}
    for info in bundles.files_of(zipped):
        found.setdefault(PurePosixPath(info.filename).name, []).append(info)
    return found


def _unpack(archive: Path, folder: Path, unpacked: Path) -> SharedVoice | None:
    """Unpack a zip: a bundle into `folder` (then None is returned), or what it holds of a voice of RVC's."""
    with bundles.opened(archive) as zipped:
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
            bundles.unpack(archive, folder)
            return None
        chosen = _chosen(kinds).files
        for path in chosen:
            path.parent.mkdir(exist_ok=True)
        bundles.extract(zipped, {path: wanted[path] for path in chosen})
    return _sorted_out(chosen)


def _sorted_out(files: Sequence[Path]) -> SharedVoice:
    """Tell by their content which file is the voice and which its index.

    Raises:
        CheckpointError: They are not one voice.
    """
    kinds = {path: _kind(path) for path in files}
    for path, kind in kinds.items():
        if kind == "zip":
            raise CheckpointError(f"{path.name} is a zip beside other files; give it alone.")
        if not kind:
            raise CheckpointError(f"{path.name} is not a zip of a voice, a .pth or an .index; {_WAY_OUT}.")
    return _chosen(kinds)


def _chosen(kinds: Mapping[Path, str]) -> SharedVoice:
    """Choose the one voice and at most one index.

    Raises:
        CheckpointError: There is no voice, or more than one, or nothing tells which index is the right one.
    """
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
    return SharedVoice(voice=voices[0], index=indexes[0] if indexes else None)


def _import(shared: SharedVoice, folder: Path) -> None:
    order = {
        "import_from": str(shared.voice.resolve()),
        "index": str(shared.index.resolve()) if shared.index else None,
        "weights_to": str(folder / WEIGHTS),
        "index_to": str(folder / INDEX),
        "card_to": str(folder / CARD),
    }
    _run(order, shared.voice.name)
    said: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    name = said.get("facts", {}).get("model_name") or shared.voice.stem
    shown = "".join(character if character.isprintable() else " " for character in str(name))
    own = {
        "format_version": FORMAT_VERSION,
        "name": " ".join(shown.split())[:MAX_NAME_CHARACTERS] or "Voice",
        "created_at": now(),
    }
    bundles.write_card(folder, said | own)


def _run(order: Mapping[str, Any], name: str) -> None:
    """Have a child do what the order says.

    Raises:
        CheckpointError: With the child's own sentence, or with ours if it was stopped or died.
    """
    limits = {"memory_bytes": MEMORY_BYTES, "cpu_s": CPU_S, "file_bytes": FILE_BYTES}
    try:
        with _ONE_AT_A_TIME:
            run_child(_MODULE, {**order, **limits}, WALL_S)
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

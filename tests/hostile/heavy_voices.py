"""Voices that are small and cost much to whoever believes them; and what it costs to import one.

python -m tests.hostile.heavy_voices FOLDER FILE...    import as a server does, and say what became of it
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.errors import LimitError, RvcError
from tests.hostile.bad_files import card_with, voice, zipped

QUOTA_BYTES = 500_000_000
_ROUND_BYTES = 64_000_000


def _with(**files: bytes) -> bytes:
    """A zip of a voice, some of whose files are others."""
    names = {"card": "card.json", "weights": "model.safetensors", "index": "index.faiss"}
    return zipped({**voice(), **{names[name]: content for name, content in files.items()}})


def index_that_claims(numbers: int, content_dim: int = 64) -> bytes:
    """A flat index of four kB whose header states so many numbers."""
    index = faiss.IndexFlatL2(content_dim)
    index.add(np.zeros((16, content_dim), np.float32))
    whole = bytearray(faiss.serialize_index(index).tobytes())
    rows, length = (whole.index(struct.pack("<Q", held), 4) for held in (16, 16 * content_dim))
    whole[rows : rows + 8] = struct.pack("<Q", numbers // content_dim)
    whole[length : length + 8] = struct.pack("<Q", numbers)
    return bytes(whole)


def _header_of(length: int) -> bytes:
    header = b'{"x":[{}' + b",{}" * (length // 3) + b"]}"
    return struct.pack("<Q", len(header)) + header


def _bomb(rounds: int) -> bytes:
    """A zip of two MB whose model has so many times 64 MB, and a card."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_ROUND_BYTES)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = block * rounds + packer.flush()
    whole = bytearray(zipped({"model.safetensors": packed, "card.json": card_with()}, 0))
    size = _ROUND_BYTES * rounds
    for sign, method_at, size_at in ((b"PK\x03\x04", 8, 22), (b"PK\x01\x02", 10, 24)):
        at = whole.index(sign)
        whole[at + method_at : at + method_at + 2] = struct.pack("<H", 8)
        whole[at + size_at : at + size_at + 4] = struct.pack("<I", size)
    return bytes(whole)


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1_000 for line in lines if line.startswith(f"{name}:"))


HEAVY: dict[str, Callable[[], bytes]] = {
    "a header of 100 MB": lambda: _with(weights=_header_of(99_000_000)),
    "a header of 10 MB": lambda: _with(weights=_header_of(10_000_000) + bytes(20_000_000)),
    "a bomb of 2 GB": lambda: _bomb(31),
    "a card of many values": lambda: _with(card=card_with(facts=[[]] * 240_000)),
    "an index that claims 2.4 GB": lambda: _with(index=index_that_claims(600_000_000)),
    "an index that claims 2**60 bytes": lambda: _with(index=index_that_claims(1 << 58)),
    "a directory of many names": lambda: zipped({f"{'x' * 20}{n}.txt": b"" for n in range(30_000)}, 0),
    "many voices": lambda: zipped({**voice(), **{f"{n}.pth": b"" for n in range(15_000)}}, 0),
    "a pickle of a text of 2 GB": lambda: b"\x80\x02X\xff\xff\xff\x7f" + bytes(60_000),
    "a pickle of a frame of 2**62 bytes": lambda: b"\x80\x04\x95" + bytes(7) + b"\x40" + bytes(60_000),
    "a pickle of a number of 2 GB": lambda: b"\x80\x02\x8b\xff\xff\xff\x7f" + bytes(60_000),
    "a pickle that is cut": lambda: b"\x80\x02}q\x00(X\x06\x00",
}
"""By what it is, a zip or a .pth."""


def main(folder: Path, files: list[Path]) -> None:
    """Import one voice that is in order, then each of the files; tell what each was answered, as JSON."""
    registry = Registry(folder / "data")
    library = Library(folder / "data", registry)
    taken = 0

    def spend(count: int) -> None:
        nonlocal taken
        if count > QUOTA_BYTES:
            raise LimitError("There is no room for this.")
        taken = max(taken, count)

    good = folder / "good.zip"
    good.write_bytes(zipped(voice()))
    library.import_voice(Caller("me"), [good], None, spend)
    said: list[dict[str, Any]] = []
    for path in files:
        rest_mb = _status_mb("VmHWM")
        try:
            library.import_voice(Caller("me"), [path], None, spend)
            answer = ""
        except RvcError as error:
            answer = f"{type(error).__name__}: {error}"
        grown_mb = _status_mb("VmHWM") - rest_mb
        said.append({"file": path.name, "answer": answer, "grown_mb": grown_mb})
    child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1_000
    voices = [row["id"] for row in library.list(Caller("me")) if not row["builtin"]]
    left = sorted(path.name for path in (folder / "data" / "models").iterdir() if path.name not in voices)
    registry.close()
    sys.stdout.write(json.dumps({"imports": said, "child_mb": child_mb, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])

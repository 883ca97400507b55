"""The speech that the built-in models learn from, and the part that they never hear.

A corpus is a folder with `metadata.csv` ('|'-separated: file, speaker, seconds, text) and the audio files
that it names; the first folder of a file's path is its collection. Held out are whole speakers (strangers, to
judge the encoder and freshly trained voices with) and whole prompts of the demo voices: a prompt is held out
in every take.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = {"kerstin_de": "de", "nathalie_nl": "nl", "flemishguy_nl": "nl"}
HELD_OUT_SPEAKERS = frozenset(
    {"nathalie", "26", "1688", "2033", "mblw", "fjmd", "fbbh", "mjgm", "mscg", "fsaf", "mmsh", "fclc"}
)
HELD_OUT_SHARE = 0.06


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording of a corpus.

    Attributes:
        file: Path relative to the corpus folder.
        speaker: Who speaks; "" when the collection does not say.
        collection: First folder of the path.
        language: espeak-ng language of the text ("en-us", "de", "nl").
        text: What is said; "" where no transcript exists.
    """

    file: str
    speaker: str
    collection: str
    language: str
    seconds: float
    text: str

    @property
    def key(self) -> str:
        """Name under which labels and features of this recording are kept."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", self.file.rsplit(".", 1)[0])

    @property
    def held_out(self) -> bool:
        """Whether no training may hear this recording."""
        if self.speaker in HELD_OUT_SPEAKERS:
            return True
        return _share(self.collection + self.text if self.text else self.file) < HELD_OUT_SHARE


def _share(name: str) -> float:
    """Map a name to a number in 0..1, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def read_corpus(folder: Path) -> list[Utterance]:
    """Read `metadata.csv` of a folder of speech; each file once, in the order of the table."""
    rows: dict[str, Utterance] = {}
    with (folder / "metadata.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="|", quoting=csv.QUOTE_NONE):
            collection = row["file"].split("/")[0]
            rows.setdefault(
                row["file"],
                Utterance(
                    file=row["file"],
                    speaker="" if row["speaker"] == "unknown" else row["speaker"],
                    collection=collection,
                    language=LANGUAGES.get(collection, "en-us"),
                    seconds=float(row["seconds"]),
                    text=row["text"].strip(),
                ),
            )
    return list(rows.values())

"""What a converted recording says of itself: that it is synthetic speech, whose, made how, when, with what.

    title     Synthetic speech
    artist    the voice's name
    software  the program and its version
    date      the day
    comment   all of it as one JSON object in ASCII, for programs: see `RunRecord.document`

It stands in the file's own tags (WAV: INFO chunk; FLAC, Ogg: comments; MP3: ID3), so it stays with a file
that is renamed or sent on. It is no watermark: whoever wants to can remove it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile as sf

from pipelines.store.records import now

PROGRAM, VERSION = "Timbre", "0.1.0"
STATEMENT = "synthetic speech"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """How recordings were made.

    Attributes:
        voice_name: What the voice is called.
        voice_id: Its id in the library.
        settings: The conversion's settings, JSON values; what was left to the program as it was chosen.
        made_at: When, ISO 8601 in UTC.
    """

    voice_name: str
    voice_id: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    made_at: str = field(default_factory=now)

    def document(self, **settings: object) -> dict[str, Any]:
        """Return the record as JSON values.

        Args:
            **settings: Those that were found out only while converting.
        """
        return {
            "statement": STATEMENT,
            "voice_name": self.voice_name,
            "voice_id": self.voice_id,
            "settings": {**self.settings, **settings},
            "date": self.made_at,
            "program": PROGRAM,
            "version": VERSION,
        }

    def tags(self, **settings: object) -> dict[str, str]:
        """Return the record as `AudioWriter` takes it; the settings are those of `document`."""
        return {
            "title": STATEMENT.capitalize(),
            "artist": self.voice_name,
            "software": f"{PROGRAM} {VERSION}",
            "date": self.made_at[:10],
            "comment": json.dumps(self.document(**settings), ensure_ascii=True),
        }


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what a sound file of this program says of itself.

    Args:
        path: A WAV, FLAC, Ogg or MP3 file.

    Returns:
        As `RunRecord.document`; None if the file carries no such record.
    """
    with sf.SoundFile(path) as file:
        text = str(file.comment)
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.get("statement") == STATEMENT else None

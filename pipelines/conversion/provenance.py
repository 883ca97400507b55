"""What a converted recording says of itself: that it is synthetic speech, whose, made how, when, with what.

    title     Synthetic speech
    artist    the voice's name
    software  the program and its version
    date      the day
    comment   all of it as one JSON object in ASCII, for programs: see `Provenance.document`

It stands in the file's own tags (WAV: INFO chunk; FLAC, Ogg: comments; MP3: ID3), so it stays with a file
that is renamed or sent on. It is no watermark: whoever wants to can remove it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.store.records import now

PROGRAM, VERSION = "Timbre", "0.1.0"
STATEMENT = "synthetic speech"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    voice_name: str
    voice_id: str  # in the library
    settings: Mapping[str, Any] = field(default_factory=dict)  # JSON values; what was left open, as chosen
    made_at: str = field(default_factory=now)  # ISO 8601 in UTC

    def document(self, **found_out: object) -> dict[str, Any]:
        """Return the record as JSON values, with settings that were found out only while converting."""
        return {
            "statement": STATEMENT,
            "voice_name": self.voice_name,
            "voice_id": self.voice_id,
            "settings": {**self.settings, **found_out},
            "date": self.made_at,
            "program": PROGRAM,
            "version": VERSION,
        }

    def tags(self, **found_out: object) -> dict[str, str]:
        """Return the record as `AudioWriter` takes it."""
        return {
            "title": STATEMENT.capitalize(),
            "artist": self.voice_name,
            "software": f"{PROGRAM} {VERSION}",
            "date": self.made_at[:10],
            "comment": json.dumps(self.document(**found_out), ensure_ascii=True),
        }

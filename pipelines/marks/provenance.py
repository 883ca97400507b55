"""What a converted recording says of itself: that it is synthetic speech, whose, made how, when, with what.

    title     Synthetic speech
    artist    the voice's name
    software  the program and its version
    date      the day
    comment   all of it as one JSON object in ASCII, for programs: see `Provenance.document`

It stands in the file's own tags (WAV: INFO chunk; FLAC, Ogg: comments; MP3: ID3), so it stays with a file
that is renamed or sent on, and whoever wants to can remove it. So the sound has a watermark besides
(rvc/audio/watermark.py), and the file a signed manifest where that is installed (manifest.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from pipelines.job_spec import Signing
from pipelines.store.records import now

PROGRAM, VERSION = "Timbre", "0.1.0"
STATEMENT = "synthetic speech"
WATERMARK = "watermark of Timbre"  # as results tell it of a recording that they were made from


def installed() -> bool:
    """Whether manifests can be written and read here: requirements-c2pa.txt."""
    return find_spec("c2pa") is not None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    voice_name: str
    voice_id: str  # in the library
    settings: Mapping[str, Any] = field(default_factory=dict)  # JSON values; what was left open, as chosen
    made_at: str = field(default_factory=now)  # ISO 8601 in UTC
    made_from: Sequence[str] = ()  # the marks that the recording had before: it was synthetic itself
    watermark: bool = False  # whether the sound gets one
    signing: Signing | None = None  # None writes no manifest

    def with_source(self, *marks: str) -> Provenance:
        """Return the record with more marks that were found on the recording."""
        return replace(self, made_from=(*self.made_from, *marks))

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
        } | ({"made_from": list(self.made_from)} if self.made_from else {})

    def tags(self, **found_out: object) -> dict[str, str]:
        """Return the record as `AudioWriter` takes it."""
        return {
            "title": STATEMENT.capitalize(),
            "artist": self.voice_name,
            "software": f"{PROGRAM} {VERSION}",
            "date": self.made_at[:10],
            "comment": json.dumps(self.document(**found_out), ensure_ascii=True),
        }

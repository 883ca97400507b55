"""What passes between the server and the child that speaks live, on its stdin and stdout.

Each message is one byte that tells its kind, four with its length (big-endian), and so many of content:
    A    sound: 16-bit samples, little-endian, mono, at the rate of who speaks
    J    a JSON object. To the child "do": start, voice, pitch, bypass, talk, stop; from it "event": ready,
         refused (message), voice, state, kept. What each holds stands in child.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

SOUND, WORDS = b"A", b"J"
MOST_BYTES = 1 << 20
RATES_HZ = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
# What a browser's device holds on its way in and out, as it is counted in a delay.
DEVICE_S = 0.020

Message = tuple[bytes, bytes]


def packed(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "big") + content


def words(**said: Any) -> bytes:  # noqa: ANN401 -- JSON
    return packed(WORDS, json.dumps(said, allow_nan=False).encode())


class Unpacker:
    """Puts messages together from what is read, in any portions; ValueError for what is none."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, data: bytes) -> Iterator[Message]:
        self._rest += data
        while len(self._rest) >= 5:
            kind, size = self._rest[:1], int.from_bytes(self._rest[1:5], "big")
            if kind not in (SOUND, WORDS) or size > MOST_BYTES:
                raise ValueError(f"{kind!r} of {size} bytes is no message.")
            if len(self._rest) < 5 + size:
                return
            content, self._rest = self._rest[5 : 5 + size], self._rest[5 + size :]
            yield kind, content

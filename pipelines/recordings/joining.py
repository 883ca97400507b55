"""Slices that are too short to learn from alone, joined to longer ones: the lines of a game.

folder/<key>.flac     the key is a hash of what was joined, so a second run writes only what is new
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile as sf

from pipelines.job_spec import PrepareSettings
from pipelines.recordings.segments import SliceRef
from rvc.audio.writer import AudioWriter

PAUSE_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Joined:
    slices: list[SliceRef]  # all there are now
    recordings: int  # so many of those before were joined ...
    into: int  # ... to so many


def join_short(
    slices: Sequence[tuple[SliceRef, int, int]], folder: Path, settings: PrepareSettings
) -> Generator[float, None, Joined]:
    """Join slices shorter than the shortest to about half the longest, in order, like to like.

    With each slice come its sample rate, which cannot be mixed, and its grade, which is mixed only to use up
    what is left over. What stays too short is filled up with silence. Yields the share that is done.
    """
    kept: list[SliceRef] = []
    short: dict[int, list[tuple[int, SliceRef]]] = {}
    for piece, rate_hz, grade in slices:
        if piece.seconds >= settings.shortest_slice_s:
            kept.append(piece)
        else:
            short.setdefault(rate_hz, []).append((grade, piece))
    groups: list[list[SliceRef]] = []
    for graded in short.values():
        alike = [piece for _, piece in sorted(graded, key=lambda pair: pair[0])]
        groups += _groups(alike, settings.longest_slice_s / 2)
    for number, group in enumerate(groups):
        folder.mkdir(exist_ok=True)
        kept.append(_join(group, folder, settings.shortest_slice_s))
        yield (number + 1) / len(groups)
    used = {piece.path for piece in kept}
    for path in folder.glob("*"):
        if path not in used:
            path.unlink()
    sizes = [len(group) for group in groups if len(group) > 1]
    return Joined(slices=kept, recordings=sum(sizes), into=len(sizes))


def _groups(pieces: Sequence[SliceRef], wanted_s: float) -> list[list[SliceRef]]:
    """Divide slices, in order, to groups of about equal length, as near to `wanted_s` as that goes."""
    ends = np.cumsum([piece.seconds + PAUSE_S for piece in pieces])
    count = max(1, round(float(ends[-1]) / wanted_s))
    middles = ends - [(piece.seconds + PAUSE_S) / 2 for piece in pieces]
    numbers = (middles * count / ends[-1]).astype(int).tolist()
    numbered = groupby(zip(numbers, pieces, strict=True), key=lambda pair: pair[0])
    return [[piece for _, piece in group] for _, group in numbered]


def _join(group: Sequence[SliceRef], folder: Path, shortest_s: float) -> SliceRef:
    names = [f"{piece.path.parent.name}/{piece.path.name}" for piece in group]
    key = hashlib.sha256(" ".join([*names, str(shortest_s)]).encode()).hexdigest()[:24]
    path = folder / f"{key}.flac"
    if not path.exists():
        sounds = [sf.read(piece.path, dtype="float32") for piece in group]
        rate_hz = sounds[0][1]
        pause = np.zeros(round(PAUSE_S * rate_hz), dtype=np.float32)
        parts = [part for wav, _ in sounds for part in (wav, pause)][:-1]
        wav = np.concatenate(parts)
        with AudioWriter(path, rate_hz, "flac", bits=24) as out:
            out.write(np.pad(wav, (0, max(round(shortest_s * rate_hz) - wav.size, 0))))
    return SliceRef(
        path=path,
        seconds=round(sf.info(path).duration, 4),
        source_name=", ".join(piece.source_name for piece in group),
        start_s=group[0].start_s,
    )

"""Prepared recordings of one voice side by side: who repeats whom, who else speaks, what each is like."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.recordings.pieces import SliceMeasures
from pipelines.recordings.report import (
    F0,
    FileReport,
    SecondSpeaker,
    as_duplicate,
    describe_file,
    with_other_speaker,
)
from pipelines.recordings.segments import SliceRef
from pipelines.recordings.uploads import StoredFile
from rvc.analysis.fingerprint import find_duplicates
from rvc.analysis.quality import Measures
from rvc.analysis.speakers import (
    SpeakerFinding,
    SpeakerWindows,
    comparable_bandwidth_hz,
    comparing_speakers,
    pooled,
    thinned,
)
from rvc.steps import relay

FACTS = "facts.json"
VOICE = "voice.npz"
MOST_WINDOWS = 480  # twenty minutes of speech are compared, spread over all there is
# From the first on a second speaker is heard in a recording, from the second on it is hers.
MIXED_SHARE, OTHER_SHARE = 0.15, 0.7


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingFacts:
    folder: Path
    measures: Measures
    slices: list[SliceRef]
    measured: list[SliceMeasures]  # of each slice
    windows: SpeakerWindows  # to compare speakers with
    fingerprint: NDArray[np.float32]  # to find duplicates with


@dataclass(frozen=True, kw_only=True)
class Comparison:
    files: list[FileReport]  # in the order of the upload
    second_speaker: SecondSpeaker
    f0: F0  # of all that is used


def read_facts(folder: Path, name: str) -> RecordingFacts:
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    with np.load(folder / VOICE, allow_pickle=False) as voice:
        parts = {part: voice[part] for part in ("f0_hz", "ends", "floor")}
        windows = SpeakerWindows(log_mel=voice["log_mel"].astype(np.float32), **parts)
        moves = voice["print"].astype(np.float32)
    slices = [
        SliceRef(path=folder / row["file"], seconds=row["seconds"], source_name=name, start_s=row["start_s"])
        for row in facts["slices"]
    ]
    names = [field.name for field in fields(SliceMeasures)]
    return RecordingFacts(
        folder=folder,
        measures=Measures(**facts["measures"]),
        slices=slices,
        measured=[SliceMeasures(**{name: row[name] for name in names}) for row in facts["slices"]],
        windows=windows,
        fingerprint=moves,
    )


def compare_recordings(
    pairs: Sequence[tuple[StoredFile, RecordingFacts]],
) -> Generator[float, None, Comparison]:
    repeated = yield from _duplicates(pairs)
    used = [number for number in range(len(pairs)) if number not in repeated]
    finding, places = yield from _speakers([pairs[number][1] for number in used])
    shares = {
        number: float(finding.second[place].mean()) if finding.second[place].size else 0.0
        for number, place in zip(used, places, strict=True)
    }
    files = []
    for number, (file, facts) in enumerate(pairs):
        report = describe_file(file, facts.measures, len(facts.slices), _f0([facts.windows]))
        if number in repeated:
            original, kind = repeated[number]
            report = as_duplicate(report, pairs[original][0].name, kind)
        elif shares[number] >= MIXED_SHARE:
            report = with_other_speaker(report, shares[number])
        files.append(report)
    second = SecondSpeaker(
        checked=finding.checked,
        heard=finding.heard,
        share=round(finding.share, 3),
        score=round(float(np.clip(finding.score, -999.0, 9999.0)), 1),
        files=[file.name for file in files if file.other_speaker_share >= OTHER_SHARE],
        mixed_files=[file.name for file in files if MIXED_SHARE <= file.other_speaker_share < OTHER_SHARE],
    )
    return Comparison(
        files=files, second_speaker=second, f0=_f0([pairs[number][1].windows for number in used])
    )


def _duplicates(
    pairs: Sequence[tuple[StoredFile, RecordingFacts]],
) -> Generator[float, None, dict[int, tuple[int, str]]]:
    """Find recordings that repeat another: for each its number, that of the one kept, and how."""
    repeated: dict[int, tuple[int, str]] = {}
    first_with: dict[str, int] = {}
    for number, (file, _) in enumerate(pairs):
        first = first_with.setdefault(file.sha256, number)
        if first != number:
            repeated[number] = (first, "same file")
    left = list(first_with.values())
    steps = find_duplicates([pairs[number][1].fingerprint for number in left])
    alike = yield from relay(steps, lambda share: 0.5 * share)
    for one, other in ((left[first], left[second]) for first, second in alike):
        if one in repeated or other in repeated:
            continue
        # A part of the other goes; of two of one length, the one that came later.
        drop, keep = (one, other) if pairs[one][0].seconds < pairs[other][0].seconds - 1.0 else (other, one)
        repeated[drop] = (keep, "same recording")
    return repeated


def _speakers(
    facts: Sequence[RecordingFacts],
) -> Generator[float, None, tuple[SpeakerFinding, list[int]]]:
    """Look for a second speaker; also returns in which entry of the finding each recording is."""
    windows, places = pooled([known.windows for known in facts])
    total = sum(len(w) for w in windows)
    if total > MOST_WINDOWS:
        least = max(1, min(3, MOST_WINDOWS // len(windows)))
        windows = [thinned(w, max(least, round(len(w) * MOST_WINDOWS / total))) for w in windows]
    known_hz = [f.measures.bandwidth_hz for f in facts if len(f.windows)]
    if not known_hz:  # all are short, and of a vowel alone nobody can tell: the few least do not count
        short_hz = [f.measures.bandwidth_hz for f in facts if len(f.windows.log_mel)]
        known_hz = [float(np.percentile(short_hz, 10))] if short_hz else []
    bandwidth_hz = comparable_bandwidth_hz(known_hz)
    steps = comparing_speakers(windows, bandwidth_hz=bandwidth_hz)
    finding = yield from relay(steps, lambda share: 0.5 + 0.5 * share)
    return finding, places


def _f0(recordings: Sequence[SpeakerWindows]) -> F0:
    f0 = np.concatenate([np.empty(0, dtype=np.float32), *(windows.f0_hz for windows in recordings)])
    voiced = f0[f0 > 0]
    if voiced.size < 10:
        return None
    median, low, high = np.percentile(voiced, [50.0, 5.0, 95.0]).tolist()
    return median, low, high

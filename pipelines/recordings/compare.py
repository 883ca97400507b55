"""The recordings of a set, compared with each other: duplicates, speakers, and the report on all of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.recordings.report import (
    F0,
    DatasetReport,
    SecondSpeaker,
    as_duplicate,
    describe_file,
    summarise,
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
    thinned,
)
from rvc.steps import relay

MOST_WINDOWS = 480  # twenty minutes of speech are compared, spread over all there is
# From the first on a second speaker is heard in a recording, from the second on it is hers.
MIXED_SHARE, OTHER_SHARE = 0.15, 0.7


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingFacts:
    """What is known of a prepared recording."""

    folder: Path
    measures: Measures
    slices: list[SliceRef]
    windows: SpeakerWindows  # to compare speakers with
    fingerprint: NDArray[np.float32]  # to find duplicates with


def compare_recordings(
    pairs: Sequence[tuple[StoredFile, RecordingFacts]],
) -> Generator[float, None, DatasetReport]:
    """Compare the recordings of a set, yield the share that is done, and return the report."""
    repeated = yield from _duplicates(pairs)
    used = [number for number in range(len(pairs)) if number not in repeated]
    finding = yield from _speakers([pairs[number][1] for number in used])
    shares = {
        number: float(second.mean()) if second.size else 0.0
        for number, second in zip(used, finding.second, strict=True)
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
    return summarise(files, second, _f0([pairs[number][1].windows for number in used]))


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


def _speakers(facts: Sequence[RecordingFacts]) -> Generator[float, None, SpeakerFinding]:
    windows = [known.windows for known in facts]
    total = sum(len(w) for w in windows)
    if total > MOST_WINDOWS:
        windows = [thinned(w, max(3, round(len(w) * MOST_WINDOWS / total))) for w in windows]
    bandwidth_hz = comparable_bandwidth_hz(
        [known.measures.bandwidth_hz for known in facts if len(known.windows)]
    )
    steps = comparing_speakers(windows, bandwidth_hz=bandwidth_hz)
    return (yield from relay(steps, lambda share: 0.5 + 0.5 * share))


def _f0(recordings: Sequence[SpeakerWindows]) -> F0:
    f0 = np.concatenate([np.empty(0, dtype=np.float32), *(windows.f0_hz for windows in recordings)])
    voiced = f0[f0 > 0]
    if voiced.size < 10:
        return None
    median, low, high = np.percentile(voiced, [50.0, 5.0, 95.0]).tolist()
    return median, low, high

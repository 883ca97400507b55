"""The report on a set of recordings: what was measured, what is wrong, and what would help.

Everything in it is JSON-able. No torch here: the server measures uploads with `validate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.recordings.uploads import StoredFile
from pipelines.recordings.verdicts import (
    ENOUGH_MINUTES,
    GOOD,
    GOOD_BANDWIDTH_HZ,
    GOOD_CLIPPING,
    GOOD_MINUTES,
    GOOD_SNR_DB,
    LITTLE_SPEECH_S,
    PROBLEM,
    USABLE,
    USABLE_SNR_DB,
    is_upsampled,
    judge,
    worst,
)
from rvc.analysis.quality import Measures, measure
from rvc.audio.reader import load_mono

MOST_VALIDATED_S = 120.0


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """One recording of the set.

    Attributes:
        name: What the person called it.
        verdict: "good", "usable" or "problem".
        reason: Why, in a sentence or more.
        seconds: Length.
        speech_s: How much of it is speech.
        slices: Slices cut from it.
        sample_rate_hz: Rate at which it is stored.
        channels: Channels of the original.
        codec: Codec of the original.
        snr_db: Power of the speech over that of the noise; None without speech.
        clipping_fraction: Share of samples cut off, 0..1.
        bandwidth_hz: Where the sound really ends.
        upsampled: Whether that is far below half the sample rate.
        level_db: RMS of the speech, dBFS; None without speech.
        f0_median_hz: Median F0; None without voice.
        f0_low_hz: 5 % of the voiced frames are below.
        f0_high_hz: 5 % of the voiced frames are above.
        duplicate_of: Name of the recording that this one repeats; None if it is new.
        duplicate_kind: "same file", or "same recording" (re-encoded, at another gain, or a part of it).
        other_speaker_share: Share of its speech that sounds like a second speaker, 0..1.
    """

    name: str
    verdict: str
    reason: str
    seconds: float
    speech_s: float
    slices: int
    sample_rate_hz: int
    channels: int
    codec: str
    snr_db: float | None
    clipping_fraction: float
    bandwidth_hz: float
    upsampled: bool
    level_db: float | None
    f0_median_hz: float | None = None
    f0_low_hz: float | None = None
    f0_high_hz: float | None = None
    duplicate_of: str | None = None
    duplicate_kind: str | None = None
    other_speaker_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Two recordings that are one.

    Attributes:
        file: Name of the one that was left out.
        of: Name of the one that was kept.
        kind: See `FileReport.duplicate_kind`.
    """

    file: str
    of: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class SecondSpeaker:
    """Whether somebody else speaks, too.

    Attributes:
        checked: Whether there was enough speech to tell (some twenty seconds).
        heard: Whether a second speaker was heard.
        share: Share of the speech that is the second speaker's, 0..0.5.
        score: Logarithm of how much likelier two speakers are than one.
        files: Names of recordings that are mostly the second speaker's.
        mixed_files: Names of recordings in which both speak.
    """

    checked: bool
    heard: bool
    share: float = 0.0
    score: float = 0.0
    files: list[str]
    mixed_files: list[str]


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """The report. Numbers over all recordings are weighted by how much speech each holds.

    Attributes:
        verdict: "good", "usable" or "problem": of the set as a whole.
        advice: Sentences for the person, the most important first.
        speech_s: Seconds of speech, duplicates left out.
        speech_minutes: The same in minutes.
        seconds: Length of all recordings.
        slices: Number of slices.
        snr_db: Median; None without speech.
        clipping_fraction: Mean.
        bandwidth_hz: Median; None without speech.
        level_db: Mean level of the speech, dBFS; None without speech.
        f0_median_hz: Median F0; None without voice.
        f0_low_hz: 5 % of the voiced frames are below.
        f0_high_hz: 5 % of the voiced frames are above.
        duplicates: Recordings that were left out because they repeat another.
        second_speaker: Whether somebody else speaks, too.
        files: The recordings, in the order of the upload.
    """

    verdict: str
    advice: list[str]
    speech_s: float
    speech_minutes: float
    seconds: float
    slices: int
    snr_db: float | None
    clipping_fraction: float
    bandwidth_hz: float | None
    level_db: float | None
    f0_median_hz: float | None
    f0_low_hz: float | None
    f0_high_hz: float | None
    duplicates: list[Duplicate]
    second_speaker: SecondSpeaker
    files: list[FileReport]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> DatasetReport:
        """Read what `to_json` gave; keys of later versions are ignored."""
        known = {field.name: row[field.name] for field in fields(cls)}
        known["duplicates"] = [Duplicate(**pair) for pair in row["duplicates"]]
        known["second_speaker"] = SecondSpeaker(**row["second_speaker"])
        known["files"] = [FileReport(**file) for file in row["files"]]
        return cls(**known)


def validate(files: Sequence[StoredFile], folder: Path) -> list[dict[str, Any]]:
    """Measure and judge what was uploaded, without any network; at most the first two minutes of each.

    Args:
        files: The stored files.
        folder: The upload's folder.

    Returns:
        A `FileReport` of each as JSON-able values.
    """
    reports = []
    for file in files:
        wav, rate_hz = load_mono(folder / file.audio, name=file.name)
        measures = measure(wav[: round(MOST_VALIDATED_S * rate_hz)], rate_hz)
        reports.append(asdict(replace(describe_file(file, measures), seconds=file.seconds)))
    return reports


def describe_file(file: StoredFile, measures: Measures) -> FileReport:
    """Begin the report on one recording with what was measured.

    Args:
        file: The stored file.
        measures: What was measured of it.
    """
    verdict = judge(measures)
    return FileReport(
        name=file.name,
        verdict=verdict.grade,
        reason=" ".join(verdict.reasons),
        seconds=round(file.seconds, 2),
        speech_s=round(measures.speech_seconds, 2),
        slices=0,
        sample_rate_hz=file.sample_rate_hz,
        channels=file.channels,
        codec=file.codec,
        snr_db=_rounded(measures.snr_db),
        clipping_fraction=round(measures.clipping_fraction, 5),
        bandwidth_hz=round(measures.bandwidth_hz),
        upsampled=is_upsampled(measures),
        level_db=_rounded(measures.level_db),
    )


def as_duplicate(file: FileReport, of: str, kind: str) -> FileReport:
    """Mark a recording as one that was left out because it repeats another, called `of`."""
    return replace(
        file,
        verdict=PROBLEM,
        reason=f"It is the same recording as {of}; it was left out.",
        slices=0,
        duplicate_of=of,
        duplicate_kind=kind,
    )


def with_other_speaker(file: FileReport, share: float) -> FileReport:
    """Mark a recording in which a second speaker is heard."""
    if share > 0.7:
        reason = "It sounds like another speaker than the other recordings."
    else:
        reason = f"A second speaker is heard in about {100 * share:.0f} % of its speech."
    return replace(
        file, verdict=PROBLEM, reason=f"{reason} {file.reason}" if file.verdict != GOOD else reason,
        other_speaker_share=round(share, 3),
    )  # fmt: skip


def summarise(
    files: Sequence[FileReport], second_speaker: SecondSpeaker, f0: tuple[float, float, float] | None
) -> DatasetReport:
    """Put the report on the set together.

    Args:
        files: The reports on its recordings, complete.
        second_speaker: What the comparison of speakers found.
        f0: Median, 5 % and 95 % of F0 over the set, in Hz; None without voice.

    Returns:
        The report, with verdict and advice.
    """
    used = [file for file in files if file.duplicate_of is None]
    spoken = [file for file in used if file.snr_db is not None]
    speech_s = float(sum(file.speech_s for file in used))
    weights = np.array([max(file.speech_s, 1e-3) for file in spoken])
    report = DatasetReport(
        verdict=GOOD,
        advice=[],
        speech_s=round(speech_s, 1),
        speech_minutes=round(speech_s / 60, 2),
        seconds=round(float(sum(file.seconds for file in files)), 1),
        slices=sum(file.slices for file in used),
        snr_db=_rounded(_median([file.snr_db for file in spoken], weights)),
        clipping_fraction=round(_mean([file.clipping_fraction for file in spoken], weights) or 0.0, 5),
        bandwidth_hz=_median([file.bandwidth_hz for file in spoken], weights),
        level_db=_rounded(_mean([file.level_db for file in spoken], weights)),
        f0_median_hz=_rounded(f0[0] if f0 else None),
        f0_low_hz=_rounded(f0[1] if f0 else None),
        f0_high_hz=_rounded(f0[2] if f0 else None),
        duplicates=[
            Duplicate(file=file.name, of=file.duplicate_of, kind=file.duplicate_kind or "")
            for file in files
            if file.duplicate_of is not None
        ],
        second_speaker=second_speaker,
        files=list(files),
    )
    grade, advice = _advice(report, used)
    return replace(report, verdict=grade, advice=advice)


def _advice(report: DatasetReport, used: Sequence[FileReport]) -> tuple[str, list[str]]:
    """Judge the set and say what would help; what matters most comes first."""
    found = [
        *_advice_on_speakers(report.second_speaker),
        *_advice_on_amount(report.speech_minutes),
        *_advice_on_sound(report, used),
    ]
    if report.duplicates:
        names = _listed([f"{pair.file} (the same as {pair.of})" for pair in report.duplicates])
        found.append((GOOD, f"Left out because they repeat another recording: {names}."))
    grade = worst([grade for grade, _ in found])
    if grade == GOOD:
        found.insert(
            0, (GOOD, f"These recordings are fine: {_amount(report.speech_minutes)} of clear speech.")
        )
    return grade, [sentence for _, sentence in found]


def _advice_on_speakers(second: SecondSpeaker) -> list[tuple[str, str]]:
    if not second.heard:
        return []
    where = ""
    if second.files:
        where = f", in {_listed(second.files)}"
    elif second.mixed_files:
        where = f", within {_listed(second.mixed_files)}"
    return [
        (
            PROBLEM,
            f"A second speaker is heard in about {100 * second.share:.0f} % of the speech{where}: "
            "remove these parts, or the voice will be a blend of both.",
        )
    ]


def _advice_on_amount(minutes: float) -> list[tuple[str, str]]:
    if minutes >= GOOD_MINUTES:
        return []
    grade = PROBLEM if minutes < 0.15 else USABLE
    more = (
        "5 or more give a better voice"
        if minutes >= ENOUGH_MINUTES
        else "1 is the least, 5 or more are better"
    )
    return [(grade, f"You have {_amount(minutes)} of speech; {more}.")]


def _advice_on_sound(report: DatasetReport, used: Sequence[FileReport]) -> list[tuple[str, str]]:
    advice = []
    noisy = [file for file in used if file.snr_db is not None and file.snr_db < GOOD_SNR_DB]
    if report.snr_db is not None and report.snr_db < GOOD_SNR_DB:
        grade = USABLE if report.snr_db >= USABLE_SNR_DB else PROBLEM
        advice.append(
            (grade, f"The noise is only {report.snr_db:.0f} dB below the voice: record in a quieter room, "
             "closer to the microphone, or switch noise reduction on.")
        )  # fmt: skip
    elif noisy:
        advice.append(
            (USABLE, f"Noisy, better left out or recorded again: {_listed([f.name for f in noisy])}.")
        )
    clipped = [file.name for file in used if file.clipping_fraction > GOOD_CLIPPING]
    if clipped:
        advice.append(
            (USABLE, f"Cut off at the top (clipped), better recorded at a lower level: {_listed(clipped)}.")
        )
    if report.bandwidth_hz is not None and report.bandwidth_hz < GOOD_BANDWIDTH_HZ:
        advice.append(
            (USABLE, f"The recordings end at {report.bandwidth_hz / 1000:.1f} kHz, so the voice will sound "
             "dull; originals at 44.1 or 48 kHz, not through a telephone or a meeting, sound brighter.")
        )  # fmt: skip
    silent = [file.name for file in used if file.snr_db is None or file.speech_s < LITTLE_SPEECH_S]
    if silent:
        advice.append((USABLE, f"Hardly any speech was heard in {_listed(silent)}."))
    return advice


def _amount(minutes: float) -> str:
    if minutes < 1.0:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.1f} minutes"


def _listed(names: Sequence[str], most: int = 5) -> str:
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 1)


def _mean(values: Sequence[float | None], weights: np.ndarray[Any, Any]) -> float | None:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None]
    return float(np.average([v for v, _ in known], weights=[w for _, w in known])) if known else None


def _median(values: Sequence[float | None], weights: np.ndarray[Any, Any]) -> float | None:
    known = sorted((v, w) for v, w in zip(values, weights, strict=True) if v is not None)
    if not known:
        return None
    total = np.cumsum([w for _, w in known])
    return float(known[int(np.searchsorted(total, total[-1] / 2))][0])

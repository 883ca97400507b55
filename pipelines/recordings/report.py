"""What was measured of recordings, judged in words: the report on a set, and the judgement of one upload.

One judge and one place for every threshold. Everything in a report is JSON-able. No torch here, and SciPy
only when something is measured: the server judges uploads with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from pipelines.recordings.uploads import StoredFile
from rvc.analysis.quality import Measures, measure

GOOD, USABLE, PROBLEM = "good", "usable", "problem"
GRADES = (GOOD, USABLE, PROBLEM)
GOOD_SNR_DB, USABLE_SNR_DB = 20.0, 10.0
GOOD_CLIPPING, USABLE_CLIPPING = 0.0003, 0.01
GOOD_BANDWIDTH_HZ, USABLE_BANDWIDTH_HZ = 10_000.0, 4_500.0
QUIET_DB = -45.0
# Hardly any speech: less than this, and in a short recording than this share of it.
LITTLE_SPEECH_S, LITTLE_SPEECH_SHARE = 1.0, 0.4
ENOUGH_MINUTES, GOOD_MINUTES = 1.0, 5.0
# A recording that ends below this share of half its rate was once stored at a lower rate.
UPSAMPLED_SHARE = 0.75
VALIDATED_S = 120.0  # read of an upload: enough for stable numbers, little enough for the server

Finding = tuple[str, str]  # a grade, and a sentence that says why
F0 = tuple[float, float, float] | None  # median, 5 % and 95 % of F0, in Hz; None without voice


@dataclass(frozen=True, kw_only=True)
class FileReport:
    name: str
    verdict: str  # "good", "usable" or "problem"
    reason: str  # why, in a sentence or more
    reasons: list[str] = field(default_factory=list)  # the same sentence by sentence
    seconds: float
    speech_s: float
    slices: int
    sample_rate_hz: int
    channels: int
    codec: str
    snr_db: float | None  # None without speech
    clipping_fraction: float
    bandwidth_hz: float
    upsampled: bool  # whether the bandwidth is far below half the sample rate
    level_db: float | None  # of the speech, dBFS
    f0_median_hz: float | None = None  # None without voice
    f0_low_hz: float | None = None  # 5 % of the voiced frames are below
    f0_high_hz: float | None = None  # 5 % of the voiced frames are above
    duplicate_of: str | None = None  # name of the recording that this one repeats
    duplicate_kind: str | None = None  # "same file", or "same recording" (another codec or gain, or a part)
    other_speaker_share: float = 0.0  # of its speech, 0..1
    note: str | None = None  # what is worth knowing of how it was read


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    file: str  # the recording that was left out
    of: str  # the one that was kept
    kind: str


@dataclass(frozen=True, kw_only=True)
class SecondSpeaker:
    checked: bool  # whether there was enough speech to tell (some twenty seconds)
    heard: bool
    share: float = 0.0  # of the speech, 0..0.5
    score: float = 0.0  # logarithm of how much likelier two speakers are than one
    files: list[str]  # recordings that are mostly the second speaker's
    mixed_files: list[str]  # recordings in which both speak


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """The report. Numbers over all recordings are weighted by how much speech each holds."""

    verdict: str
    advice: list[str]  # sentences for the person, the most important first
    speech_s: float  # duplicates left out
    speech_minutes: float
    seconds: float
    slices: int
    snr_db: float | None  # median
    clipping_fraction: float  # mean
    bandwidth_hz: float | None  # median
    level_db: float | None  # mean
    f0_median_hz: float | None
    f0_low_hz: float | None
    f0_high_hz: float | None
    duplicates: list[Duplicate]
    second_speaker: SecondSpeaker
    files: list[FileReport]  # in the order of the upload
    joined: int = 0  # recordings too short for a slice of their own, whose speech was joined
    skipped: int = 0  # recordings in which no speech was heard

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> DatasetReport:
        """Read what `to_json` gave; keys of later versions are ignored, and of earlier ones may lack."""
        known = {field.name: row[field.name] for field in fields(cls) if field.name in row}
        known["duplicates"] = [Duplicate(**pair) for pair in row["duplicates"]]
        known["second_speaker"] = SecondSpeaker(**row["second_speaker"])
        known["files"] = [FileReport(**file) for file in row["files"]]
        return cls(**known)


def validate(stored: StoredFile, folder: Path) -> dict[str, Any]:
    """Measure two minutes from the middle of an upload's recording, in the server, and judge it.

    Returns its name and form, what was measured (None where there is no speech), verdict and reason as in
    the report, which listens for speech with a network and reads every second.
    """
    with sf.SoundFile(folder / stored.audio) as file:
        wanted = min(file.frames, round(VALIDATED_S * file.samplerate))
        file.seek((file.frames - wanted) // 2)
        wav = file.read(wanted, dtype="float32")
    measures = measure(wav, stored.sample_rate_hz)
    verdict, reasons = judge(measures)
    named = ("name", "seconds", "sample_rate_hz", "channels", "codec", "note")
    measured = ("snr_db", "clipping_fraction", "level_db", "peak_db", "bandwidth_hz")
    return {
        **{name: getattr(stored, name) for name in named},
        **{name: getattr(measures, name) for name in measured},
        "verdict": verdict,
        "reason": " ".join(reasons),
    }


def judge(measures: Measures) -> tuple[str, list[str]]:
    """Judge one recording: its grade, and why in sentences, the gravest first."""
    if _hardly_speaks(measures.speech_seconds, measures.seconds) or measures.snr_db is None:
        return PROBLEM, ["Hardly any speech was heard in it."]
    found = sorted(_faults(measures, measures.snr_db), key=lambda fault: -GRADES.index(fault[0]))
    if not found:
        return GOOD, ["Clear speech with little noise."]
    return found[0][0], [sentence for _, sentence in found]


def _hardly_speaks(speech_s: float, seconds: float) -> bool:
    return speech_s < min(LITTLE_SPEECH_S, LITTLE_SPEECH_SHARE * seconds)


def worst(grades: Sequence[str]) -> str:
    return max(grades, key=GRADES.index, default=GOOD)


def is_upsampled(measures: Measures) -> bool:
    """Tell whether a recording holds less than its sample rate promises (half of it is the promise)."""
    return measures.bandwidth_hz < UPSAMPLED_SHARE * measures.sample_rate_hz / 2


def _faults(measures: Measures, snr_db: float) -> Iterator[Finding]:
    if snr_db < USABLE_SNR_DB:
        said = f"The noise is loud, only {snr_db:.0f} dB below the voice; the voice model would learn it."
        yield PROBLEM, said
    elif snr_db < GOOD_SNR_DB:
        yield USABLE, f"There is audible noise, {snr_db:.0f} dB below the voice; 20 or more is clean."
    clipped = f"{100 * measures.clipping_fraction:.2g}"
    if measures.clipping_fraction > USABLE_CLIPPING:
        yield (
            PROBLEM,
            f"{clipped} % of the samples are cut off (clipped), which sounds harsh; record it again at a "
            "lower level.",
        )
    elif measures.clipping_fraction > GOOD_CLIPPING:
        yield USABLE, f"{clipped} % of the samples are cut off (clipped); record at a lower level."
    if measures.bandwidth_hz < GOOD_BANDWIDTH_HZ:
        khz, rate = measures.bandwidth_hz / 1_000, f"{measures.sample_rate_hz / 1_000:g} kHz"
        said = f"It holds nothing above {khz:.1f} kHz ({rate} recording): the voice will sound dull."
        if is_upsampled(measures):
            made_khz = f"{2 * khz:.0f}"
            said = (
                f"It is stored at {rate}, but nothing is left above {khz:.1f} kHz: it was recorded or "
                f"encoded at about {made_khz} kHz, and the voice will sound as dull."
            )
        yield USABLE if measures.bandwidth_hz >= USABLE_BANDWIDTH_HZ else PROBLEM, said
    db = measures.level_db
    if db is not None and db < QUIET_DB:
        yield USABLE, f"It is very quiet ({db:.0f} dB below full scale); record closer to the microphone."


def describe_file(file: StoredFile, measures: Measures, slices: int = 0, f0: F0 = None) -> FileReport:
    verdict, reasons = judge(measures)
    median_hz, low_hz, high_hz = f0 or (None, None, None)
    return FileReport(
        name=file.name,
        verdict=verdict,
        reason=" ".join(reasons),
        reasons=reasons,
        seconds=round(file.seconds, 2),
        speech_s=round(measures.speech_seconds, 2),
        slices=slices,
        sample_rate_hz=file.sample_rate_hz,
        channels=file.channels,
        codec=file.codec,
        snr_db=_rounded(measures.snr_db),
        clipping_fraction=round(measures.clipping_fraction, 5),
        bandwidth_hz=round(measures.bandwidth_hz),
        upsampled=is_upsampled(measures),
        level_db=_rounded(measures.level_db),
        f0_median_hz=_rounded(median_hz),
        f0_low_hz=_rounded(low_hz),
        f0_high_hz=_rounded(high_hz),
        note=file.note,
    )


def as_duplicate(file: FileReport, of: str, kind: str) -> FileReport:
    """Mark a recording as one that was left out because it repeats another, called `of`."""
    reason = f"It is the same recording as {of}; it was left out."
    return replace(_because(file, [reason]), slices=0, duplicate_of=of, duplicate_kind=kind)


def with_other_speaker(file: FileReport, share: float) -> FileReport:
    reason = f"A second speaker is heard in about {100 * share:.0f} % of its speech."
    if share > 0.7:
        reason = "It sounds like another speaker than the other recordings."
    reasons = [reason, *(file.reasons if file.verdict != GOOD else [])]
    return replace(_because(file, reasons), other_speaker_share=round(share, 3))


def _because(file: FileReport, reasons: list[str]) -> FileReport:
    """Make a recording a problem for other reasons."""
    return replace(file, verdict=PROBLEM, reason=" ".join(reasons), reasons=reasons)


def summarise(
    files: Sequence[FileReport], second_speaker: SecondSpeaker, f0: F0, *, joined: tuple[int, int] = (0, 0)
) -> DatasetReport:
    """Sum a set up; `joined`: how many recordings were too short for a slice, and what number they became."""
    used = [file for file in files if file.duplicate_of is None]
    spoken = [file for file in used if file.snr_db is not None]
    speech_s = float(sum(file.speech_s for file in used))
    weights = [max(file.speech_s, 1e-3) for file in spoken]
    median_hz, low_hz, high_hz = f0 or (None, None, None)
    report = DatasetReport(
        verdict=GOOD,
        advice=[],
        speech_s=round(speech_s, 1),
        speech_minutes=round(speech_s / 60, 2),
        seconds=round(float(sum(file.seconds for file in files)), 1),
        slices=sum(file.slices for file in used) - joined[0] + joined[1],
        snr_db=_rounded(_median([file.snr_db for file in spoken], weights)),
        clipping_fraction=round(_mean([file.clipping_fraction for file in spoken], weights) or 0.0, 5),
        bandwidth_hz=_median([file.bandwidth_hz for file in spoken], weights),
        level_db=_rounded(_mean([file.level_db for file in spoken], weights)),
        f0_median_hz=_rounded(median_hz),
        f0_low_hz=_rounded(low_hz),
        f0_high_hz=_rounded(high_hz),
        duplicates=[
            Duplicate(file=file.name, of=file.duplicate_of, kind=file.duplicate_kind or "")
            for file in files
            if file.duplicate_of is not None
        ],
        second_speaker=second_speaker,
        files=list(files),
        joined=joined[0],
        skipped=sum(not file.slices for file in used),
    )
    found = [*_advice_on_speech(report), *_advice_on_sound(report, used)]
    found += _left_out(report, used, joined[1])
    verdict = worst([grade for grade, _ in found])
    advice = [sentence for _, sentence in found]
    if verdict == GOOD:
        advice.insert(0, f"These recordings are fine: {_amount(report.speech_minutes)} of clear speech.")
    return replace(report, verdict=verdict, advice=advice)


def _advice_on_speech(report: DatasetReport) -> Iterator[Finding]:
    """Say whose speech it is and how much; what matters most comes first."""
    second, minutes = report.second_speaker, report.speech_minutes
    if second.heard:
        share = f"{100 * second.share:.0f}"
        said = (
            f"A second speaker is heard in about {share} % of the speech: remove these parts, or the voice "
            "will be a blend of both."
        )
        if names := second.files or second.mixed_files:
            where = "It is these recordings" if second.files else "It is within these recordings"
            said = f"{said} {where}: {_listed(names)}."
        yield PROBLEM, said
    if minutes < GOOD_MINUTES:
        amount = _amount(minutes)
        said = f"You have {amount} of speech; 5 minutes or more give a better voice."
        if minutes < ENOUGH_MINUTES:
            said = f"You have {amount} of speech; 1 minute is the least, 5 or more are better."
        yield PROBLEM if minutes < 0.15 else USABLE, said


def _advice_on_sound(report: DatasetReport, used: Sequence[FileReport]) -> Iterator[Finding]:
    noisy = [file.name for file in used if file.snr_db is not None and file.snr_db < GOOD_SNR_DB]
    if report.snr_db is not None and report.snr_db < GOOD_SNR_DB:
        said = (
            f"The noise is only {report.snr_db:.0f} dB below the voice: record in a quieter room, closer to "
            "the microphone, or switch noise reduction on."
        )
        yield USABLE if report.snr_db >= USABLE_SNR_DB else PROBLEM, said
    elif noisy:
        yield USABLE, f"Noisy, better left out or recorded again: {_listed(noisy)}."
    if clipped := [file.name for file in used if file.clipping_fraction > GOOD_CLIPPING]:
        yield USABLE, f"Cut off at the top (clipped), better recorded at a lower level: {_listed(clipped)}."
    if report.bandwidth_hz is not None and report.bandwidth_hz < GOOD_BANDWIDTH_HZ:
        khz = report.bandwidth_hz / 1000
        said = (
            f"The recordings end at {khz:.1f} kHz, so the voice will sound dull; originals at 44.1 or 48 "
            "kHz, not through a telephone or a meeting, sound brighter."
        )
        yield USABLE, said


def _left_out(report: DatasetReport, used: Sequence[FileReport], joined_to: int) -> Iterator[Finding]:
    if skipped := [file.name for file in used if not file.slices]:
        count, names = len(skipped), _listed(skipped)
        yield (
            USABLE,
            f"{count} of {len(report.files)} recordings were skipped, for no speech was heard in them: "
            f"{names}.",
        )
    faint = [file for file in used if file.snr_db is None or _hardly_speaks(file.speech_s, file.seconds)]
    if heard := [file.name for file in faint if file.slices]:
        yield USABLE, f"Hardly any speech was heard in {_listed(heard)}."
    if report.duplicates:
        names = _listed([f"{pair.file} (the same as {pair.of})" for pair in report.duplicates])
        yield GOOD, f"Left out because they repeat another recording: {names}."
    if report.joined:
        yield (
            GOOD,
            f"{report.joined} recordings are too short to be learned from one by one; their speech was "
            f"joined to {joined_to} longer pieces.",
        )


def _amount(minutes: float) -> str:
    return f"{60 * minutes:.0f} seconds" if minutes < 1.0 else f"{minutes:.1f} minutes"


def _listed(names: Sequence[str], most: int = 5) -> str:
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    return ", ".join(names)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 1)


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None]
    return float(np.average([v for v, _ in known], weights=[w for _, w in known])) if known else None


def _median(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    known = sorted((v, w) for v, w in zip(values, weights, strict=True) if v is not None)
    if not known:
        return None
    total = np.cumsum([w for _, w in known])
    return float(known[int(np.searchsorted(total, total[-1] / 2))][0])

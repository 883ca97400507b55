"""Check the data-set report on real speech: `python -m tests.bench.dataset_report SPEECH WORK`.

SPEECH is a folder with `metadata.csv` as rvc/pretrain/dataset.py reads it; WORK keeps prepared
recordings, so a second run is quick. Printed are, for sets of one speaker, how often a second one was heard;
for sets of which a fifth is by somebody else, how often not; and the estimates of noise and bandwidth
against the truth. `--statistics FILE SPEAKER ...` judges sets of these speakers with other constants, fitted
without them (rvc.pretrain.speaker_stats --leave-out). Where no constants are held out the mistake is
marked with *: its speakers helped to fit what they are judged with.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from pipelines.job_spec import PrepareSettings
from pipelines.recordings.comparing import FACTS, RecordingFacts, read_facts
from pipelines.recordings.prepare import prepare_recording
from pipelines.recordings.uploads import StoredFile
from rvc.analysis.quality import measure
from rvc.analysis.speakers import (
    SpeakerFinding,
    SpeakerStatistics,
    SpeakerWindows,
    comparable_bandwidth_hz,
    comparing_speakers,
    load_statistics,
    white_noise,
)
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.pretrain.dataset import Utterance, read_corpus
from rvc.pretrain.speaker_stats import is_held_out
from rvc.steps import result_of

logger = logging.getLogger("dataset_report")

LONG = ("kathleen", "kerstin", "nathalie", "flemishguy", "19", "26")
MINUTES = (1.5, 3.0, 6.0)
LONGEST_S = 600.0
SNRS_DB = (0, 5, 10, 20, 30)


@dataclass
class Row:
    """One kind of set and what was found."""

    heard: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Bench:
    """Prepared recordings of a corpus by speaker, and the constants to judge each set with."""

    def __init__(self, speech: Path, work: Path) -> None:
        self.speech, self.work = speech, work
        self.statistics: list[tuple[SpeakerStatistics, frozenset[str]]] = []
        self.speakers: dict[str, list[Utterance]] = defaultdict(list)
        self.collection: dict[str, str] = {}
        random = np.random.default_rng(0)
        for number in random.permutation(len(utterances := read_corpus(speech))):
            utterance = utterances[number]
            long = utterance.speaker in LONG
            if not long and not (utterance.speaker and is_held_out(utterance.speaker, utterance.collection)):
                continue
            mine = self.speakers[utterance.speaker]
            if sum(u.seconds for u in mine) < LONGEST_S:
                mine.append(utterance)
                self.collection[utterance.speaker] = utterance.collection
        self.random = np.random.default_rng(1)
        self._cache: dict[str, RecordingFacts] = {}

    def facts(self, utterance: Utterance) -> RecordingFacts:
        """Prepare a recording, or read what was kept of it."""
        folder = self.work / utterance.key
        if not (folder / FACTS).exists():
            folder.mkdir(parents=True, exist_ok=True)
            wav, rate_hz = load_mono(self.speech / utterance.file)
            self.prepare(folder, wav, rate_hz, utterance.file)
        if utterance.key not in self._cache:
            self._cache[utterance.key] = read_facts(folder, utterance.file)
        return self._cache[utterance.key]

    def prepare(self, folder: Path, wav: np.ndarray, rate_hz: int, name: str) -> None:
        """Prepare a sound in a folder."""
        audio = folder / "audio.wav"
        sf.write(audio, wav, rate_hz, subtype="FLOAT")
        stored = StoredFile(
            name=name, original="", audio="", seconds=wav.size / rate_hz, sample_rate_hz=rate_hz, channels=1,
            codec="float", sha256=name, size_bytes=0,
        )  # fmt: skip
        for _ in prepare_recording(stored, audio, folder, PrepareSettings()):
            pass
        audio.unlink()
        for piece in folder.glob("*.flac"):
            piece.unlink()

    def some(self, speaker: str, minutes: float) -> list[RecordingFacts]:
        """Draw recordings of a speaker up to so many minutes of speech; in a row (one day) or at random."""
        found = list(self.speakers[speaker])
        if self.random.random() < 0.5:
            self.random.shuffle(found)
        else:
            found.sort(key=lambda u: u.file)
            first = int(self.random.integers(len(found)))
            found = found[first:] + found[:first]
        drawn: list[RecordingFacts] = []
        seconds = 0.0
        for utterance in found:
            if seconds >= 60 * minutes:
                break
            drawn.append(self.facts(utterance))
            seconds += drawn[-1].measures.speech_seconds
        return drawn

    def judge(self, sets: Sequence[RecordingFacts], speakers: Sequence[str]) -> SpeakerFinding:
        """Look for a second speaker, with constants fitted without these speakers if there are any."""
        bandwidth_hz = comparable_bandwidth_hz([known.measures.bandwidth_hz for known in sets])
        windows = [known.windows for known in sets]
        steps = comparing_speakers(windows, bandwidth_hz=bandwidth_hz, statistics=self.constants(speakers)[0])
        return result_of(steps)

    def constants(self, speakers: Sequence[str]) -> tuple[SpeakerStatistics, bool]:
        """Choose the constants; tell whether all these speakers were held out."""
        shipped = [who for who in speakers if not is_held_out(who, self.collection[who])]
        for statistics, without in self.statistics:
            if shipped and without.issuperset(shipped):
                return statistics, True
        return load_statistics(), not shipped


def check_speakers(bench: Bench) -> None:
    """Print how sets of one speaker and mixtures are judged."""
    rows: dict[str, Row] = defaultdict(Row)
    for who in bench.speakers:
        for number in range(9 if who in LONG else 1):
            drawn = bench.some(who, MINUTES[number % 3])
            note(rows["one voice, long" if who in LONG else "one voice, short"], bench, drawn, [who])
    for who in LONG:
        for other in LONG:
            if who != other:
                minutes = MINUTES[int(bench.random.integers(3))]
                drawn = bench.some(who, 0.8 * minutes) + bench.some(other, 0.2 * minutes)
                note(rows["80/20, long"], bench, drawn, [who, other])
    add_short_mixtures(bench, rows)
    for kind, row in rows.items():
        scores = np.array(row.scores)
        say(
            f"{kind:18s} sets {len(row.heard):3d}  heard {sum(row.heard):3d}  scores {scores.min():8.1f} "
            f"{np.median(scores):8.1f} {scores.max():8.1f}"
        )
        say("   " + "; ".join(row.notes))


def add_short_mixtures(bench: Bench, rows: dict[str, Row]) -> None:
    """Judge mixtures with speakers of whom there is little."""
    short = [who for who in bench.speakers if who not in LONG]
    readers = [who for who in short if bench.collection[who] == "librispeech"]
    for who in ("19", "26"):
        for other in readers:
            note(rows["reader + 13 s"], bench, bench.some(who, 0.9) + bench.some(other, 0.3), [who, other])
    spellers = [who for who in short if bench.collection[who] == "an4"]
    for number, who in enumerate(spellers):
        for step in (1, 3):
            other = spellers[(number + step) % len(spellers)]
            note(
                rows["AN4, 40 s + 10 s"], bench, bench.some(who, 1.0) + bench.some(other, 0.13), [who, other]
            )


def note(row: Row, bench: Bench, sets: Sequence[RecordingFacts], speakers: Sequence[str]) -> None:
    """Judge a set and keep what was found."""
    if sum(len(known.windows) for known in sets) < 8:
        return
    finding = bench.judge(sets, speakers)
    row.heard.append(finding.heard)
    row.scores.append(finding.score)
    wrong = finding.heard != (len(speakers) > 1)
    if wrong:
        mark = "" if bench.constants(speakers)[1] else "*"
        windows = sum(len(known.windows) for known in sets)
        row.notes.append(f"{mark}{'+'.join(speakers)} ({windows}: {finding.score:.1f})")


def check_alterations(bench: Bench) -> None:
    """Print how one voice is judged when half of its files went through another microphone or codec."""
    random = np.random.default_rng(3)
    for who in LONG:
        found = []
        for number, utterance in enumerate(bench.speakers[who][:40]):
            folder = bench.work / f"{utterance.key}-coloured"
            if number % 2 and not (folder / FACTS).exists():
                folder.mkdir(parents=True, exist_ok=True)
                wav, rate_hz = load_mono(bench.speech / utterance.file)
                bench.prepare(folder, coloured(wav, rate_hz), rate_hz, utterance.file)
            found.append(read_facts(folder, utterance.file) if number % 2 else bench.facts(utterance))
        finding = bench.judge(found, [who])
        noisy = [replace(known, windows=hissing(known.windows, random)) for known in found[::2]]
        hissed = bench.judge([*noisy, *found[2::4]], [who])
        say(f"{who:12s} half equalised +-4 dB, 1/10 gain: {finding.heard} {finding.score:.1f}; "
            f"hiss: {hissed.heard} {hissed.score:.1f}")  # fmt: skip


def coloured(wav: np.ndarray, rate_hz: int) -> np.ndarray:
    """Tilt the spectrum by -4 dB at 200 Hz to +4 dB at 6 kHz, and lower the level by 20 dB."""
    spectrum = np.fft.rfft(wav)
    hz = np.fft.rfftfreq(wav.size, 1 / rate_hz)
    tilt = np.interp(np.log(hz + 1), np.log([1, 200, 6_000, 24_000]), [-4, -4, 4, 4])
    return (0.1 * np.fft.irfft(spectrum * 10 ** (tilt / 20), wav.size)).astype(np.float32)


def hissing(windows: SpeakerWindows, random: np.random.Generator) -> SpeakerWindows:
    """Add white noise 25 dB below the speech to half of the recordings."""
    if random.random() < 0.5 or not len(windows):
        return windows
    widths = np.linspace(1, 4, windows.log_mel.shape[1])
    level = np.exp(windows.log_mel).sum(axis=1).mean() * 10**-2.5
    mean = np.log(level * widths / widths.sum())
    wavering = mean + white_noise(len(windows.log_mel), seed=int(random.integers(1_000, 2_000)))
    log_mel = np.logaddexp(windows.log_mel, wavering).astype(np.float32)
    floor = np.logaddexp(windows.floor, mean - np.log(2)).astype(np.float32)
    return replace(windows, log_mel=log_mel, floor=floor)


def check_sound(bench: Bench) -> None:
    """Print estimates of noise and bandwidth against the truth."""
    random = np.random.default_rng(2)
    worst = dict.fromkeys(SNRS_DB, 0.0)
    for who in LONG:
        parts = [load_mono(bench.speech / u.file) for u in bench.speakers[who][:6]]
        wav, rate_hz = np.concatenate([part for part, _ in parts]), parts[0][1]
        clean = measure(wav, rate_hz)
        if clean.snr_db is None or clean.level_db is None:
            continue
        line = []
        for snr_db in SNRS_DB:
            noise_db = clean.level_db - snr_db
            noisy = wav + random.normal(size=wav.size).astype(np.float32) * 10 ** (noise_db / 20)
            own_db = clean.level_db - clean.snr_db
            truth = clean.level_db - 10 * np.log10(10 ** (noise_db / 10) + 10 ** (own_db / 10))
            error = (measure(noisy, rate_hz).snr_db or -99.0) - truth
            worst[snr_db] = max(worst[snr_db], abs(error))
            line.append(f"{snr_db}: {error:+.1f}")
        ends = [measure(wav, rate_hz).bandwidth_hz]
        if rate_hz == 48_000:
            ends.append(measure(resample(resample(wav, 48_000, 16_000), 16_000, 48_000), 48_000).bandwidth_hz)
        say(f"{who:12s} SNR {clean.snr_db:.0f} dB, errors {', '.join(line)}; ends at {ends}")
    say(f"worst errors, dB: { {snr: round(error, 1) for snr, error in worst.items()} }")


def check_mixed_files(bench: Bench) -> None:
    """Print how recordings are judged in which two voices take turns (80/20)."""
    for number, who in enumerate(LONG):
        other = LONG[(number + 2) % len(LONG)]
        folder = bench.work / f"turns-{who}-{other}"
        if not (folder / FACTS).exists():
            folder.mkdir(parents=True, exist_ok=True)
            turns = []
            for turn in range(80):
                speaker = other if turn % 5 == 4 else who
                wav, _ = load_mono(
                    bench.speech / bench.speakers[speaker][turn % len(bench.speakers[speaker])].file,
                    rate_hz=24_000,
                )
                wav = wav[: 24_000 * 8] * (0.08 / max(float(np.sqrt(np.mean(wav**2))), 1e-5))
                turns += [wav.astype(np.float32), np.zeros(7_200, dtype=np.float32)]
            bench.prepare(folder, np.concatenate(turns), 24_000, folder.name)
        finding = bench.judge([read_facts(folder, folder.name)], [who, other])
        share = f"{100 * finding.share:.0f} %"
        say(f"turns {who}/{other}: heard {finding.heard}, {share}, score {finding.score:.1f}")


def say(line: str) -> None:
    """Write a line of the table."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("speech", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--statistics", nargs="+", action="append", default=[], metavar=("FILE", "SPEAKER"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    bench = Bench(options.speech, options.work)
    for path, *without in options.statistics:
        bench.statistics.append((load_statistics(Path(path)), frozenset(without)))
    check_sound(bench)
    check_speakers(bench)
    check_mixed_files(bench)
    check_alterations(bench)


if __name__ == "__main__":
    main()

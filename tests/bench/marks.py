"""The watermark, measured: found in results and what is done to them, in nothing else, and what it costs.

    python -m tests.bench.marks --speech FOLDER                          found, false alarms, time
    python -m tests.bench.marks --speech FOLDER --judge JUDGE_ENV/bin/python     naturalness and words too

FOLDER and JUDGE_ENV are those of `tests.bench.quality`. Sixty sentences of strangers are spoken by four
voices (the two that ship, and two blends of them), each result is marked and then attacked; sixty natural
recordings are looked at beside them. Words are judged of 160 further English sentences, which takes the
recogniser twenty minutes. With `--strength` another strength than the shipped one is tried, with
`--keep` the results stay in a folder, where `tests.bench.marks_judged FOLDER --perth` compares another
watermark. Prints PASS or MISSED for each bar, and leaves with 1 if one was missed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.convert import convert
from pipelines.events import finish
from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.blending import blend_voices
from pipelines.voices.library import BUILTIN_PREFIX, BUILTIN_VOICES, Library
from rvc.audio import watermark
from rvc.audio.resampling import resample
from rvc.audio.watermark_search import FOUND, RATE_HZ, find_watermark
from rvc.engine.options import ConvertOptions
from rvc.files import ROOT
from rvc.pretrain.dataset import Utterance, read_corpus
from rvc.voice import Voice

Wave = NDArray[np.float32]
PARENTS = ("kathleen", "flemishguy")
SOURCES = ("26", "19", "nathalie", "kerstin")
WITH_TEXT = {"26": 100, "19": 60}  # sentences of each whose words are judged
RESULTS, NATURAL = 60, 60
LEAST_S, CUT_S = 5.5, 5.0
FOUND_PLAIN, FOUND_ATTACKED = 1.0, 0.95  # shares
MOST_LOST = 0.05  # of DNSMOS, and of DistillMOS
SEED = 18


def packed(wav: Wave, rate_hz: int, codec: str, bit_rate: int) -> Wave:
    """Through a codec and back to 16 kHz; FFmpeg takes Opus at 48 kHz only."""
    to_hz = 48_000 if codec == "libopus" else rate_hz
    sound = np.clip(resample(wav, rate_hz, to_hz), -1, 1)
    file = io.BytesIO()
    with av.open(file, "w", format="ogg" if codec == "libopus" else "mp3") as out:
        stream: Any = out.add_stream(codec, rate=to_hz, layout="mono")
        stream.bit_rate = bit_rate
        form = "flt" if codec == "libopus" else "fltp"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), format=form, layout="mono")
        frame.sample_rate = to_hz
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    file.seek(0)
    with av.open(file, "r") as read:
        pieces: list[Wave] = []
        resampler = av.AudioResampler("flt", "mono", RATE_HZ)
        for decoded in read.decode(audio=0):
            pieces += [one.to_ndarray()[0] for one in resampler.resample(decoded)]
        pieces += [one.to_ndarray()[0] for one in resampler.resample(None)]
    return np.concatenate(pieces)


def with_noise(wav: Wave, db: float, chance: np.random.Generator) -> Wave:
    level = np.sqrt(np.mean(np.square(wav))) * 10 ** (-db / 20)
    return (wav + level * chance.standard_normal(wav.size)).astype(np.float32)


def attacks(wav: Wave, rate_hz: int, chance: np.random.Generator) -> Mapping[str, Wave]:
    """What becomes of a result; each at 16 kHz."""
    plain = resample(wav, rate_hz, RATE_HZ)
    begin = int(chance.integers(0, max(plain.size - round(CUT_S * RATE_HZ), 1)))
    return {
        "as it is": plain,
        "MP3 at 64 kbit/s": packed(wav, rate_hz, "libmp3lame", 64_000),
        "Opus at 24 kbit/s": packed(wav, rate_hz, "libopus", 24_000),
        "16 kHz, 16 bits": (np.rint(plain * 32_767) / 32_767).astype(np.float32),
        "cut to 5 s": plain[begin : begin + round(CUT_S * RATE_HZ)],
        "12 dB softer": plain * np.float32(10 ** (-12 / 20)),
        "20 dB of noise": with_noise(plain, 20.0, chance),
        "cut, Opus and noise": with_noise(
            packed(wav, rate_hz, "libopus", 24_000)[begin : begin + round(CUT_S * RATE_HZ)], 20.0, chance
        ),
    }


def voices(folder: Path) -> dict[str, Path]:
    """The two that ship and two blends of them."""
    registry = Registry(folder)
    library, me = Library(folder, registry), Caller("bench")
    found = {name: BUILTIN_VOICES / name for name in PARENTS}
    ids = [BUILTIN_PREFIX + name for name in PARENTS]
    for share in (0.5, 0.25):
        row = blend_voices(library, me, ids, [share, 1 - share], f"blend {share:g}", lambda _: None)
        found[row["model_name"].replace(" ", "-")] = library.folder(me, row["id"])
    registry.close()
    return found


def strangers(speech: Path) -> list[Utterance]:
    rows = [u for u in read_corpus(speech) if u.speaker in SOURCES and u.seconds >= LEAST_S]
    return random.Random(SEED).sample(rows, RESULTS)


def with_text(speech: Path) -> list[Utterance]:
    """English sentences, whose words a recogniser can be asked for."""
    taken = {u.file for u in strangers(speech)}
    rows = [u for u in read_corpus(speech) if u.file not in taken]
    by_speaker = {name: [u for u in rows if u.speaker == name] for name in WITH_TEXT}
    return [
        u for name, count in WITH_TEXT.items() for u in random.Random(SEED).sample(by_speaker[name], count)
    ]


def make_results(
    speech: Path, chosen: list[Utterance], speakers: Mapping[str, Path], work: Path
) -> list[Path]:
    """Convert sentences, without a mark; returns the results. They lie under work/plain."""
    made = []
    for number, (name, home) in enumerate(speakers.items()):
        voice = Voice.load(home)
        for one in chosen[number::4]:
            target = work / "plain" / f"{name}-{Path(one.file).stem}.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            finish(convert(speech / one.file, target, voice, ConvertOptions(format="wav")))
            made.append(target)
    return made


def natural(speech: Path) -> list[Utterance]:
    """Recordings of as many speakers as there are."""
    rows = [u for u in read_corpus(speech) if u.seconds >= 3.0]
    random.Random(SEED).shuffle(rows)
    by_speaker = {u.speaker: u for u in reversed(rows)}
    rest = [u for u in rows if by_speaker[u.speaker] is not u]
    return [*by_speaker.values(), *rest][:NATURAL]


def bar(name: str, kept: bool, said: str) -> bool:
    sys.stdout.write(f"{'PASS' if kept else 'MISSED':7s}{name:28s}{said}\n")
    sys.stdout.flush()
    return kept


def save(path: Path, wav: Wave, rate_hz: int) -> None:
    path.parent.mkdir(exist_ok=True)
    sf.write(path, wav, rate_hz, subtype="PCM_16")


def of_detection(results: list[Path], work: Path, mark: Callable[[Wave, int], Wave]) -> bool:
    """Mark each result into work/marked, and look for the mark after each attack."""
    scores: dict[str, list[float]] = {}
    spent = heard = looked = 0.0
    for number, path in enumerate(results):
        wav, rate_hz = sf.read(path, dtype="float32")
        began = time.process_time()
        marked = mark(wav, rate_hz)
        spent, heard = spent + time.process_time() - began, heard + wav.size / rate_hz
        save(work / "marked" / path.name, marked, rate_hz)
        for name, sound in attacks(marked, rate_hz, np.random.default_rng(number)).items():
            began = time.process_time()
            scores.setdefault(name, []).append(find_watermark([sound]).score)
            looked += time.process_time() - began
    kept = []
    for name, found in scores.items():
        share = float(np.mean(np.array(found) >= FOUND))
        least = FOUND_PLAIN if name == "as it is" else FOUND_ATTACKED
        if name == "cut, Opus and noise":
            least = 0.0  # told, not asked for
        said = f"found in {share:6.1%}, score {np.median(found):5.1f} (least {min(found):.1f})"
        kept.append(bar(name, share >= least, said))
    sys.stdout.write(
        f"       {spent / heard * 1000:.1f} ms to mark a second, "
        f"{looked / heard / len(scores) * 1000:.1f} ms to look at one\n"
    )
    return all(kept)


def of_natural(speech: Path, results: list[Path]) -> bool:
    """Nothing is found where nothing is: in recordings, and in results that were not marked."""
    scores = []
    for one in natural(speech):
        wav, rate_hz = sf.read(speech / one.file, dtype="float32")
        scores.append(find_watermark([resample(wav, rate_hz, RATE_HZ)]).score)
    plain = []
    for path in results:
        wav, rate_hz = sf.read(path, dtype="float32")
        plain.append(find_watermark([resample(wav, rate_hz, RATE_HZ)]).score)
    kept = [
        bar("natural recordings", max(scores) < FOUND, f"largest score {max(scores):.1f} of {len(scores)}"),
        bar("results without it", max(plain) < FOUND, f"largest score {max(plain):.1f} of {len(plain)}"),
    ]
    return all(kept)


def of_quality(work: Path, judge: str, speech: Path) -> bool:
    """Let the judges hear the results with and without the mark."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [judge, "-m", "tests.bench.marks_judged", str(work), str(speech)]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    kept = []
    for name in ("dnsmos", "distillmos"):
        plain, marked, worst = (found[f"{name}_{which}"] for which in ("plain", "marked", "worst"))
        said = f"{plain:.3f} -> {marked:.3f}, worst loss {worst:.2f}"
        kept.append(bar(name, plain - marked <= MOST_LOST, said))
    more, error = found["wer_gap"], found["wer_gap_se"]
    said = f"{found['wer_plain']:.3f} of {found['words']} words, {more:+.3f} ± {error:.3f} with the mark"
    kept.append(bar("word errors", more <= 2 * error, said))
    sys.stdout.write("       likeness of one to the other ")
    sys.stdout.write(f"{found['likeness']:.3f} (least {found['likeness_least']:.3f})\n")
    return all(kept)


def main() -> int:
    """Measure, and say whether all bars are kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--judge", help="python of the judges' environment")
    parser.add_argument("--strength", type=float, default=watermark.STRENGTH_DB, help="of the mark, in dB")
    parser.add_argument("--keep", type=Path, help="copy the work folder there")
    options = parser.parse_args()
    watermark.STRENGTH_DB = options.strength
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        speakers = voices(work / "data")
        results = make_results(options.speech, strangers(options.speech), speakers, work)

        def mark(wav: Wave, rate_hz: int) -> Wave:
            return np.concatenate(list(watermark.marked([wav], rate_hz)))

        kept = [of_detection(results, work, mark), of_natural(options.speech, results)]
        if options.judge or options.keep:
            chosen = with_text(options.speech)
            for path in make_results(options.speech, chosen, speakers, work / "words"):
                wav, rate_hz = sf.read(path, dtype="float32")
                save(work / "words" / "marked" / path.name, mark(wav, rate_hz), rate_hz)
        if options.judge:
            kept.append(of_quality(work, options.judge, options.speech))
        if options.keep:
            shutil.copytree(work, options.keep, dirs_exist_ok=True)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())

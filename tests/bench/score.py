#!/usr/bin/env python3
"""Score converted speech against its source and its target voice, offline.

    python score.py --converted DIR --source DIR --target DIR [--text metadata.csv] [--exclude LIST] [--json
    OUT]

DIR holds audio files. Every source file must have a converted file with the same stem: a missing one counts
as a failure (exit 1). --target holds real recordings of the voice that the training did not hear; --exclude
names a text
file of stems to leave out of it. metadata.csv is '|'-separated with columns file (or path) and text; it
gives the words that were said, in English, and without it no word error rate is printed.

What it prints (median over files, and the 10th percentile where it says p10):
  secs_target    cosine of speaker embeddings, converted against the centroid of the target's real files
  ceiling        the same for the target's real files themselves, each against the centroid of the others
  floor          the same for the unconverted source files
  recovery       (secs_target - floor) / (ceiling - floor): 0 = still the source speaker, 1 = as near as
  nature closer         share of files nearer to the target's centroid than to their own source speaker's
  wer, wer_src   word error rate of an English recogniser on converted and on source speech
  f0_corr        correlation of log-F0 where both are voiced; 0 where nothing is
  voiced_ratio   voiced frames in converted over voiced frames in source
  cents_off      |median F0 of converted - median F0 of target|, in cents
  mos, mos_src   predicted overall quality (DNSMOS P.835 OVRL, 1..5); mos_target the target's own
  length_ratio   converted duration over source duration

Needs, in an environment of its own so that the product's stays lean:
  pip install resemblyzer pocketsphinx speechmos jiwer onnxruntime praat-parselmouth librosa soundfile
The numbers compare systems on the same files; they are no absolute truth about quality, and nothing in them
may be used as a training loss or to choose a checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import librosa
import numpy as np
import parselmouth

warnings.filterwarnings("ignore")
AUDIO = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"}
RATE_HZ = 16_000
TARGET_FILES = 40


def files(folder: Path) -> dict[str, Path]:
    """Audio files under a folder, by stem."""
    return {p.stem: p for p in sorted(folder.rglob("*")) if p.suffix.lower() in AUDIO}


def load(path: Path) -> np.ndarray:
    """Mono float32 at 16 kHz, peak 0.7 so that no measure sees the level; never empty, never NaN."""
    wav, _ = librosa.load(path, sr=RATE_HZ, mono=True)
    wav = np.nan_to_num(np.asarray(wav, dtype=np.float32))
    peak = float(np.abs(wav).max()) if wav.size else 0.0
    if wav.size < RATE_HZ // 2:
        wav = np.pad(wav, (0, RATE_HZ // 2 - wav.size))
    return (0.7 * wav / peak if peak > 0 else wav).astype(np.float32)


def words(text: str) -> str:
    """Lower-case words only, as the recogniser returns them."""
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


class Ears:
    """The three listeners: speaker embedding, recogniser, quality predictor."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder
        from resemblyzer import VoiceEncoder

        self.encoder = VoiceEncoder("cpu", verbose=False)
        self.decoder = Decoder(samprate=RATE_HZ, loglevel="FATAL")

    def embed(self, wav: np.ndarray) -> np.ndarray:
        from resemblyzer import preprocess_wav

        voiced = preprocess_wav(wav, RATE_HZ)
        return self.encoder.embed_utterance(voiced if voiced.size > RATE_HZ // 4 else wav)

    def hear(self, wav: np.ndarray) -> str:
        self.decoder.start_utt()
        self.decoder.process_raw((wav * 32767).astype(np.int16).tobytes(), full_utt=True)
        self.decoder.end_utt()
        hyp = self.decoder.hyp()
        return words(hyp.hypstr) if hyp else ""

    def quality(self, wav: np.ndarray) -> float:
        from speechmos import dnsmos

        return float(dnsmos.run(wav, sr=RATE_HZ)["ovrl_mos"])


def f0(wav: np.ndarray) -> np.ndarray:
    """Pitch in Hz every 10 ms, 0 where unvoiced."""
    sound = parselmouth.Sound(wav.astype(np.float64), RATE_HZ)
    return sound.to_pitch_ac(time_step=0.01, pitch_floor=60, pitch_ceiling=700).selected_array["frequency"]


def f0_corr(fa: np.ndarray, fb: np.ndarray) -> float:
    """Correlation of log-F0 over frames voiced in both, best of shifts up to 30 ms; 0 if under 20 frames."""
    best = 0.0
    for shift in range(-3, 4):
        x, y = (fa[shift:], fb) if shift >= 0 else (fa, fb[-shift:])
        n = min(len(x), len(y))
        both = (x[:n] > 0) & (y[:n] > 0)
        if both.sum() >= 20:
            best = max(
                best, float(np.nan_to_num(np.corrcoef(np.log(x[:n][both]), np.log(y[:n][both]))[0, 1]))
            )
    return best


def unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), 1e-9)


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("converted", "source", "target"):
        ap.add_argument(f"--{name}", type=Path, required=True)
    ap.add_argument("--text", type=Path)
    ap.add_argument("--exclude", type=Path)
    ap.add_argument("--json", type=Path)
    args = ap.parse_args()

    converted, source, target = files(args.converted), files(args.source), files(args.target)
    drop = set(args.exclude.read_text().split()) if args.exclude else set()
    target = {s: p for s, p in target.items() if s not in drop}
    missing = [s for s in source if s not in converted]
    stems = [s for s in source if s in converted]
    if not stems or len(target) < 3:
        print("nothing to score: no converted file for any source, or under 3 target files", file=sys.stderr)
        return 2
    said: dict[str, str] = {}
    if args.text:
        with args.text.open(encoding="utf-8") as fh:
            for row in csv.DictReader(fh, delimiter="|"):
                if row.get("text"):
                    said[Path(row.get("file") or row["path"]).stem] = words(row["text"])

    import jiwer

    ears = Ears()
    real = [load(p) for p in list(target.values())[:TARGET_FILES]]
    vectors = np.array([ears.embed(w) for w in real])
    voice = unit(vectors.mean(axis=0))
    ceiling = [float(v @ unit(vectors.sum(axis=0) - v)) for v in vectors]
    pitches = np.concatenate([f for f in map(f0, real)])
    target_hz = float(np.median(pitches[pitches > 0]))
    sources = {s: load(source[s]) for s in stems}
    own = {s: ears.embed(w) for s, w in sources.items()}
    speakers: dict[str, list[np.ndarray]] = defaultdict(list)
    for s in stems:
        speakers[re.split(r"[-_]", s)[0]].append(own[s])

    rows: list[dict[str, float | str]] = []
    heard: list[tuple[str, str, str]] = []
    for stem in stems:
        c, s = load(converted[stem]), sources[stem]
        ec, fc, fs = ears.embed(c), f0(c), f0(s)
        speaker = unit(np.mean(speakers[re.split(r"[-_]", stem)[0]], axis=0))
        median_hz = float(np.median(fc[fc > 0])) if (fc > 0).any() else 1.0
        rows.append(
            {
                "stem": stem,
                "secs_target": float(ec @ voice),
                "floor": float(own[stem] @ voice),
                "to_source": float(ec @ speaker),
                "f0_corr": f0_corr(fc, fs),
                "voiced_ratio": float((fc > 0).sum() / max((fs > 0).sum(), 1)),
                "cents_off": abs(1200 * float(np.log2(median_hz / target_hz))),
                "mos": ears.quality(c),
                "mos_src": ears.quality(s),
                "length_ratio": librosa.get_duration(path=converted[stem])
                / librosa.get_duration(path=source[stem]),
            }
        )
        if said.get(stem):
            heard.append((said[stem], ears.hear(c), ears.hear(s)))

    col = lambda k: np.array([r[k] for r in rows], dtype=float)  # noqa: E731
    out: dict[str, float] = {
        k: float(np.median(col(k)))
        for k in (
            "secs_target",
            "floor",
            "f0_corr",
            "voiced_ratio",
            "cents_off",
            "mos",
            "mos_src",
            "length_ratio",
        )
    }
    out["ceiling"] = float(np.median(ceiling))
    out["recovery"] = (out["secs_target"] - out["floor"]) / max(out["ceiling"] - out["floor"], 1e-6)
    out["secs_target_p10"] = float(np.percentile(col("secs_target"), 10))
    out["mos_p10"] = float(np.percentile(col("mos"), 10))
    out["mos_target"] = float(np.median([ears.quality(w) for w in real[:15]]))
    out["closer"] = float(np.mean(col("secs_target") > col("to_source")))
    out["files"], out["missing"] = len(rows), len(missing)
    if heard:
        ref, hyp, src = (list(x) for x in zip(*heard, strict=True))
        out["wer"], out["wer_src"] = jiwer.wer(ref, hyp), jiwer.wer(ref, src)
        out["words"] = sum(len(r.split()) for r in ref)
    for key, value in out.items():
        print(f"{key:16s} {value:.4g}")
    if args.json:
        args.json.write_text(json.dumps({"summary": out, "files": rows}, indent=1))
    if missing:
        print(f"{len(missing)} source files have no conversion: {missing[:3]}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

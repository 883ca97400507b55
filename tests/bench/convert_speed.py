"""How fast and in how much memory a recording is converted; run by hand, on a machine that does nothing else.

    python -m tests.bench.convert_speed                     a minute, three times, with the built-in engine
    python -m tests.bench.convert_speed --voice FOLDER      with a voice of one's own
    python -m tests.bench.convert_speed --source FILE       with a recording of one's own (its first minute)
    python -m tests.bench.convert_speed --hour              an hour, once, and the peak memory of the process

Speeds mean little without the machine: the rate of its matrix product stands beside them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import soundfile as sf
import torch
from numpy.typing import NDArray

from pipelines.conversion.convert import ConvertResult, convert
from pipelines.events import finish
from rvc.audio.reader import load_mono
from rvc.engine.interface import Piece, Source
from rvc.engine.options import ConvertOptions
from rvc.engine.retrieval import MAX_ROWS
from rvc.lite.weights import BASE_FILE, CONTENT_ENCODER_NAME, load_part
from rvc.voice import Voice
from tests.tiny import song, toy_index

logger = logging.getLogger("convert_speed")
ROUNDS = 3


def gflops(size: int = 1_024, seconds: float = 2.0) -> float:
    """Billions of operations per second of the machine's float32 matrix product."""
    a = torch.rand(size, size)
    best = 0.0
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        started_s = time.perf_counter()
        a @ a
        best = max(best, 2 * size**3 / (time.perf_counter() - started_s) / 1e9)
    return best


def built_in_voice(folder: Path, wav16k: NDArray[np.float32]) -> Voice:
    """The shipped base as a voice, with a full index around the content of the recording."""
    shutil.copy(BASE_FILE, folder / "model.safetensors")
    sizes, _ = load_part(BASE_FILE, "synthesizer")
    card = {
        "format_version": 1,
        "engine": "lite",
        "name": "Base",
        "sample_rate_hz": sizes["sample_rate_hz"],
        "content_encoder": CONTENT_ENCODER_NAME,
        "content_dim": sizes["content_dim"],
        "f0": {"median_hz": 200.0, "low_hz": 120.0, "high_hz": 320.0},
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    voice = Voice.load(folder)
    frames = wav16k.size // 160 + 1
    heard, everything = Source.of(wav16k, np.zeros(frames)), Piece(start=0, stop=frames, first=0, last=frames)
    content = np.resize(voice.engine.content(heard, everything, 0), (MAX_ROWS, sizes["content_dim"]))
    noise = 0.3 * np.random.default_rng(0).standard_normal(content.shape)
    return Voice(voice.card, voice.engine, toy_index((content + noise).astype(np.float32)))


def source_file(folder: Path, wav16k: NDArray[np.float32], minutes: int) -> Path:
    """A stereo recording as phones make them, of so many repetitions of a minute."""
    path = folder / "source.wav"
    wav = np.repeat(wav16k, 3)[: 60 * 48_000, None].repeat(2, axis=1)
    with sf.SoundFile(path, "w", 48_000, 2) as file:
        for _ in range(minutes):
            file.write(wav)
    return path


def timed(source: Path, voice: Voice) -> tuple[float, ConvertResult]:
    """Convert once; seconds and result."""
    started_s = time.perf_counter()
    result = finish(convert(source, source.with_name("result.wav"), voice, ConvertOptions(index_rate=0.5)))
    return time.perf_counter() - started_s, result


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--voice", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    wav16k = load_mono(arguments.source, rate_hz=16_000)[0] if arguments.source else song(60.0)
    wav16k = np.resize(wav16k, 60 * 16_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voice = Voice.load(arguments.voice) if arguments.voice else built_in_voice(folder, wav16k)
        source = source_file(folder, wav16k, 60 if arguments.hour else 1)
        if not arguments.hour:
            timed(source, voice)  # warms up
        runs = [timed(source, voice) for _ in range(1 if arguments.hour else ROUNDS)]
        seconds = statistics.median(run[0] for run in runs)
        result = runs[-1][1]
        logger.info("matrix product: %.0f GFLOP/s with %d threads", gflops(), arguments.threads)
        logger.info("%.0f s in %.2f s: %.1f x real time", result.seconds, seconds, result.seconds / seconds)
        for stage, spent_s in result.timings.items():
            logger.info("  %-9s %.4f s per second of sound", stage, spent_s / result.seconds)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
        logger.info("peak memory of the process: %.0f MB", peak_mb)


if __name__ == "__main__":
    main()

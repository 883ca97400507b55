"""How fast RVC's voices speak on a CPU, against their networks run plainly; for an idle machine.

    python -m tests.bench.rvc_cpu                           a v2 voice at 40 kHz, 10 s and 60 s
    python -m tests.bench.rvc_cpu --version v1 --rate 32000 --seconds 10 30

A full-size synthesizer with random weights, whole pipeline from file to file, with everything but the
content encoder, for which a stand-in gives vectors that cost nothing. Beside it runs the same synthesizer
as plain eager modules with weight norm left in, on the frames of the shortest recording. All take turns in
one run, so that a noisy machine is noisy for all of them; processor time stands beside the clock's.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile as sf
import torch
from torch import Tensor, nn

from pipelines.conversion.convert import convert
from pipelines.events import finish
from rvc.engine.card import parse_card
from rvc.engine.options import ConvertOptions
from rvc.vits.config import SynthesizerConfig, Version, published_config
from rvc.vits.content_encoder import ContentVec
from rvc.vits.engine import RvcEngine
from rvc.vits.synthesizer import Noise, VitsFrames, VitsSynthesizer
from rvc.vits.voice_model import VoiceModel
from rvc.voice import Voice
from tests.bench.convert_speed import gflops
from tests.tiny import song

logger = logging.getLogger("rvc_cpu")
VERSIONS: tuple[Version, Version] = ("v1", "v2")
Spent = tuple[float, float]
"""Seconds by the clock, and of all processors."""


class StandIn(nn.Module):
    """Content vectors from nowhere, 50 a second."""

    def content_dim(self, version: Version) -> int:
        """Numbers of a vector."""
        return {"v1": 256, "v2": 768}[version]

    def forward(self, wav16k: Tensor, version: Version) -> Tensor:
        """(1, N) -> (1, T, C)."""
        vectors = (wav16k.shape[1] - 400) // 320 + 1
        return torch.randn(1, vectors, self.content_dim(version), generator=torch.Generator().manual_seed(0))


def whole_voice(config: SynthesizerConfig, synthesizer: VitsSynthesizer) -> Voice:
    """A voice as it is loaded for conversion, with the stand-in."""
    model = VoiceModel.of(synthesizer)
    encoder: ContentVec = StandIn()  # type: ignore[assignment]
    engine = RvcEngine(encoder, VitsSynthesizer.for_inference(model.config, model.weights))
    card = {"format_version": 1, "engine": "rvc", "name": "Random", "content_encoder": "contentvec"}
    card |= {"sample_rate_hz": config.sample_rate_hz, "content_dim": config.content_dim}
    return Voice(parse_card(card), engine)


def plainly(config: SynthesizerConfig, synthesizer: VitsSynthesizer, seconds: int) -> Callable[[], object]:
    """The same synthesizer's modules as they are, for frames without any context."""
    frames = 100 * seconds
    said = VitsFrames(
        content=torch.randn(1, frames, config.content_dim),
        lengths=torch.tensor([frames]),
        speaker=torch.tensor([0]),
        pitch=torch.randint(1, 256, (1, frames)),
        f0_hz=torch.full((1, frames), 150.0),
    )
    noise = Noise(latent=torch.randn(1, config.latent_channels, frames))
    return lambda: synthesizer.infer(said, noise)


def timed(work: Callable[[], object]) -> Spent:
    """Do it once."""
    clock_s, processor_s = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock_s, time.process_time() - processor_s


def peak_mb() -> float:
    """The most memory that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000


def from_file_to_file(voice: Voice, folder: Path, seconds: int) -> Callable[[], object]:
    """The whole pipeline on a recording of so many seconds."""
    source = folder / f"{seconds}.wav"
    sf.write(source, song(float(seconds)), 16_000)
    options = ConvertOptions(f0_estimator="praat")
    return lambda: finish(convert(source, folder / "made.wav", voice, options))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", choices=VERSIONS, default="v2")
    parser.add_argument("--rate", type=int, choices=(32_000, 40_000, 48_000), default=40_000)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("pipelines").setLevel(logging.WARNING)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = published_config(arguments.version, arguments.rate)
    synthesizer = VitsSynthesizer(config).eval()
    voice = whole_voice(config, synthesizer)
    lengths = sorted(arguments.seconds)
    with tempfile.TemporaryDirectory() as name:
        ours = {seconds: from_file_to_file(voice, Path(name), seconds) for seconds in lengths}
        for seconds in lengths:
            ours[seconds]()  # warms up
            logger.info("peak memory after %d s of sound: %.0f MB", seconds, peak_mb())
        plain = plainly(config, synthesizer, lengths[0])
        spent: dict[int, list[Spent]] = {seconds: [] for seconds in [0, *lengths]}
        for _ in range(arguments.rounds):
            spent[0].append(timed(plain))
            for seconds in lengths:
                spent[seconds].append(timed(ours[seconds]))
    report(spent, lengths, arguments.threads)


def report(spent: dict[int, list[Spent]], lengths: list[int], threads: int) -> None:
    """Print medians, per second of sound."""
    logger.info("matrix product: %.0f GFLOP/s with %d threads", gflops(), threads)
    factors = {
        seconds: [statistics.median(run[which] for run in runs) / (seconds or lengths[0]) for which in (0, 1)]
        for seconds, runs in spent.items()
    }
    clock, processor = factors[0]
    logger.info("plain modules, %d s: real-time factor %.3f, processors %.3f", lengths[0], clock, processor)
    for seconds in lengths:
        mine = factors[seconds]
        logger.info(
            "whole pipeline, %d s: real-time factor %.3f, processors %.3f: %.2f and %.2f times as fast",
            seconds, *mine, clock / mine[0], processor / mine[1],
        )  # fmt: skip


if __name__ == "__main__":
    main()

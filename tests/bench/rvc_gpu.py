"""How fast RVC's engine converts and trains on a GPU, and which share of the card that is; run by hand.

    python -m tests.bench.rvc_gpu [--json FILE]      published sizes (v2, 40 kHz), random weights
    python -m tests.bench.rvc_gpu --toy              toy sizes, on whatever there is: only shows that it runs

Without a GPU it runs at toy size on the processor and says that no GPU was tried.
Conversion:  content encoder and synthesizer at batch 1, with a given melody; finding it and reading files are
             not in the times.
Training:    steps of Trainer at batch 8 with slices of 4 s, everything already on the card; reading features
             is not in the times.
Share:       operations are those of matrix products and convolutions, counted by torch; a card's peak is what
             a large matrix product reaches in the same precision, measured beside it.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rvc.steps import result_of
from rvc.training.group import Group
from rvc.vits.content_encoder import ContentVec
from rvc.vits.discriminator import Discriminators
from rvc.vits.engine import RvcEngine
from rvc.vits.step import Precision, Trainer, TrainingBatch
from rvc.vits.synthesizer import Noise, VitsFrames, VitsSynthesizer
from rvc.vits.task import RvcSizes, published_sizes
from rvc.vits.voice_model import VoiceModel
from tests.tiny import song
from tests.tiny_rvc_training import tiny_sizes

logger = logging.getLogger("rvc_gpu")

PRECISIONS = ("float32", "tf32", "bfloat16")
BATCH, SLICE_FRAMES = 8, 400
WARM_UP, ROUNDS = 3, 5
LENGTHS_S = (10, 60)
MATRIX, TOY_MATRIX = 8_192, 512


def elapsed_s(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that work takes until the device has done it."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_tflops(precision: Precision, size: int) -> float:
    """Trillions of operations per second of a large matrix product."""
    dtype = torch.bfloat16 if precision.name == "bfloat16" else torch.float32
    a, b = (torch.rand(size, size, device=precision.device, dtype=dtype) for _ in range(2))
    with precision.multiplication():
        times = [elapsed_s(lambda: a @ b, precision.device) for _ in range(WARM_UP + 2 * ROUNDS)]
    return 2 * size**3 / min(times) / 1e12


def conversion(sizes: RvcSizes, device: torch.device, seconds: int) -> dict[str, float]:
    """How many times faster than real time a recording is heard and spoken."""
    config = sizes.synthesizer
    model = VoiceModel.of(VitsSynthesizer(config))
    synthesizer = VitsSynthesizer.for_inference(model.config, model.weights)
    encoder = ContentVec(sizes.encoder).eval().requires_grad_(requires_grad=False)
    engine = RvcEngine(encoder, synthesizer, str(device))
    wav16k = np.resize(song(5.0), seconds * 16_000).astype(np.float32)

    def convert() -> int:
        heard = engine.preprocess(wav16k.copy())
        source = engine.source(heard, np.full(heard.size // 160 + 1, 180.0))
        samples = 0
        for piece in engine.pieces(source, engine.defaults.chunk_s):
            content = engine.content(source, piece, piece.first)
            samples += result_of(engine.speak(content, source, piece)).size
        return samples

    assert convert() >= seconds * config.sample_rate_hz
    taken_s = statistics.median(elapsed_s(convert, device) for _ in range(ROUNDS))
    return {"seconds": seconds, "takes_s": taken_s, "times_real_time": seconds / taken_s}


def a_batch(sizes: RvcSizes, device: torch.device) -> tuple[TrainingBatch, Noise]:
    """Random recordings of one length, and noise."""
    config, hop = sizes.synthesizer, sizes.spectrogram.hop_samples
    draws = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draws, device=device)

    lengths = torch.full((BATCH,), SLICE_FRAMES, device=device)
    frames = VitsFrames(
        content=normal(BATCH, SLICE_FRAMES, config.content_dim),
        lengths=lengths,
        speaker=torch.zeros_like(lengths),
        pitch=torch.full((BATCH, SLICE_FRAMES), 60, device=device),
        f0_hz=torch.full((BATCH, SLICE_FRAMES), 180.0, device=device),
    )
    passage = TrainingBatch(
        frames=frames,
        spectrogram=normal(BATCH, sizes.synthesizer.spectrogram_bins, SLICE_FRAMES).abs(),
        wave=0.1 * normal(BATCH, 1, SLICE_FRAMES * hop),
    )
    noise = Noise(
        latent=normal(BATCH, config.latent_channels, SLICE_FRAMES),
        starts=torch.rand(BATCH, generator=draws, device=device),
        source=normal(BATCH, 1, sizes.segment_frames * hop),
    )
    return passage, noise


def training(sizes: RvcSizes, precision: Precision) -> dict[str, Any]:
    """Steps per second, and the operations of a step."""
    device, config = precision.device, sizes.synthesizer
    torch.manual_seed(0)
    trainer = Trainer(
        VitsSynthesizer(config).to(device),
        Discriminators(config.version, sizes.narrowing).to(device),
        sizes.spectrogram,
        sizes.segment_frames,
        precision,
        Group(0, 1, device),
    )
    passage, noise = a_batch(sizes, device)

    def step() -> None:
        trainer.step(passage, noise, 1e-4)

    with FlopCounterMode(display=False) as counter:
        step()
    for _ in range(WARM_UP):
        step()
    step_s = statistics.median(elapsed_s(step, device) for _ in range(ROUNDS))
    tflops = counter.get_total_flops() / 1e12
    result = {"precision": precision.name, "step_s": step_s, "steps_per_s": 1 / step_s}
    result |= {"tflop_per_step": tflops, "tflop_per_s": tflops / step_s}
    if device.type == "cuda":
        result["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        torch.cuda.reset_peak_memory_stats(device)
    return result


def measure(*, toy: bool) -> dict[str, Any]:
    """Measure everything.

    Args:
        toy: Whether at toy size.

    Returns:
        device, gpu_tried, sizes, conversion and training: a row for each length and precision.
    """
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if has_gpu else "cpu")
    toy = toy or not has_gpu
    sizes = tiny_sizes() if toy else published_sizes("v2", 40_000, uses_f0=True)
    rows = []
    for name in PRECISIONS:
        precision = Precision(name, device)
        row = training(sizes, precision)
        row["peak_tflop_per_s"] = peak_tflops(precision, TOY_MATRIX if toy else MATRIX)
        row["share_of_peak"] = row["tflop_per_s"] / row["peak_tflop_per_s"]
        rows.append(row)
        logger.info("training %s", row)
    conversions = [conversion(sizes, device, seconds) for seconds in LENGTHS_S]
    for found in conversions:
        logger.info("conversion %s", found)
    return {
        "device": torch.cuda.get_device_name(device) if has_gpu else "processor",
        "gpu_tried": has_gpu,
        "sizes": "toy" if toy else "v2 at 40 kHz",
        "conversion": conversions,
        "training": rows,
    }


def main() -> None:
    """Measure, tell, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toy", action="store_true", help="at toy size even on a GPU")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    options = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(message)s")
    found = measure(toy=options.toy)
    if not found["gpu_tried"]:
        logger.warning("There is no GPU here, so no GPU was tried: these are toy sizes on the processor.")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

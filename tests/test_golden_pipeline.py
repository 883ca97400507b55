"""The whole pipeline as upstream has it: filter, cuts, framing, retrieval, protection, envelope.

Upstream computed with zero noise, a stand-in for the content encoder whose weights have a recipe, and F0
that is given. The engine runs here with upstream's framing, which loses a frame or two at the end of each
piece. The voice is found by its kind among the .pth files, whatever they are called.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rvc.audio.level import HOP_16K, frame_rms
from rvc.audio.loudness import measure_frames
from rvc.engine.card import parse_card
from rvc.engine.options import ConvertOptions
from rvc.engine.retrieval import RetrievalIndex
from rvc.pitch.f0 import shift_semitones
from rvc.vits.content_encoder import HubertSizes
from rvc.vits.engine import RvcEngine, cut_points, high_passed
from rvc.vits.synthesizer import VitsSynthesizer
from rvc.voice import Voice
from tests.golden_files import golden, golden_path, recipe
from tests.golden_networks import voice, voice_config, voices

DATA = "pipeline.npz"
CENTER_S, QUERY_S, MAX_S = 6.0, 2.0, 7.0
PLAIN = {"protect": 0.5, "index_rate": 0.0}
FOUND, PROTECTED = ({"protect": protect, "index_rate": 0.75} for protect in (0.5, 0.33))


@pytest.fixture(autouse=True)
def upstream_s_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CENTER_S": CENTER_S, "QUERY_S": QUERY_S, "MAX_S": MAX_S}.items():
        monkeypatch.setattr(f"rvc.vits.engine.{name}", value)


class StandIn(nn.Module):
    """In the place of the content encoder: the hyperbolic tangent of a projection of each 25 ms."""

    weights: Tensor

    def __init__(self, channels: int = 768) -> None:
        super().__init__()
        self.sizes = HubertSizes(channels=channels)
        weights = torch.from_numpy(recipe("fakehubert.W", (400, channels)) * np.float32(0.25))
        self.register_buffer("weights", weights)

    def content_dim(self, version: str) -> int:
        return self.sizes.channels

    def forward(self, wav16k: Tensor, version: str) -> Tensor:
        assert version == "v2"
        return torch.tanh(wav16k.unfold(1, 400, 320) @ self.weights)


def silence(first_frame: int, frames: int, numbers: int, stream: int) -> Tensor:
    return torch.zeros(1, frames * numbers)


@lru_cache(maxsize=1)
def data() -> dict[str, NDArray[Any]]:
    return golden(DATA)


def of_kind(*, uses_f0: bool, samples: int) -> list[Path]:
    """The v2 voices that make so many samples of the short recording."""
    frames = 2 * ((int(data()["short_len"]) + 32_000 - 400) // 320 + 1) - 200
    found = []
    for path in voices():
        config = voice_config(path)
        if (config.version, config.uses_f0, config.hop_samples * frames) == ("v2", uses_f0, samples):
            found.append(path)
    if not found:
        pytest.skip("the voice that upstream's pipeline was run with is not among the golden data")
    return found


def spoken_by(
    synthesizer: VitsSynthesizer,
    wav: NDArray[np.float32],
    f0_hz: NDArray[np.float64],
    **options: Any,  # noqa: ANN401
) -> tuple[NDArray[np.float32], RvcEngine]:
    """Speak a recording with upstream's framing."""
    engine = RvcEngine(StandIn(), synthesizer, lossless=False, noise=silence)  # type: ignore[arg-type]
    card = {"format_version": 1, "engine": "rvc", "name": "Golden", "content_encoder": "contentvec"}
    card |= {"sample_rate_hz": engine.sample_rate_hz, "content_dim": engine.content_dim}
    index = None
    if options["index_rate"]:
        file = faiss.read_index(str(golden_path("index_pipe.index")))
        assert isinstance(file, faiss.IndexIVFFlat | faiss.IndexFlat)
        index = RetrievalIndex(file)
    heard = engine.preprocess(wav.copy())
    frames = heard.size // HOP_16K + 1
    source = engine.source(heard, np.resize(f0_hz, frames).astype(np.float64))
    how = ConvertOptions(chunk_s=CENTER_S, **options)
    signs = Voice(parse_card(card), engine, index).speak(source, how)
    return np.concatenate([sign.wav for sign in signs if sign.wav is not None]), engine


def as_int16(wav: NDArray[np.float32]) -> NDArray[np.int16]:
    peak = float(np.abs(wav).max()) / 0.99
    return (wav * (32_768 / max(1.0, peak))).astype(np.int16)


def recording(*, whole: bool = False) -> NDArray[np.float32]:
    samples = data()["audio_int16"] if whole else data()["audio_int16"][: int(data()["short_len"])]
    return (samples / 32_768).astype(np.float32)


def assert_sounds_like(wav: NDArray[np.float32], expected: NDArray[np.int16], tolerance: int) -> None:
    made = as_int16(wav)
    assert made.shape == expected.shape
    near = np.abs(made.astype(np.int32) - expected) <= tolerance
    assert near.mean() >= 0.999, f"only {near.mean():.4f} of the samples are within {tolerance}"


def test_the_filter_is_upstream_s() -> None:
    filtered = high_passed(recording(whole=True))
    np.testing.assert_allclose(filtered[:32_000], data()["highpassed_first2s"], atol=1e-6)
    np.testing.assert_allclose(filtered[-2_000:], data()["highpassed_last"], atol=1e-6)


def test_recordings_are_cut_where_upstream_cuts_them() -> None:
    assert cut_points(high_passed(recording(whole=True)), CENTER_S) == data()["cut_points"].tolist()
    assert cut_points(high_passed(recording()), CENTER_S) == []


def test_pieces_have_upstream_s_sizes() -> None:
    wav = recording(whole=True)
    (path, *_) = of_kind(uses_f0=True, samples=data()["short_plain"].size)
    engine = RvcEngine(StandIn(), voice(path), lossless=False)  # type: ignore[arg-type]
    heard = engine.preprocess(wav)
    source = engine.source(heard, np.zeros(heard.size // HOP_16K + 1))
    pieces = engine.pieces(source, CENTER_S)
    hop = engine.sample_rate_hz // 100
    sizes = [(piece.heard_samples, (piece.last - piece.first) * hop) for piece in pieces]
    assert sizes == [(samples, made) for samples, _, made in data()["long_segments"].tolist()]
    assert sum(piece.stop - piece.start for piece in pieces) * hop == data()["long_out"].size


def test_a_recording_in_pieces_sounds_as_upstream_has_it() -> None:
    for path in of_kind(uses_f0=True, samples=data()["short_plain"].size):
        wav, _ = spoken_by(voice(path), recording(whole=True), data()["f0_full"], **PLAIN)
        assert_sounds_like(wav, data()["long_out"], 8)


@pytest.mark.parametrize(
    ("case", "semitones", "options", "tolerance"),
    [
        ("plain", 0, PLAIN, 8),
        ("up5", 5, PLAIN, 8),
        ("index", 0, FOUND, 40),
        ("protect", 0, PROTECTED, 40),
    ],
)
def test_a_short_recording_sounds_as_upstream_has_it(
    case: str, semitones: int, options: dict[str, float], tolerance: int
) -> None:
    for path in of_kind(uses_f0=True, samples=data()["short_plain"].size):
        f0_hz = shift_semitones(data()["f0_short"].astype(np.float64), semitones)
        wav, _ = spoken_by(voice(path), recording(), f0_hz, **options)
        assert_sounds_like(wav, data()[f"short_{case}"], tolerance)


def test_the_source_s_envelope_is_mixed_in_as_upstream_does_it() -> None:
    for path in of_kind(uses_f0=True, samples=data()["short_plain"].size):
        wav, engine = spoken_by(voice(path), recording(), data()["f0_short"].astype(np.float64), **PLAIN)
        heard = engine.preprocess(recording())
        source = engine.source(heard, np.zeros(heard.size // HOP_16K + 1))
        spoken = measure_frames(wav, engine.sample_rate_hz // 100)
        gain = engine.loudness(source, frame_rms(recording()), spoken, 1 - 0.25)
        assert_sounds_like(gain.apply(wav, 0), data()["short_rms"], 8)


def test_a_voice_without_f0_sounds_as_upstream_has_it() -> None:
    for path in of_kind(uses_f0=False, samples=data()["short_nof0_32k"].size):
        wav, _ = spoken_by(voice(path), recording(), np.zeros(1), **PLAIN)
        assert_sounds_like(wav, data()["short_nof0_32k"], 8)

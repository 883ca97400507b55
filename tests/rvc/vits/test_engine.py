"""RVC's engine at toy size: no frame is lost, unvoiced stays unvoiced, and conversions can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rvc.engine.card import parse_card, read_card
from rvc.engine.interface import Piece, Source
from rvc.engine.options import ConvertOptions
from rvc.errors import CheckpointError
from rvc.steps import result_of
from rvc.vits.content_encoder import ContentVec
from rvc.vits.engine import RvcEngine
from rvc.voice import Voice, engine_loader
from tests.tiny import song
from tests.tiny_rvc_voice import (
    content_frames,
    encoder_file,
    rvc_bundle,
    rvc_voice,
    tiny_encoder,
    tiny_engine,
)

CENTER_S = 2.0


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less context, and cuts within a few seconds."""
    for name, value in {"PAD_FRAMES": 50, "CENTER_S": CENTER_S, "QUERY_S": 0.5, "MAX_S": 2.5}.items():
        monkeypatch.setattr(f"rvc.vits.engine.{name}", value)


def heard_by(engine: RvcEngine, wav: NDArray[np.float32], hz: float = 150.0) -> Source:
    """The recording with a melody that pauses now and then."""
    padded = engine.preprocess(wav.copy())
    f0_hz = np.full(padded.size // 160 + 1, hz)
    f0_hz[::7] = f0_hz[1::7] = 0.0
    return engine.source(padded, f0_hz)


def spoken(voice: Voice, source: Source, **options: Any) -> NDArray[np.float32]:  # noqa: ANN401
    how = ConvertOptions(**({"index_rate": 0.0, "protect": 0.5, "chunk_s": 20.0} | options))
    return np.concatenate([sign.wav for sign in voice.speak(source, how) if sign.wav is not None])


def voice_of(engine: RvcEngine) -> Voice:
    card = {"format_version": 1, "engine": "rvc", "name": "Tiny", "content_encoder": "contentvec"}
    return Voice(
        parse_card(card | {"sample_rate_hz": engine.sample_rate_hz, "content_dim": engine.content_dim}),
        engine,
    )


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 4_000, 16_001, 53_333])
@pytest.mark.parametrize("cut_s", [CENTER_S, 38.0])
def test_no_frame_is_lost_however_long_the_recording_is(samples: int, cut_s: float, short: None) -> None:
    engine = tiny_engine()
    source = heard_by(engine, song(4.0)[:samples])
    assert source.spoken_frames == samples // 160 + 1
    assert spoken(voice_of(engine), source, chunk_s=cut_s).size == source.spoken_frames * 400


def test_pieces_meet_where_they_are_cut_and_overlap_by_their_context(short: None) -> None:
    engine = tiny_engine()
    source = heard_by(engine, song(9.0))
    pieces = engine.pieces(source, CENTER_S)
    assert len(pieces) >= 4
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert (pieces[0].first, pieces[-1].last) == (0, source.frames)
    assert all((piece.start - piece.first, piece.last - piece.stop) == (50, 50) for piece in pieces)
    whole = source.wav16k.size // 160 * 160
    quiet = np.abs(source.wav16k[:whole]).reshape(-1, 160).mean(axis=1)
    assert all(quiet[piece.start] <= np.median(quiet) for piece in pieces[1:])


def test_shorter_pieces_are_cut_in_proportion() -> None:
    engine = tiny_engine()
    source = heard_by(engine, song(9.0))
    assert len(engine.pieces(source, engine.defaults.chunk_s)) == 1
    assert max(piece.stop - piece.start for piece in engine.pieces(source, 2.0)) < 300


def test_content_is_that_of_the_encoder_each_vector_twice(short: None) -> None:
    engine = tiny_engine()
    source = heard_by(engine, song(1.0))
    piece = Piece(start=60, stop=100, first=10, last=151)
    content = engine.content(source, piece, 10)
    assert content.shape == (141, 256)
    np.testing.assert_array_equal(content[0::2][:70], content[1::2][:70])
    wav = torch.from_numpy(source.wav16k[1600:])[None]
    samples = 70 * 320 + 400
    expected = tiny_encoder()(wav[:, :samples], "v1")[0].numpy()
    assert content_frames(samples) == 71
    np.testing.assert_allclose(content[::2], expected, atol=1e-5)


def test_the_same_recording_sounds_the_same_and_noise_keeps_its_place(short: None) -> None:
    engine = tiny_engine()
    source = heard_by(engine, song(2.0))
    frames = source.frames
    content = np.random.default_rng(0).standard_normal((frames, 256)).astype(np.float32)
    all_of_it = Piece(start=0, stop=frames, first=0, last=frames)
    whole = result_of(engine.speak(content, source, all_of_it))
    np.testing.assert_array_equal(result_of(engine.speak(content, source, all_of_it)), whole)
    assert np.abs(whole).max() > 0.0
    part = Piece(start=50, stop=frames - 20, first=0, last=frames)
    np.testing.assert_allclose(
        result_of(engine.speak(content, source, part)), whole[50 * 400 : (frames - 20) * 400], atol=1e-6
    )
    later = Piece(start=10, stop=frames, first=10, last=frames)
    moved = result_of(engine.speak(content[:-10], source, later))
    assert np.abs(moved - whole[:-4000]).max() > 1e-4


def test_the_source_s_phase_goes_on_from_piece_to_piece(short: None) -> None:
    engine = tiny_engine()
    source = heard_by(engine, song(2.0))
    steps = np.diff(source.phase, append=0.0) % 1.0
    np.testing.assert_allclose(steps[:-1], (source.f0_hz[:-1] / 100) % 1.0, atol=1e-6)
    assert (source.f0_hz[source.voiced == 0] == 0).all()


@pytest.mark.parametrize(("protect", "unvoiced"), [(0.5, 1.0), (0.499, 0.499), (0.33, 0.33), (0.0, 0.0)])
def test_protection_is_off_at_one_half_and_a_factor_below(protect: float, unvoiced: float) -> None:
    voiced = np.array([1, 0, 1], np.float32)
    shares = tiny_engine().retrieval_weights(voiced, 0.8, protect)
    np.testing.assert_allclose(shares, [0.8, 0.8 * unvoiced, 0.8], rtol=1e-6)
    without = tiny_engine(uses_f0=False).retrieval_weights(voiced, 0.8, protect)
    np.testing.assert_allclose(without, 0.8)


def test_a_voice_is_loaded_with_its_encoder_and_index(tmp_path: Path) -> None:
    voice = rvc_voice(tmp_path)
    assert isinstance(voice.engine, RvcEngine)
    assert (voice.sample_rate_hz, voice.engine.content_dim) == (40_000, 256)
    source = heard_by(voice.engine, song(1.0))
    own, drawn = (spoken(voice, source, index_rate=rate) for rate in (0.0, 1.0))
    assert not np.array_equal(own, drawn)


def test_the_encoder_is_shared_between_voices(tmp_path: Path) -> None:
    one, other = rvc_bundle(tmp_path / "one"), rvc_bundle(tmp_path / "other", name="Other")
    weights = {"contentvec": encoder_file(tmp_path / "contentvec.bin")}
    engines = [Voice.load(folder, weights=weights).engine for folder in (one, other)]
    assert all(isinstance(engine, RvcEngine) for engine in engines)
    assert len({id(engine.encoder) for engine in engines if isinstance(engine, RvcEngine)}) == 1


def test_a_voice_of_another_encoder_or_other_content_is_refused_in_a_sentence(tmp_path: Path) -> None:
    loader = engine_loader("rvc-toy")
    foreign = read_card(rvc_bundle(tmp_path / "spin", content_encoder="spin"))
    with pytest.raises(CheckpointError, match=r"encoder 'spin'.*contentvec"):
        loader.weights(foreign)
    with pytest.raises(CheckpointError, match="needs the weights of contentvec"):
        Voice.load(rvc_bundle(tmp_path / "alone"))
    wrong = rvc_bundle(tmp_path / "wrong", content_dim=768, with_index=False)
    weights = {"contentvec": encoder_file(tmp_path / "contentvec.bin")}
    with pytest.raises(CheckpointError, match="does not fit its weights"):
        Voice.load(wrong, weights=weights)


def test_an_encoder_of_another_width_is_refused_in_a_sentence() -> None:
    class Narrow(ContentVec):
        def content_dim(self, version: str) -> int:
            return 24

    engine = tiny_engine()
    with pytest.raises(CheckpointError, match=r"24 numbers.*256"):
        RvcEngine(Narrow(tiny_encoder().sizes), engine.synthesizer)

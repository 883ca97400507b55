"""Results say what they are, in every format, by what stands in the file and by their sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from pipelines.conversion.convert import convert
from pipelines.conversion.cover.mixing import Parts, mix
from pipelines.events import finish
from pipelines.job_spec import CoverOptions, JobSpec
from pipelines.marks.inspection import inspect
from pipelines.marks.provenance import WATERMARK, Provenance
from pipelines.marks.writing import ResultWriter
from pipelines.worker_tasks import TASKS
from rvc.audio.reader import load_mono
from rvc.audio.resampling import resample
from rvc.audio.watermark_search import find_watermark
from rvc.audio.writer import WRITABLE
from rvc.engine.options import ConvertOptions
from rvc.files import ROOT
from rvc.steps import result_of
from tests.tiny import toy_voice

Wave = NDArray[np.float32]
RATE_HZ = 24_000
MARKED = Provenance(voice_name="Anna", voice_id="0123", watermark=True)
SPOKEN = ROOT / "assets" / "examples" / "recordings" / "visitor.flac"


@pytest.fixture(scope="module")
def speech() -> Wave:
    return load_mono(SPOKEN, rate_hz=RATE_HZ)[0][: 8 * RATE_HZ]


def written(path: Path, record: Provenance | None, sound: Wave, portion: int = 10_000) -> Path:
    with ResultWriter(path, RATE_HZ, path.suffix[1:], record) as out:
        for start in range(0, len(sound), portion):
            out.write(sound[start : start + portion])
    return path


def has_mark(path: Path) -> bool:
    wav, rate_hz = load_mono(path)
    return find_watermark([resample(wav, rate_hz, 16_000)]).found


@pytest.mark.parametrize("format", WRITABLE)
def test_the_mark_is_in_every_format_and_the_length_stays(format: str, speech: Wave, tmp_path: Path) -> None:
    path = written(tmp_path / f"made.{format}", MARKED, speech)
    assert has_mark(path)
    assert sf.info(path).frames == len(speech)
    assert inspect(path, path.name)["tags"]["record"]["voice_name"] == "Anna"


@pytest.mark.parametrize("record", [None, Provenance(voice_name="Anna", voice_id="0123")])
def test_where_none_is_wanted_the_samples_are_untouched(
    record: Provenance | None, speech: Wave, tmp_path: Path
) -> None:
    path = written(tmp_path / "made.flac", record, speech)
    np.testing.assert_allclose(load_mono(path)[0], speech, atol=2**-23)


def test_nothing_is_left_of_a_result_that_failed(speech: Wave, tmp_path: Path) -> None:
    def fail() -> None:
        with ResultWriter(tmp_path / "made.wav", RATE_HZ, "wav", MARKED) as out:
            out.write(speech)
            raise ValueError("of the caller's")

    with pytest.raises(ValueError, match="of the caller's"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_is_marked_when_it_is_wanted(tmp_path: Path) -> None:
    voice = toy_voice(tmp_path / "voice")
    found = []
    for name, record in (("with", MARKED), ("without", Provenance(voice_name="Anna", voice_id="0"))):
        target = tmp_path / f"{name}.wav"
        result = finish(convert(SPOKEN, target, voice, ConvertOptions(), record=record))
        assert not result.source_marked
        found.append(has_mark(target))
    assert found == [True, False]


def test_a_song_is_marked_once_whole_voice_and_backing(speech: Wave, tmp_path: Path) -> None:
    parts = Parts(
        voice=written(tmp_path / "voice.flac", MARKED, speech),
        vocals=tmp_path / "vocals.wav",
        backing=tmp_path / "backing.wav",
    )
    rate_hz = 44_100
    backing = np.stack([resample(speech[::-1].copy(), RATE_HZ, rate_hz)] * 2, axis=1)
    for path in (parts.vocals, parts.backing):
        sf.write(path, backing, rate_hz, subtype="FLOAT")
    for gain_db in (-30.0, 12.0):  # of the backing: what is heard of the mix is the voice, or is not
        options = CoverOptions(backing_gain_db=gain_db, reverb=0.5, format="flac")
        target = tmp_path / f"mix{gain_db:g}.flac"
        result_of(mix(parts, options, target, MARKED, {"transpose_semitones": 0.0}))
        assert has_mark(target), gain_db
    expected = resample(load_mono(parts.voice)[0], RATE_HZ, rate_hz)
    quiet = tmp_path / "quiet.flac"
    result_of(mix(parts, CoverOptions(backing_gain_db=-30.0, format="flac"), quiet, MARKED))
    heard = sf.read(quiet, dtype="float32")[0][:, 0]
    likeness = np.corrcoef(heard[: expected.size], expected[: heard.size])[0, 1]
    assert likeness > 0.99  # the voice is in it as it was, not marked a second time


def spec_for(folder: Path, source: Path, *, marks: bool) -> JobSpec:
    (folder / "voice").mkdir(parents=True)
    toy_voice(folder / "voice")
    (folder / "job").mkdir()
    stored = {
        "name": "sent.wav", "original": source.name, "audio": source.name, "seconds": 8.0,
        "sample_rate_hz": RATE_HZ, "channels": 1, "codec": "pcm_16", "sha256": "", "size_bytes": 1,
    }  # fmt: skip
    return JobSpec(
        id="job", type="conversion", folder=folder / "job", upload_folder=source.parent, files=[stored],
        settings={"format": "flac"}, model_name="Hum", model_folder=folder / "voice",
        device_lock=folder / "lock", mark_output=marks,
    )  # fmt: skip


def converted(spec: JobSpec) -> dict[str, Any]:
    done: dict[str, Any] = finish(TASKS["conversion"](spec))
    return done


def test_marks_of_what_was_sent_in_are_named_in_the_result_and_told(speech: Wave, tmp_path: Path) -> None:
    source = written(tmp_path / "synthetic.wav", MARKED, speech)
    done = converted(spec_for(tmp_path / "first", source, marks=True))
    assert WATERMARK in done["made_from"]
    assert any("synthetic speech" in mark for mark in done["made_from"])
    found = inspect(tmp_path / "first" / "job" / done["path"], "result")
    assert found["watermark"]["found"]
    assert found["tags"]["record"]["made_from"] == done["made_from"]


def test_of_a_recording_without_marks_nothing_is_told(speech: Wave, tmp_path: Path) -> None:
    source = written(tmp_path / "real.wav", None, speech)
    done = converted(spec_for(tmp_path / "first", source, marks=False))
    assert done["made_from"] == []
    found = inspect(tmp_path / "first" / "job" / done["path"], "result")
    assert not found["watermark"]["found"]
    assert "made_from" not in found["tags"]["record"]


def test_an_order_keeps_how_results_are_marked(tmp_path: Path) -> None:
    from pipelines.job_spec import Signing

    source = tmp_path / "x.wav"
    source.touch()
    spec = spec_for(tmp_path / "a", source, marks=True)
    for signing in (
        None,
        Signing(home=tmp_path / "s"),
        Signing(home=tmp_path, key=tmp_path / "k", certificate=tmp_path / "c"),
    ):
        kept = JobSpec(**{**vars(spec), "signing": signing})
        kept.save()
        assert JobSpec.load(spec.folder) == kept

"""Training as a pipeline: prepared speech in, a whole voice out, and stops that lose nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from safetensors.torch import load_file

from pipelines.events import Done, Events, Progress, finish
from pipelines.job_spec import PrepareSettings
from pipelines.recordings.pieces import Rejections, load_pieces
from pipelines.recordings.prepare import load_prepared, prepare
from pipelines.recordings.uploads import receive
from pipelines.settings import Settings
from pipelines.training.train import STARTS, TrainRequest, TrainResult, train
from rvc.audio.reader import load_mono, probe
from rvc.engine.card import read_card
from rvc.engine.retrieval import RetrievalIndex
from rvc.errors import AudioError, ConfigError, UnknownNameError
from rvc.files import ROOT
from rvc.training.settings import TrainSettings
from tests.tiny_task import BANDS, build_tiny_task, start_tiny

SPEECH = ROOT / "assets" / "examples" / "voice" / "wren-1.ogg"
BUNDLE = ["card.json", "index.faiss", "model.safetensors", "sample.mp3"]


def prepare_speech(seconds: float, folder: Path) -> Path:
    """Receive and prepare the beginning of a recording; return the folder that a training reads."""
    wav, rate_hz = sf.read(SPEECH, stop=round(seconds * 16_000))
    recording = folder / "speech.wav"
    sf.write(recording, wav, rate_hz)
    stored = receive([(recording, "my speech.wav")], folder / "job", Settings())
    finish(prepare(stored, folder / "job", PrepareSettings()))
    return folder / "job"


@pytest.fixture(scope="module", autouse=True)
def tiny_engine() -> None:
    """The toy engine beside the real ones."""
    STARTS["tiny"] = start_tiny


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of a minute of speech, prepared."""
    return prepare_speech(16.0, tmp_path_factory.mktemp("upload"))


@pytest.fixture
def request_for(prepared: Path, tmp_path: Path) -> Callable[..., TrainRequest]:
    """Make requests for a training of seconds, each name with folders of its own."""

    def make(name: str = "voice", **changes: int | str) -> TrainRequest:
        chosen = {"engine": "tiny", "total_steps": 12, "batch_size": 3, "score_every": 6, "threads": 1}
        return TrainRequest(
            prepared_folder=prepared,
            work_dir=tmp_path / name / "work",
            bundle_dir=tmp_path / name / "bundle",
            name=name,
            settings=TrainSettings.from_json({**chosen, **changes}),
        )

    return make


Requests = Callable[..., TrainRequest]


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, object]:
    """A bundle without its date and name."""
    card = json.loads((folder / "card.json").read_text())
    del card["created_at"], card["name"]
    files = {name: (folder / name).read_bytes() for name in ("index.faiss", "model.safetensors")}
    return {**files, "card": card}


def is_stage(stage: str, event: Progress) -> bool:
    """Whether an event is of a stage."""
    return event.stage == stage


def stop_at(events: Events[TrainResult], is_there: Callable[[Progress], bool]) -> None:
    """Close a training at the first event of a kind, which must come."""
    for event in events:
        if isinstance(event, Progress) and is_there(event):
            events.close()
            return
    raise AssertionError("The training ended before the event came.")


def test_speech_becomes_a_voice_that_says_what_it_is(request_for: Requests) -> None:
    asked = replace(request_for("Wren"), language="en-GB")
    result = finish(train(asked))
    assert names_in(asked.bundle_dir) == BUNDLE
    sample = probe(asked.bundle_dir / "sample.mp3")
    assert (sample.codec, 0.5 < sample.seconds <= 3.2) == ("mp3", True)
    card = read_card(asked.bundle_dir)
    assert (card.engine, card.name, card.sample_rate_hz, card.content_dim) == ("tiny", "Wren", 16_000, BANDS)
    assert card.f0 is not None
    assert 60 < card.f0.low_hz < card.f0.median_hz < card.f0.high_hz < 600
    assert card.document["language"] == "en-GB"
    training = card.document["training"]
    assert [score["step"] for score in training["scores"]] == [6, 12]
    assert training["steps"] == 12
    assert 10 < training["seconds_of_audio"] <= 16
    assert card.document["sources"] == ["my speech.wav"]
    assert load_file(asked.bundle_dir / "model.safetensors")
    index = RetrievalIndex.load(asked.bundle_dir / "index.faiss", BANDS)
    assert index.rows == card.document["retrieval"]["rows"]
    assert result == TrainResult(
        bundle_dir=asked.bundle_dir,
        name="Wren",
        engine="tiny",
        sample_rate_hz=16_000,
        seconds_of_audio=result.seconds_of_audio,
        steps=12,
        best_step=training["best_step"],
        reason="budget",
        score=min(score["total"] for score in training["scores"]),
    )


def test_progress_never_goes_back_and_carries_the_curve_and_sounds(request_for: Requests) -> None:
    asked = request_for()
    events = list(train(asked))
    assert isinstance(events[-1], Done)
    progress = [event for event in events if isinstance(event, Progress)]
    assert len(progress) == len(events) - 1
    fractions = [event.fraction for event in progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1] <= 1.0) == (0.0, True)
    json.dumps([event.data for event in progress], allow_nan=False)
    curve = [event for event in progress if event.data.get("losses")]
    assert curve[-1].data["step"] == curve[-1].data["total_steps"] == 12
    assert curve[-1].eta_s == 0.0
    scored = [event for event in progress if "score" in event.data]
    assert [event.data["score"]["step"] for event in scored] == [6, 12]
    for event in scored:
        for sound in ("sample", "reference"):
            wav, rate_hz = load_mono(asked.work_dir / event.data[sound])
            assert (rate_hz, bool(wav.any())) == (16_000, True)


def test_the_device_is_asked_for_while_networks_compute_and_not_for_the_index(request_for: Requests) -> None:
    wanted: dict[str, set[bool]] = {}
    for event in train(request_for()):
        if isinstance(event, Progress):
            wanted.setdefault(event.stage, set()).add(event.needs_device)
    assert wanted["Loading"] == wanted["Training"] == wanted["Scoring"] == {True}
    assert False in wanted["Retrieval index"]


@pytest.mark.parametrize("stops", [["Loading", "Features"], ["Training", "Scoring"], ["Retrieval index"]])
def test_a_training_that_was_stopped_gives_the_same_voice(request_for: Requests, stops: list[str]) -> None:
    finish(train(request_for("whole")))
    asked = request_for("stopped")
    for stage in stops:
        stop_at(train(asked), partial(is_stage, stage))
        assert names_in(asked.bundle_dir.parent) in ([], ["work"])
    finish(train(asked))
    assert contents(asked.bundle_dir) == contents(request_for("whole").bundle_dir)


def test_stopping_while_the_index_is_built_leaves_no_bundle_and_an_older_one_untouched(
    request_for: Requests,
) -> None:
    asked = request_for()
    finish(train(asked))
    before = contents(asked.bundle_dir)
    stop_at(train(asked), lambda event: event.message == "Testing the index.")
    assert contents(asked.bundle_dir) == before
    assert names_in(asked.bundle_dir.parent) == ["bundle", "work"]


def test_a_finished_training_gives_its_voice_again_at_once(request_for: Requests) -> None:
    asked = request_for()
    first = finish(train(asked))
    before = contents(asked.bundle_dir)
    assert finish(train(asked)) == first
    assert contents(asked.bundle_dir) == before


def test_what_a_person_stated_stands_on_the_card(request_for: Requests) -> None:
    plain = request_for("plain")
    stated = replace(request_for("stated"), consent={"by": "me"}, licence="CC0-1.0")
    for asked in (plain, stated):
        finish(train(asked))
    assert not {"consent", "licence"} & set(read_card(plain.bundle_dir).document)
    document = read_card(stated.bundle_dir).document
    assert (document["consent"], document["licence"]) == ({"by": "me"}, "CC0-1.0")


def test_too_little_speech_is_refused_and_nothing_is_left(request_for: Requests, tmp_path: Path) -> None:
    asked = replace(request_for(), prepared_folder=prepare_speech(6.0, tmp_path))
    with pytest.raises(
        AudioError, match=r"hold \d\.\d s of speech and a voice needs at least 10 s; add recordings"
    ):
        finish(train(asked))
    assert not asked.work_dir.exists()
    assert not asked.bundle_dir.exists()


def test_a_stopped_training_goes_on_with_the_slices_that_it_began_with(
    request_for: Requests, tmp_path: Path
) -> None:
    """What is rejected meanwhile is for the next one."""
    folder = prepare_speech(28.0, tmp_path)
    first, second, *_ = load_pieces(folder / "prepared")

    def asked(name: str) -> TrainRequest:
        return replace(request_for(name), prepared_folder=folder)

    everything = finish(train(asked("everything"))).seconds_of_audio
    Rejections(frozenset([first.id])).save(folder)
    whole = finish(train(asked("whole")))
    stop_at(train(asked("stopped")), partial(is_stage, "Training"))
    Rejections(frozenset([second.id])).save(folder)
    finish(train(asked("stopped")))
    assert contents(asked("stopped").bundle_dir) == contents(asked("whole").bundle_dir)
    other = finish(train(asked("other")))
    assert everything - whole.seconds_of_audio == pytest.approx(first.seconds, abs=0.05)
    assert everything - other.seconds_of_audio == pytest.approx(second.seconds, abs=0.05)


def test_an_unknown_engine_is_refused_with_the_known_ones(request_for: Requests) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown engine 'big'.*lite"):
        finish(train(request_for(engine="big")))


def test_a_voice_needs_a_name(request_for: Requests) -> None:
    with pytest.raises(ConfigError, match="no name"):
        request_for(" ")


def test_whispering_without_a_voice_is_refused_before_training(
    request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Whisper(type(build_tiny_task())):  # type: ignore[misc]
        def f0(self, item: object) -> np.ndarray:
            return np.zeros(10)

    STARTS["whisper"] = partial(start_tiny, build=Whisper)
    asked = request_for(engine="whisper")
    with pytest.raises(AudioError, match="No voiced sound"):
        finish(train(asked))
    assert not (asked.work_dir / "checkpoints").exists()


def test_slices_that_are_gone_are_a_failure_with_a_sentence(request_for: Requests, tmp_path: Path) -> None:
    asked = request_for()
    pieces = load_prepared(asked.prepared_folder).slices
    victim = Path(pieces[0].path)
    kept = victim.read_bytes()
    victim.unlink()
    try:
        with pytest.raises(AudioError, match="prepare the recordings again"):
            finish(train(asked))
    finally:
        victim.write_bytes(kept)

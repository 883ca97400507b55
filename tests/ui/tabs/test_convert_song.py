"""The Convert tab with a song: given in one file or two, mixed as asked, its parts offered, made again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import soundfile as sf

from tests.tiny_separator import RATE, band, vocals
from tests.ui.launched import RECORDING
from tests.ui.visitor import drawn, request, sent
from ui.server.services import Services
from ui.tabs.convert import ConvertState, ConvertTab
from ui.tabs.sources import ASong, OneRecording

BUILT_IN = "builtin-kathleen"


@pytest.fixture
def tab(services: Services) -> ConvertTab:
    with gr.Blocks():
        return ConvertTab(services)


@pytest.fixture
def pair(tmp_path: Path, page_cache: Path) -> list[str]:
    """A song's vocals and its backing, sent in."""
    for name, sound in {"Song vocals": vocals(1.0), "Song backing": band(1.0)}.items():
        sf.write(tmp_path / f"{name}.wav", sound, RATE)
    return [sent(tmp_path / f"Song {part}.wav") for part in ("backing", "vocals")]


def convert(tab: ConvertTab, state: ConvertState, *files: str, **of_mix: float) -> list[Any]:
    """Press the button, and follow to the end."""
    song = tab.sources[ASong.label]
    assert isinstance(song, ASong)
    values = {part: part.value for part in (*tab.expert.inputs, *tab.sources.inputs)}
    values |= {tab.state: state, tab.voice: BUILT_IN, tab.sources.kind: ASong.label, song.field: list(files)}
    values |= {slider: of_mix.get(name, slider.value) for name, slider in song.mix.items()}
    steps = list(tab.convert(values, request()))
    assert all(set(step) <= set(tab.drawn) for step in steps)
    return steps + list(tab.rest(state, request()))[1:]


def test_a_song_is_followed_while_the_button_is_free_and_its_parts_are_offered(
    tab: ConvertTab, pair: list[str], services: Services
) -> None:
    state = ConvertState()
    steps = convert(tab, state, *pair, voice_gain_db=-3.0, reverb=0.5)
    assert "Converting into Kathleen" in steps[0][tab.view.status]
    last = steps[-1]
    assert "Here is your song in the voice Kathleen" in last[tab.view.status]
    row = services.jobs.get(services.caller(request()), str(state.job_id))
    assert (row["type"], state.shown_id) == ("cover", row["id"])
    asked = {name: row["settings"][name] for name in ("voice_gain_db", "backing_gain_db", "reverb")}
    assert asked == {"voice_gain_db": -3.0, "backing_gain_db": 0.0, "reverb": 0.5}
    assert last[tab.view.stems].visible
    for stem, button in tab.view.stem_buttons.items():
        assert f"Song vocals {stem}" in drawn(last[button])
    assert "Song vocals in Kathleen" in drawn(tab.takes.show(state, request()))
    assert "voice -3 dB · reverb 0.5" in drawn(tab.takes.show(state, request()))
    *_, picture = tab.draw_pictures(state, request())
    assert Path(picture[tab.view.image]["file"]["path"]).is_file()


def test_what_is_missing_or_unclear_is_said_at_the_field(tab: ConvertTab, pair: list[str]) -> None:
    (step,) = convert(tab, ConvertState())
    assert "Add a song, or its vocals and its backing" in step[tab.sources[ASong.label].note]
    (step,) = convert(tab, ConvertState(), pair[0], pair[0])
    assert "This song was not converted" in step[tab.view.status]
    assert "do not say which is which" in step[tab.view.status]


def test_a_take_of_a_song_is_made_again_from_its_files_and_mix(tab: ConvertTab, pair: list[str]) -> None:
    state = ConvertState()
    convert(tab, state, *pair, backing_gain_db=4.0)
    event: Any = SimpleNamespace(_data={"job": state.job_id})
    answer = tab.again(event, request())
    song = tab.sources[ASong.label]
    assert isinstance(song, ASong)
    assert answer[tab.sources.kind] == ASong.label
    assert answer[song.column].visible
    assert not answer[tab.sources[OneRecording.label].column].visible
    assert [Path(path).name for path in answer[song.field]] == ["Song vocals.wav", "Song backing.wav"]
    assert [answer[slider] for slider in song.mix.values()] == [0.0, 4.0, 0.0]
    again = ConvertState()
    steps = convert(tab, again, *answer[song.field])
    assert "Here is your song" in steps[-1][tab.view.status]


def test_the_parts_are_not_offered_with_what_is_no_song(
    tab: ConvertTab, pair: list[str], services: Services
) -> None:
    convert(tab, ConvertState(), *pair)
    caller = services.caller(request())
    uploaded = services.jobs.upload(caller, [(RECORDING, RECORDING.name)], "target")
    job = services.jobs.submit(caller, "conversion", uploaded["id"], model_id=BUILT_IN)
    *_, row = services.jobs.follow(caller, job["id"])
    assert not tab.view.hear(caller, row)[tab.view.stems].visible


def test_it_is_said_before_anything_is_sent_where_no_vocals_can_be_taken_out(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.weights.find_spec", lambda _: None)
    with gr.Blocks() as page:
        ConvertTab(services)
    texts = [str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML)]
    assert any("This server cannot take vocals out of a song" in text for text in texts)

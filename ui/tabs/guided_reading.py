"""Guided reading: one sentence at a time, recorded with the microphone; each take joins the list of files."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from rvc.errors import ConfigError
from ui.look.html import paragraph
from ui.look.language import direction, tr
from ui.look.level import level_meter
from ui.look.wording import duration
from ui.server.published import is_published, publish_file
from ui.server.reading import language_to_read, read_languages, sentences
from ui.server.services import QUIET, Answer, as_gr_error, uploaded_files

FREELY = "free"  # the choice to speak without a text
CLIPPED, CLIPPED_SHARE = 0.985, 2e-4  # of full scale; the share of samples from which it is heard
QUIET_DB = -38.0  # of what is spoken, below full scale
SHORTEST_S = 0.8
LONGEST_S = 120.0  # of one sentence; of what is spoken freely so much is judged
FRAME_S, FRAMES = 0.05, 20  # what a level is taken of, how many of them are read at once
HEADER_BYTES = 4_096  # that of a browser is far shorter
RATES_HZ = range(8_000, 192_001)


@dataclass(frozen=True, kw_only=True)
class Take:
    """What was measured of one recording."""

    seconds: float
    clipped_share: float
    speech_db: float  # level of its loudest tenth

    def has_length(self, *, freely: bool) -> bool:
        """Whether it is long enough, and no longer than one sentence can be."""
        return self.seconds >= SHORTEST_S and (freely or self.seconds <= LONGEST_S)

    def fault(self, *, freely: bool) -> str:
        """Return what is wrong with it in a sentence that says what to do; "" if nothing is."""
        if self.seconds < SHORTEST_S:
            return tr("That was too short; press Record, read the whole sentence, and press Stop.")
        if not self.has_length(freely=freely):
            return tr(
                "That was longer than two minutes. Press Record, read only the sentence, and press Stop."
            )
        if self.clipped_share > CLIPPED_SHARE:
            return tr("Too loud: it is distorted. Move away from the microphone and read it again.")
        if self.speech_db < QUIET_DB:
            return tr("Too quiet. Come nearer to the microphone, or speak up, and read it again.")
        return ""


@dataclass(frozen=True, kw_only=True)
class Wav:
    """A WAV file as browsers record it, of which nothing but its header was read."""

    path: Path
    rate_hz: int
    channels: int
    begins: int  # where in the file its samples do
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames / self.rate_hz


def header_of(path: Path) -> Wav | None:
    """Read the header of a WAV file of 16 bits; None of what is no such file, however large it is."""
    try:
        with path.open("rb") as file:
            header = BytesIO(file.read(HEADER_BYTES))
        with wave.open(header) as sound:
            rate_hz, channels, width = sound.getframerate(), sound.getnchannels(), sound.getsampwidth()
            begins, frames = header.tell(), sound.getnframes()
        size = path.stat().st_size
    except (OSError, EOFError, wave.Error):
        return None
    if width != 2 or channels not in (1, 2) or rate_hz not in RATES_HZ:
        return None
    # Who records while he writes does not know yet how long it becomes.
    frames = min(frames, (size - begins) // (2 * channels))
    return Wav(path=path, rate_hz=rate_hz, channels=channels, begins=begins, frames=max(frames, 0))


def measured(wav: Wav) -> Take:
    """Measure the first minutes of a recording, block by block."""
    frame = round(FRAME_S * wav.rate_hz)
    left, clipped, powers = min(wav.frames, round(LONGEST_S * wav.rate_hz)), 0, []
    share = 1 / max(left, 1)
    with wav.path.open("rb") as file:
        file.seek(wav.begins)
        while left > 0:
            count = min(left, FRAMES * frame)
            raw = np.frombuffer(file.read(2 * wav.channels * count), "<i2").reshape(-1, wav.channels)
            level = np.abs(raw / np.float32(32_768)).max(axis=1)
            clipped += int((level >= CLIPPED).sum())
            powers.append(np.square(level[: count // frame * frame]).reshape(-1, frame).mean(axis=1))
            left -= count
    frames = np.concatenate(powers or [np.zeros(0, np.float32)])
    loud = float(np.quantile(frames, 0.9)) if frames.size else 0.0
    return Take(
        seconds=wav.seconds,
        clipped_share=clipped * share,
        speech_db=10.0 * float(np.log10(max(loud, 1e-10))),
    )


def seconds_of(takes: list[str]) -> float:
    """Return how long the takes of a list are; of other files nothing is known before their check."""
    found = [header_of(path) for path, _ in uploaded_files(takes)]
    return sum(wav.seconds for wav in found if wav)


def spoken_in(language: str) -> Any:  # noqa: ANN401 -- an update
    """Return the language of a voice that reads sentences of this choice; as it is for who speaks freely."""
    return gr.skip() if language == FREELY else language


class GuidedReading:
    def __init__(self) -> None:
        choices = [*((name, tag) for tag, name in read_languages().items()), ("I speak freely", FREELY)]
        self.language = gr.Dropdown(
            choices=choices, value="en", label="Sentences in", elem_id="reading-language"
        )
        self.number = gr.State(1)
        self.sentence = gr.HTML(elem_id="reading-sentence", padding=False)
        with gr.Row():
            self.previous = gr.Button("Previous sentence", elem_id="reading-previous", min_width=120)
            self.next = gr.Button("Next sentence", elem_id="reading-next", min_width=120)
        self.microphone = gr.Audio(
            sources=["microphone"],
            type="filepath",
            label="Record; it joins the list above",
            buttons=[],
            elem_id="clone-microphone",
        )
        level_meter(clipped=CLIPPED, quiet_db=QUIET_DB)
        self.verdict = gr.HTML(elem_id="reading-verdict", elem_classes=["tm-note"], padding=False)
        self.shown = [self.language, self.number, self.sentence, self.verdict]
        asked = [self.language, self.number]
        answered = [self.number, self.sentence, self.verdict]
        self.next.click(lambda *now: self.turn(*now, by=1), asked, answered, queue=False, **QUIET)
        self.previous.click(lambda *now: self.turn(*now, by=-1), asked, answered, queue=False, **QUIET)
        self.language.input(
            lambda chosen: self.turn(chosen, 1), self.language, answered, queue=False, **QUIET
        )

    def turn(self, language: str, number: int, *, by: int = 0) -> Answer:
        """Show another sentence; after the last comes the first."""
        with as_gr_error():
            place = (
                1 if language == FREELY else (_place(language, number) + by) % len(sentences(language)) + 1
            )
            return {self.number: place, self.sentence: _shown(language, place), self.verdict: ""}

    def opened(self) -> Answer:
        """Show the sentences of the language of the page."""
        language = language_to_read()
        return {self.language: language} | self.turn(language, 1)

    def add_take(self, recording: str | None, files: list[str] | None, language: str, number: int) -> Any:  # noqa: ANN401
        """Return the list of files with a take, and what is shown of it.

        A sentence that is read again well takes the place of its first take. After a good one comes the next.
        """
        listed = list(files or [])
        answer: Answer = {self.microphone: None}
        with as_gr_error():
            freely = language == FREELY
            place = 0 if freely else _place(language, number)
            for path, _ in uploaded_files(recording):
                wav = header_of(path)
                take = measured(wav) if wav else None
                fault = take.fault(freely=freely) if take else ""
                title = _free_name(listed) if freely else f"Sentence {place + 1:02d}"
                name = title if freely else f"{title} {language}"
                # A file of the person's own may be called the same.
                earlier = [file for file in listed if Path(file).stem == name and is_published(Path(file))]
                stays = bool(fault and earlier)
                if not stays and (take is None or take.has_length(freely=freely)):
                    listed = [file for file in listed if file not in earlier]
                    listed.append(publish_file(path, name))
                if not fault and not freely:
                    answer |= self.turn(language, number, by=1)
                answer[self.verdict] = _verdict(take, title, fault, stays=stays)
        return listed, answer


def _place(language: str, number: int) -> int:
    """Return the place of a sentence from 0; whatever a client sent, it is among those of the language."""
    if type(number) is not int or not 1 <= number <= len(sentences(language)):
        raise ConfigError(
            tr("There is no such sentence; choose a language again, and its first one is shown.")
        )
    return number - 1


def _free_name(listed: list[str]) -> str:
    taken = {Path(file).stem for file in listed}
    return next(name for n in range(1, len(taken) + 2) if (name := f"Recording {n}") not in taken)


def _verdict(take: Take | None, name: str, fault: str, *, stays: bool) -> str:
    if fault:
        told = paragraph(f"{name}: {fault}")
        if stays:
            told += paragraph(tr("The take of it that was there before stays."), quiet=True)
        return f'<div class="tm-card tm-warn" role="status">{told}</div>'
    length = duration(take.seconds) if take else ""
    said = (
        tr("{name} is good ({length}).", name=name, length=length)
        if length
        else tr("{name} is there.", name=name)
    )
    return f'<div class="tm-card tm-good" role="status">{paragraph(said)}</div>'


def _shown(language: str, number: int) -> str:
    if language == FREELY:
        return (
            '<div class="tm-sentence"><p class="tm-quiet">'
            + escape(
                tr(
                    "Tell what you did today, describe the room you are in, count from ninety to seventy, "
                    "ask three questions, and say something you are glad about. Two minutes go by quickly."
                )
            )
            + "</p></div>"
        )
    lines = sentences(language)
    place = tr("Sentence {number} of {count}", number=number, count=len(lines))
    return (
        f'<div class="tm-sentence" aria-live="polite"><p class="tm-quiet">{escape(place)}</p>'
        f'<p class="tm-read" lang="{language}" dir="{direction(language)}">'
        f"{escape(lines[number - 1])}</p></div>"
    )
